//! The arguments that say which part of a recording to look at.

use clap::Args;

/// Which part of a recording to look at. The parts that are asked for are those that all of them let through.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Leave out what was before, in seconds since the start of the recording.
    #[arg(long, value_name = "SECS", value_parser = moment)]
    pub from: Option<f64>,
    /// Leave out what was after.
    #[arg(long, value_name = "SECS", value_parser = moment)]
    pub to: Option<f64>,
    /// Only the threads of this name or tid (can be given several times).
    #[arg(long, value_name = "NAME|TID")]
    pub thread: Vec<String>,
    /// Only stacks with this function in them, or with all of its name: `is_prime`, `Worker.run` (can be given several
    /// times: any of them).
    #[arg(long, value_name = "NAME")]
    pub function: Vec<String>,
    /// Only waiting for locks with this in what the report calls them: `app.lock` (can be given several times).
    #[arg(long, value_name = "NAME")]
    pub lock: Vec<String>,
    /// Only waits for the GIL or a lock that took at least this long in all, in milliseconds.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub min_wait: Option<f64>,
}

pub(crate) fn moment(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1e9)
}

pub(crate) fn milliseconds(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1e9)
}

pub(crate) fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (least..=most).contains(&value) { Ok(value) } else { Err(format!("must be between {least} and {most}")) }
}
