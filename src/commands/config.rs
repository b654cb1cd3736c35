//! Defaults from files: `gilscope.toml` in the user's folder for configuration, and in the current folder. What is typed comes first,
//! then the environment, then the file here, then the user's.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Command, CommandFactory};
use serde::Deserialize;

use super::cli::{Cli, CollectorChoice, interval, rate};
use crate::output::say;
use crate::report::Attribution;
use crate::text::Shown;

const NAME: &str = "gilscope.toml";

/// Larger files are none of ours, in bytes.
const MAX_SIZE: u64 = 1 << 16;

/// What a file may say. Nothing in it makes gilscope run or write anything: it may come with the code of somebody else.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Samples per second.
    rate: Option<f64>,
    mode: Option<String>,
    /// `auto`, `always` or `never`.
    color: Option<String>,
    /// To whom waiting for the GIL is attributed.
    blame: Option<String>,
    /// Seconds between the refreshes of `top`.
    interval: Option<f64>,
    /// Packages and paths that count as the program's own.
    own: Option<Vec<String>>,
}

impl Config {
    fn parse(text: &str) -> Result<Config> {
        let config: Config = toml::from_str(text)?;
        let checked = [
            ("rate", config.rate.and_then(|value| rate(&value.to_string()).err())),
            ("interval", config.interval.and_then(|value| interval(&value.to_string()).err())),
            ("mode", config.mode.as_deref().and_then(not_one_of::<CollectorChoice>)),
            ("color", config.color.as_deref().and_then(not_one_of::<clap::ColorChoice>)),
            ("blame", config.blame.as_deref().and_then(not_one_of::<Attribution>)),
            ("own", config.own.iter().flatten().find_map(|own| own.parse::<crate::stack::OwnPattern>().err())),
        ];
        for (key, error) in checked {
            if let Some(error) = error {
                bail!("{key}: {error}");
            }
        }
        Ok(config)
    }

    /// The values for options, by their names.
    fn values(&self) -> Vec<(&'static str, Vec<String>)> {
        let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
        let number = |value: Option<f64>| value.iter().map(f64::to_string).collect::<Vec<_>>();
        let values = vec![
            ("rate", number(self.rate)),
            ("mode", one(&self.mode)),
            ("color", one(&self.color)),
            ("blame", one(&self.blame)),
            ("interval", number(self.interval)),
            ("own", self.own.clone().unwrap_or_default()),
        ];
        values.into_iter().filter(|(_, values)| !values.is_empty()).collect()
    }
}

fn not_one_of<T: clap::ValueEnum>(text: &str) -> Option<String> {
    let names =
        || T::value_variants().iter().filter_map(T::to_possible_value).map(|value| value.get_name().to_owned());
    let names: Vec<String> = names().collect();
    (!names.iter().any(|name| name == text)).then(|| format!("{text:?} is not one of {}", names.join(", ")))
}

/// The command line, with the defaults of the files.
///
/// # Errors
/// A file cannot be read, or says something that is unknown.
pub fn command() -> Result<Command> {
    let mut command = Cli::command();
    for path in [of_user(), Some(PathBuf::from(NAME))].into_iter().flatten() {
        if let Some(config) = read(&path).with_context(|| format!("the configuration in {}", path.shown()))? {
            command = with(command, &config);
        }
    }
    Ok(command)
}

fn of_user() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(folder.join("gilscope").join(NAME))
}

fn with(mut command: Command, config: &Config) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        for (option, values) in config.values() {
            command = command.mut_subcommand(&name, |command| {
                let has = command.get_arguments().any(|argument| argument.get_id() == option);
                if has { command.mut_arg(option, |argument| argument.default_values(values)) } else { command }
            });
        }
    }
    command
}

/// The file; none if there is none, or if others could have written it.
fn read(path: &Path) -> Result<Option<Config>> {
    // A pipe of this name does not make gilscope wait.
    let opened = fs::File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    let own = [0, nix::unistd::geteuid().as_raw()].contains(&metadata.uid());
    if !metadata.is_file() || !own || metadata.mode() & 0o022 != 0 {
        say(format_args!("gilscope: {} is ignored: it is not a file of yours that only you can write", path.shown()));
        return Ok(None);
    }
    let mut text = String::new();
    if file.take(MAX_SIZE + 1).read_to_string(&mut text)? as u64 > MAX_SIZE {
        bail!("it is larger than {} kB", MAX_SIZE >> 10);
    }
    Config::parse(&text).map(Some)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::FromArgMatches;

    use super::*;
    use crate::commands::cli::Command as Parsed;

    #[test]
    fn a_file_sets_defaults_that_what_is_typed_overrides() {
        let config = Config::parse("rate = 250\nmode = \"memory\"\nown = [\"shop\", \"/srv/*\"]\n").unwrap();
        let command = with(with(Cli::command(), &Config { rate: Some(20.0), ..Config::default() }), &config);
        let parse = |line: &str| {
            let matches = command.clone().try_get_matches_from(line.split(' ')).unwrap();
            let Parsed::Record(args) = Cli::from_arg_matches(&matches).unwrap().command.unwrap() else { panic!() };
            args.collect
        };
        let args = parse("gilscope record --pid 1");
        assert_eq!((args.rate, args.mode, args.own.own.len()), (250.0, CollectorChoice::Memory, 2));
        let args = parse("gilscope record --pid 1 -r 10 --mode kernel --own a");
        assert_eq!((args.rate, args.mode, args.own.own.len()), (10.0, CollectorChoice::Kernel, 1));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        for (text, error) in [
            ("rat = 1", "rat"),
            ("rate = 0", "rate: must be between"),
            ("rate = \"fast\"", "rate"),
            ("mode = \"magic\"", "mode: \"magic\" is not one of auto, kernel, memory"),
            ("color = \"red\"", "color: "),
            ("own = [\"\"]", "own: "),
            ("rate", "expected"),
        ] {
            let found = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(found.contains(error), "{text}: {found}");
        }
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn a_file_that_others_may_write_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        assert_eq!(read(&path).unwrap(), None);
        fs::write(&path, "rate = 7").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().rate, Some(7.0));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "#".repeat(1 << 17)).unwrap();
        assert!(read(&path).is_err());
        assert_eq!(read(folder.path()).unwrap(), None, "a folder");
    }
}
