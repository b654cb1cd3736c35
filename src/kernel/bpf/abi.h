// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the programs share with gilscope: the configuration of a process, the state of a thread, and the records in the
// ring. ../abi/ mirrors all of it, field by field; its tests compare both by what the object's BTF says of this file.
//
// No structure has padding: where one field would leave a gap, there is a field for it.

enum limit {
    MAX_TEXTS = 8,        // ranges of code of one process that are the interpreter's
    MAX_GILS = 16,        // GILs of one process that are distinguished from other futexes
    MAX_TSTATES = 4,      // thread states of one thread
    MAX_FRAMES = 256,     // frames of one stack
    MAX_PROCESSES = 1024,
    STACK_WORDS = 64,     // how much is sent of the stack of a thread that resumes others
    FRAMES_LEN = 1024,    // how much is read of frames at once, in bytes; a power of two
    TLBC_SHIFT = 48,      // the index of a thread-local copy of bytecode goes where user addresses end
    NONE = 0xffffffff,    // stands for the offset of a field that this version does not have
};

// What a thread is said to be parked for that waits for a lock of the parking lot itself.
enum parked_for { PARKING_LOT = 1 };

enum counter {
    LOST_RECORDS,       // records that did not fit into the ring
    UNTRACKED_THREADS,  // how often a thread was met that there was no room for
    PID_NAMESPACE_LEVEL, // what `find_level` saw
    COUNTERS
};

// An observed process: where its interpreter keeps what. Offsets in bytes. Written by user space only.
struct target {
    u64 runtime;
    u64 text[MAX_TEXTS][2]; // from, to: the interpreter's own code and that of the C library
    u64 gils[MAX_GILS];
    u32 gil_count;
    u32 state_index;        // its place in process_states
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
};

// What the programs remember of a process. User space only clears it, before they see the process for the first time.
struct process_state {
    // Who was last seen to collect garbage, in which interpreter, and has released the GIL meanwhile: collects().
    u64 collector_in;
    u32 collector, collector_away;
    u64 resumed_at;         // when all threads were last seen to be resumed: tell_resume()
};

// The thread states of a thread, in the order they were entered.
struct tstates {
    u64 tstate[MAX_TSTATES];
    u64 interp[MAX_TSTATES];
    u64 ident[MAX_TSTATES]; // thread_id
    u64 gil[MAX_TSTATES];
    u64 count;
};

// A thread's time by what it was doing, in nanoseconds, and how often it waited for the GIL and blocked.
struct account {
    u64 on_cpu, runnable, gil_held_runnable, gil_held_off_cpu, gil_wait, futex, blocked, unknown;
    u64 gil_waits, blocks;
};

// Parked: in the interpreter's parking lot, for a PyMutex or for something else. Native: at a mutex of the C library. Join: in
// pthread_join().
enum off_kind {
    OFF_UNKNOWN, OFF_RUNNABLE, OFF_GIL_WAIT, OFF_BLOCKED, OFF_STOPPED, OFF_PARKED_MUTEX, OFF_PARKED, OFF_NATIVE_MUTEX,
    OFF_JOIN
};

// Flags of a time off the CPU and of a sample alike: what was seen of the GIL.
enum gil_flag {
    HELD = 1,       // the thread held it
    LOCKED = 2,     // somebody held it
    HAS_GIL = 4,    // it was read
};

// Flags of a time off the CPU.
enum off_flag {
    WOKEN = 8,      // there is a wake
    WAKER = 16,     // with a waker
    WAKER_GIL = 32, // and the GIL was read then
    OPEN = 64,      // off the CPU since before it was observed
    COLLECTING = 128, // the interpreter is collecting garbage; unless the thread is parked, it is this one that does
};

// Flags of a sample.
enum sample_flag {
    IN_USER = 8,    // the thread ran its own code, not the kernel's
    COLLECTS = 16,  // it is collecting garbage
    ATTACHED = 32,  // it is attached to an interpreter without a GIL
    NATIVE = 128,   // it runs code that is neither the interpreter's nor the C library's
};

enum record_kind { REC_STACK = 1, REC_OFF, REC_SAMPLE, REC_EXIT, REC_RESUME, REC_SITE };

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

struct stack_head {
    struct header header;
    u64 id;
    u32 frames, truncated;
};

struct stack_record {
    struct stack_head head;
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
    u64 lock;               // the futex; of a parked thread what it is parked for; of a join the tid; 0 in other calls
    u64 fair_at;            // of a thread that is parked for a mutex: when that may be handed to it
    u64 site;               // at a futex: the site_record that says what called it; 0 if there is none
};

struct sample_record {
    struct header header;
    u64 at;
    u64 stack;
    u64 gil;
    u64 ip;                 // of its own code, also if it was in the kernel
};

struct registers {
    u64 ip;
    u64 general[16];        // in the order in which the processor numbers them
};

// Of free-threaded builds.
struct sample_with_registers {
    struct sample_record sample;
    struct registers registers;
};

struct thread {
    u64 in_at;              // when it came to the CPU it is on
    u64 search_at, search_after;
    struct account account;
    struct off_record off;  // the time off the CPU under way; none if off.start is 0
};

struct exit_record {
    struct header header;
    u64 at;
    struct account account;
    u8 name[16];            // the kernel's name for it, up to the first 0
};

// Where in native code a thread with a Python stack sleeps in futex: the end of its stack, which tells.
struct site_record {
    struct header header;
    u64 id;
    u64 ip;
    u32 operation, value;   // of the call
    u64 words[STACK_WORDS];
};

// A thread resumes the others that it has stopped: the end of its stack, which tells why.
struct resume_record {
    struct header header;
    u64 at;
    u64 words[STACK_WORDS];
};

// Points nowhere, and is never used: with it all of the above is in the object's BTF, where a test finds it.
struct mirrored {
    struct target target;
    struct process_state process_state;
    struct tstates tstates;
    struct thread thread;
    struct stack_record stack;
    struct off_record off;
    struct sample_with_registers sample;
    struct exit_record exit;
    struct resume_record resume;
    struct site_record site;
    enum limit limit;
    enum parked_for parked_for;
    enum counter counter;
    enum off_kind off_kind;
    enum gil_flag gil_flag;
    enum off_flag off_flag;
    enum sample_flag sample_flag;
    enum record_kind record_kind;
} *mirrored;
