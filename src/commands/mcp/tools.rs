//! The tools of the server: what they are called with, and the command line that each becomes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use super::processes::{list, may_observe};
use crate::event::Pid;
use crate::output::make_private_folder;
use crate::text::{Shown, from_bytes, json};

/// For how long a recording may go on, in seconds.
const MAX_DURATION: f64 = 60.0;
const DEFAULT_DURATION: f64 = 5.0;
/// Samples per second.
const MAX_RATE: f64 = 1000.0;
/// How long a command may take beyond the recording.
const PATIENCE: Duration = Duration::from_secs(120);
/// A longer answer helps no assistant, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// What a tool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ToolAction {
    Processes,
    Dump,
    Record,
    Report,
    Diff,
}

/// A tool as the protocol lists it.
#[derive(Debug)]
pub(super) struct McpTool {
    pub name: &'static str,
    description: &'static str,
    /// The properties of its arguments as JSON Schema.
    properties: fn() -> Value,
    required: &'static [&'static str],
    action: ToolAction,
}

pub(super) const TOOLS: [McpTool; 5] = [
    McpTool {
        name: "python_processes",
        description: "Lists the running Python processes of this user: pid, command, Python version, whether it is \
                      free-threaded, number of threads.",
        properties: || json!({}),
        required: &[],
        action: ToolAction::Processes,
    },
    McpTool {
        name: "dump",
        description: "What each thread of a Python process is doing at this moment: its stack, who holds the GIL and each \
                      lock, who waits for what, deadlocks.",
        properties: || json!({ "pid": pid(), "format": format("text", "json") }),
        required: &["pid"],
        action: ToolAction::Dump,
    },
    McpTool {
        name: "record",
        description: "Records a running Python process for some seconds without changing it. Answers with a brief report \
                      and the path of the recording, for report and diff.",
        properties: || {
            json!({
                "pid": pid(),
                "duration_s": { "type": "number", "exclusiveMinimum": 0, "maximum": MAX_DURATION,
                    "default": DEFAULT_DURATION, "description": "For how many seconds" },
                "rate_hz": { "type": "number", "minimum": 1, "maximum": MAX_RATE, "default": 100,
                    "description": "Samples per second" },
                "subprocesses": { "type": "boolean", "default": false, "description": "Record child processes, too" },
            })
        },
        required: &["pid"],
        action: ToolAction::Record,
    },
    McpTool {
        name: "report",
        description: "The report of a recording (.gscope) or of a saved report (.report.json): brief (2 kB of Markdown), text \
                      (with all tables) or json (gilscope-report/1).",
        properties: || {
            json!({
                "file": file(),
                "format": { "type": "string", "enum": ["brief", "text", "json"], "default": "brief" },
            })
        },
        required: &["file"],
        action: ToolAction::Report,
    },
    McpTool {
        name: "diff",
        description: "What changed between two recordings beyond noise: functions by their part of the CPU time, waits for \
                      the GIL and for locks.",
        properties: || json!({ "before": file(), "after": file() }),
        required: &["before", "after"],
        action: ToolAction::Diff,
    },
];

fn pid() -> Value {
    json!({ "type": "integer", "minimum": 1, "description": "Process id" })
}

fn file() -> Value {
    json!({ "type": "string", "description": "Path of a recording (.gscope)" })
}

fn format(first: &str, second: &str) -> Value {
    json!({ "type": "string", "enum": [first, second], "default": first })
}

/// What any of the tools can be called with.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ToolArguments {
    pid: Option<Pid>,
    format: Option<String>,
    duration_s: Option<f64>,
    rate_hz: Option<f64>,
    subprocesses: bool,
    file: Option<PathBuf>,
    before: Option<PathBuf>,
    after: Option<PathBuf>,
}

/// Where recordings go: a folder that only this user can read, made for the first of them.
#[derive(Debug, Default)]
pub(super) struct RecordingFolder {
    path: OnceLock<PathBuf>,
    count: AtomicU64,
}

