//! How two recordings differ before anything is compared: they may not be of the same program. Used by `diff` and `check`.

use super::model::Report;
use crate::profile::Mode;
use crate::stack::label::one_line;

/// What was not the same when the second was recorded, in sentences.
pub(crate) fn differences(before: &Report, after: &Report) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, before: String, after: String| {
        if before != after {
            found.push(format!("{what}: {before} before, {after} after"));
        }
    };
    compare("different programs", command(before), command(after));
    compare("different Pythons", python(before), python(after));
    compare("different modes", mode(before).to_owned(), mode(after).to_owned());
    let rate = |report: &Report| format!("{} samples a second", report.session.rate_hz);
    compare("different rates", rate(before), rate(after));
    found
}

/// The command line without the interpreter's path: another virtual environment is no other program.
fn command(report: &Report) -> String {
    let mut words = report.target.command.iter();
    let first = words.next().map_or("", |first| first.rsplit('/').next().unwrap_or(first));
    let first = if first.starts_with("python") { "python" } else { first };
    let rest = words.map(String::as_str);
    one_line(&[first].into_iter().chain(rest).collect::<Vec<_>>().join(" "))
}

fn python(report: &Report) -> String {
    let target = &report.target;
    let build = match (target.free_threaded, target.gil_enabled) {
        (true, true) => ", free-threaded with the GIL on",
        (true, false) => ", free-threaded",
        (false, _) => "",
    };
    format!("{}{build}", one_line(&target.python))
}

fn mode(report: &Report) -> &'static str {
    match report.session.mode {
        Mode::Kernel => "kernel mode",
        Mode::Memory => "memory mode",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn what_differs_is_said_and_nothing_else() {
        let before = fixture::report();
        let mut after = before.clone();
        after.target.command[0] = "/venv/bin/python3.12".to_owned();
        assert_eq!(differences(&before, &after), Vec::<String>::new());
        after.target.command[1] = "other.py".to_owned();
        after.target.free_threaded = true;
        after.session.mode = Mode::Memory;
        after.session.rate_hz = 1000.0;
        let found = differences(&before, &after);
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0], "different programs: python app.py before, python other.py after");
        assert_eq!(found[1], "different Pythons: 3.12.1 before, 3.12.1, free-threaded with the GIL on after");
    }
}
