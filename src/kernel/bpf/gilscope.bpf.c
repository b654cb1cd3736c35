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
// The layout of what is shared with user space (configuration, threads, records) is mirrored in ../abi.rs. After a
// change: `src/kernel/bpf/build`, which writes the object that is committed beside this file.
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
    int pid;
    int tgid;
    struct task_struct *group_leader;
    struct pid *thread_pid;
} CORE;
// Of x86_64.
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, sp;
} CORE;

// The beginning of struct bpf_perf_event_data: the registers at the tick, in the order of struct pt_regs.
struct clock_tick {
    u64 before_cs[17];
    volatile u64 cs;
};

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// include/linux/sched.h
#define TASK_STOPPED 0x4
#define TASK_TRACED 0x8
#define PF_EXITING 0x4
// x86_64 system calls and include/uapi/linux/futex.h
#define SYS_FUTEX 202
#define FUTEX_COMMAND 0x7f
#define FUTEX_WAIT 0
// What a mutex of the C library is while threads wait for it (glibc).
#define MUTEX_CONTENDED 2
// WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, UNLOCK_PI, WAKE_BITSET
#define FUTEX_WAKES ((1 << 1) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 7) | (1 << 10))

// What a thread is said to be parked for that waits for a lock of the parking lot itself.
#define PARKING_LOT 1

#define RING_SIZE (1 << 24)
#define MAX_FRAMES 256
#define MAX_TSTATES 4
// What is read of a PyThreadState, from `interp` on.
#define TSTATE_LEN 168
#define MAX_GILS 16
#define MAX_TEXTS 8
#define MAX_INTERPRETERS 8
#define MAX_LISTED 128
// A GIL's `cond`, `mutex`, `switch_cond`, of glibc: a condition variable has 48 bytes, a mutex 40.
#define COND_LEN 48
#define SWITCH_COND_AFTER_COND 88
// An offset of a field that this version does not have.
#define NONE 0xffffffff
// The part of a GIL that is read: up to its switch_number.
#define GIL_LEN 40
// So much is read of frames at once, at most. A power of two.
#define FRAMES_LEN 1024
#define PAGE_SIZE 4096ULL
// FRAME_OWNED_BY_CSTACK (3.12, 3.13), _BY_INTERPRETER (3.14 on): frames without Python code.
#define FIRST_ENTRY_OWNER 3
// Tag bits of _PyStackRef; the index of a thread-local copy of bytecode goes where user addresses end.
#define TAG_BITS 7ULL
#define TLBC_SHIFT 48
#define CODE_MASK ((1ULL << TLBC_SHIFT) - 1)
// A thread whose PyThreadState was not found is looked for again after so long, then twice as long, and so on.
#define SEARCH_AGAIN 1000000ULL
#define SEARCH_SELDOM 1000000000ULL
// User space is called again after so long.
#define CALL_AGAIN 1000000ULL
// How much of a stack is sent, in words; and how soon after a pause another is taken to be the same.
#define STACK_WORDS 64
#define SAME_PAUSE 100000ULL
// Where glibc keeps the tid in the descriptor that pthread_self() points to.
#define PTHREAD_TID 720

// Set by user space before loading: how deep in pid namespaces gilscope is, and the shortest time off the CPU that gets
// a record, in nanoseconds.
const volatile u32 pidns_level = 0;
const volatile u64 min_wait = 0;

// An observed process: where its interpreter keeps what. Offsets in bytes.
struct target {
    u64 runtime;
    u64 text[MAX_TEXTS][2]; // from, to: the interpreter's own code and that of the C library
    u64 gils[MAX_GILS];
    u32 gil_count;
    u32 interpreters_head, interp_next, interp_threads;
    u32 gil_place, gil_in_runtime;
    u32 gil_enabled, gil_holder, gil_locked, gil_switches, gil_cond, gil_wait_len;
    u32 ts_next, ts_interp, ts_head, cframe_current, ts_thread_id, ts_native_id, ts_state;
    u32 frame_previous, frame_code, frame_instr, frame_owner, frame_tlbc, frame_len;
    u32 frame_reach;        // how much is read with a frame: callers' are in front of it from 3.11 on
    u32 instr_shift;        // 32 where the instruction is an int, else 0
    u32 code_name, code_filename, code_line_table, code_first_line;
    u32 gc_collecting, gc_in_runtime, world_stopped;
    // A thread in the interpreter's parking lot sleeps at a semaphore on its own stack, not further from the end of it than
    // this; 0 where there is none.
    u32 parked_within;
    // Kept by collects(): who was last seen to collect garbage, in which interpreter, and has let go of the GIL meanwhile.
    u32 collector, collector_away, unused;
    u64 collector_in;
    u64 resumed_at;         // kept by tell_resume()
};

