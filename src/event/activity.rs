//! The one table of what threads do: what everything that counts, colours or sorts states makes of them. Ledgers, the
//! text report, the terminal's screen, the HTML page and the traces all read it.

/// What a thread did, as far as its consumers distinguish. The variants are the columns of a thread's ledger: exclusive,
/// and together all of its time. The order is that of [`ACTIVITIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Activity {
    /// On a CPU, attached to an interpreter without a GIL.
    Running,
    /// On a CPU, holding the GIL.
    GilHeld,
    /// Blocked, holding the GIL.
    GilHeldBlocked,
    /// Runnable, holding the GIL.
    GilHeldNoCpu,
    /// Waiting for the GIL.
    GilWait,
    /// Waiting for a lock.
    LockWait,
    /// On a CPU, in native code without the GIL.
    Native,
    /// Stopped by the interpreter, with all others.
    Paused,
    /// Blocked in a system call, without the GIL.
    Blocked,
    /// Runnable, without the GIL.
    NoCpu,
    /// Stopped by a signal, a debugger or a frozen control group.
    Stopped,
    /// Nothing is known of what it did.
    Unknown,
}

/// How many activities there are.
pub(crate) const ACTIVITY_COUNT: usize = ACTIVITIES.len();

/// Whether an activity brings a thread on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActivityDirection {
    Progress,
    /// Kept from its work by other threads of the program.
    Contention,
    /// Off the CPU for another reason, or not known.
    Neutral,
}

/// A colour by its name. Every output has its own palette; it must keep these combinations of letter and colour apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActivityColor {
    Green,
    Magenta,
    Red,
    Orange,
    Blue,
    Purple,
    Brown,
    Grey,
}

/// How an activity is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActivityRow {
    pub activity: Activity,
    /// The field of the report's JSON with the seconds of it; a stable name.
    pub key: &'static str,
    /// For categories of traces; activities of one name are one category.
    pub name: &'static str,
    /// Says all that the colour says.
    pub letter: char,
    pub color: ActivityColor,
    pub direction: ActivityDirection,
    /// For legends, where the thread is the subject.
    pub words: &'static str,
    /// The two lines of a column's heading in the text report.
    pub heading: [&'static str; 2],
}

/// All activities, in the order of columns.
pub(crate) const ACTIVITIES: [ActivityRow; 12] = [
    ActivityRow {
        activity: Activity::Running,
        key: "running_s",
        name: "Python",
        letter: 'R',
        color: ActivityColor::Green,
        direction: ActivityDirection::Progress,
        words: "runs Python (there is no GIL)",
        heading: ["", "runs"],
    },
    ActivityRow {
        activity: Activity::GilHeld,
        key: "gil_held_s",
        name: "Python",
        letter: 'H',
        color: ActivityColor::Green,
        direction: ActivityDirection::Progress,
        words: "holds the GIL and runs",
        heading: ["GIL", "held"],
    },
    ActivityRow {
        activity: Activity::GilHeldBlocked,
        key: "gil_held_off_cpu_s",
        name: "GIL held while blocked",
        letter: 'B',
        color: ActivityColor::Magenta,
        direction: ActivityDirection::Neutral,
        words: "holds the GIL while it is blocked: nobody can run Python",
        heading: ["held,", "block"],
    },
    ActivityRow {
        activity: Activity::GilHeldNoCpu,
        key: "gil_held_no_cpu_s",
        name: "GIL held, no CPU",
        letter: 'X',
        color: ActivityColor::Brown,
        direction: ActivityDirection::Neutral,
        words: "holds the GIL, but others have the CPUs: nobody can run Python",
        heading: ["held,", "no CPU"],
    },
    ActivityRow {
        activity: Activity::GilWait,
        key: "gil_wait_s",
        name: "Waiting for the GIL",
        letter: 'W',
        color: ActivityColor::Red,
        direction: ActivityDirection::Contention,
        words: "waits for the GIL",
        heading: ["GIL", "wait"],
    },
    ActivityRow {
        activity: Activity::LockWait,
        key: "lock_wait_s",
        name: "Waiting for a lock",
        letter: 'L',
        color: ActivityColor::Orange,
        direction: ActivityDirection::Contention,
        words: "waits for a lock",
        heading: ["lock", "wait"],
    },
    ActivityRow {
        activity: Activity::Native,
        key: "native_s",
        name: "Native code without the GIL",
        letter: 'N',
        color: ActivityColor::Blue,
        direction: ActivityDirection::Progress,
        words: "runs native code without the GIL",
        heading: ["", "native"],
    },
    ActivityRow {
        activity: Activity::Paused,
        key: "paused_s",
        name: "Stopped by the interpreter",
        letter: 'S',
        color: ActivityColor::Purple,
        direction: ActivityDirection::Contention,
        words: "stopped with all others by the interpreter",
        heading: ["", "pause"],
    },
    ActivityRow {
        activity: Activity::Blocked,
        key: "blocked_s",
        name: "Blocked",
        letter: '.',
        color: ActivityColor::Grey,
        direction: ActivityDirection::Neutral,
        words: "blocked in a system call: idle",
        heading: ["", "block"],
    },
    ActivityRow {
        activity: Activity::NoCpu,
        key: "runnable_s",
        name: "Ready, no CPU",
        letter: 'C',
        color: ActivityColor::Brown,
        direction: ActivityDirection::Neutral,
        words: "ready to run, but others have the CPUs",
        heading: ["no", "CPU"],
    },
    ActivityRow {
        activity: Activity::Stopped,
        key: "stopped_s",
        name: "Stopped from outside",
        letter: 'T',
        color: ActivityColor::Grey,
        direction: ActivityDirection::Neutral,
        words: "stopped by a signal, a debugger or a frozen control group",
        heading: ["", "stop"],
    },
    ActivityRow {
        activity: Activity::Unknown,
        key: "unknown_s",
        name: "Unknown",
        letter: '?',
        color: ActivityColor::Grey,
        direction: ActivityDirection::Neutral,
        words: "could not be determined",
        heading: ["un-", "known"],
    },
];

impl Activity {
    /// Its row of [`ACTIVITIES`].
    pub(crate) fn row(self) -> &'static ActivityRow {
        &ACTIVITIES[self as usize]
    }

    /// Runs on a CPU.
    pub(crate) fn on_cpu(self) -> bool {
        self.row().direction == ActivityDirection::Progress
    }

    /// Holds a GIL, running or not.
    pub(crate) fn holds_gil(self) -> bool {
        matches!(self, Activity::GilHeld | Activity::GilHeldBlocked | Activity::GilHeldNoCpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_activity_has_a_row_in_order_a_letter_and_a_key_of_its_own() {
        for (index, row) in ACTIVITIES.iter().enumerate() {
            assert_eq!(row.activity as usize, index, "{:?}", row.activity);
            assert_eq!(row.activity.row().key, row.key);
            for other in &ACTIVITIES[..index] {
                assert!(other.letter != row.letter && other.key != row.key, "{row:?}");
            }
        }
    }
}
