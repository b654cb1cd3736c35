//! The one table of columns: what the screen of `gilscope top`, the text report and the HTML page call a column, what it
//! says, how its values are written, and in which colour. How wide a column is, and which have room, is up to the output.

use serde::Serialize;

use super::text::units::{duration, percent};
use crate::event::{ACTIVITIES, Activity};

/// How the values of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ColumnFormat {
    Text,
    Count,
    /// Seconds, with three digits and a unit.
    Time,
    /// A fraction in percent, with the sign.
    Percent,
    /// A fraction in percent, without the sign: the heading or the title of the table has it.
    Share,
    /// An average of small numbers.
    Mean,
}

impl ColumnFormat {
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            ColumnFormat::Text | ColumnFormat::Count => format!("{value:.0}"),
            ColumnFormat::Time => duration(value),
            ColumnFormat::Percent => percent(value),
            ColumnFormat::Share if value <= 0.0 => "-".to_owned(),
            ColumnFormat::Share if value >= 0.9995 => "100".to_owned(),
            ColumnFormat::Share => format!("{:.1}", value * 100.0),
            ColumnFormat::Mean => format!("{value:.2}"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct TableColumn {
    /// By which the script of the page asks for it.
    pub key: &'static str,
    /// Two lines in the text report, one on the page.
    pub heading: [&'static str; 2],
    /// Where there is little room.
    pub screen_heading: &'static str,
    pub help: &'static str,
    pub format: ColumnFormat,
    /// Its values are in the colour of this.
    pub activity: Option<Activity>,
}

impl TableColumn {
    const fn new(
        key: &'static str,
        heading: [&'static str; 2],
        screen_heading: &'static str,
        format: ColumnFormat,
        help: &'static str,
    ) -> TableColumn {
        TableColumn { key, heading, screen_heading, help, format, activity: None }
    }

    const fn text(key: &'static str, screen_heading: &'static str, help: &'static str) -> TableColumn {
        TableColumn::new(key, ["", key], screen_heading, ColumnFormat::Text, help)
    }

    const fn count(key: &'static str, screen_heading: &'static str, help: &'static str) -> TableColumn {
        TableColumn::new(key, ["", key], screen_heading, ColumnFormat::Count, help)
    }

    const fn time(key: &'static str, screen_heading: &'static str, help: &'static str) -> TableColumn {
        TableColumn::new(key, ["", key], screen_heading, ColumnFormat::Time, help)
    }

    const fn share(key: &'static str, screen_heading: &'static str, help: &'static str) -> TableColumn {
        TableColumn::new(key, ["", key], screen_heading, ColumnFormat::Share, help)
    }

    /// The fraction of a thread's time that it spent in an activity.
    const fn of_activity(activity: Activity, screen_heading: &'static str) -> TableColumn {
        let row = &ACTIVITIES[activity as usize];
        TableColumn::new(row.key, row.heading, screen_heading, ColumnFormat::Share, row.words).colored(activity)
    }

    const fn headed(self, heading: [&'static str; 2]) -> TableColumn {
        TableColumn { heading, ..self }
    }

    const fn colored(self, activity: Activity) -> TableColumn {
        TableColumn { activity: Some(activity), ..self }
    }

    /// The heading in one line.
    pub(crate) fn heading_line(&self) -> String {
        match self.heading {
            ["", line] | [line, ""] => line.to_owned(),
            [first, second] => match first.strip_suffix('-') {
                Some(first) => format!("{first}{second}"),
                None => format!("{first} {second}"),
            },
        }
    }
}

/// What each thread did.
pub(crate) mod threads {
    use super::{Activity, TableColumn};

    pub(crate) const THREAD: TableColumn = TableColumn::text("thread", "THREAD", "name and thread id");
    pub(crate) const NOW: TableColumn = TableColumn::text("now", "S", "what it does now, as a letter (see below)");
    pub(crate) const OVER_TIME: TableColumn = TableColumn::text(
        "over time",
        "OVER TIME",
        "what it did most in each refresh interval, the newest on the right",
    );
    pub(crate) const WALL: TableColumn = TableColumn::time("wall", "WALL", "how long it was observed");
    pub(crate) const BUSY: TableColumn =
        TableColumn::share("busy", "BUSY%", "fraction of its time that it was not idle: it ran, or waited to run");
    pub(crate) const CPU: TableColumn = TableColumn::time("CPU", "CPU", "its time on a CPU");
    pub(crate) const CPU_SHARE: TableColumn =
        TableColumn::share("on the CPU", "CPU%", "fraction of its time that it was on a CPU");
    pub(crate) const WAITS_FOR: TableColumn =
        TableColumn::text("waits for", "WAITS FOR", "what it waits for now, and who holds it (~: usually)");
    pub(crate) const DOING: TableColumn = TableColumn::text("doing", "DOING", "the innermost Python function now");

    /// One for each activity, in that order.
    pub(crate) const BY_ACTIVITY: [TableColumn; 12] = [
        TableColumn::of_activity(Activity::Running, "RUN%"),
        TableColumn::of_activity(Activity::GilHeld, "HELD%"),
        TableColumn::of_activity(Activity::GilHeldBlocked, "HBLCK%"),
        TableColumn::of_activity(Activity::GilHeldNoCpu, "HNCPU%"),
        TableColumn::of_activity(Activity::GilWait, "WAIT%"),
        TableColumn::of_activity(Activity::LockWait, "LOCK%"),
        TableColumn::of_activity(Activity::Native, "NATIVE%"),
        TableColumn::of_activity(Activity::Paused, "PAUSE%"),
        TableColumn::of_activity(Activity::Blocked, "BLOCK%"),
        TableColumn::of_activity(Activity::NoCpu, "NOCPU%"),
        TableColumn::of_activity(Activity::Stopped, "STOP%"),
        TableColumn::of_activity(Activity::Unknown, "UNKN%"),
    ];
}

/// Waits for a GIL, by thread.
pub(crate) mod gil {
    use super::{Activity, TableColumn, threads};

    pub(crate) const THREAD: TableColumn = threads::THREAD;
    pub(crate) const WAITS: TableColumn = TableColumn::count("waits", "WAITS", "how often it waited for the GIL");
    pub(crate) const TOTAL: TableColumn =
        TableColumn::time("total", "TOTAL", "how long it waited in total").colored(Activity::GilWait);
    pub(crate) const TIME_SHARE: TableColumn =
        TableColumn::share("of its time", "TIME%", "fraction of its time that it waited").colored(Activity::GilWait);
    pub(crate) const MEAN: TableColumn = TableColumn::time("mean", "MEAN", "the average length of a wait");
    pub(crate) const P50: TableColumn = TableColumn::time("p50", "P50", "half of the waits were not longer");
    pub(crate) const P99: TableColumn = TableColumn::time("p99", "P99", "99 % of the waits were not longer");
    pub(crate) const MAX: TableColumn = TableColumn::time("max", "MAX", "the longest wait");
    pub(crate) const HELD: TableColumn =
        TableColumn::time("held", "HELD", "how long it held the GIL").colored(Activity::GilHeld);
    pub(crate) const CAUSED: TableColumn =
        TableColumn::time("caused", "CAUSED", "how long others waited while it held the GIL")
            .colored(Activity::GilWait);
    pub(crate) const WHERE: TableColumn = TableColumn::text(
        "where",
        "WHERE",
        "where: b chooses whether it holds, releases, or waits for the GIL there",
    );

    pub(crate) const PAGE: [TableColumn; 9] = [THREAD, WAITS, TOTAL, MEAN, P50, P99, MAX, HELD, CAUSED];
}

/// Locks that were waited for.
pub(crate) mod locks {
    use super::{Activity, TableColumn, gil};

    pub(crate) const LOCK: TableColumn =
        TableColumn::text("lock", "LOCK", "the variable that leads to it, and its type; else its address");
    pub(crate) const NOW: TableColumn =
        TableColumn::count("now", "NOW", "threads that wait for it now").colored(Activity::LockWait);
    pub(crate) const WAITS: TableColumn = TableColumn::count("waits", "WAITS", "how often threads waited for it");
    pub(crate) const SLEEPS: TableColumn = TableColumn::count(
        "sleeps",
        "SLEEPS",
        "how often a thread slept for it: more than once in a wait if another thread acquired it first",
    );
    pub(crate) const TOTAL: TableColumn =
        TableColumn::time("total", "TOTAL", "how long threads waited for it in total").colored(Activity::LockWait);
    pub(crate) const MEAN_WAITERS: TableColumn = TableColumn {
        format: super::ColumnFormat::Mean,
        ..TableColumn::count("waiters", "THR", "how many threads waited for it on average")
            .colored(Activity::LockWait)
    };
    pub(crate) const MEAN: TableColumn = gil::MEAN;
    pub(crate) const P50: TableColumn = gil::P50;
    pub(crate) const P99: TableColumn = gil::P99;
    pub(crate) const MAX: TableColumn = gil::MAX;
    pub(crate) const HOLDERS: TableColumn =
        TableColumn::count("holders", "HOLDERS", "how many threads held it while others waited");
    pub(crate) const HELD_BY: TableColumn = TableColumn::text(
        "held by",
        "HELD BY",
        "who held it most while others waited, and where (b: who released it)",
    );
    pub(crate) const WAITED_FOR_BY: TableColumn =
        TableColumn::text("waited for by", "WAITED FOR BY", "who waited most, and where");
    pub(crate) const OWNER_CHANGES: TableColumn =
        TableColumn::count("owner changes", "CHANGES", "how often it went to another thread than the time before")
            .headed(["owner", "changes"]);
    pub(crate) const SPIN: TableColumn = TableColumn::time(
        "spin",
        "SPIN",
        "CPU time that threads spun for it before they slept, estimated from samples (free-threaded builds)",
    );

    pub(crate) const PAGE: [TableColumn; 11] =
        [LOCK, WAITS, TOTAL, MEAN, P50, P99, MAX, SPIN, SLEEPS, HOLDERS, OWNER_CHANGES];
}

/// Objects whose reference counts threads contend for.
pub(crate) mod refcounts {
    use super::{Activity, ColumnFormat, TableColumn};

    pub(crate) const OBJECT: TableColumn =
        TableColumn::text("object", "OBJECT", "the variable that leads to it, and its type; else its address")
            .headed(["object", ""]);
    pub(crate) const CPU_SHARE: TableColumn = TableColumn::new(
        "of CPU",
        ["of", "CPU"],
        "CPU%",
        ColumnFormat::Percent,
        "fraction of the CPU time that threads are held up by its count (estimated)",
    )
    .colored(Activity::LockWait);
    pub(crate) const SAMPLES: TableColumn =
        TableColumn::count("samples", "SAMPLES", "samples that found a thread held up by it");
    pub(crate) const THREADS: TableColumn =
        TableColumn::count("threads", "THREADS", "how many threads were found at it");
    pub(crate) const BY_INCREF: TableColumn = TableColumn::new(
        "by incref",
        ["by in-", "cref"],
        "INCREF%",
        ColumnFormat::Percent,
        "fraction of its samples at increments; the others are at decrements",
    );
    pub(crate) const ATOMIC: TableColumn = TableColumn::new(
        "atomic ops",
        ["atomic", "ops"],
        "ATOMIC%",
        ColumnFormat::Percent,
        "fraction of its samples at an atomic operation; the others wait for one",
    );
    pub(crate) const COUNTED: TableColumn = TableColumn::text(
        "counted",
        "COUNTED",
        "biased: its owner counts without atomic operations; merged: all threads count with them",
    );
    pub(crate) const OWNER: TableColumn =
        TableColumn::text("owner", "OWNER", "the thread that counts it without atomic operations");
    pub(crate) const WHERE: TableColumn = TableColumn::text("where", "WHERE", "where threads are held up most");
    pub(crate) const LINE: TableColumn = TableColumn::text("line", "LINE", "a line that uses such objects");
    pub(crate) const TYPE: TableColumn = TableColumn::text("type", "TYPE", "the type of such objects");
    pub(crate) const OBJECTS: TableColumn = TableColumn::count("objects", "OBJECTS", "which objects, or how many");

    pub(crate) const PAGE: [TableColumn; 9] =
        [OBJECT, CPU_SHARE, SAMPLES, THREADS, ATOMIC, COUNTED, LINE, TYPE, OBJECTS];
}

/// Stops of all threads, and garbage collections.
pub(crate) mod pauses {
    use super::{Activity, ColumnFormat, TableColumn, threads};

    pub(crate) const THREAD: TableColumn = threads::THREAD;
    pub(crate) const WHAT: TableColumn =
        TableColumn::text("what", "WHAT", "it stopped the others, was the last to stop, or collected garbage");
    pub(crate) const TIME: TableColumn = TableColumn::time(
        "time",
        "TIME",
        "how long the others were stopped, the thread that stopped them waited, or it collected",
    )
    .colored(Activity::Paused);
    pub(crate) const SHARE: TableColumn = TableColumn {
        format: ColumnFormat::Percent,
        ..TableColumn::share("share", "SHARE", "of all the time of that kind")
    };
    pub(crate) const WHERE: TableColumn =
        TableColumn::text("where", "WHERE", "the innermost Python function at the time");

    /// How stops changed in the course of time.
    pub(crate) const FROM: TableColumn =
        TableColumn { format: ColumnFormat::Time, ..TableColumn::text("from", "FROM", "the begin of the interval") };
    pub(crate) const STOPS: TableColumn = TableColumn::count("stops", "STOPS", "how often all threads were stopped");
    pub(crate) const HELD_UP: TableColumn =
        TableColumn::time("held up", "HELD UP", "how long threads were stopped in total");
    pub(crate) const LONGEST: TableColumn = TableColumn::time("longest", "LONGEST", "the longest stop of a thread");

    pub(crate) const PAGE: [TableColumn; 4] = [FROM, STOPS, HELD_UP, LONGEST];
}

/// Functions, or lines of them, by what threads did there.
pub(crate) mod functions {
    use super::{Activity, ColumnFormat, TableColumn};

    pub(crate) const FUNCTION: TableColumn = TableColumn::text(
        "function",
        "FUNCTION",
        "function, file and line (L: lines of a function together or apart)",
    );
    pub(crate) const LINE: TableColumn = TableColumn::text("line", "LINE", "function, file and line");
    pub(crate) const OWN_SHARE: TableColumn = TableColumn::share(
        "itself",
        "OWN%",
        "fraction of the view's time that threads were in it, not in what it called",
    );
    pub(crate) const TOTAL_SHARE: TableColumn = TableColumn::share(
        "with what it calls",
        "TOTAL%",
        "fraction of the view's time that threads were in it or in what it called",
    );
    pub(crate) const OWN: TableColumn =
        TableColumn::time("own", "OWN", "time of all threads in it, not in what it called");
    pub(crate) const TOTAL: TableColumn =
        TableColumn::time("total", "TOTAL", "time of all threads in it or in what it called");
    pub(crate) const CPU: TableColumn =
        TableColumn::time("cpu", "CPU", "in itself: running (in any view)").colored(Activity::GilHeld);
    pub(crate) const GIL_WAIT: TableColumn =
        TableColumn::time("gil wait", "GIL-WAIT", "in itself: waiting for the GIL").colored(Activity::GilWait);
    pub(crate) const LOCK_WAIT: TableColumn =
        TableColumn::time("lock wait", "LOCK-WAIT", "in itself: waiting for a lock, or stopped with all others")
            .colored(Activity::LockWait);
    pub(crate) const HELD_BLOCKED: TableColumn =
        TableColumn::time("held blocked", "HELD-BLCK", "in itself: holding the GIL while blocked")
            .colored(Activity::GilHeldBlocked);
    pub(crate) const BLOCKED: TableColumn =
        TableColumn::time("blocked", "BLOCKED", "in itself: blocked in a system call");
    pub(crate) const NO_CPU: TableColumn =
        TableColumn::time("no CPU", "NO-CPU", "in itself: ready to run, with the GIL or without, but without a CPU")
            .colored(Activity::NoCpu);

    /// The page has no `%` in these headings.
    const fn with_sign(column: TableColumn) -> TableColumn {
        TableColumn { format: ColumnFormat::Percent, ..column }
    }

    pub(crate) const PAGE: [TableColumn; 4] = [FUNCTION, LINE, with_sign(OWN_SHARE), with_sign(TOTAL_SHARE)];
}

/// Findings, one a row.
pub(crate) mod findings {
    use super::TableColumn;

    pub(crate) const SEVERITY: TableColumn = TableColumn::text("severity", "HOW BAD", "");
    pub(crate) const MESSAGE: TableColumn = TableColumn::text("finding", "WHAT", "");
}

/// The columns of the page's tables, by the names of those.
pub(crate) const PAGE_TABLES: [(&str, &[TableColumn]); 6] = [
    ("threads", &[threads::THREAD, threads::WALL, threads::CPU]),
    ("gil", &gil::PAGE),
    ("locks", &locks::PAGE),
    ("refcounts", &refcounts::PAGE),
    ("pauses", &pauses::PAGE),
    ("functions", &functions::PAGE),
];