// The thread states of a thread, in the order they were entered.
struct tstates {
    u64 tstate[MAX_TSTATES];
    u64 interp[MAX_TSTATES];
    u64 ident[MAX_TSTATES]; // thread_id
    u64 gil[MAX_TSTATES];
    u64 count;
};

enum account {
    ON_CPU, RUNNABLE_TIME, GIL_HELD_RUNNABLE_TIME, GIL_HELD_OFF_CPU_TIME, GIL_WAIT_TIME, FUTEX_TIME, BLOCKED_TIME,
    UNKNOWN_TIME, GIL_WAITS, BLOCKS, ACCOUNTS
};

// Parked: in the interpreter's parking lot, for a PyMutex or for something else. Native: at a mutex of the C library.
enum off_kind {
    OFF_UNKNOWN, OFF_RUNNABLE, OFF_GIL_WAIT, OFF_BLOCKED, OFF_STOPPED, OFF_PARKED_MUTEX, OFF_PARKED, OFF_NATIVE_MUTEX
};

enum flag {
    HELD = 1,       // it held the GIL
    LOCKED = 2,     // somebody held it
    HAS_GIL = 4,    // the GIL was read
    WOKEN = 8,      // there is a wake
    WAKER = 16,     // with a waker
    WAKER_GIL = 32, // and the GIL was read then
    OPEN = 64,      // off the CPU since before it was observed
    NATIVE = 128,   // runs code that is neither the interpreter's nor the C library's
};
// Of times off the CPU: the interpreter is collecting garbage. Unless the thread is parked, it is this one that does.
#define COLLECTING 128
// Of samples: the thread is collecting garbage.
#define COLLECTS 16
// Of samples: where threads have no GIL, and of a thread that ran its own code, not the kernel's.
#define ATTACHED 2
#define IN_USER 8

enum record_kind { REC_STACK = 1, REC_OFF, REC_SAMPLE, REC_EXIT, REC_RESUME };

struct header {
    u8 kind;
    u8 flags;
    s16 syscall;
    u32 tid;
    u32 tgid;
    u32 off_kind;
};

struct frame {
    u64 code, instr;
    u64 key; // see code_key()
};

struct stack_record {
    struct header header;
    u64 id;
    u32 frames, truncated;
    struct frame frame[MAX_FRAMES];
};

struct off_record {
    struct header header;
    u64 start, end;
    u64 stack;
    u64 woken_at, waker_stack;
    u32 waker, waker_switches;
    u64 gil, holder;
    u32 switches;
    u32 waker_gil;          // the GIL was read at the wake
    u64 lock;               // the futex; of a parked thread what it is parked for; 0 in other calls
    u64 fair_at;            // of a thread that is parked for a mutex: when that may be handed to it
};

// The registers are sent only of free-threaded builds.
struct sample_record {
    struct header header;
    u64 at;
    u64 stack;
    u64 gil;
    u64 ip;
    u64 registers[16];      // in the order in which the processor numbers them
};

struct thread {
    u64 in_at;              // when it came to the CPU it is on
    u64 search_at, search_after;
    u64 account[ACCOUNTS];
    struct off_record off;  // the time off the CPU under way; none if off.start is 0
};

struct exit_record {
    struct header header;
    u64 at;
    u64 account[ACCOUNTS];
};

// A thread lets the others go on that it has stopped: the end of its stack, which tells why.
struct resume_record {
    struct header header;
    u64 at;
    u64 words[STACK_WORDS];
};

