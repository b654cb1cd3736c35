// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Kernel mode's half in the kernel: what the threads of the observed processes do off the CPU, and samples of them on
// it, each with its Python stack, walked in the thread's own context.
//
//   sched_switch   a thread leaves the CPU (why: its system call, its futex address, the GIL), another comes back
//                  (one record for the time between)
//   sched_waking   who made it ready, and where that thread was
//   cpu-clock      a perf event on every CPU: where the thread is that runs there
//   process_exit   a thread ends
//
// abi.h has what is shared with user space, maps.h the tables, stacks.h and gil.h what is read of the interpreter, and
// arch_x86_64.h what depends on the processor. After a change: `src/kernel/bpf/build`, which writes the object that is
// committed beside this file.
//
// Of the kernel's structures only the fields used are declared; the loader relocates them to those of the running
// kernel (CO-RE).

#include <linux/bpf.h>
#include <linux/types.h>

#include <stdbool.h>
#include <stddef.h>

typedef __u8 u8;
typedef __s16 s16;
typedef __s32 s32;
typedef __u32 u32;
typedef __u64 u64;

#include <bpf/bpf_helpers.h>

#define CORE __attribute__((preserve_access_index))

struct pid_namespace;
struct upid {
    int nr;
    struct pid_namespace *ns;
} CORE;
struct pid {
    unsigned int level;
    struct upid numbers[1];
} CORE;
struct task_struct {
    unsigned int __state;
    unsigned int flags;
    unsigned long jobctl;
    int pid;
    int tgid;
    struct task_struct *group_leader;
    struct pid *thread_pid;
} CORE;

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// include/linux/sched.h
#define TASK_STOPPED 0x4
#define TASK_TRACED 0x8
#define TASK_FROZEN 0x8000 // since 6.1
#define PF_EXITING 0x4
#define PF_FROZEN 0x10000 // up to 6.0; later a kernel thread's
// include/linux/sched/jobctl.h
#define JOBCTL_TRAP_FREEZE (1ul << 23)
// include/uapi/linux/futex.h
#define FUTEX_COMMAND 0x7f
#define FUTEX_WAIT 0
#define FUTEX_PRIVATE 0x80
// What a mutex of the C library is while threads wait for it (glibc).
#define MUTEX_CONTENDED 2
// WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, UNLOCK_PI, WAKE_BITSET
#define FUTEX_WAKES ((1 << 1) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 7) | (1 << 10))

#define RING_SIZE (1 << 24)
#define MAX_THREADS 32768
// What is read of a PyThreadState, from `interp` on.
#define TSTATE_LEN 168
#define MAX_INTERPRETERS 8
#define MAX_LISTED 128
// The part of a GIL that is read: up to its switch_number.
#define GIL_LEN 40
#define PAGE_SIZE 4096ULL
// FRAME_OWNED_BY_CSTACK (3.12, 3.13), _BY_INTERPRETER (3.14 on): frames without Python code.
#define FIRST_ENTRY_OWNER 3
// Tag bits of _PyStackRef.
#define TAG_BITS 7ULL
#define CODE_MASK ((1ULL << TLBC_SHIFT) - 1)
// A PyThreadState that was not found is searched for again after this long, then after twice as long, and so on, up to the
// second; in nanoseconds.
#define SEARCH_AGAIN 1000000ULL
#define SEARCH_SELDOM 1000000000ULL
// How long after a call user space is called again, at the earliest, in nanoseconds.
#define CALL_AGAIN 1000000ULL
// Threads that are resumed within this many nanoseconds are resumed from the same pause.
#define SAME_PAUSE 100000ULL

// Set by user space before loading: how deep in pid namespaces gilscope is, and the shortest time off the CPU that gets
// a record, in nanoseconds.
const volatile u32 pidns_level = 0;
const volatile u64 min_wait = 0;

#include "abi.h"

#include "arch_x86_64.h"

#include "maps.h"
#include "stacks.h"
#include "gil.h"

// The tid of the thread for whose end the current one waits, in pthread_join(): the kernel changes the futex, which is in that
// thread's descriptor. 0 if it waits for something else.
static __always_inline u32 joins(struct pt_regs *regs, u64 futex)
{
    if (second_argument(regs) & FUTEX_PRIVATE)
        return 0;
    u64 descriptor = futex - PTHREAD_TID;
    if (read_u64(descriptor + PTHREAD_SELF) != descriptor) {
        descriptor = futex - PTHREAD_STATE;
        if (read_u64(descriptor + PTHREAD_SELF) != descriptor)
            return 0;
    }
    return read_u32(descriptor + PTHREAD_TID);
}

