//! Text that is longer than the screen goes through a pager, as with git.

use std::io::{IsTerminal, Write, stdout};
use std::process::{Command, Stdio};

/// The pager if the environment names none: it ends at once if all fits on the screen, keeps styles, and leaves the text there.
const USUAL: &str = "less -FRX";

/// Prints a text on standard output; through a pager if it is `wanted`, there is a terminal, and the text does not fit in it.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print(text: &str, wanted: bool) -> std::io::Result<()> {
    let pager = || pager(|name| std::env::var(name).ok());
    if wanted
        && stdout().is_terminal()
        && !fits(text)
        && let Some(pager) = pager()
        && page(text, &pager)
    {
        return Ok(());
    }
    crate::output::print(text)
}

fn fits(text: &str) -> bool {
    crossterm::terminal::size().is_ok_and(|(_, rows)| text.lines().count() < usize::from(rows))
}

/// The command of the pager; none if the user wants none.
fn pager(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if variable("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        return None;
    }
    let command = variable("GILSCOPE_PAGER").or_else(|| variable("PAGER")).unwrap_or_else(|| USUAL.to_owned());
    let command = command.trim().to_owned();
    (!command.is_empty() && command != "cat").then_some(command)
}

/// Whether the pager could be started. That it ends before it has read everything is no error.
fn page(text: &str, pager: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", pager]).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    let Ok(mut child) = command.spawn() else { return false };
    if let Some(mut input) = child.stdin.take() {
        let _ = input.write_all(crate::text::lines(text).as_bytes());
    }
    // 127: the shell has not found it.
    child.wait().is_ok_and(|status| status.code() != Some(127))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_pager() {
        let of = |variables: &[(&str, &str)]| {
            pager(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        const TERM: (&str, &str) = ("TERM", "xterm");
        assert_eq!(of(&[TERM]).as_deref(), Some(USUAL));
        assert_eq!(of(&[TERM, ("PAGER", "more")]).as_deref(), Some("more"));
        assert_eq!(of(&[TERM, ("PAGER", "more"), ("GILSCOPE_PAGER", "most -s")]).as_deref(), Some("most -s"));
        assert_eq!(of(&[TERM, ("PAGER", "more"), ("GILSCOPE_PAGER", "")]), None);
        assert_eq!(of(&[TERM, ("PAGER", "cat")]), None);
        assert_eq!(of(&[("TERM", "dumb")]), None);
        assert_eq!(of(&[]), None);
    }
}