// What is too large for the stack. Programs that use it run with interrupts off, so one for each CPU is enough.
struct scratch {
    u64 frames[2 * FRAMES_LEN / 8]; // a copy of this, in its first half; the second is there for the verifier
    u64 from, to;
    u64 tstate[32];
    u64 gil[8];
    struct tstates found;
    struct thread thread;
    u64 has_news;
    u64 holds_in;           // the interpreter whose GIL the thread holds
    u64 let_go;             // not 0: the thread was the last to hold the GIL, which is free
    struct resume_record resume;
    struct stack_record stack;
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, RING_SIZE);
} ring SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, u32);
    __type(value, struct target);
} targets SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 32768);
    __type(key, u32);
    __type(value, struct thread);
} threads SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 32768);
    __type(key, u32);
    __type(value, struct tstates);
} tstates_of SEC(".maps");
// Stacks that user space knows.
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1 << 16);
    __type(key, u64);
    __type(value, u8);
} known_stacks SEC(".maps");
// Code objects that user space knows, by key.
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1 << 16);
    __type(key, u64);
    __type(value, u8);
} known_codes SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct scratch);
} scratches SEC(".maps");
// 0: records that did not fit into the ring. 1: the depth in pid namespaces that `find_level` saw.
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, u32);
    __type(value, u64);
} counters SEC(".maps");

static __always_inline void add_to(u32 which, u64 by)
{
    u64 *counter = bpf_map_lookup_elem(&counters, &which);
    if (counter)
        __sync_fetch_and_add(counter, by);
}

static __always_inline void count_lost(void)
{
    add_to(0, 1);
}

static __always_inline struct scratch *get_scratch(void)
{
    u32 zero = 0;
    return bpf_map_lookup_elem(&scratches, &zero);
}

static __always_inline u32 number_at(struct pid *pid, u32 level)
{
    u32 number = 0;
    bpf_probe_read_kernel(&number, sizeof number, (void *)&pid->numbers[0] + level * 16);
    return number;
}

// Ids as gilscope sees them.
static __always_inline u32 tid_of(struct task_struct *task)
{
    return pidns_level ? number_at(task->thread_pid, pidns_level) : task->pid;
}

static __always_inline u32 tgid_of(struct task_struct *task)
{
    return pidns_level ? number_at(task->group_leader->thread_pid, pidns_level) : task->tgid;
}

static __always_inline u64 read_u64(u64 address)
{
    u64 value = 0;
    bpf_probe_read_user(&value, sizeof value, (void *)address);
    return value;
}

static __always_inline u32 read_u32(u64 address)
{
    u32 value = 0;
    bpf_probe_read_user(&value, sizeof value, (void *)address);
    return value;
}

// The GIL of an interpreter: a field of the runtime up to 3.11, a pointer in the interpreter from 3.12 on.
static __always_inline u64 gil_of(struct target *t, u64 interp)
{
    return t->gil_in_runtime ? t->runtime + t->gil_place : read_u64(interp + t->gil_place);
}

// Whether the current thread is the one that a PyThreadState says. It has its tid from 3.11 on (stale after a fork);
// before, the C library's descriptor of the thread does, to which thread_id (pthread_self()) points. Returns thread_id, 0
// if it is another's.
__noinline u64 own_ident(struct target *t, u64 tstate, u32 own_tid)
{
    if (!t)
        return 0;
    u64 descriptor = read_u64(tstate + t->ts_thread_id);
    if (t->ts_native_id != NONE && read_u32(tstate + t->ts_native_id) == own_tid)
        return descriptor;
    return descriptor && read_u32(descriptor + PTHREAD_TID) == own_tid ? descriptor : 0;
}

// Looks for the current thread's state in the list of an interpreter. New ones come to its head.
__noinline u64 find_in(struct target *t, u64 interp, u32 own_tid)
{
    if (!t)
        return 0;
    u64 tstate = read_u64(interp + t->interp_threads);
    for (int i = 0; i < MAX_LISTED && tstate; i++) {
        if (read_u64(tstate + t->ts_interp) != interp)
            break;
        if (own_ident(t, tstate, own_tid))
            return tstate;
        tstate = read_u64(tstate + t->ts_next);
    }
    return 0;
}

