//! What a thread does, in one letter and one colour: the cells of the strips, the state column, the flame graph.

use crate::event::ThreadState;
use crate::report::model::States;

/// What a thread does, coarsely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// Holds the GIL and runs.
    Held,
    /// Holds the GIL and does not run: everybody else waits for nothing.
    HeldIdle,
    /// Waits for the GIL.
    GilWait,
    /// Waits for a lock.
    LockWait,
    /// Runs, without a GIL to hold.
    Running,
    /// Runs native code without the GIL.
    Native,
    /// Stopped with all others by the interpreter.
    Paused,
    /// Ready, but without a CPU.
    NoCpu,
    /// Blocked in a system call.
    Idle,
    /// Not there.
    #[default]
    Absent,
    /// Could not be told.
    Unknown,
}

impl Class {
    /// Those that can be seen, with their letters and what they mean, in the order of the legend.
    pub const LEGEND: [(Class, &'static str); 10] = [
        (Class::Held, "holds the GIL and runs"),
        (Class::HeldIdle, "holds the GIL, but is blocked or has no CPU: nobody can run Python"),
        (Class::GilWait, "waits for the GIL"),
        (Class::LockWait, "waits for a lock"),
        (Class::Running, "runs Python (there is no GIL)"),
        (Class::Native, "runs native code without the GIL"),
        (Class::Paused, "stopped with all others by the interpreter"),
        (Class::NoCpu, "ready to run, but others have the CPUs"),
        (Class::Idle, "blocked in a system call: idle"),
        (Class::Unknown, "could not be told"),
    ];

    /// Its letter. It says all that the colour says.
    pub fn letter(self) -> char {
        match self {
            Class::Held => 'H',
            Class::HeldIdle => 'B',
            Class::GilWait => 'W',
            Class::LockWait => 'L',
            Class::Running => 'R',
            Class::Native => 'N',
            Class::Paused => 'S',
            Class::NoCpu => 'C',
            Class::Idle => '.',
            Class::Absent => ' ',
            Class::Unknown => '?',
        }
    }

    /// That of a moment.
    pub fn of(state: ThreadState) -> Class {
        match state {
            ThreadState::GilHeld | ThreadState::GilHeldNative => Class::Held,
            ThreadState::GilHeldRunnable | ThreadState::GilHeldOffCpu(_) => Class::HeldIdle,
            ThreadState::GilWait => Class::GilWait,
            ThreadState::LockWait(_) => Class::LockWait,
            ThreadState::Paused(_) => Class::Paused,
            ThreadState::Running => Class::Running,
            ThreadState::Native => Class::Native,
            ThreadState::Runnable => Class::NoCpu,
            ThreadState::Blocked(_) => Class::Idle,
            ThreadState::Stopped | ThreadState::Unknown => Class::Unknown,
        }
    }

    /// What a thread did most of some time. Idleness is told of only if there was little else: a thread that waits for a
    /// third of the time is not idle.
    pub fn most(states: &States) -> Class {
        let parts = [
            (Class::Held, states.gil_held_s),
            (Class::HeldIdle, states.gil_held_off_cpu_s),
            (Class::GilWait, states.gil_wait_s),
            (Class::LockWait, states.lock_wait_s),
            (Class::Running, states.running_s),
            (Class::Native, states.native_s),
            (Class::Paused, states.paused_s),
            (Class::NoCpu, states.runnable_s),
        ];
        let all: f64 = parts.iter().map(|(_, seconds)| seconds).sum();
        let idle = states.blocked_s + states.unknown_s;
        if all <= 0.0 && idle <= 0.0 {
            return Class::Absent;
        }
        if all < 0.2 * (all + idle) {
            return if states.unknown_s > states.blocked_s { Class::Unknown } else { Class::Idle };
        }
        parts.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(Class::Absent, |(class, _)| class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_letter_of_its_own() {
        let mut letters: Vec<char> = Class::LEGEND.iter().map(|(class, _)| class.letter()).collect();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), Class::LEGEND.len());
    }

    #[test]
    fn a_thread_is_what_it_does_most_and_idle_only_if_it_does_little() {
        let states =
            |gil_wait_s, gil_held_s, blocked_s| States { gil_wait_s, gil_held_s, blocked_s, ..States::default() };
        assert_eq!(Class::most(&states(0.3, 0.1, 0.6)), Class::GilWait);
        assert_eq!(Class::most(&states(0.1, 0.3, 0.0)), Class::Held);
        assert_eq!(Class::most(&states(0.1, 0.0, 0.9)), Class::Idle);
        assert_eq!(Class::most(&States::default()), Class::Absent);
    }
}
