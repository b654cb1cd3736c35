//! Whether what commands print is styled: as `--color` and the environment say.

use std::ffi::OsStr;

use clap::ColorChoice;

/// Whether headings are bold.
pub(crate) fn bold(choice: ColorChoice, terminal: bool) -> bool {
    let set = |name| std::env::var_os(name);
    let forced = set("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
    wants_bold(choice, terminal, forced, set("NO_COLOR").as_deref(), set("TERM").as_deref())
}

fn wants_bold(
    choice: ColorChoice,
    terminal: bool,
    forced: bool,
    no_color: Option<&OsStr>,
    term: Option<&OsStr>,
) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let can = terminal && term.is_some_and(|term| !term.is_empty() && term != "dumb");
            no_color.is_none_or(OsStr::is_empty) && (forced || can)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bold_is_for_terminals_that_want_it() {
        let auto = |terminal, no_color: Option<&str>, term: Option<&str>| {
            wants_bold(ColorChoice::Auto, terminal, false, no_color.map(OsStr::new), term.map(OsStr::new))
        };
        assert!(auto(true, None, Some("xterm")));
        assert!(auto(true, Some(""), Some("xterm")));
        assert!(!auto(false, None, Some("xterm")));
        assert!(!auto(true, Some("1"), Some("xterm")));
        assert!(!auto(true, None, Some("dumb")));
        assert!(!auto(true, None, None));
        let forced = |no_color| wants_bold(ColorChoice::Auto, false, true, no_color, None);
        assert!(forced(None) && !forced(Some(OsStr::new("1"))));
        assert!(wants_bold(ColorChoice::Always, false, false, Some(OsStr::new("1")), None));
        assert!(!wants_bold(ColorChoice::Never, true, true, None, Some(OsStr::new("xterm"))));
    }
}