// Looks for the current thread's states in all interpreters. Threads enter them from the main one, which is the oldest
// and the last in the list.
__noinline int find_tstates(struct target *t, struct scratch *s, u32 own_tid)
{
    if (!t || !s)
        return 0;
    u32 found = 0;
    u64 interp = read_u64(t->runtime + t->interpreters_head);
    __builtin_memset(&s->found, 0, sizeof s->found);
    for (int i = 0; i < MAX_INTERPRETERS && interp; i++) {
        u64 tstate = find_in(t, interp, own_tid);
        if (tstate) {
            // Not more than there is room for: the later ones are the outer ones.
            s->found.tstate[3] = s->found.tstate[2];
            s->found.tstate[2] = s->found.tstate[1];
            s->found.tstate[1] = s->found.tstate[0];
            s->found.tstate[0] = tstate;
            found++;
        }
        interp = read_u64(interp + t->interp_next);
    }
    s->found.count = found < MAX_TSTATES ? found : MAX_TSTATES;
    for (int i = 0; i < MAX_TSTATES; i++) {
        u64 tstate = s->found.tstate[i];
        if (!tstate)
            break;
        s->found.interp[i] = read_u64(tstate + t->ts_interp);
        s->found.ident[i] = read_u64(tstate + t->ts_thread_id);
        s->found.gil[i] = gil_of(t, s->found.interp[i]);
    }
    return found;
}

// The thread states of the current thread.
static __always_inline struct tstates *get_tstates(struct target *t, struct scratch *s, struct thread *thread,
                                                   struct task_struct *task, u32 tid, u64 now)
{
    struct tstates *known = bpf_map_lookup_elem(&tstates_of, &tid);
    if (known || !t->runtime || now < thread->search_at)
        return known;
    struct pid *pid = task->thread_pid;
    u32 own_tid = pid->level ? number_at(pid, pid->level) : (u32)task->pid;
    if (find_tstates(t, s, own_tid)) {
        bpf_map_update_elem(&tstates_of, &tid, &s->found, BPF_NOEXIST);
        return bpf_map_lookup_elem(&tstates_of, &tid);
    }
    u64 after = thread->search_after ? thread->search_after * 2 : SEARCH_AGAIN;
    thread->search_after = after > SEARCH_SELDOM ? SEARCH_SELDOM : after;
    thread->search_at = now + thread->search_after;
    return 0;
}

static __always_inline u64 mix(u64 hash, u64 word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
    return hash ^ (hash >> 29);
}

// A word of the frame that is `at` bytes behind the beginning of scratch.frames.
static __always_inline u64 frame_word(struct scratch *s, u32 at, u32 field)
{
    return s->frames[((at + field) >> 3) & (2 * FRAMES_LEN / 8 - 1)];
}

// Appends a frame to the stack in `s`. Returns the caller's; 0 if there is none, or the stack has to be cut. A function of its
// own, which the verifier looks at once, and not once for each turn of the loop around it.
__noinline u64 take_frame(struct target *t, struct scratch *s, u64 frame)
{
    if (!t || !s)
        return 0;
    u32 len = t->frame_len & 127;
    if (frame < s->from || frame + len > s->to) {
        // From the same page, which is there if the frame is.
        s->to = frame + len;
        s->from = frame & ~(PAGE_SIZE - 1);
        if (s->to - s->from > t->frame_reach)
            s->from = s->to - t->frame_reach;
        u32 size = s->to - s->from;
        if (size > FRAMES_LEN || bpf_probe_read_user(s->frames, size, (void *)s->from)) {
            s->stack.truncated = 1;
            return 0;
        }
    }
    u32 at = frame - s->from;
    u8 owner = t->frame_owner == NONE ? 0 : frame_word(s, at, t->frame_owner) >> (8 * (t->frame_owner & 7));
    if (owner < FIRST_ENTRY_OWNER) {
        u32 count = s->stack.frames;
        if (count >= MAX_FRAMES) {
            s->stack.truncated = 1;
            return 0;
        }
        u64 code = frame_word(s, at, t->frame_code) & ~TAG_BITS;
        if (t->frame_tlbc != NONE)
            code |= (frame_word(s, at, t->frame_tlbc) >> (8 * (t->frame_tlbc & 7)) & 0xffff) << TLBC_SHIFT;
        // f_lasti is an int, and may be -1.
        u64 instr = frame_word(s, at, t->frame_instr);
        instr >>= 8 * (t->frame_instr & 7);
        instr = (u64)((long long)(instr << (t->instr_shift & 63)) >> (t->instr_shift & 63));
        s->stack.frame[count & (MAX_FRAMES - 1)].code = code;
        s->stack.frame[count & (MAX_FRAMES - 1)].instr = instr;
        s->stack.id = mix(mix(s->stack.id, code), instr);
        s->stack.frames = count + 1;
    }
    return frame_word(s, at, t->frame_previous);
}

