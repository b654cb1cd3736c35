//! What the programs have of a thread: given to them when observation begins, and read for what is still going on.

use super::records::REC_OFF;
use super::wire::{KernelThread, WireHeader, WireOff};
use super::{OffCpuRecord, OffFlags, OffKind};
use crate::event::{Account, Nanos, Pid, Syscall, Tid};

/// Why a thread is off the CPU that was found so when observation began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeededWait {
    pub(crate) kind: OffKind,
    /// -1 if it is in none.
    pub(crate) syscall: i16,
    pub(crate) flags: OffFlags,
    /// The address of the lock; 0 if it is at none.
    pub(crate) lock: u64,
}

impl SeededWait {
    /// Without the GIL, at no lock.
    pub(crate) fn new(kind: OffKind, call: Syscall) -> SeededWait {
        SeededWait { kind, syscall: call.0, flags: OffFlags::default(), lock: 0 }
    }
}

impl KernelThread {
    /// A thread found when observation began: off the CPU since `now`, or on it.
    pub(crate) fn seeded(now: Nanos, tid: Tid, pid: Pid, wait: Option<SeededWait>) -> KernelThread {
        let off = wait.map(|wait| WireOff {
            header: WireHeader {
                kind: REC_OFF,
                flags: wait.flags.with(OffFlags::OPEN).0,
                syscall: wait.syscall,
                tid: tid as u32,
                tgid: pid as u32,
                off_kind: wait.kind as u32,
            },
            start: now.0,
            lock: wait.lock,
            ..WireOff::default()
        });
        KernelThread { in_at: now.0, off: off.unwrap_or_default(), ..KernelThread::default() }
    }

    /// The time off the CPU that is under way, if there is one, and the thread's account up to `now`.
    pub(crate) fn under_way(&self, now: Nanos) -> (Option<OffCpuRecord>, Account) {
        let mut account = self.account.up_to(now);
        if self.off.start == 0 {
            account.on_cpu_ns += now.0.saturating_sub(self.in_at);
            return (None, account);
        }
        let off = OffCpuRecord::decode(&self.off);
        if off.start >= now {
            // It has begun since, and is none of what was before.
            return (None, account);
        }
        let held = off.flags.has(OffFlags::HELD);
        *match off.kind {
            OffKind::GilWait => &mut account.gil_wait_ns,
            OffKind::Runnable if held => &mut account.gil_held_runnable_ns,
            OffKind::Runnable => &mut account.runnable_ns,
            kind if kind.is_blocked() && held => &mut account.gil_held_off_cpu_ns,
            kind if kind.is_blocked() && off.syscall == Syscall::FUTEX.0 => &mut account.futex_ns,
            kind if kind.is_blocked() => &mut account.blocked_ns,
            _ => &mut account.unknown_ns,
        } += now.since(off.start);
        // Whatever woke it last has nothing to do with this time.
        let flags = off.flags.without(OffFlags::WOKEN).without(OffFlags::WAKER);
        (Some(OffCpuRecord { end: now, flags, ..off }), account)
    }
}