// What called futex: sent once for each Python stack from which it was called in this way. 0 if that cannot be read.
static __always_inline u64 take_site(struct scratch *s, struct off_record *off)
{
    struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
    u64 ip = instruction_pointer(regs), stack = stack_pointer(regs);
    u64 id = (off->stack ^ (ip + read_u64(stack))) * 0x9e3779b97f4a7c15ULL;
    id ^= id >> 29;
    id |= 1;
    if (bpf_map_lookup_elem(&known_stacks, &id))
        return id;
    struct site_record *record = &s->site;
    record->header = (struct header){.kind = REC_SITE, .tid = off->header.tid, .tgid = off->header.tgid};
    record->id = id;
    record->ip = ip;
    record->operation = second_argument(regs);
    record->value = third_argument(regs);
    if (bpf_probe_read_user(record->words, sizeof record->words, (void *)stack))
        return 0;
    u8 known = 1;
    if (!send(record, sizeof *record, false))
        bpf_map_update_elem(&known_stacks, &id, &known, BPF_ANY);
    return id;
}

static __always_inline void leaves(struct task_struct *task, bool preempt, u32 tgid, struct target *t, u64 now)
{
    struct scratch *s = get_scratch();
    if (!s || task->flags & PF_EXITING)
        return;
    u32 tid = tid_of(task);
    struct thread *thread = get_thread(tid, s, now);
    if (!thread)
        return;
    struct off_record *off = &thread->off;
    if (off->start) {
        // Taken to be off the CPU when observation began, but it was not.
        thread->in_at = off->start;
        off->start = 0;
    }
    thread->account.on_cpu += now - thread->in_at;
    struct tstates *states = get_tstates(t, s, thread, task, tid, now);
    off->header.kind = REC_OFF;
    off->header.tid = tid;
    off->header.tgid = tgid;
    off->header.syscall = -1;
    u32 state = task->__state;
    u32 kind = OFF_BLOCKED;
    u64 waits_for = 0;
    off->lock = 0;
    off->fair_at = 0;
    if (preempt || state == 0) {
        kind = OFF_RUNNABLE;
    } else if (state & (TASK_STOPPED | TASK_TRACED | TASK_FROZEN) || task->flags & PF_FROZEN ||
               task->jobctl & JOBCTL_TRAP_FREEZE) {
        kind = OFF_STOPPED;
    } else {
        struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
        long syscall = syscall_number(regs);
        off->header.syscall = syscall;
        if (syscall == SYS_FUTEX) {
            u64 futex = first_argument(regs);
            waits_for = gil_at(t, futex);
            off->lock = futex;
            if (!waits_for && futex - stack_pointer(regs) < t->parked_within)
                kind = parked(off, futex);
            else if (!waits_for && (second_argument(regs) & FUTEX_COMMAND) == FUTEX_WAIT &&
                     (u32)third_argument(regs) == MUTEX_CONTENDED)
                kind = OFF_NATIVE_MUTEX;
            u32 joined = !waits_for && kind == OFF_BLOCKED ? joins(regs, futex) : 0;
            if (joined) {
                kind = OFF_JOIN;
                off->lock = joined;
            }
        }
    }
    u8 flags = look_at_gil(t, s, states, waits_for, off);
    if (waits_for && flags & HAS_GIL)
        kind = OFF_GIL_WAIT;
    bool collecting = kind == OFF_PARKED ? states && is_collecting(t, states->interp[0])
                                         : collects(t, s, states, flags, tid);
    if (collecting)
        flags |= COLLECTING;
    if (flags & HAS_GIL && !(flags & HELD) && leaves_collection(t, s, states, waits_for, off->lock, tid))
        flags |= COLLECTING;
    off->header.flags = flags;
    off->header.off_kind = kind;
    off->stack = take_stack(t, s, states, tgid, tid);
    off->site = off->stack && (kind == OFF_BLOCKED || kind == OFF_NATIVE_MUTEX) && off->lock ? take_site(s, off) : 0;
    // Last: from here on it counts.
    off->start = now;
}

