//! `gilscope completions` and `gilscope man`: what shells and `man` know of the command line, generated from its definition.

use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::commands::cli::Cli;
use crate::output::make_folder;
use crate::text::{Shown, from_bytes};

/// Completion of process ids, which the generator leaves to the shell: those of Python programs.
const BASH_PIDS: &str = r#"
_gilscope_with_pids() {
    case "${COMP_WORDS[COMP_CWORD-1]}" in
    -p | --pid) COMPREPLY=($(compgen -W "$(pgrep -f python 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}")) ;;
    *) _gilscope "$@" ;;
    esac
}
complete -F _gilscope_with_pids -o nosort -o bashdefault -o default gilscope
"#;

/// The script of completions for a shell.
pub fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gilscope", &mut script);
    let script = from_bytes(&script);
    match shell {
        Shell::Bash => script + BASH_PIDS,
        Shell::Zsh => edit_lines(&script, &["--pid="], |line| line.replace("_default'", "_pids'")),
        Shell::Fish => edit_lines(&script, &["-s p ", "-l pid "], |line| {
            format!("{} -x -a '(__fish_complete_pids)'", line.strip_suffix(" -r").unwrap_or(line))
        }),
        _ => script,
    }
}

/// Changes those lines of a script that contain all these words.
fn edit_lines(script: &str, words: &[&str], change: impl Fn(&str) -> String) -> String {
    let edited =
        |line: &str| if words.iter().all(|word| line.contains(word)) { change(line) } else { line.to_owned() };
    script.lines().map(|line| edited(line) + "\n").collect()
}

/// Writes the man pages into a folder, one for each command, and makes the folder if necessary.
pub fn write_man_pages(folder: &Path) -> Result<()> {
    let context = || format!("cannot write man pages into {}", folder.shown());
    make_folder(folder).with_context(context)?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> Vec<String> {
        let cli = Cli::command();
        cli.get_subcommands().map(|command| command.get_name().to_owned()).collect()
    }

    #[test]
    fn scripts_know_commands_and_complete_process_ids() {
        for (shell, pids) in
            [(Shell::Bash, "pgrep"), (Shell::Zsh, ":_pids'"), (Shell::Fish, "-x -a '(__fish_complete_pids)'")]
        {
            let script = script(shell);
            assert!(script.contains(pids), "{shell}:\n{script}");
            for command in commands() {
                assert!(script.contains(&command), "{shell}: {command}");
            }
        }
    }

    #[test]
    fn each_command_has_a_man_page() {
        let folder = tempfile::tempdir().unwrap();
        write_man_pages(&folder.path().join("man1")).unwrap();
        let pages = std::fs::read_dir(folder.path().join("man1")).unwrap().count();
        assert_eq!(pages, commands().len() + 1);
        for command in commands() {
            let page = std::fs::read_to_string(folder.path().join(format!("man1/gilscope-{command}.1"))).unwrap();
            assert!(page.contains(".TH gilscope-"), "{page}");
        }
        assert!(write_man_pages(Path::new("/dev/null/man1")).is_err());
    }
}