// Appends the frames that begin with `frame`, innermost first, to the stack in `s`.
__noinline int walk(struct target *t, struct scratch *s, u64 frame)
{
    if (!t || !s)
        return 0;
    s->from = 0;
    s->to = 0;
    for (int i = 0; i < MAX_FRAMES + 32; i++) {
        if (!frame)
            return 0;
        frame = take_frame(t, s, frame);
    }
    s->stack.truncated = 1;
    return 0;
}

// When user space was last called because the ring fills up.
u64 called_at;

// User space comes by now and then. It is called when the ring fills up, and `at_once` for code objects it does not know:
// those may be gone soon.
static __always_inline int send(void *record, u64 size, bool at_once)
{
    // A call takes longer than all the rest: if it is behind, it is not told so with every record.
    if (!at_once && bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > RING_SIZE / 4) {
        u64 now = bpf_ktime_get_ns();
        at_once = now - called_at > CALL_AGAIN;
        if (at_once)
            called_at = now;
    }
    // Without force the kernel calls only if all records before this one have been taken out.
    u64 flags = at_once ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
    if (!bpf_ringbuf_output(&ring, record, size, flags))
        return 0;
    count_lost();
    return -1;
}

// A number for what a code object is: by the time that user space looks, another may be in its place.
__noinline u64 code_key(struct target *t, u64 code)
{
    if (!t)
        return 0;
    u64 key = mix(code, read_u64(code + t->code_name));
    key = mix(key, read_u64(code + t->code_line_table));
    return mix(key, read_u64(code + t->code_filename) + read_u32(code + t->code_first_line));
}

// Notes what the code objects of the stack in `s` are. Returns whether there are some that user space does not know.
__noinline int identify_codes(struct target *t, struct scratch *s)
{
    if (!t || !s)
        return 0;
    s->has_news = 0;
    for (u32 i = 0; i < MAX_FRAMES; i++) {
        if (i >= s->stack.frames)
            break;
        u64 key = code_key(t, s->stack.frame[i].code & CODE_MASK);
        s->stack.frame[i].key = key;
        if (bpf_map_lookup_elem(&known_codes, &key))
            continue;
        s->has_news = 1;
        u8 known = 1;
        bpf_map_update_elem(&known_codes, &key, &known, BPF_ANY);
    }
    return s->has_news;
}

// The current thread's stack: 0 if it has none, else an id that user space can look up. A stack that is new is sent.
__noinline u64 take_stack(struct target *t, struct scratch *s, struct tstates *states, u32 tgid, u32 tid)
{
    bool stale = false;
    if (!t || !s || !states)
        return 0;
    s->stack.id = mix(1, tgid);
    s->stack.frames = 0;
    s->stack.truncated = 0;
    for (int i = MAX_TSTATES - 1; i >= 0; i--) {
        if (i >= states->count)
            continue;
        // From `interp` on: the head of the frames and thread_id are not far behind it.
        u64 *tstate = s->tstate;
        tstate[0] = 0;
        bpf_probe_read_user(tstate, TSTATE_LEN, (void *)states->tstate[i & (MAX_TSTATES - 1)] + t->ts_interp);
        u64 ident = tstate[((t->ts_thread_id - t->ts_interp) >> 3) & 31];
        // Else it was freed meanwhile, or has gone to another thread: those are made by the thread that starts the other.
        if (tstate[0] != states->interp[i & (MAX_TSTATES - 1)] || ident != states->ident[i & (MAX_TSTATES - 1)]) {
            stale = true;
            continue;
        }
        u64 frame = tstate[((t->ts_head - t->ts_interp) >> 3) & 31];
        if (t->cframe_current != NONE && frame)
            frame = read_u64(frame + t->cframe_current);
        walk(t, s, frame);
    }
    if (stale)
        bpf_map_delete_elem(&tstates_of, &tid); // to be looked for anew
    u32 count = s->stack.frames;
    if (!count && !s->stack.truncated)
        return 0;
    u64 id = s->stack.id | 1;
    if (bpf_map_lookup_elem(&known_stacks, &id))
        return id;
    bool has_news = identify_codes(t, s);
    s->stack.id = id;
    s->stack.header.kind = REC_STACK;
    s->stack.header.tgid = tgid;
    if (count > MAX_FRAMES)
        count = MAX_FRAMES;
    u64 size = sizeof s->stack - sizeof s->stack.frame + count * sizeof s->stack.frame[0];
    u8 known = 1;
    if (!send(&s->stack, size, has_news))
        bpf_map_update_elem(&known_stacks, &id, &known, BPF_ANY);
    return id;
}

