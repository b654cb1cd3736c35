// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Thread states of the current thread, and its Python stack.

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
            s->stack.head.truncated = 1;
            return 0;
        }
    }
    u32 at = frame - s->from;
    u8 owner = t->frame_owner == NONE ? 0 : frame_word(s, at, t->frame_owner) >> (8 * (t->frame_owner & 7));
    if (owner < FIRST_ENTRY_OWNER) {
        u32 count = s->stack.head.frames;
        if (count >= MAX_FRAMES) {
            s->stack.head.truncated = 1;
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
        s->stack.head.id = mix(mix(s->stack.head.id, code), instr);
        s->stack.head.frames = count + 1;
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
    s->stack.head.truncated = 1;
    return 0;
}

// When user space was last called because the ring fills up.
u64 called_at;

// User space empties the ring at regular intervals. It is called when the ring fills up, and `at_once` for code objects that
// it does not know: those may be gone soon.
static __always_inline int send(void *record, u64 size, bool at_once)
{
    // A call takes longer than all the rest: if user space is behind, it is not called with every record.
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
    add_to(LOST_RECORDS, 1);
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
        if (i >= s->stack.head.frames)
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
    s->stack.head.id = mix(1, tgid);
    s->stack.head.frames = 0;
    s->stack.head.truncated = 0;
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
    u32 count = s->stack.head.frames;
    if (!count && !s->stack.head.truncated)
        return 0;
    u64 id = s->stack.head.id | 1;
    if (bpf_map_lookup_elem(&known_stacks, &id))
        return id;
    bool has_news = identify_codes(t, s);
    s->stack.head.id = id;
    s->stack.head.header.kind = REC_STACK;
    s->stack.head.header.tgid = tgid;
    if (count > MAX_FRAMES)
        count = MAX_FRAMES;
    u64 size = sizeof s->stack.head + count * sizeof s->stack.frame[0];
    u8 known = 1;
    if (!send(&s->stack, size, has_news))
        bpf_map_update_elem(&known_stacks, &id, &known, BPF_ANY);
    return id;
}
