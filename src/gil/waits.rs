//! Which times off the CPU are one wait for the GIL. Used by [`super::exact`].
//!
//! A thread that wants the GIL sleeps until it is released, but never longer than the switch interval at a time. So
//! a wait is seen as one or more *slices*, between which the thread is on the CPU for a few microseconds: it asks the
//! holder to let go, or finds that another thread was faster, and sleeps again.

use crate::contention::A_LOOK_NS;
use crate::contention::by_thread::ByThread;
use crate::event::{GilGlimpse, Nanos, OffCpu, ThreadId};
use crate::stack::StackId;

/// A release of the GIL, as told by the thread it woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Who released it.
    pub by: ThreadId,
    /// Its stack then.
    pub stack: StackId,
    /// When.
    pub at: Nanos,
}

/// A wait, complete or going on: from the start of its first slice to the end of its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// From.
    pub start: Nanos,
    /// Until.
    pub end: Nanos,
    /// Where the thread waited.
    pub stack: StackId,
    /// The release that ended its last slice; none if that timed out.
    pub release: Option<Release>,
    /// It was still going on when recording ended.
    pub open: bool,
    stack_lost: bool,
    base: Base,
    /// Time since `end` for which the thread was without a CPU, or stopped.
    suspended: u64,
}

/// What the last slice says of the number of switches, to compare the next slice with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Base {
    switches: u32,
    /// Another thread was the GIL's last holder at that moment: had the waiting thread taken it later, the number
    /// had changed.
    firm: bool,
}

/// What a slice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// The first of a wait; the thread's wait before is over.
    First {
        /// That wait.
        before: Option<Wait>,
    },
    /// More of the same wait.
    More {
        /// When its last slice ended.
        since: Nanos,
    },
}

/// Waits by thread.
#[derive(Debug, Default)]
pub struct WaitsByThread {
    last: ByThread<Option<Wait>>,
    /// When the thread last woke another.
    woke: ByThread<Nanos>,
}

/// Whether a slice was ended by the thread that *took* the GIL: after a forced drop, the releaser sleeps until
/// another thread has it (`switch_cond`). Nobody holds it when it falls asleep, and the number of switches has
/// changed when it is woken: `!glimpse.locked && wake.switches != glimpse.switches`.
pub fn woken_by_taker(off: &OffCpu, glimpse: &GilGlimpse) -> bool {
    let switched = |wake: crate::event::Wake| wake.switches.is_some_and(|now| now != glimpse.switches);
    !glimpse.locked && off.wake.is_some_and(|wake| wake.by.is_some() && switched(wake))
}

impl WaitsByThread {
    /// A slice. They must come in the order of their ends, thread by thread.
    pub fn slice(&mut self, off: &OffCpu, glimpse: &GilGlimpse) -> Slice {
        if let Some((by, at)) = off.wake.and_then(|wake| Some((wake.by?, wake.at))) {
            let woke = self.woke.of(by);
            *woke = at.max(*woke);
        }
        let woke = *self.woke.of(off.thread);
        let last = self.last.of(off.thread);
        let base = base(off, glimpse);
        let release = match off.wake {
            Some(wake) if !woken_by_taker(off, glimpse) => {
                wake.by.map(|by| Release { by, stack: wake.stack, at: wake.at })
            }
            _ => None,
        };
        let open = off.open && off.wake.is_none();
        match last {
            Some(wait) if continues(wait, off, glimpse, woke) => {
                let since = wait.end;
                *wait = Wait { end: off.end, release, open, base, suspended: 0, ..*wait };
                Slice::More { since }
            }
            _ => {
                let (start, end, stack, stack_lost) = (off.start, off.end, off.stack, off.lost);
                let before = last.replace(Wait { start, end, stack, release, open, stack_lost, base, suspended: 0 });
                Slice::First { before }
            }
        }
    }

    /// Where the thread waits, or has waited last.
    pub fn stack(&self, thread: ThreadId) -> Option<StackId> {
        Some(self.last.get(thread)?.as_ref()?.stack)
    }

    /// The thread was without a CPU, or stopped: that can be in the middle of a wait, between two looks at the GIL.
    pub fn suspended(&mut self, off: &OffCpu) {
        if let Some(wait) = self.last.of(off.thread) {
            wait.suspended += off.end.since(off.start);
        }
    }