// Reads a GIL. False if the thread does not need it: there is none, or it is switched off (free-threaded builds).
static __always_inline bool read_gil(struct target *t, struct scratch *s, u64 gil)
{
    if (!gil || bpf_probe_read_user(s->gil, GIL_LEN, (void *)gil))
        return false;
    return t->gil_enabled == NONE || ((u32 *)s->gil)[(t->gil_enabled >> 2) & 15] != 0;
}

static __always_inline bool gil_locked(struct target *t, struct scratch *s)
{
    return ((u32 *)s->gil)[(t->gil_locked >> 2) & 15] == 1;
}

static __always_inline u64 gil_holder(struct target *t, struct scratch *s)
{
    return s->gil[(t->gil_holder >> 3) & 7];
}

static __always_inline u32 gil_switches(struct target *t, struct scratch *s)
{
    return s->gil[(t->gil_switches >> 3) & 7];
}

// The GIL whose conditions or mutexes a futex address belongs to; 0 if none.
static __always_inline u64 gil_at(struct target *t, u64 address)
{
    for (u32 i = 0; i < MAX_GILS; i++) {
        if (i >= t->gil_count)
            return 0;
        u64 cond = t->gils[i & (MAX_GILS - 1)] + t->gil_cond;
        if (address >= cond && address < cond + t->gil_wait_len)
            return t->gils[i & (MAX_GILS - 1)];
    }
    return 0;
}

// The state of a thread that is met for the first time.
static __always_inline struct thread *get_thread(u32 tid, struct scratch *s, u64 now)
{
    struct thread *thread = bpf_map_lookup_elem(&threads, &tid);
    if (thread)
        return thread;
    __builtin_memset(&s->thread, 0, sizeof s->thread);
    s->thread.in_at = now;
    bpf_map_update_elem(&threads, &tid, &s->thread, BPF_NOEXIST);
    return bpf_map_lookup_elem(&threads, &tid);
}

// The current thread's GIL as it is now: the one at whose futex it is (`waits_for`), one that it holds, or that of the
// interpreter it entered last. Returns flags.
static __always_inline u8 look_at_gil(struct target *t, struct scratch *s, struct tstates *states, u64 waits_for,
                                      struct off_record *off)
{
    u64 gil = waits_for;
    off->gil = 0;
    off->holder = 0;
    off->switches = 0;
    s->let_go = 0;
    if (!gil && states) {
        for (int i = MAX_TSTATES - 1; i >= 0; i--) {
            if (i >= states->count)
                continue;
            u64 candidate = states->gil[i & (MAX_TSTATES - 1)];
            if (!gil)
                gil = candidate;
            if (read_gil(t, s, candidate) && gil_locked(t, s) &&
                gil_holder(t, s) == states->tstate[i & (MAX_TSTATES - 1)]) {
                gil = candidate;
                break;
            }
        }
    }
    if (!read_gil(t, s, gil))
        return 0;
    u8 flags = HAS_GIL;
    off->gil = gil;
    off->switches = gil_switches(t, s);
    if (gil_locked(t, s)) {
        flags |= LOCKED;
        off->holder = gil_holder(t, s);
    }
    if (states) {
        u64 last = gil_holder(t, s);
        for (int i = 0; i < MAX_TSTATES; i++)
            if (i < states->count && states->tstate[i] == last) {
                s->holds_in = states->interp[i];
                if (flags & LOCKED) {
                    flags |= HELD;
                } else {
                    s->let_go = 1;
                    off->holder = last;
                }
            }
    }
    return flags;
}

static __always_inline bool is_collecting(struct target *t, u64 interp)
{
    return read_u32((t->gc_in_runtime ? t->runtime : interp) + t->gc_collecting) == 1;
}

