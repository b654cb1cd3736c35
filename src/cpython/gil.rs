//! The GIL as it is in the target's memory: who holds it, and whether a blocked thread waits for it. Mirrors
//! `struct _gil_runtime_state` (`Include/internal/pycore_gil.h`, 3.8 to 3.15). Used by the sampler and `dump`.

use crate::cpython::layout::GilLayout;
use crate::process::memory::Memory;

/// How much later than at its time a waiter may have woken up, in nanoseconds: others may have had the CPUs.
const MAX_WAKE_DELAY: u64 = 10_000_000;

/// One reading of a GIL struct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gil {
    /// Its address; 0 when the interpreter has none (yet).
    pub addr: u64,
    /// The thread state that holds it now; 0 when it is free.
    pub holder: u64,
    /// The thread state that holds it or was the last to.
    pub last_holder: u64,
    /// `switch_number`: counts how often it went to another thread state than the last.
    pub switches: u64,
    /// Whether this build uses it: always, or (free-threaded) only after something switched it on.
    pub enabled: bool,
    /// After which time a waiter wakes up to ask its holder for it, again and again, in nanoseconds.
    pub interval_ns: u64,
}

impl Gil {
    /// Decodes the bytes at `addr`.
    pub fn decode(layout: &GilLayout, addr: u64, bytes: &[u8]) -> Gil {
        let i32_at = |offset: u64| {
            let offset = offset as usize;
            i32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
        };
        let u64_at = |offset: u64| {
            let offset = offset as usize;
            u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
        };
        let last_holder = u64_at(layout.last_holder);
        // `last_holder` keeps its value after the release: only `locked` says whether it still holds.
        let locked = i32_at(layout.locked) == 1;
        let enabled = layout.enabled.is_none_or(|offset| i32_at(offset) != 0);
        let holder = if locked && enabled { last_holder } else { 0 };
        let interval_ns = u64_at(layout.interval).saturating_mul(1000);
        Gil { addr, holder, last_holder, switches: u64_at(layout.switches), enabled, interval_ns }
    }

    /// Whether `tstate` cannot have held the GIL since `before` was read: it went from hand to hand at most once
    /// since, and `tstate` is neither the one nor the other. Such a thread has not run Python either, and its
    /// stack is what it was.
    pub fn kept_from(&self, before: &Gil, tstate: u64) -> bool {
        let known = self.addr == before.addr && self.enabled && before.enabled && before.last_holder != 0;
        let at_most_once = self.switches.wrapping_sub(before.switches) <= 1;
        known && at_most_once && tstate != self.last_holder && tstate != before.last_holder
    }

    /// Reads the GIL at `addr`; one that cannot be read is free and not enabled.
    pub fn read(memory: &impl Memory, layout: &GilLayout, addr: u64) -> Gil {
        let mut bytes = [0; 64];
        let bytes = &mut bytes[..layout.len];
        match memory.read(addr, bytes) {
            Ok(()) => Gil::decode(layout, addr, bytes),
            Err(_) => Gil { addr, ..Gil::default() },
        }
    }

    /// Whether a futex call on `futex` is a wait for this GIL: on its condition (`COND_TIMED_WAIT` in `take_gil`),
    /// or, for a moment, on the mutexes and the second condition behind it (a forced switch).
    pub fn is_wait(&self, layout: &GilLayout, futex: u64) -> bool {
        let cond = self.addr.wrapping_add(layout.cond);
        self.addr != 0 && (cond..cond.wrapping_add(layout.wait_size)).contains(&futex)
    }

    /// Whether the thread of `tstate`, which has slept in a futex call of unknown address for at least `slept_ns` without
    /// having run, can be waiting for this GIL: another thread has it, and a waiter wakes up after each switch interval
    /// (`COND_TIMED_WAIT` in `take_gil`, 3.8 to 3.15).
    pub fn may_be_awaited(&self, tstate: u64, slept_ns: u64) -> bool {
        let held_by_another = self.enabled && self.holder != 0 && self.holder != tstate;
        held_by_another && slept_ns <= self.longest_sleep_ns()
    }

    /// For how long a waiter sleeps at most without waking up, in nanoseconds.
    pub fn longest_sleep_ns(&self) -> u64 {
        self.interval_ns.saturating_mul(2).saturating_add(MAX_WAKE_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: GilLayout = GilLayout {
        enabled: None,
        interval: 0,
        last_holder: 8,
        locked: 16,
        switches: 24,
        cond: 32,
        wait_size: 176,
        len: 32,
    };

    #[test]
    fn a_released_gil_has_no_holder_although_it_remembers_the_last() {
        let mut bytes = [0; 32];
        bytes[8..16].copy_from_slice(&0xabcdu64.to_le_bytes());
        bytes[16] = 1;
        assert_eq!(Gil::decode(&LAYOUT, 0x1000, &bytes).holder, 0xabcd);
        bytes[16] = 0;
        assert_eq!(Gil::decode(&LAYOUT, 0x1000, &bytes).holder, 0);
    }

    #[test]
    fn a_thread_has_not_run_if_the_gil_was_with_others() {
        let before =
            Gil { addr: 0x1000, holder: 0, last_holder: 7, switches: 3, enabled: true, interval_ns: 5_000_000 };
        let later = Gil { holder: 7, ..before };
        assert!(later.kept_from(&before, 8));
        assert!(!later.kept_from(&before, 7), "the holder may have run");
        assert!(Gil { switches: 4, last_holder: 9, ..later }.kept_from(&before, 8), "it went from 7 to 9");
        assert!(!Gil { switches: 4, last_holder: 8, ..later }.kept_from(&before, 8));
        assert!(!Gil { switches: 5, ..later }.kept_from(&before, 8), "8 may have had it in between");
        assert!(!Gil { enabled: false, ..later }.kept_from(&before, 8), "nobody needs it");
    }

    #[test]
    fn a_waiter_wakes_up_at_every_switch_interval() {
        let held = Gil { addr: 0x1000, holder: 7, enabled: true, interval_ns: 5_000_000, ..Gil::default() };
        assert!(held.may_be_awaited(8, 0) && held.may_be_awaited(8, 12_000_000));
        assert!(!held.may_be_awaited(8, 25_000_000), "it sleeps for something else");
        assert!(!held.may_be_awaited(7, 0), "it has it");
        assert!(!Gil { holder: 0, ..held }.may_be_awaited(8, 0), "it is free");
        assert!(!Gil { enabled: false, ..held }.may_be_awaited(8, 0));
        let slow = Gil { interval_ns: 1_000_000_000, ..held };
        assert!(slow.may_be_awaited(8, 900_000_000), "sys.setswitchinterval(1)");
    }

    #[test]
    fn only_futexes_inside_the_struct_are_gil_waits() {
        let gil = Gil { addr: 0x1000, enabled: true, ..Gil::default() };
        assert!(gil.is_wait(&LAYOUT, 0x1000 + 32 + 40));
        assert!(!gil.is_wait(&LAYOUT, 0x1000 + 208));
        assert!(!gil.is_wait(&LAYOUT, 0x1000));
        assert!(!Gil::default().is_wait(&LAYOUT, 40));
    }
}