impl RecordingFolder {
    /// A path at which there is nothing yet.
    fn next(&self, pid: Pid) -> Result<PathBuf> {
        let folder = match self.path.get() {
            Some(path) => path,
            None => {
                let path = std::env::temp_dir().join(format!("gilscope-mcp-{}", unique()));
                let made = make_private_folder(&path);
                made.with_context(|| format!("cannot make the folder {} for recordings", path.shown()))?;
                self.path.get_or_init(|| path)
            }
        };
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(folder.join(format!("{pid}-{number}.gscope")))
    }
}

/// Nobody else makes a folder of that name first.
fn unique() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{}-{}", std::process::id(), since.map_or(0, |since| since.as_nanos()))
}

impl McpTool {
    pub(super) fn describe(&self) -> Tool {
        let schema = json!({
            "type": "object",
            "properties": (self.properties)(),
            "required": self.required,
            "additionalProperties": false,
        });
        let schema = if let Value::Object(schema) = schema { schema } else { JsonObject::new() };
        let annotations = ToolAnnotations::new().read_only(true).destructive(false).open_world(false);
        Tool::new(self.name, self.description, schema).with_annotations(annotations)
    }

    /// The answer of the tool.
    ///
    /// # Errors
    /// The arguments are wrong, or gilscope could not do it: the text says why and what to do.
    pub(super) async fn call(&self, arguments: JsonObject, folder: &RecordingFolder) -> Result<String> {
        let arguments: ToolArguments = serde_json::from_value(Value::Object(arguments))
            .with_context(|| format!("the arguments of {} are wrong", self.name))?;
        match self.action {
            ToolAction::Processes => {
                let listed = tokio::task::spawn_blocking(list).await.context("the processes cannot be listed")?;
                Ok(json::to_lines(&listed)?)
            }
            ToolAction::Dump => dump(&arguments).await,
            ToolAction::Record => record(&arguments, folder).await,
            ToolAction::Report => report(&arguments).await,
            ToolAction::Diff => {
                let (before, after) = (path(arguments.before, "before")?, path(arguments.after, "after")?);
                gilscope(["diff".into(), "--".into(), before.into(), after.into()], PATIENCE).await
            }
        }
    }
}

/// The process to observe, if this user may.
fn observed(pid: Option<Pid>) -> Result<Pid> {
    let pid = pid.filter(|pid| *pid > 0).context("pid is missing: python_processes lists them")?;
    may_observe(pid)?;
    Ok(pid)
}

fn path(path: Option<PathBuf>, name: &str) -> Result<PathBuf> {
    path.with_context(|| format!("{name} is missing: it is the path of a recording"))
}

async fn dump(arguments: &ToolArguments) -> Result<String> {
    let pid = observed(arguments.pid)?;
    let mut words: Vec<OsString> = vec!["dump".into(), "--pid".into(), pid.to_string().into()];
    match arguments.format.as_deref() {
        None | Some("text") => {}
        Some("json") => words.push("--json".into()),
        Some(other) => bail!("format {other:?} is neither text nor json"),
    }
    gilscope(words, PATIENCE).await
}

async fn record(arguments: &ToolArguments, folder: &RecordingFolder) -> Result<String> {
    let pid = observed(arguments.pid)?;
    let duration = arguments.duration_s.unwrap_or(DEFAULT_DURATION);
    if !(duration > 0.0 && duration <= MAX_DURATION) {
        bail!("duration_s is {duration}: it must be above 0 and at most {MAX_DURATION}");
    }
    let rate = arguments.rate_hz.unwrap_or(100.0);
    if !(1.0..=MAX_RATE).contains(&rate) {
        bail!("rate_hz is {rate}: it must be from 1 to {MAX_RATE}");
    }
    let file = folder.next(pid)?;
    let mut words: Vec<OsString> = vec!["record".into(), "--quiet".into(), "-o".into(), file.clone().into()];
    words.extend(["-d".into(), duration.to_string().into(), "-r".into(), rate.to_string().into()]);
    if arguments.subprocesses {
        words.push("-s".into());
    }
    words.extend(["--pid".into(), pid.to_string().into()]);
    gilscope(words, PATIENCE + Duration::from_secs_f64(duration)).await?;
    let brief = gilscope(["report".into(), "--brief".into(), "--".into(), file.clone().into()], PATIENCE).await?;
    Ok(format!("{brief}\nRecording: {}\n", file.shown()))
}