// Whether the current thread collects garbage. It does if it holds the GIL meanwhile, unless another does and has let go of
// the GIL in a finalizer or callback. Where there is no GIL, it is the one thread that is attached while all are stopped,
// until the collection is over. `flags` are those of look_at_gil().
static __always_inline bool collects(struct target *t, struct scratch *s, struct tstates *states, u8 flags, u32 tid)
{
    if (flags & HELD) {
        bool collecting = is_collecting(t, s->holds_in);
        if (collecting && t->collector_away && t->collector != tid && t->collector_in == s->holds_in)
            return false;
        t->collector = collecting ? tid : 0;
        t->collector_away = 0;
        t->collector_in = s->holds_in;
        return collecting;
    }
    if (flags & HAS_GIL || !states || t->world_stopped == NONE)
        return false;
    u64 interp = states->interp[0];
    if (!is_collecting(t, interp)) {
        if (t->collector == tid)
            t->collector = 0;
        return false;
    }
    if (read_u32(interp + t->world_stopped) & 0xff && read_u32(states->tstate[0] + t->ts_state) == 1)
        t->collector = tid;
    return t->collector == tid;
}

// The current thread leaves the CPU without the GIL. If it has only just let go of it, and the interpreter is collecting, it
// is this thread that does: nobody has taken the GIL since, or it waits for that, at `switch_cond`.
static __always_inline void leaves_collection(struct target *t, struct scratch *s, struct tstates *states, u64 gil,
                                              u64 futex, u32 tid)
{
    u64 switch_cond = gil + t->gil_cond + SWITCH_COND_AFTER_COND;
    bool was_asked = gil && futex >= switch_cond && futex < switch_cond + COND_LEN;
    bool let_go = (was_asked || s->let_go) && !t->collector_away;
    if (!states || !(let_go || t->collector == tid) || !is_collecting(t, states->interp[0]))
        return;
    t->collector = tid;
    t->collector_away = 1;
    t->collector_in = states->interp[0];
}