    /// The thread did something at `at` that it cannot do while it waits. Gives the wait that is over.
    pub fn over(&mut self, thread: ThreadId, at: Nanos) -> Option<Wait> {
        self.last.of(thread).take_if(|wait| wait.end <= at)
    }

    /// Nothing more comes. Gives all waits that were not known to be over.
    pub fn all_over(&mut self) -> impl Iterator<Item = (ThreadId, Wait)> + use<'_> {
        self.last.iter_mut().filter_map(|(thread, wait)| Some((thread, wait.take()?)))
    }
}

/// The number of switches at the end of a slice, as far as known: at the wake, if it was read there, else when the
/// thread fell asleep. The thread was not the last holder then if another released it, or held it.
fn base(off: &OffCpu, glimpse: &GilGlimpse) -> Base {
    let woken = off.wake.filter(|wake| wake.by.is_some());
    match woken.and_then(|wake| wake.switches) {
        Some(switches) => Base { switches, firm: true },
        None => Base { switches: glimpse.switches, firm: glimpse.locked },
    }
}

/// Whether a slice goes on with a wait whose last slice the thread's last time off the CPU was (not counting times
/// it was merely without a CPU).
///
/// With `d = glimpse.switches - base` (mod 2^32), and `gap` the time it was on the CPU between the two:
///
/// - another Python stack: no, it has run;
/// - `d == 0`: yes. Had it taken the GIL, the number would have changed. If the thread itself may have been the
///   last holder, in which case it would not: only if `gap < 20 us`;
/// - `d == 1`, and another thread holds it: yes, that is the one that took it; the same exception;
/// - else it may have had it. Yes only if `gap < 20 us`, and it has not woken another thread meanwhile, as it does
///   when it lets go of the GIL: then the others were at it before it had a CPU to look.
///
/// There is no limit to `gap` in the second and third: the number proves it.
fn continues(wait: &Wait, off: &OffCpu, glimpse: &GilGlimpse, woke: Nanos) -> bool {
    if wait.stack != off.stack && !wait.stack_lost && !off.lost {
        return false;
    }
    let a_look = off.start.since(wait.end).saturating_sub(wait.suspended) < A_LOOK_NS;
    let held_by_other = glimpse.locked && glimpse.holder != Some(off.thread);
    match glimpse.switches.wrapping_sub(wait.base.switches) {
        0 => wait.base.firm || a_look,
        1 if held_by_other => wait.base.firm || a_look,
        _ => a_look && !(wait.end..=off.start).contains(&woke),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contention::fixture::stack;
    use crate::event::{GilId, Syscall, ThreadState, Wake};

    const WAITER: ThreadId = ThreadId(1);
    const OTHER: ThreadId = ThreadId(2);

    fn glimpse(holder: Option<ThreadId>, switches: u32) -> GilGlimpse {
        GilGlimpse { gil: GilId(0), holder, locked: holder.is_some(), switches }
    }

    /// A slice from and to so many microseconds, that timed out.
    fn slice(start: u64, end: u64, gil: GilGlimpse) -> OffCpu {
        OffCpu {
            gil: Some(gil),
            ..OffCpu::new(WAITER, Nanos(start * 1000), Nanos(end * 1000), ThreadState::GilWait, stack(1))
        }
    }

    fn woken(slice: OffCpu, switches: u32) -> OffCpu {
        let wake = Wake { at: slice.end, by: Some(OTHER), stack: stack(9), switches: Some(switches) };
        OffCpu { wake: Some(wake), ..slice }
    }

    /// Whether the second goes on with the first.
    fn one_wait(first: OffCpu, second: OffCpu) -> bool {
        let mut waits = WaitsByThread::default();
        waits.slice(&first, &first.gil.unwrap());
        matches!(waits.slice(&second, &second.gil.unwrap()), Slice::More { since } if since == first.end)
    }

    fn by_other(switches: u32) -> GilGlimpse {
        glimpse(Some(OTHER), switches)
    }

    #[test]
    fn slices_that_time_out_are_one_wait() {
        let first = slice(0, 5000, by_other(7));
        assert!(one_wait(first, slice(5003, 9000, by_other(7))));
        assert!(one_wait(first, slice(5003, 9000, by_other(8))));
        assert!(one_wait(first, slice(5003, 9000, by_other(40))), "it only looked");
        assert!(!one_wait(first, slice(5050, 9000, by_other(40))), "it may have had it");
        assert!(one_wait(first, slice(9000, 9100, by_other(7))), "nobody has had it");
        assert!(one_wait(slice(0, 5000, by_other(u32::MAX)), slice(8000, 9000, by_other(0))), "the number wraps");
    }

    #[test]
    fn who_loses_the_race_goes_on_waiting() {
        let first = woken(slice(0, 300, by_other(7)), 9);
        assert!(one_wait(first, slice(400, 500, by_other(9))), "the releaser took it again");
        assert!(one_wait(first, slice(400, 500, by_other(10))), "another took it");
        assert!(!one_wait(first, slice(400, 500, glimpse(None, 10))), "it took it itself");
        assert!(!one_wait(first, slice(400, 500, by_other(11))), "it took it itself, then another did");
        assert!(one_wait(first, slice(305, 500, by_other(11))), "two did before it could look");
    }

    #[test]
    fn who_has_woken_another_has_had_it() {
        let first = woken(slice(0, 300, by_other(7)), 9);
        let mut waits = WaitsByThread::default();
        waits.slice(&first, &first.gil.unwrap());
        let wake = Wake { at: Nanos(304_000), by: Some(WAITER), stack: stack(1), switches: Some(10) };
        let other = OffCpu { thread: OTHER, wake: Some(wake), ..slice(200, 400, by_other(9)) };
        waits.slice(&other, &other.gil.unwrap());
        let next = slice(305, 500, by_other(11));
        assert!(matches!(waits.slice(&next, &next.gil.unwrap()), Slice::First { before: Some(_) }));
    }

    #[test]
    fn another_stack_is_another_wait_unless_it_was_lost() {
        let first = slice(0, 5000, by_other(7));
        let elsewhere = OffCpu { stack: stack(2), ..slice(5003, 9000, by_other(7)) };
        assert!(!one_wait(first, elsewhere));
        assert!(one_wait(OffCpu { lost: true, stack: StackId::EMPTY, ..first }, elsewhere));
        assert!(one_wait(first, OffCpu { lost: true, stack: StackId::EMPTY, ..elsewhere }));
    }

    #[test]
    fn a_thread_that_found_it_free_may_take_it_again_without_a_switch() {
        let first = slice(0, 100, glimpse(None, 7));
        assert!(one_wait(first, slice(105, 200, by_other(7))));
        assert!(!one_wait(first, slice(150, 200, by_other(7))));
        assert!(!one_wait(first, slice(150, 200, by_other(8))));
        assert!(one_wait(woken(first, 8), slice(150, 200, by_other(8))), "another had it: the number is firm");
    }

    #[test]
    fn a_loss_of_the_cpu_does_not_end_a_wait_but_a_call_does() {
        let first = slice(0, 5000, by_other(7));
        let last = slice(8000, 9000, by_other(40));
        let mut waits = WaitsByThread::default();
        waits.slice(&first, &first.gil.unwrap());
        waits.suspended(&OffCpu { state: ThreadState::Runnable, ..slice(5005, 7995, by_other(20)) });
        assert_eq!(waits.slice(&last, &last.gil.unwrap()), Slice::More { since: first.end });

        let blocked = OffCpu { state: ThreadState::Blocked(Syscall(0)), ..slice(9003, 9005, by_other(40)) };
        let wait = waits.over(WAITER, blocked.start).unwrap();
        assert_eq!((wait.start, wait.end, wait.release), (first.start, last.end, None));
        let next = slice(9010, 9100, by_other(40));
        assert_eq!(waits.slice(&next, &next.gil.unwrap()), Slice::First { before: None });
    }

    #[test]
    fn the_taker_that_wakes_the_releaser_is_no_releaser() {
        let asleep_until_taken = woken(slice(0, 50, glimpse(None, 7)), 8);
        assert!(woken_by_taker(&asleep_until_taken, &glimpse(None, 7)));
        assert!(!woken_by_taker(&woken(asleep_until_taken, 7), &glimpse(None, 7)), "released as it fell asleep");
        assert!(!woken_by_taker(&woken(asleep_until_taken, 8), &by_other(7)));
        let mut waits = WaitsByThread::default();
        waits.slice(&asleep_until_taken, &glimpse(None, 7));
        assert_eq!(waits.over(WAITER, Nanos(50_000)).unwrap().release, None);
    }
}
