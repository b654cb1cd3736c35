// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The maps of the programs, and their room to work in.

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
    u64 released;           // not 0: the thread was the last to hold the GIL, which is free
    struct resume_record resume;
    struct site_record site;
    struct stack_record stack;
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, RING_SIZE);
} ring SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, MAX_PROCESSES);
    __type(key, u32);
    __type(value, struct target);
} targets SEC(".maps");
// By target.state_index. An array, not a hash by process: with that the programs find it in a few instructions.
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, MAX_PROCESSES);
    __type(key, u32);
    __type(value, struct process_state);
} process_states SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, MAX_THREADS);
    __type(key, u32);
    __type(value, struct thread);
} threads SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, MAX_THREADS);
    __type(key, u32);
    __type(value, struct tstates);
} tstates_of SEC(".maps");
// Stacks that user space knows, and sites.
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
// By enum counter.
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, COUNTERS);
    __type(key, u32);
    __type(value, u64);
} counters SEC(".maps");

// Never on the usual path: not worth a copy at each place.
__noinline int add_to(u32 which, u64 by)
{
    u64 *counter = bpf_map_lookup_elem(&counters, &which);
    if (counter)
        __sync_fetch_and_add(counter, by);
    return 0;
}

static __always_inline struct scratch *get_scratch(void)
{
    u32 zero = 0;
    return bpf_map_lookup_elem(&scratches, &zero);
}

static __always_inline struct process_state *state_of(struct target *t)
{
    return bpf_map_lookup_elem(&process_states, &t->state_index);
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
    thread = bpf_map_lookup_elem(&threads, &tid);
    if (!thread)
        add_to(UNTRACKED_THREADS, 1);
    return thread;
}
