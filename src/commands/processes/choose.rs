//! The processes that a command is about: those that were named, or that the user chooses from the list.

use std::io::{IsTerminal, stderr, stdin};

use anyhow::Result;

use super::{ListedProcess, ProcessSelectors, list, select, table};
use crate::commands::usage::UsageError;
use crate::event::Pid;
use crate::output::{prompt, say};

/// The processes that are meant. Without any, the user chooses, if there is somebody to ask.
///
/// # Errors
/// [`UsageError`] if it is not clear which.
pub(crate) fn chosen(command: &str, selectors: &[ProcessSelectors], family: bool) -> Result<Vec<Pid>> {
    if selectors.is_empty() {
        return ask(command);
    }
    let mut listed: Option<Vec<ListedProcess>> = None;
    let mut pids = Vec::new();
    for selector in selectors {
        match selector {
            ProcessSelectors::Pids(numbers) => pids.extend(numbers),
            ProcessSelectors::Name(name) => {
                let listed = listed.get_or_insert_with(list);
                pids.push(select::by_name(name, listed, family).map_err(UsageError)?);
            }
        }
    }
    let mut seen = Vec::new();
    pids.retain(|&pid| {
        !seen.contains(&pid) && {
            seen.push(pid);
            true
        }
    });
    Ok(pids)
}

/// Has the user choose from the list.
fn ask(command: &str) -> Result<Vec<Pid>> {
    let listed = list();
    let example = if command == "dump" { "" } else { ", or a program: -- python app.py" };
    let what = format!("{command} needs a process: --pid PID or a part of its command line{example}");
    if listed.is_empty() {
        return Err(UsageError(format!("{what}\n\n{}", table::NONE)).into());
    }
    if !stdin().is_terminal() || !stderr().is_terminal() {
        let table = table::table(&listed, false);
        return Err(UsageError(format!("{what}\n\nPython processes of this machine:\n{}", table.trim_end())).into());
    }
    say(table::table(&listed, true).trim_end());
    loop {
        prompt("Which one? Its number, its pid or a part of its command line (Enter: 1, q: none): ");
        let mut line = String::new();
        if stdin().read_line(&mut line)? == 0 {
            say("");
            return Err(UsageError(what).into());
        }
        match answer(&line, &listed) {
            Ok(Some(pids)) => return Ok(pids),
            Ok(None) => return Err(UsageError("no process was chosen".to_owned()).into()),
            Err(why) => say(why),
        }
    }
}

/// The processes that an answer names; none if the user wants none.
fn answer(line: &str, listed: &[ListedProcess]) -> Result<Option<Vec<Pid>>, String> {
    let text = match line.trim() {
        "" => "1",
        "q" | "quit" => return Ok(None),
        text => text,
    };
    let one = |number: Pid| {
        let by_number = usize::try_from(number).ok().and_then(|number| listed.get(number.checked_sub(1)?));
        let found = by_number.or_else(|| listed.iter().find(|process| process.pid == number));
        found.map(|process| process.pid).ok_or_else(|| format!("{number} is not in the list"))
    };
    match text.parse()? {
        ProcessSelectors::Pids(numbers) => numbers.into_iter().map(one).collect::<Result<_, _>>().map(Some),
        ProcessSelectors::Name(name) => select::by_name(&name, listed, false).map(|pid| Some(vec![pid])),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::process;
    use super::*;

    #[test]
    fn an_answer_is_a_number_a_pid_or_a_name() {
        let listed = [process(10, 1, "python a.py"), process(4242, 1, "python b.py")];
        let answer = |line: &str| answer(line, &listed);
        assert_eq!(answer("\n"), Ok(Some(vec![10])));
        assert_eq!(answer("2\n"), Ok(Some(vec![4242])));
        assert_eq!(answer(" 4242 \n"), Ok(Some(vec![4242])));
        assert_eq!(answer("1,2"), Ok(Some(vec![10, 4242])));
        assert_eq!(answer("b.py"), Ok(Some(vec![4242])));
        assert_eq!(answer("q"), Ok(None));
        assert_eq!(answer("3"), Err("3 is not in the list".to_owned()));
        assert!(answer("python").unwrap_err().contains("say which"));
    }
}