static __always_inline void returns(struct task_struct *task, u64 now)
{
    u32 tid = tid_of(task);
    struct thread *thread = bpf_map_lookup_elem(&threads, &tid);
    if (!thread) {
        struct scratch *s = get_scratch();
        u32 tgid = tgid_of(task);
        if (s && !(task->flags & PF_EXITING) && bpf_map_lookup_elem(&targets, &tgid))
            get_thread(tid, s, now);
        return;
    }
    struct off_record *off = &thread->off;
    u64 start = off->start;
    u64 since_in = thread->in_at;
    thread->in_at = now;
    if (!start)
        return;
    off->start = 0;
    u32 kind = off->header.off_kind;
    u8 flags = off->header.flags;
    u64 ready = now;
    // A wake-up can come while the thread is still on its way off the CPU.
    if (kind != OFF_RUNNABLE && off->woken_at && off->woken_at >= since_in) {
        flags |= WOKEN;
        if (off->woken_at < start)
            off->woken_at = start;
        ready = off->woken_at;
        if (off->waker)
            flags |= WAKER;
        if (off->waker && off->waker_gil)
            flags |= WAKER_GIL;
    }
    struct account *account = &thread->account;
    switch (kind) {
    case OFF_RUNNABLE:
        if (flags & HELD)
            account->gil_held_runnable += now - start;
        else
            account->runnable += now - start;
        break;
    case OFF_GIL_WAIT:
        account->gil_wait += now - start;
        account->gil_waits += 1;
        account->blocks += 1;
        break;
    case OFF_BLOCKED:
    case OFF_PARKED_MUTEX:
    case OFF_PARKED:
    case OFF_NATIVE_MUTEX:
    case OFF_JOIN:
        if (flags & HELD)
            account->gil_held_off_cpu += ready - start;
        else if (off->header.syscall == SYS_FUTEX)
            account->futex += ready - start;
        else
            account->blocked += ready - start;
        if (flags & HELD)
            account->gil_held_runnable += now - ready;
        else
            account->runnable += now - ready;
        account->blocks += 1;
        break;
    default:
        account->unknown += now - start;
    }
    if (now - start >= min_wait) {
        off->header.flags = flags;
        off->start = start;
        off->end = now;
        send(off, sizeof *off, false);
        off->start = 0;
    }
    off->woken_at = 0;
    off->waker = 0;
    off->waker_gil = 0;
}

SEC("tp_btf/sched_switch")
int on_switch(u64 *ctx)
{
    bool preempt = ctx[0];
    struct task_struct *prev = (struct task_struct *)ctx[1];
    struct task_struct *next = (struct task_struct *)ctx[2];
    u32 prev_tgid = tgid_of(prev);
    // Most threads of the machine are idle or nobody's.
    if (next->pid)
        returns(next, bpf_ktime_get_ns());
    struct target *t = prev->pid ? bpf_map_lookup_elem(&targets, &prev_tgid) : 0;
    if (t)
        leaves(prev, preempt, prev_tgid, t, bpf_ktime_get_ns());
    return 0;
}

// The current thread, `waker`, wakes one that the interpreter may have stopped: that is parked for its own state then.
static __always_inline void tell_resume(struct target *t, struct scratch *s, struct off_record *off, u32 tid, u32 waker,
                                        struct pt_regs *regs, u64 now)
{
    if (off->header.off_kind != OFF_PARKED || t->world_stopped == NONE)
        return;
    struct process_state *process = state_of(t);
    if (!process || now - process->resumed_at < SAME_PAUSE)
        return;
    struct tstates *states = bpf_map_lookup_elem(&tstates_of, &tid);
    if (!states || off->lock != states->tstate[0] + t->ts_state)
        return;
    process->resumed_at = now;
    struct resume_record *record = &s->resume;
    record->header = (struct header){.kind = REC_RESUME, .tid = waker, .tgid = off->header.tgid};
    record->at = now;
    if (!bpf_probe_read_user(record->words, sizeof record->words, (void *)stack_pointer(regs)))
        send(record, sizeof *record, false);
}

