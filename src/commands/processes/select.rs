//! Which process is meant by a number or a part of its command line.

use std::str::FromStr;

use super::{ListedProcess, table};
use crate::event::Pid;

/// What `--pid` says: numbers, separated by commas, or a part of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessSelectors {
    Pids(Vec<Pid>),
    Name(String),
}

impl FromStr for ProcessSelectors {
    type Err = String;

    fn from_str(text: &str) -> Result<ProcessSelectors, String> {
        let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        if text.trim().is_empty() {
            return Err("invalid: neither a pid nor a part of a command line".to_owned());
        }
        if !words.iter().copied().all(is_number) {
            return Ok(ProcessSelectors::Name(text.trim().to_owned()));
        }
        let pids = words.iter().map(|word| word.parse().map_err(|_| format!("invalid: {word} is no pid")));
        Ok(ProcessSelectors::Pids(pids.collect::<Result<_, _>>()?))
    }
}

/// The one process that is called so. If several are: the one whose program is exactly that, or the one that has started all
/// the others, if a whole `family` may be meant.
///
/// # Errors
/// None or several are, in a text that lists what there is.
pub(super) fn by_name(name: &str, listed: &[ListedProcess], family: bool) -> Result<Pid, String> {
    let wanted = name.to_lowercase();
    let matches: Vec<&ListedProcess> =
        listed.iter().filter(|process| process.command.join(" ").to_lowercase().contains(&wanted)).collect();
    let exact: Vec<&ListedProcess> = matches.iter().copied().filter(|process| is_called(process, name)).collect();
    for candidates in [&matches, &exact] {
        if let [one] = candidates[..] {
            return Ok(one.pid);
        }
        if let Some(first) = ancestor(candidates, listed).filter(|_| family) {
            return Ok(first);
        }
    }
    let (what, which) = match matches.is_empty() {
        true => (format!("no Python process has {name:?} in its command line"), listed.to_vec()),
        false => {
            let what = format!("{} Python processes have {name:?} in their command line: say which", matches.len());
            (what, matches.into_iter().cloned().collect())
        }
    };
    let table = if which.is_empty() { table::NONE.to_owned() } else { table::table(&which, false) };
    Err(format!("{what}\n\n{}", table.trim_end()))
}

/// The first word of its program, without a suffix, is the name.
fn is_called(process: &ListedProcess, name: &str) -> bool {
    let program = process.program();
    let mut words = program.split(' ');
    let first = match words.next() {
        Some(option) if option.starts_with('-') => words.next(),
        first => first,
    };
    let first = first.and_then(|word| word.rsplit('/').next()).unwrap_or_default();
    first == name || first.strip_suffix(".py") == Some(name)
}

/// The one that all others descend from, through processes that are listed.
fn ancestor(candidates: &[&ListedProcess], listed: &[ListedProcess]) -> Option<Pid> {
    let parent = |pid: Pid| listed.iter().find(|process| process.pid == pid).map(|process| process.parent);
    let root = |process: &ListedProcess| {
        let is_candidate = |pid: Pid| candidates.iter().any(|other| other.pid == pid);
        let mut at = process.pid;
        // Parents have other numbers than their children, but hostile or stale lists may have circles.
        for _ in 0..listed.len() {
            match parent(at).filter(|&pid| is_candidate(pid)) {
                Some(above) => at = above,
                None => break,
            }
        }
        at
    };
    let first = root(candidates.first()?);
    candidates.iter().all(|process| root(process) == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::process;
    use super::*;

    #[test]
    fn numbers_are_pids_and_the_rest_is_a_name() {
        let parse = |text: &str| text.parse::<ProcessSelectors>();
        assert_eq!(parse("12"), Ok(ProcessSelectors::Pids(vec![12])));
        assert_eq!(parse("12,13"), Ok(ProcessSelectors::Pids(vec![12, 13])));
        assert_eq!(parse("shop"), Ok(ProcessSelectors::Name("shop".to_owned())));
        assert_eq!(parse("[worker 1,2]"), Ok(ProcessSelectors::Name("[worker 1,2]".to_owned())));
        assert!(parse("99999999999").is_err() && parse("").is_err() && parse(" ").is_err());
    }

    #[test]
    fn a_name_means_one_process_or_lists_those_it_could() {
        let listed = [
            process(10, 1, "python /srv/shop.py"),
            process(11, 10, "python /srv/shop.py --worker"),
            process(20, 1, "python /srv/shop_admin.py"),
            process(30, 1, "python -m celery worker"),
        ];
        let by = |name: &str, family: bool| by_name(name, &listed, family);
        assert_eq!(by("Celery", false), Ok(30));
        assert_eq!(by("admin", false), Ok(20));
        assert_eq!(by("celery", true), Ok(30));
        assert_eq!(by("shop", true), Ok(10), "the one that has started the other, of those that are exactly that");
        let several = by("shop", false).unwrap_err();
        assert!(several.starts_with("3 Python processes have \"shop\"") && !several.contains("celery"), "{several}");
        let none = by("missing", false).unwrap_err();
        assert!(none.starts_with("no Python process has \"missing\"") && none.contains("celery"), "{none}");
        assert!(by_name("x", &[], false).unwrap_err().contains(table::NONE));
    }
}
