//! The table of Python processes.

use std::fmt::Write;

use super::ListedProcess;
use crate::report::text::units::{cut, cut_middle};
use crate::stack::label::one_line;

/// What there is to say of an empty list.
pub(super) const NONE: &str = "no Python process that you may see runs here";

/// How wide the table is at most, and the columns of foreign text in it.
const MAX_WIDTH: usize = 120;
const USER_WIDTH: usize = 12;
const CONTAINER_WIDTH: usize = 16;

/// The table, with a first column of numbers if one is to be chosen.
pub(super) fn table(processes: &[ListedProcess], numbered: bool) -> String {
    let containers = processes.iter().any(|process| process.container.is_some());
    let mut text = String::new();
    let number = |number: &str| if numbered { format!("{number:>3}  ") } else { String::new() };
    let container = |name: &str| match containers {
        true => format!("{:<CONTAINER_WIDTH$}  ", cut(name, CONTAINER_WIDTH)),
        false => String::new(),
    };
    let mut row = |first: &str, cells: [&str; 5], in_container: &str, command: &str| {
        let [pid, user, python, threads, cpu] = cells;
        let before = format!(
            "{}{pid:>8}  {:<USER_WIDTH$}  {python:<7}  {threads:>7}  {cpu:>6}  {}",
            number(first),
            cut(user, USER_WIDTH),
            container(in_container)
        );
        let room = MAX_WIDTH.saturating_sub(before.chars().count());
        let _ = writeln!(text, "{before}{}", cut_middle(command, room));
    };
    row("#", ["PID", "USER", "PYTHON", "THREADS", "CPU%"], "CONTAINER", "PROGRAM");
    for (index, process) in processes.iter().enumerate() {
        let suffix = if process.free_threaded == Some(true) { "t" } else { "" };
        let python = process.python.as_ref().map_or("?".to_owned(), |version| format!("{version}{suffix}"));
        let (pid, threads) = (process.pid.to_string(), process.threads.to_string());
        let cpu = format!("{:.1}", process.cpu_percent);
        let program = one_line(&process.program()) + if process.readable { "" } else { " (not yours)" };
        let name = one_line(process.container.as_deref().unwrap_or("-"));
        row(&(index + 1).to_string(), [&pid, &process.user, &python, &threads, &cpu], &name, &program);
    }
    if processes.iter().any(|process| !process.readable) {
        text.push_str("Not yours: gilscope needs root or CAP_SYS_PTRACE for these (gilscope doctor --pid PID).\n");
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn process(pid: i32, parent: i32, command: &str) -> ListedProcess {
        ListedProcess {
            pid,
            parent,
            user: "ann".to_owned(),
            python: Some("3.13".to_owned()),
            free_threaded: Some(true),
            threads: 9,
            cpu_percent: 87.3,
            container: None,
            command: command.split(' ').map(str::to_owned).collect(),
            readable: true,
        }
    }

    #[test]
    fn a_table_has_what_tells_programs_apart() {
        let one = process(4242, 1, "python3 /srv/shop/worker.py --queue orders");
        let text = table(std::slice::from_ref(&one), true);
        let row = text.lines().nth(1).unwrap();
        assert_eq!(row, "  1      4242  ann           3.13t          9    87.3  worker.py --queue orders");
        assert!(!text.contains("CONTAINER") && !text.contains("Not yours"));
        let long = "x".repeat(300);
        let other = ListedProcess {
            container: Some("4bf92f3577b3".to_owned()),
            readable: false,
            ..process(7, 1, &format!("python \u{1b}[2J{long}.py"))
        };
        let text = table(&[one, other], false);
        assert!(text.contains("4bf92f3577b3") && text.contains("CONTAINER") && text.contains("Not yours"));
        assert!(!text.contains('\u{1b}') && text.lines().all(|line| line.chars().count() <= MAX_WIDTH), "{text}");
    }
}