SEC("tp_btf/sched_waking")
int on_waking(u64 *ctx)
{
    struct task_struct *task = (struct task_struct *)ctx[0];
    u32 tid = tid_of(task);
    struct thread *thread = bpf_map_lookup_elem(&threads, &tid);
    struct scratch *s = get_scratch();
    if (!thread || !s)
        return 0;
    u64 now = bpf_ktime_get_ns();
    struct off_record *off = &thread->off;
    u32 waker = 0, switches = 0, has_gil = 0;
    u64 stack = 0;
    struct task_struct *current = bpf_get_current_task_btf();
    u32 own_tgid = tgid_of(current);
    struct target *t = bpf_map_lookup_elem(&targets, &own_tgid);
    if (t) {
        struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(current);
        u64 address = first_argument(regs);
        u32 command = second_argument(regs) & FUTEX_COMMAND;
        // Only a call for that purpose tells who it was: an interrupt comes to whatever thread is running.
        if (syscall_number(regs) == SYS_FUTEX && command < 32 && (1u << command) & FUTEX_WAKES) {
            waker = tid_of(current);
            struct thread *own = bpf_map_lookup_elem(&threads, &waker);
            tell_resume(t, s, off, tid, waker, regs, now);
            u64 gil = gil_at(t, address);
            if (gil && read_gil(t, s, gil)) {
                has_gil = 1;
                switches = gil_switches(t, s);
            }
            if (own)
                stack = take_stack(t, s, get_tstates(t, s, own, current, waker, now), own_tgid,
                                   waker);
        }
    }
    off->waker = waker;
    off->waker_stack = stack;
    off->waker_switches = switches;
    off->waker_gil = has_gil;
    off->woken_at = now;
    return 0;
}

SEC("perf_event")
int on_cpu_clock(struct clock_tick *ctx)
{
    struct task_struct *task = bpf_get_current_task_btf();
    u32 tgid = tgid_of(task);
    struct target *t = bpf_map_lookup_elem(&targets, &tgid);
    struct scratch *s = get_scratch();
    if (!t || !s || task->flags & PF_EXITING)
        return 0;
    u64 now = bpf_ktime_get_ns();
    u32 tid = tid_of(task);
    struct thread *thread = get_thread(tid, s, now);
    if (!thread)
        return 0;
    struct tstates *states = get_tstates(t, s, thread, task, tid, now);
    struct off_record gil = {};
    u8 flags = look_at_gil(t, s, states, 0, &gil);
    if (!(flags & HAS_GIL) && states && t->ts_state != NONE &&
        read_u32(states->tstate[0] + t->ts_state) == 1)
        flags |= ATTACHED;
    if (collects(t, s, states, flags, tid))
        flags |= COLLECTS;
    struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
    u64 ip = instruction_pointer(regs);
    flags |= NATIVE;
    for (int i = 0; i < MAX_TEXTS; i++)
        if (ip >= t->text[i][0] && ip < t->text[i][1])
            flags &= ~NATIVE;
    bool in_user = interrupted_user_code(ctx);
    struct sample_with_registers record;
    record.sample = (struct sample_record){
        .header = {.kind = REC_SAMPLE, .flags = flags | (in_user ? IN_USER : 0), .tid = tid, .tgid = tgid},
        .at = now,
        .stack = take_stack(t, s, states, tgid, tid),
        .gil = gil.gil,
        .ip = ip,
    };
    record.sample.header.syscall = in_user ? -1 : syscall_number(regs);
    if (t->gil_enabled == NONE) {
        send(&record.sample, sizeof record.sample, false);
        return 0;
    }
    copy_registers(&record.registers, regs);
    send(&record, sizeof record, false);
    return 0;
}

SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
    struct task_struct *task = (struct task_struct *)ctx[0];
    u32 tgid = tgid_of(task);
    if (!bpf_map_lookup_elem(&targets, &tgid))
        return 0;
    u32 tid = tid_of(task);
    struct thread *thread = bpf_map_lookup_elem(&threads, &tid);
    if (thread) {
        u64 now = bpf_ktime_get_ns();
        struct exit_record record = {
            .header = {.kind = REC_EXIT, .tid = tid, .tgid = tgid},
            .at = now,
            .account = thread->account,
        };
        bpf_get_current_comm(record.name, sizeof record.name);
        record.account.on_cpu += now - thread->in_at;
        send(&record, sizeof record, false);
    }
    bpf_map_delete_elem(&threads, &tid);
    bpf_map_delete_elem(&tstates_of, &tid);
    return 0;
}

// Run once by gilscope on itself: how deep in pid namespaces it is.
SEC("raw_tp/find_level")
int find_level(void *ctx)
{
    struct task_struct *task = bpf_get_current_task_btf();
    add_to(PID_NAMESPACE_LEVEL, task->thread_pid->level);
    return 0;
}