async fn report(arguments: &ToolArguments) -> Result<String> {
    let file = path(arguments.file.clone(), "file")?;
    let mut words: Vec<OsString> = vec!["report".into()];
    match arguments.format.as_deref() {
        None | Some("brief") => words.push("--brief".into()),
        Some("json") => words.push("--json".into()),
        Some("text") => {}
        Some(other) => bail!("format {other:?} is none of brief, text and json"),
    }
    words.extend(["--".into(), file.into()]);
    gilscope(words, PATIENCE).await
}

/// Runs gilscope with these arguments. Returns what it prints.
async fn gilscope(words: impl IntoIterator<Item = OsString>, patience: Duration) -> Result<String> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("gilscope").args(words).env("NO_COLOR", "1");
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(patience, command.output()).await;
    let output = output.with_context(|| format!("there was no answer within {} s", patience.as_secs()))?;
    let output = output.context("gilscope cannot run itself")?;
    if !output.status.success() {
        let complaint = from_bytes(&output.stderr);
        bail!("{}", complaint.trim().trim_start_matches("gilscope: "));
    }
    let mut text = from_bytes(&output.stdout);
    if text.len() > MAX_ANSWER {
        bail!(
            "the answer has {} bytes, more than {MAX_ANSWER}: ask for another format, or record for a shorter time",
            text.len()
        );
    }
    // Notes of what went less well than it could are on standard error.
    let notes = from_bytes(&output.stderr);
    if !notes.trim().is_empty() {
        text.push_str(&format!("\n{}\n", notes.trim()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: Value) -> Result<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tool = TOOLS.iter().find(|tool| tool.name == name).unwrap();
        let Value::Object(arguments) = arguments else { panic!() };
        runtime.block_on(tool.call(arguments, &RecordingFolder::default()))
    }

    #[test]
    fn wrong_arguments_are_said_and_nothing_is_run() {
        let error = |name, arguments| format!("{:#}", call(name, arguments).unwrap_err());
        let own = std::process::id();
        assert!(error("dump", json!({})).contains("pid is missing"));
        assert!(error("dump", json!({ "pid": -1 })).contains("pid is missing"));
        assert!(error("dump", json!({ "pid": "x" })).contains("arguments of dump"));
        assert!(error("dump", json!({ "pid": own, "program": ["rm"] })).contains("unknown field"));
        assert!(error("dump", json!({ "pid": i32::MAX })).contains("no process"));
        assert!(error("record", json!({ "pid": own, "duration_s": 1e9 })).contains("at most 60"));
        assert!(error("record", json!({ "pid": own, "rate_hz": 0 })).contains("from 1 to 1000"));
        assert!(error("report", json!({})).contains("file is missing"));
        assert!(error("report", json!({ "file": "x", "format": "yaml" })).contains("yaml"));
    }

    #[test]
    fn every_tool_only_reads_and_names_its_arguments() {
        for tool in &TOOLS {
            let described: serde_json::Value =
                serde_json::from_str(&json::to_lines(&tool.describe()).unwrap()).unwrap();
            assert_eq!(described["annotations"]["readOnlyHint"], true, "{described}");
            assert_eq!(described["inputSchema"]["type"], "object");
            for name in tool.required {
                assert!(described["inputSchema"]["properties"][name].is_object(), "{described}");
            }
        }
    }
}
