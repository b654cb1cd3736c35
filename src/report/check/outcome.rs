//! What a check has found, and how it is printed: as text, JSON, Markdown and JUnit.

use std::fmt::Write as _;

use serde::Serialize;

use crate::report::text::WIDTH;
use crate::report::text::units::{plural, wrap};
use crate::stack::label::one_line;

/// The name of the JSON schema.
const SCHEMA: &str = "gilscope-check/1";

/// What has come of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum CheckStatus {
    Passed,
    Failed,
    /// The recording cannot say.
    Unknown,
}

/// One rule and what came of it. Shares are fractions, times are seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct CheckOutcome {
    /// As the command line writes it.
    pub rule: String,
    pub status: CheckStatus,
    /// What was found, and by how much that is too much.
    pub sentence: String,
    pub value: f64,
    /// How far `value` may be off.
    pub margin: f64,
    /// What the rule allows; none where a baseline is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// The same number in the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_margin: Option<f64>,
    /// `value` is a fraction, not a time in seconds.
    pub is_share: bool,
}

/// All rules of one check: the JSON `gilscope-check/1`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct CheckResult {
    /// `gilscope-check/1`.
    pub schema: &'static str,
    /// No rule failed, and none could not be answered.
    pub passed: bool,
    pub recordings: Vec<String>,
    pub baseline: Vec<String>,
    pub notes: Vec<String>,
    pub rules: Vec<CheckOutcome>,
}

impl CheckResult {
    pub(crate) fn new(
        recordings: Vec<String>,
        baseline: Vec<String>,
        notes: Vec<String>,
        rules: Vec<CheckOutcome>,
    ) -> CheckResult {
        let passed = rules.iter().all(|rule| rule.status == CheckStatus::Passed);
        CheckResult { schema: SCHEMA, passed, recordings, baseline, notes, rules }
    }

    /// 0 if all passed, 3 if a rule failed, 1 if none did but one cannot be answered.
    pub(crate) fn exit_code(&self) -> u8 {
        match (self.count(CheckStatus::Failed), self.passed) {
            (1.., _) => 3,
            (0, false) => 1,
            (0, true) => 0,
        }
    }

    fn count(&self, status: CheckStatus) -> usize {
        self.rules.iter().filter(|rule| rule.status == status).count()
    }

    /// `1 of 4 rules failed, 1 cannot be answered`
    fn summary(&self) -> String {
        let rules = plural(self.rules.len() as u64, "rule");
        let parts = [(CheckStatus::Failed, "failed"), (CheckStatus::Unknown, "cannot be answered")];
        let parts: Vec<String> = parts
            .into_iter()
            .map(|(status, words)| (self.count(status), words))
            .filter(|(count, _)| *count > 0)
            .map(|(count, words)| format!("{count} {words}"))
            .collect();
        match parts.is_empty() {
            true => format!("{rules}, all passed"),
            false => format!("{rules}: {}", parts.join(", ")),
        }
    }

    fn against(&self) -> String {
        let names = |names: &[String]| names.iter().map(|name| one_line(name)).collect::<Vec<_>>().join(", ");
        let against = match self.baseline.is_empty() {
            true => String::new(),
            false => format!(", against {}", names(&self.baseline)),
        };
        format!("{}{against}", names(&self.recordings))
    }

