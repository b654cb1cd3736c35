//! FoldedView stacks: `outermost;...;innermost AMOUNT`, one line per distinct stack. Called for `.collapsed` files, and
//! by the flame graph, which is drawn from the same lines.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::profile::Profile;

use super::ExportOptions;
use super::frames::FrameTable;
use crate::stack::label::one_line;

/// A view by stack.
pub(super) struct FoldedView<'a> {
    /// Amounts by folded stack, in the order they are written.
    pub lines: BTreeMap<String, u64>,
    /// The frames in them.
    pub frames: FrameTable<'a>,
}

/// Writes the folded stacks of the view.
pub(super) fn write(profile: &Profile, options: &ExportOptions, out: &mut impl Write) -> io::Result<()> {
    fold(profile, options).lines.iter().try_for_each(|(stack, count)| writeln!(out, "{stack} {count}"))
}

/// Adds up the view.
pub(super) fn fold<'a>(profile: &'a Profile, options: &ExportOptions) -> FoldedView<'a> {
    let mut frames = FrameTable::new(profile, options);
    let mut lines = BTreeMap::new();
    // Parallel to the table: a name is escaped once, not once per stack it is in.
    let mut names: Vec<String> = Vec::new();
    let mut stack = Vec::new();
    for item in options.items(profile) {
        stack.clear();
        if profile.processes.len() > 1 {
            let process = profile.threads[item.thread.0 as usize].process;
            stack.push(frames.marker(&profile.process_label(process)));
        }
        if options.threads {
            stack.push(frames.marker(&profile.thread_label(item.thread)));
        }
        frames.push_item(&item, &mut stack);
        names.extend(frames.entries()[names.len()..].iter().map(|entry| folded_name(&entry.name)));
        let mut line = String::new();
        for &frame in &stack {
            if !line.is_empty() {
                line.push(';');
            }
            line.push_str(&names[frame as usize]);
        }
        *lines.entry(line).or_insert(0) += item.amount;
    }
    FoldedView { lines, frames }
}

/// A name that readers of folded lines take for one frame.
pub(super) fn folded_name(name: &str) -> String {
    let name = one_line(name).replace(';', ",");
    let name = name.trim();
    // Some readers, inferno among them, skip lines that begin with "# " as comments.
    name.strip_prefix("# ").map_or_else(|| name.to_owned(), |rest| format!("#{rest}"))
}

#[cfg(test)]
mod tests {
    use super::super::{ExportOptions, View, fixture};
    use super::*;

    fn text(options: ExportOptions) -> String {
        let mut out = Vec::new();
        write(&fixture::profile(), &options, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cpu_is_what_runs() {
        assert_eq!(
            text(ExportOptions::default()),
            "\
python app.py [100];[stack unreadable] 1
python app.py [100];main (app.py:10);work (pkg/core.py:20) 2
python app.py [100];main (app.py:10);work (pkg/core.py:21) 1
python app.py [100];main (app.py:10);work (pkg/core.py:21);[native] 1
python, x [200];<a & \"b\", c> é\u{4f60} (<string>:1) 1
"
        );
    }

    #[test]
    fn idle_adds_the_rest_with_its_reason() {
        let wall = "\
python app.py [100];MainThread (100);[stack unreadable] 1
python app.py [100];MainThread (100);main (app.py:1);work (pkg/core.py:20) 3
python app.py [100];MainThread (100);main (app.py:1);work (pkg/core.py:20);[GIL held off CPU: clock_nanosleep] 1
python app.py [100];MainThread (100);main (app.py:1);work (pkg/core.py:20);[native] 1
python app.py [100];thread 101;[no Python frame];[state unknown] 1
python app.py [100];thread 101;[stack unreadable];[waiting for GIL] 1
python app.py [100];thread 101;main (app.py:1);[blocked: recvfrom] 2
python app.py [100];thread 101;main (app.py:1);[waiting for GIL] 2
python, x [200];#w\\n, 1 (200);<a & \"b\", c> é\u{4f60} (<string>:1) 1
python, x [200];#w\\n, 1 (200);[no Python frame];[stopped] 1
";
        let options = ExportOptions { threads: true, functions: true, ..ExportOptions::default() };
        assert_eq!(text(ExportOptions { idle: true, ..options.clone() }), wall);
        assert_eq!(text(ExportOptions { view: View::Wall, ..options }), wall);
    }

    #[test]
    fn gil_hold_is_who_holds_it() {
        assert_eq!(
            text(ExportOptions { view: View::GilHold, ..ExportOptions::default() }),
            "\
python app.py [100];[stack unreadable] 1
python app.py [100];main (app.py:10);work (pkg/core.py:20) 2
python app.py [100];main (app.py:10);work (pkg/core.py:20);[GIL held off CPU: clock_nanosleep] 1
python app.py [100];main (app.py:10);work (pkg/core.py:21) 1
"
        );
    }

    #[test]
    fn one_process_needs_no_root() {
        let mut profile = fixture::profile();
        profile.processes.truncate(1);
        profile.threads.truncate(2);
        profile.tree = Default::default();
        profile.push(&fixture::sample(
            0,
            900,
            crate::event::ThreadState::GilHeld,
            profile.timeline.as_ref().unwrap()[0][0].stack,
        ));
        let mut out = Vec::new();
        write(&profile, &ExportOptions::default(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "main (app.py:10);work (pkg/core.py:20) 1\n");
    }
}
