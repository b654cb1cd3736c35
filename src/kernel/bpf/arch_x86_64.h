// SPDX-License-Identifier: MIT OR Apache-2.0
//
// All that the programs know of the processor and of the C library on it: registers, system call numbers, sizes of
// structures. Another architecture has a file like this one, and src/arch/ a file for the other half.

// The registers of a thread as it entered the kernel (arch/x86/include/asm/ptrace.h).
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, sp;
} CORE;

// The beginning of struct bpf_perf_event_data: the registers at the tick, in the order of struct pt_regs.
struct clock_tick {
    u64 before_cs[17];
    volatile u64 cs;
};

// arch/x86/entry/syscalls/syscall_64.tbl
#define SYS_FUTEX 202

// A condition variable and a mutex of glibc. A GIL has `cond`, its mutex, then `switch_cond`.
#define COND_LEN 48
#define MUTEX_LEN 40
// Where glibc keeps the tid in the descriptor that pthread_self() points to.
#define PTHREAD_TID 720
// Where it keeps the descriptor's own address there, and the state at which a join waits (2.43; before, that is the tid).
#define PTHREAD_SELF 16
#define PTHREAD_STATE 1576

static __always_inline long syscall_number(struct pt_regs *regs)
{
    return regs->orig_ax;
}

static __always_inline u64 stack_pointer(struct pt_regs *regs)
{
    return regs->sp;
}

static __always_inline u64 instruction_pointer(struct pt_regs *regs)
{
    return regs->ip;
}

// The first three arguments of the system call that a thread is in.
static __always_inline u64 first_argument(struct pt_regs *regs)
{
    return regs->di;
}

static __always_inline u64 second_argument(struct pt_regs *regs)
{
    return regs->si;
}

static __always_inline u64 third_argument(struct pt_regs *regs)
{
    return regs->dx;
}

// Whether the clock has interrupted the thread's own code, not the kernel's: the lowest two bits of the code segment's
// number are the privilege.
static __always_inline bool interrupted_user_code(struct clock_tick *tick)
{
    return tick->cs & 3;
}

// In the order in which the processor numbers its registers.
static __always_inline void copy_registers(struct registers *to, struct pt_regs *regs)
{
    to->ip = regs->ip;
    to->general[0] = regs->ax;
    to->general[1] = regs->cx;
    to->general[2] = regs->dx;
    to->general[3] = regs->bx;
    to->general[4] = regs->sp;
    to->general[5] = regs->bp;
    to->general[6] = regs->si;
    to->general[7] = regs->di;
    to->general[8] = regs->r8;
    to->general[9] = regs->r9;
    to->general[10] = regs->r10;
    to->general[11] = regs->r11;
    to->general[12] = regs->r12;
    to->general[13] = regs->r13;
    to->general[14] = regs->r14;
    to->general[15] = regs->r15;
}