    /// As text for the terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = wrap(&self.against(), "  ", WIDTH) + "\n";
        for note in &self.notes {
            text.push_str(&wrap(&format!("note: {}", one_line(note)), "  ", WIDTH));
            text.push('\n');
        }
        for rule in &self.rules {
            let status = match rule.status {
                CheckStatus::Passed => "pass",
                CheckStatus::Failed => "FAIL",
                CheckStatus::Unknown => "????",
            };
            let _ = writeln!(text, "{status}  {}", one_line(&rule.rule));
            let sentence = wrap(&one_line(&rule.sentence), "", WIDTH - 6);
            sentence.lines().for_each(|line| {
                let _ = writeln!(text, "      {line}");
            });
        }
        text + &self.summary() + "\n"
    }

    /// For the comment on a change, or the summary of a job.
    pub(crate) fn markdown(&self) -> String {
        let mark = |status| match status {
            CheckStatus::Passed => "pass",
            CheckStatus::Failed => "**fail**",
            CheckStatus::Unknown => "unknown",
        };
        let cell = |text: &str| one_line(text).replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;");
        let mut text = format!("**gilscope check: {}** ({})\n\n", self.summary(), cell(&self.against()));
        text.push_str("| | rule | result |\n|---|---|---|\n");
        for rule in &self.rules {
            let code = one_line(&rule.rule).replace('`', "'").replace('|', "\\|");
            let _ = writeln!(text, "| {} | `{code}` | {} |", mark(rule.status), cell(&rule.sentence));
        }
        for note in &self.notes {
            let _ = writeln!(text, "\nNote: {}", cell(note));
        }
        text
    }

    /// For what collects the results of tests.
    pub(crate) fn junit(&self) -> String {
        let counts = format!(
            "tests=\"{}\" failures=\"{}\" errors=\"{}\"",
            self.rules.len(),
            self.count(CheckStatus::Failed),
            self.count(CheckStatus::Unknown)
        );
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n<testsuite name=\"gilscope check\" {counts}>\n"
        );
        for rule in &self.rules {
            let (name, sentence) = (xml(&rule.rule), xml(&rule.sentence));
            let _ = write!(text, "<testcase classname=\"gilscope\" name=\"{name}\" time=\"0\">");
            let _ = match rule.status {
                CheckStatus::Passed => write!(text, "<system-out>{sentence}</system-out>"),
                CheckStatus::Failed => write!(text, "<failure message=\"{sentence}\">{sentence}</failure>"),
                CheckStatus::Unknown => write!(text, "<error message=\"{sentence}\">{sentence}</error>"),
            };
            text.push_str("</testcase>\n");
        }
        text + "</testsuite>\n</testsuites>\n"
    }
}

fn xml(text: &str) -> String {
    let text = one_line(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(rule: &str, status: CheckStatus) -> CheckOutcome {
        CheckOutcome {
            rule: rule.to_owned(),
            status,
            sentence: format!("{rule} <b>&\"|`\u{1b}[31m\nnext"),
            value: 0.1,
            margin: 0.01,
            limit: Some(0.05),
            baseline: None,
            baseline_margin: None,
            is_share: true,
        }
    }

    fn result(statuses: &[CheckStatus]) -> CheckResult {
        let rules = statuses.iter().map(|status| outcome("--max-gil-wait a|b=5%", *status)).collect();
        CheckResult::new(vec!["a.gscope".to_owned()], Vec::new(), Vec::new(), rules)
    }

    #[test]
    fn a_failure_weighs_more_than_an_open_question() {
        use CheckStatus::{Failed, Passed, Unknown};
        let codes =
            [&[][..], &[Passed], &[Passed, Unknown], &[Unknown, Failed, Passed]].map(|it| result(it).exit_code());
        assert_eq!(codes, [0, 0, 1, 3]);
        assert!(result(&[Unknown, Failed, Passed]).text().ends_with("3 rules: 1 failed, 1 cannot be answered\n"));
        assert!(result(&[Passed]).text().ends_with("1 rule, all passed\n"));
    }

    #[test]
    fn names_of_programs_break_no_output() {
        let result = result(&[CheckStatus::Failed, CheckStatus::Passed]);
        crate::export::fixture::assert_well_formed(&result.junit());
        for text in [result.text(), result.markdown(), result.junit()] {
            assert!(!text.contains('\u{1b}') && !text.contains("\nnext"), "{text}");
        }
        let rows: Vec<_> =
            result.markdown().lines().filter(|line| line.starts_with("| **fail")).map(str::to_owned).collect();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].replace("\\|", "").matches('|').count(), 4, "{}", rows[0]);
        assert!(!result.markdown().contains("<b>"));
    }
}
