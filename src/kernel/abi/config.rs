//! What user space gives the programs of a process: its interpreter's offsets, its GILs, and which threads have which
//! thread states.

use super::wire::{KernelThreadStates, TargetConfig};
use super::{FRAMES_LEN, MAX_GILS, MAX_TSTATES, NONE};
use crate::cpython::layout::{FrameHead, GilPlace, Layout, Position};
use crate::cpython::locks::PARKED_WITHIN;

impl TargetConfig {
    /// A process whose interpreter is not known yet: its threads are observed without stacks.
    pub(crate) fn unknown(state_index: u32) -> TargetConfig {
        TargetConfig { state_index, ..zerocopy::FromZeros::new_zeroed() }
    }

    /// A process with its interpreter's offsets, the address ranges of the interpreter's code, and the addresses of its
    /// GILs.
    pub(crate) fn new(
        layout: &Layout,
        runtime: u64,
        text: &[(u64, u64)],
        gils: &[u64],
        state_index: u32,
    ) -> TargetConfig {
        let Layout { thread, frame, code, gil, gc, .. } = layout;
        let (head, cframe_current) = match thread.head {
            FrameHead::Direct(head) => (offset(head), NONE),
            FrameHead::CFrame { cframe, current } => (offset(cframe), offset(current)),
        };
        let (gil_place, gil_in_runtime) = match layout.gil_place {
            GilPlace::Runtime(place) => (offset(place), 1),
            GilPlace::Interpreter(place) => (offset(place), 0),
        };
        // Whole words.
        let frame_len = frame.len.next_multiple_of(8) as u32;
        TargetConfig {
            runtime,
            text: array(text.iter().map(|&(start, end)| [start, end])),
            gils: array(gils.iter().copied()),
            gil_count: gils.len().min(MAX_GILS) as u32,
            state_index,
            interpreters_head: offset(layout.interpreters_head),
            interp_next: offset(layout.interp_next),
            interp_threads: offset(layout.interp_threads),
            gil_place,
            gil_in_runtime,
            gil_enabled: optional(gil.enabled),
            gil_holder: offset(gil.last_holder),
            gil_locked: offset(gil.locked),
            gil_switches: offset(gil.switches),
            gil_cond: offset(gil.cond),
            gil_wait_len: offset(gil.wait_size),
            ts_next: offset(thread.next),
            ts_interp: offset(thread.interp),
            ts_head: head,
            cframe_current,
            ts_thread_id: offset(thread.thread_id),
            ts_native_id: optional(thread.native_thread_id),
            ts_state: optional(thread.state),
            frame_previous: offset(frame.previous),
            frame_code: offset(frame.code),
            frame_instr: offset(frame.instr),
            frame_owner: optional(frame.owner),
            frame_tlbc: optional(frame.tlbc_index),
            frame_len,
            frame_reach: if layout.version.minor >= 11 { FRAMES_LEN } else { frame_len },
            instr_shift: if frame.position == Position::Pointer { 0 } else { 32 },
            code_name: offset(code.name),
            code_filename: offset(code.filename),
            code_line_table: offset(code.line_table),
            code_first_line: offset(code.first_line),
            gc_collecting: offset(gc.collecting),
            gc_in_runtime: u32::from(gc.in_runtime),
            world_stopped: optional(gc.world_stopped),
            parked_within: if layout.has_parking_lot() { offset(PARKED_WITHIN) } else { 0 },
        }
    }
}

impl KernelThreadStates {
    /// Thread states in the order they were entered, each with its interpreter, its `thread_id` and its GIL.
    pub(crate) fn new(states: &[[u64; 4]]) -> KernelThreadStates {
        let field = |number: usize| array(states.iter().map(move |state| state[number]));
        KernelThreadStates {
            tstate: field(0),
            interp: field(1),
            ident: field(2),
            gil: field(3),
            count: states.len().min(MAX_TSTATES) as u64,
        }
    }
}

/// What of `values` there is room for.
fn array<T: Copy + Default, const N: usize>(values: impl Iterator<Item = T>) -> [T; N] {
    let mut array = [T::default(); N];
    array.iter_mut().zip(values).for_each(|(to, value)| *to = value);
    array
}

fn offset(offset: u64) -> u32 {
    offset as u32
}

fn optional(offset: Option<u64>) -> u32 {
    offset.map_or(NONE, |offset| offset as u32)
}
