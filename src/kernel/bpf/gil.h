// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the current thread has to do with a GIL, a garbage collection, and the parking lot of its interpreter.

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

// Whether the holder of a GIL carries the current thread's ident, although no state of the thread is known.
static __always_inline bool holds_gil(struct target *t, struct scratch *s, u32 own_tid)
{
    for (u32 i = 0; i < MAX_GILS; i++) {
        if (i >= t->gil_count)
            return false;
        if (read_gil(t, s, t->gils[i & (MAX_GILS - 1)]) && gil_locked(t, s) &&
            own_ident(t, gil_holder(t, s), own_tid))
            return true;
    }
    return false;
}

// The thread states of the current thread.
static __always_inline struct tstates *get_tstates(struct target *t, struct scratch *s, struct thread *thread,
                                                   struct task_struct *task, u32 tid, u64 now)
{
    struct tstates *known = bpf_map_lookup_elem(&tstates_of, &tid);
    if (known || !t->runtime)
        return known;
    struct pid *pid = task->thread_pid;
    u32 own_tid = pid->level ? number_at(pid, pid->level) : (u32)task->pid;
    if (now < thread->search_at && !holds_gil(t, s, own_tid))
        return 0;
    if (find_tstates(t, s, own_tid)) {
        // A thread can give its state up and get another each time that it calls Python (PyGILState_Ensure).
        thread->search_at = 0;
        thread->search_after = 0;
        bpf_map_update_elem(&tstates_of, &tid, &s->found, BPF_NOEXIST);
        return bpf_map_lookup_elem(&tstates_of, &tid);
    }
    u64 after = thread->search_after ? thread->search_after * 2 : SEARCH_AGAIN;
    thread->search_after = after > SEARCH_SELDOM ? SEARCH_SELDOM : after;
    thread->search_at = now + thread->search_after;
    return 0;
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
    s->released = 0;
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
                    s->released = 1;
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

// Whether the current thread collects garbage. It does if it holds the GIL meanwhile, unless another does and has released
// the GIL in a finalizer or callback. Where there is no GIL, it is the one thread that is attached while all are stopped,
// until the collection is over. `flags` are those of look_at_gil().
static __always_inline bool collects(struct target *t, struct scratch *s,
                                     struct tstates *states, u8 flags, u32 tid)
{
    if (flags & HELD) {
        struct process_state *process = state_of(t);
        if (!process)
            return false;
        bool collecting = is_collecting(t, s->holds_in);
        if (collecting && process->collector_away && process->collector != tid && process->collector_in == s->holds_in)
            return false;
        process->collector = collecting ? tid : 0;
        process->collector_away = 0;
        process->collector_in = s->holds_in;
        return collecting;
    }
    if (flags & HAS_GIL || !states || t->world_stopped == NONE)
        return false;
    struct process_state *process = state_of(t);
    if (!process)
        return false;
    u64 interp = states->interp[0];
    if (!is_collecting(t, interp)) {
        if (process->collector == tid)
            process->collector = 0;
        return false;
    }
    if (read_u32(interp + t->world_stopped) & 0xff && read_u32(states->tstate[0] + t->ts_state) == 1)
        process->collector = tid;
    return process->collector == tid;
}

// The current thread leaves the CPU without the GIL. If it has only just released it, and the interpreter is collecting, it
// is this thread that does: nobody has acquired the GIL since, or it waits for that, at `switch_cond`. Returns whether the
// thread is in the middle of its collection.
static __always_inline bool leaves_collection(struct target *t, struct scratch *s,
                                              struct tstates *states, u64 gil, u64 futex, u32 tid)
{
    struct process_state *process = state_of(t);
    if (!process)
        return false;
    u64 switch_cond = gil + t->gil_cond + COND_LEN + MUTEX_LEN;
    bool was_asked = gil && futex >= switch_cond && futex < switch_cond + COND_LEN;
    bool has_released = (was_asked || s->released) && !process->collector_away;
    if (!states || !(has_released || process->collector == tid) || !is_collecting(t, states->interp[0]))
        return false;
    process->collector = tid;
    process->collector_away = 1;
    process->collector_in = states->interp[0];
    return true;
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