// What a thread waits for that sleeps at a futex of its own stack: mirrors `struct wait_entry` (Python/parking_lot.c, 3.13
// on), {park_arg, addr, sema}. A wait for a PyMutex has a park_arg, a `struct mutex_entry` (Python/lock.c), {time_to_be_fair,
// handed_off}, which is the same until the thread has the mutex. Where that would have its address, `struct
// raw_mutex_entry` (Python/lock.c), {next, sema}, has none as long as nobody else waits.
static __always_inline u32 parked(struct off_record *off, u64 futex)
{
    u64 entry[2] = {};
    if (bpf_probe_read_user(entry, sizeof entry, (void *)(futex - sizeof entry)))
        return OFF_BLOCKED;
    if (!entry[1]) {
        off->lock = PARKING_LOT;
        return OFF_PARKED_MUTEX;
    }
    if (entry[1] < PAGE_SIZE)
        return OFF_BLOCKED;
    off->lock = entry[1];
    if (!entry[0])
        return OFF_PARKED;
    off->fair_at = read_u64(entry[0]);
    return OFF_PARKED_MUTEX;
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
    thread->account[ON_CPU] += now - thread->in_at;
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
    } else if (state & (TASK_STOPPED | TASK_TRACED)) {
        kind = OFF_STOPPED;
    } else {
        struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
        long syscall = regs->orig_ax;
        off->header.syscall = syscall;
        if (syscall == SYS_FUTEX) {
            u64 futex = regs->di;
            waits_for = gil_at(t, futex);
            off->lock = futex;
            if (!waits_for && futex - regs->sp < t->parked_within)
                kind = parked(off, futex);
            else if (!waits_for && (regs->si & FUTEX_COMMAND) == FUTEX_WAIT && (u32)regs->dx == MUTEX_CONTENDED)
                kind = OFF_NATIVE_MUTEX;
        }
    }
    u8 flags = look_at_gil(t, s, states, waits_for, off);
    if (waits_for && flags & HAS_GIL)
        kind = OFF_GIL_WAIT;
    if (kind == OFF_PARKED ? states && is_collecting(t, states->interp[0]) : collects(t, s, states, flags, tid))
        flags |= COLLECTING;
    if (flags & HAS_GIL && !(flags & HELD))
        leaves_collection(t, s, states, waits_for, off->lock, tid);
    off->header.flags = flags;
    off->header.off_kind = kind;
    off->stack = take_stack(t, s, states, tgid, tid);
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
    switch (kind) {
    case OFF_RUNNABLE:
        thread->account[flags & HELD ? GIL_HELD_RUNNABLE_TIME : RUNNABLE_TIME] += now - start;
        break;
    case OFF_GIL_WAIT:
        thread->account[GIL_WAIT_TIME] += now - start;
        thread->account[GIL_WAITS] += 1;
        thread->account[BLOCKS] += 1;
        break;
    case OFF_BLOCKED:
    case OFF_PARKED_MUTEX:
    case OFF_PARKED:
    case OFF_NATIVE_MUTEX:
        if (flags & HELD)
            thread->account[GIL_HELD_OFF_CPU_TIME] += ready - start;
        else if (off->header.syscall == SYS_FUTEX)
            thread->account[FUTEX_TIME] += ready - start;
        else
            thread->account[BLOCKED_TIME] += ready - start;
        thread->account[flags & HELD ? GIL_HELD_RUNNABLE_TIME : RUNNABLE_TIME] += now - ready;
        thread->account[BLOCKS] += 1;
        break;
    default:
        thread->account[UNKNOWN_TIME] += now - start;
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

// The current thread, `waker`, wakes one that may be stopped by the interpreter: it is parked for its own state then.
static __always_inline void tell_resume(struct target *t, struct scratch *s, struct off_record *off, u32 tid, u32 waker,
                                        struct pt_regs *regs, u64 now)
{
    if (off->header.off_kind != OFF_PARKED || t->world_stopped == NONE || now - t->resumed_at < SAME_PAUSE)
        return;
    struct tstates *states = bpf_map_lookup_elem(&tstates_of, &tid);
    if (!states || off->lock != states->tstate[0] + t->ts_state)
        return;
    t->resumed_at = now;
    struct resume_record *record = &s->resume;
    record->header = (struct header){.kind = REC_RESUME, .tid = waker, .tgid = off->header.tgid};
    record->at = now;
    if (!bpf_probe_read_user(record->words, sizeof record->words, (void *)regs->sp))
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
        u64 address = regs->di;
        u32 command = regs->si & FUTEX_COMMAND;
        // Only a call for that purpose tells who it was: an interrupt comes to whatever thread is running.
        if (regs->orig_ax == SYS_FUTEX && command < 32 && (1u << command) & FUTEX_WAKES) {
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
    flags |= NATIVE;
    for (int i = 0; i < MAX_TEXTS; i++)
        if (regs->ip >= t->text[i][0] && regs->ip < t->text[i][1])
            flags &= ~NATIVE;
    // The lowest two bits of the code segment's number are the privilege.
    bool in_user = ctx->cs & 3;
    struct sample_record record = {
        .header = {.kind = REC_SAMPLE, .flags = flags | (in_user ? IN_USER : 0), .tid = tid, .tgid = tgid},
        .at = now,
        .stack = take_stack(t, s, states, tgid, tid),
        .gil = gil.gil,
    };
    record.header.syscall = in_user ? -1 : regs->orig_ax;
    if (t->gil_enabled == NONE) {
        send(&record, offsetof(struct sample_record, ip), false);
        return 0;
    }
    record.ip = regs->ip;
    record.registers[0] = regs->ax;
    record.registers[1] = regs->cx;
    record.registers[2] = regs->dx;
    record.registers[3] = regs->bx;
    record.registers[4] = regs->sp;
    record.registers[5] = regs->bp;
    record.registers[6] = regs->si;
    record.registers[7] = regs->di;
    record.registers[8] = regs->r8;
    record.registers[9] = regs->r9;
    record.registers[10] = regs->r10;
    record.registers[11] = regs->r11;
    record.registers[12] = regs->r12;
    record.registers[13] = regs->r13;
    record.registers[14] = regs->r14;
    record.registers[15] = regs->r15;
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
        struct exit_record record = {.header = {.kind = REC_EXIT, .tid = tid, .tgid = tgid}, .at = now};
        for (int i = 0; i < ACCOUNTS; i++)
            record.account[i] = thread->account[i];
        record.account[ON_CPU] += now - thread->in_at;
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
    add_to(1, task->thread_pid->level);
    return 0;
}
