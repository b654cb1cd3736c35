//! `gilscope doctor`: what can be measured on this machine and of one process, what cannot, why, and how to enable it.
//! Called by `main`; it changes nothing and needs no privileges.

mod attempts;
mod machine;
mod process;

use std::fmt;

use serde::Serialize;

use crate::event::Pid;
pub use process::ExaminedProcess;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Yes,
    /// Some of it works.
    Partly,
    /// It does not work.
    No,
}

/// One capability of the machine, or of gilscope towards a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A stable name, for programs.
    pub id: &'static str,
    /// What is checked, in words.
    pub name: &'static str,
    pub verdict: Verdict,
    /// How the verdict was reached, or what is missing.
    pub reason: String,
    /// How to enable it.
    pub remedy: Option<String>,
}

impl Check {
    fn new(id: &'static str, name: &'static str, verdict: Verdict, reason: impl Into<String>) -> Check {
        Check { id, name, verdict, reason: reason.into(), remedy: None }
    }

    fn remedy(self, remedy: impl Into<String>) -> Check {
        Check { remedy: Some(remedy.into()), ..self }
    }
}

/// All checks. The JSON is stable under the name in `schema`.
#[derive(Clone, Debug, Serialize)]
pub struct DoctorReport {
    /// `gilscope-doctor/1`.
    pub schema: &'static str,
    pub gilscope: &'static str,
    pub machine: Vec<Check>,
    pub target: Option<ExaminedProcess>,
}

/// Examines this machine and, if given, process `pid`.
pub fn run(pid: Option<Pid>) -> DoctorReport {
    DoctorReport {
        schema: "gilscope-doctor/1",
        gilscope: env!("CARGO_PKG_VERSION"),
        machine: machine::checks(),
        target: pid.map(process::examine),
    }
}

impl DoctorReport {
    /// 0, or 1 if the process does not exist or cannot be measured even with remedies.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.target.as_ref().is_some_and(|target| target.hopeless))
    }
}

/// The widest line, except where a command or path is longer.
const WIDTH: usize = 80;
/// The column at which the text after a verdict begins.
const INDENT: usize = 10;

impl fmt::Display for DoctorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "gilscope {}\n\nThis machine", self.gilscope)?;
        self.machine.iter().try_for_each(|check| check.fmt(f))?;
        match &self.target {
            Some(target) => target.fmt(f),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Yes => "yes",
            Verdict::Partly => "partly",
            Verdict::No => "no",
        };
        wrap(f, &format!("  {verdict:<8}"), &format!("{}: {}", self.name, self.reason))?;
        match &self.remedy {
            Some(remedy) => wrap(f, &format!("{:INDENT$}-> ", ""), remedy),
            None => Ok(()),
        }
    }
}

/// Writes `text` behind `start`, broken between words, its further lines indented.
fn wrap(f: &mut fmt::Formatter<'_>, start: &str, text: &str) -> fmt::Result {
    let indent = start.chars().count();
    f.write_str(start)?;
    let mut column = indent;
    for word in text.split_ascii_whitespace() {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            write!(f, "\n{:indent$}", "")?;
            column = indent;
        } else if column > indent {
            f.write_str(" ")?;
            column += 1;
        }
        f.write_str(word)?;
        column += length;
    }
    f.write_str("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_verdict_reason_and_remedy_in_80_columns() {
        let check = Check::new("id", "reading the memory of my own processes", Verdict::Partly, "word ".repeat(20))
            .remedy("sudo sysctl kernel.yama.ptrace_scope=0");
        assert_eq!(
            check.to_string(),
            "  partly  reading the memory of my own processes: word word word word word word\n          \
             word word word word word word word word word word word word word word\n          \
             -> sudo sysctl kernel.yama.ptrace_scope=0\n"
        );
    }

    #[test]
    fn the_doctor_looks_at_itself() {
        let report = run(Some(std::process::id() as Pid));
        assert_eq!(report.exit_code(), 1, "a Rust program is not Python");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["schema"], "gilscope-doctor/1");
        assert_eq!(json["machine"][0]["verdict"], "yes");
        assert!(json["target"]["error"].as_str().unwrap().contains("does not run Python"));
        assert!(report.to_string().contains(&format!("Process {}", std::process::id())));
        assert_eq!(run(None).exit_code(), 0);
    }
}
