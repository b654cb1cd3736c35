//! `gilscope diff`: what changed between two recordings. Called by `main`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::commands::cli::{DiffArgs, ViewArgs};
use crate::export::diff::{self, FoldedStacks};
use crate::export::{self, Format};
use crate::filter::Filter;
use crate::output::Output;
use crate::recording::{input, is_recording, load};

/// No file of folded stacks that gilscope writes is longer, in bytes.
const MAX_FOLDED: u64 = 256 << 20;

/// Draws the difference. Returns where it was written, and what changed most.
///
/// # Errors
/// One of the two cannot be read, or the picture cannot be written.
pub fn run(args: &DiffArgs) -> Result<(PathBuf, String)> {
    let (before, after) = (read(&args.before, &args.view)?, read(&args.after, &args.view)?);
    let output = Output::create(&args.output)?;
    let written = output.write(|out| Ok(diff::write(&before, &after, args.absolute, out)?))?;
    Ok((written, diff::table(&before, &after, args.absolute)))
}

/// The stacks to compare in a file: those of a view of a recording, or folded ones.
fn read(path: &Path, view: &ViewArgs) -> Result<FoldedStacks> {
    let bytes = match is_recording(path) {
        true => {
            let profile = load(path, false, &Filter::default())?;
            let mut lines = Vec::new();
            export::write(&profile, Format::COLLAPSED, &view.options(), &mut lines)?;
            lines
        }
        false => input::read(path, MAX_FOLDED).with_context(|| format!("cannot read {}", path.display()))?,
    };
    FoldedStacks::new(&name(path), String::from_utf8_lossy(&bytes).into_owned())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::commands::cli::{Cli, Command};

    #[test]
    fn two_files_become_a_picture() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a.collapsed"), "main;work 10\n").unwrap();
        fs::write(path("b.collapsed"), "main;wait 10\n").unwrap();
        let run = |before: &str, out: &str| {
            let words = [Path::new("gilscope"), Path::new("diff"), &path(before), &path("b.collapsed")];
            let rest = [Path::new("-o"), &path(out)].map(Path::to_owned);
            let cli = Cli::parse_from(words.map(Path::to_owned).into_iter().chain(rest));
            let Command::Diff(args) = cli.command else { panic!() };
            super::run(&args)
        };
        let (written, table) = run("a.collapsed", "d.svg").unwrap();
        assert_eq!(written, path("d.svg"));
        assert!(table.contains("100.0       0.0    -100.0  work"), "{table}");
        assert!(fs::read_to_string(path("d.svg")).unwrap().contains("From a.collapsed to b.collapsed"));
        let error = format!("{:#}", run("missing.collapsed", "e.svg").unwrap_err());
        assert!(error.contains("cannot read") && error.contains("missing.collapsed"), "{error}");
        assert!(!path("e.svg").exists());
    }
}
