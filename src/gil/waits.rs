//! Which times off the CPU are one wait for the GIL. Used by [`super::resource`].
//!
//! A thread that wants the GIL sleeps until it is released, but never longer than the switch interval at a time. So
//! a wait is seen as one or more sleeps, between which the thread is on the CPU for a few microseconds: it asks the
//! holder to release the GIL, or finds that another thread was faster, and sleeps again.

use crate::contention::engine::{BetweenSleeps, ResourceWait};
use crate::event::OffCpu;

/// The number of switches (`switch_number`) at the end of a sleep, to compare the next sleep with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchesAfterSleep {
    number: u32,
    /// Another thread was the GIL's last holder at that moment: had the waiting thread taken it later, the number would
    /// have changed.
    is_firm: bool,
}

impl SwitchesAfterSleep {
    /// As far as they are known: at the wake, if the number was read there, else when the thread fell asleep. The thread
    /// was not the last holder then if another released the GIL, or held it.
    pub fn of(off: &OffCpu) -> SwitchesAfterSleep {
        let woken = off.wake.filter(|wake| wake.by.is_some());
        match (woken.and_then(|wake| wake.switches), off.gil) {
            (Some(number), _) => SwitchesAfterSleep { number, is_firm: true },
            (None, Some(glimpse)) => SwitchesAfterSleep { number: glimpse.switches, is_firm: glimpse.locked },
            (None, None) => SwitchesAfterSleep { number: 0, is_firm: false },
        }
    }
}

/// Whether a sleep was ended by the thread that *took* the GIL: after a forced drop, the releaser sleeps until
/// another thread has it (`switch_cond`). Nobody holds it when it falls asleep, and the number of switches has
/// changed when it is woken: `!glimpse.locked && wake.switches != glimpse.switches`.
pub fn woken_by_taker(off: &OffCpu) -> bool {
    let (Some(glimpse), Some(wake)) = (off.gil, off.wake) else { return false };
    !glimpse.locked && wake.by.is_some() && wake.switches.is_some_and(|now| now != glimpse.switches)
}

/// Whether a sleep goes on with a wait whose last sleep the thread's last time off the CPU was (not counting times
/// it was merely without a CPU).
///
/// With `d = glimpse.switches - number` (mod 2^32), and `gap` the time it was on the CPU between the two:
///
/// - another Python stack: no, it has run;
/// - `d == 0`: yes. Had it taken the GIL, the number would have changed. If the thread itself may have been the
///   last holder, in which case it would not: only if `gap < 20 us`;
/// - `d == 1`, and another thread holds it: yes, that is the one that took it; the same exception;
/// - else it may have had it. Yes only if `gap < 20 us`, and it has not woken another thread meanwhile, as it does
///   when it releases the GIL: then the others were at it before it had a CPU to look.
///
/// There is no limit to `gap` in the second and third: the number proves it.
pub fn continues(wait: &ResourceWait<SwitchesAfterSleep>, off: &OffCpu, between: &BetweenSleeps) -> bool {
    let Some(glimpse) = off.gil else { return false };
    if wait.stack != off.stack && !wait.stack_lost && !off.lost {
        return false;
    }
    let is_firm_or_a_look = wait.mark.is_firm || between.is_a_look();
    let held_by_other = glimpse.locked && glimpse.holder != Some(off.thread);
    match glimpse.switches.wrapping_sub(wait.mark.number) {
        0 => is_firm_or_a_look,
        1 if held_by_other => is_firm_or_a_look,
        _ => between.is_a_look() && !(wait.end..=off.start).contains(&between.woke_another),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contention::engine::Engine;
    use crate::contention::fixture::stack;
    use crate::event::{GilGlimpse, GilId, Nanos, ThreadId, ThreadState, Wake};
    use crate::gil::resource::GilResource;
    use crate::stack::StackId;

    const WAITER: ThreadId = ThreadId(1);
    const OTHER: ThreadId = ThreadId(2);

    fn glimpse(holder: Option<ThreadId>, switches: u32) -> GilGlimpse {
        GilGlimpse { gil: GilId(0), holder, locked: holder.is_some(), switches }
    }

    /// A sleep that timed out, from and to a moment in microseconds.
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

    /// An engine with one GIL, for which a thread has slept.
    fn after(first: &OffCpu) -> Engine<GilResource> {
        let mut engine = Engine::default();
        engine.add(GilResource::new(false), None);
        engine.sleep(0, first);
        engine
    }

    /// Whether the second goes on with the first.
    fn one_wait(first: OffCpu, second: OffCpu) -> bool {
        let sleep = after(&first).sleep(0, &second);
        assert_eq!(sleep.from, if sleep.is_first { second.start } else { first.end });
        !sleep.is_first
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
        let mut engine = after(&first);
        engine.thread(WAITER).woke_another = Nanos(304_000);
        let sleep = engine.sleep(0, &slice(305, 500, by_other(11)));
        assert!(sleep.is_first);
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
        let mut engine = after(&first);
        engine.thread(WAITER).suspended_ns += 2_990_000;
        let sleep = engine.sleep(0, &last);
        assert_eq!((sleep.is_first, sleep.from), (false, first.end));

        let wait = *engine.get(0).wait(WAITER).unwrap();
        assert_eq!((wait.start, wait.end, wait.release), (first.start, last.end, None));
        engine.wait_is_over(0, WAITER, Nanos(9_003_000));
        assert_eq!(engine.get(0).wait(WAITER), None);
        assert!(engine.sleep(0, &slice(9010, 9100, by_other(40))).is_first);
    }

    #[test]
    fn the_taker_that_wakes_the_releaser_is_no_releaser() {
        let asleep_until_taken = woken(slice(0, 50, glimpse(None, 7)), 8);
        assert!(woken_by_taker(&asleep_until_taken));
        assert!(!woken_by_taker(&woken(asleep_until_taken, 7)), "released as it fell asleep");
        assert!(!woken_by_taker(&woken(slice(0, 50, by_other(7)), 8)));
        assert_eq!(after(&asleep_until_taken).get(0).wait(WAITER).unwrap().release, None);
    }
}
