//! A report for assistants, and for people in a hurry: at most 2 kB of Markdown. Called by `gilscope report --brief`.

use super::model::{Blamed, Finding, Report, Severity};
use super::text::units::{cut, duration, percent};
use super::verdict;
use crate::profile::Mode;
use crate::stack::label::one_line;

/// In bytes.
const MAX_BRIEF: usize = 2048;
const MAX_FINDINGS: usize = 5;
const MAX_STACKS: usize = 5;
/// A stack with less than that part of what all have is not worth a line.
const MIN_PART: f64 = 0.02;
/// How long sentences and names are at most, in characters.
const MAX_SENTENCE: usize = 300;
const MAX_NAME: usize = 60;
/// How many frames are shown of a stack.
const MAX_FRAMES: usize = 3;

/// The verdict, the findings, the stacks that others waited for, and what to do next, of the report in `file`.
pub(crate) fn agent_brief(report: &Report, file: &str) -> String {
    let head =
        format!("# {}\n\n{}\n\n**{}**\n", subject(report), how(report), limited(&verdict(report), MAX_SENTENCE));
    let next = format!("\n## Next\n\n```sh\n{}\n```\n", next_command(report, file));
    let mut brief = head;
    let mut left = MAX_BRIEF.saturating_sub(brief.len() + next.len());
    for (title, lines) in [("Findings", findings(report)), ("Most costly stacks", stacks(report))] {
        let title = format!("\n## {title}\n\n");
        let mut is_first = true;
        for line in lines {
            let text = if is_first { format!("{title}{line}\n") } else { format!("{line}\n") };
            if text.len() > left {
                break;
            }
            left -= text.len();
            brief.push_str(&text);
            is_first = false;
        }
    }
    brief + &next
}

/// Text from the program in Markdown: on one line, and no markup.
fn plain(text: &str) -> String {
    let escaped = |c: char| matches!(c, '*' | '_' | '`' | '<' | '[' | ']' | '\\' | '|' | '#');
    let mut out = String::new();
    for c in one_line(text).chars() {
        if escaped(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn limited(text: &str, characters: usize) -> String {
    plain(&cut(&one_line(text), characters))
}

fn code(text: &str) -> String {
    format!("`{}`", cut(&one_line(text).replace('`', "'"), MAX_NAME))
}

fn subject(report: &Report) -> String {
    let target = &report.target;
    let build = if target.free_threaded { ", free-threaded" } else { "" };
    let command = cut(&one_line(&target.command.join(" ")), 2 * MAX_NAME).into_owned();
    format!("{} (pid {}, Python {}{build})", plain(&command), target.pid, limited(&target.python, MAX_NAME))
}

fn how(report: &Report) -> String {
    let session = &report.session;
    let mode = match session.mode {
        Mode::Kernel => "kernel mode: waits are exact",
        Mode::Memory => "memory mode: times are estimated from samples",
    };
    let lost = match session.lost_events {
        0 => String::new(),
        lost => format!(", {lost} records lost"),
    };
    format!(
        "{} recorded, {} threads, {mode}{lost}.",
        duration(session.duration_s),
        report.threads.iter().map(|thread| thread.count).sum::<u64>()
    )
}

fn findings(report: &Report) -> Vec<String> {
    let line = |finding: &Finding| {
        let severity = match finding.severity {
            Severity::High => "HIGH",
            Severity::Medium => "MEDIUM",
            Severity::Low => "LOW",
        };
        format!("- {severity}: {}", limited(&finding.message, MAX_SENTENCE))
    };
    report.findings.iter().take(MAX_FINDINGS).map(line).collect()
}

/// Whoever held something while others waited, and where; and where threads were blocked.
fn stacks(report: &Report) -> Vec<String> {
    let mut all: Vec<(f64, String)> = Vec::new();
    for gil in &report.gils {
        let held = gil.holders.iter().take(MAX_STACKS);
        all.extend(held.map(|by| (by.seconds, stack_line(by, &format!("{} held", gil.words), gil.wait.total_s))));
    }
    for lock in report.real_locks().take(MAX_STACKS) {
        let what = format!("{} held", limited(&lock.label, MAX_NAME));
        let held = lock.holders.iter().take(MAX_STACKS);
        all.extend(held.map(|by| (by.seconds, stack_line(by, &what, lock.wait.total_s))));
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let worth = MIN_PART * all.iter().map(|(seconds, _)| seconds).sum::<f64>();
    all.retain(|(seconds, _)| *seconds > worth);
    all.into_iter().take(MAX_STACKS).map(|(_, line)| line).collect()
}

fn stack_line(by: &Blamed, what: &str, whole: f64) -> String {
    let part = percent(if whole > 0.0 { by.seconds / whole } else { 0.0 });
    let frames: Vec<String> = by.stack.iter().take(MAX_FRAMES).map(|frame| code(frame)).collect();
    let frames = if frames.is_empty() { "no Python frame".to_owned() } else { frames.join(" < ") };
    let thread = limited(&by.thread, MAX_NAME);
    format!("- {what} by {thread} while others waited {} ({part}): {frames}", duration(by.seconds))
}

/// The command that says more about what costs most.
fn next_command(report: &Report, file: &str) -> String {
    let is_recording = !file.ends_with(".json");
    let (file, pid) = (quoted(file), report.target.pid);
    if !report.deadlocks.is_empty() {
        return format!("gilscope dump --pid {pid}");
    }
    if report.unobserved_python().is_some_and(|(_, cpu)| cpu > 0.5 * report.session.duration_s) {
        return format!("gilscope record -s -d 10 --pid {pid}");
    }
    if !is_recording {
        return format!("gilscope report {file}");
    }
    let gil = report.gils.iter().max_by(|a, b| a.wait.total_s.total_cmp(&b.wait.total_s));
    let lock = report.real_locks().max_by(|a, b| a.wait.total_s.total_cmp(&b.wait.total_s));
    let for_gil = gil.map_or(0.0, |gil| gil.wait.total_s);
    match lock {
        Some(lock) if lock.wait.total_s > for_gil => {
            let name = lock.name.as_ref().unwrap_or(&lock.kind);
            format!("gilscope report {file} --lock {}", quoted(name))
        }
        _ if for_gil > 0.0 => format!("gilscope export {file} -o gil.collapsed --view gil-hold"),
        _ => format!("gilscope export {file} -o wall.collapsed --view wall"),
    }
}

/// One word of a shell.
fn quoted(word: &str) -> String {
    let word = one_line(word);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+-".contains(c);
    match word.chars().all(is_plain) && !word.is_empty() && !word.starts_with('-') {
        true => word,
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn verdict_findings_stacks_and_the_next_command_are_in_it() {
        let brief = agent_brief(&fixture::report(), "my app.gscope");
        assert!(brief.len() <= MAX_BRIEF, "{}", brief.len());
        for part in [
            "# python app.py (pid 100, Python 3.12.1)",
            "**Biggest cost: client waits 76 % of its time",
            "## Findings\n\n- HIGH: ",
            "## Most costly stacks\n\n- the GIL held by cruncher while others waited ",
            "gilscope export 'my app.gscope' -o gil.collapsed --view gil-hold",
        ] {
            assert!(brief.contains(part), "{part}\n{brief}");
        }
    }

    #[test]
    fn however_much_there_is_to_say_it_stays_short_and_on_its_lines() {
        let mut report = fixture::report();
        let evil = "**x** `y` \u{1b}[31m <b> \n# heading ".repeat(500);
        report.target.command = vec![evil.clone(); 3];
        report.target.python = evil.clone();
        report.findings[0].message = evil.clone();
        report.findings[0].headline = evil.clone();
        report.findings = vec![report.findings[0].clone(); 100];
        for holder in &mut report.gils[0].holders {
            holder.thread = evil.clone();
            holder.stack = vec![evil.clone(); 9];
        }
        let brief = agent_brief(&report, &evil.chars().take(100).collect::<String>());
        assert!(brief.len() <= MAX_BRIEF, "{}", brief.len());
        assert!(!brief.contains('\u{1b}') && !brief.contains("\n# heading"), "{brief}");
        assert!(brief.contains("## Next"));
    }

    #[test]
    fn a_deadlock_is_looked_at_first() {
        let mut report = fixture::report();
        report.deadlocks = vec![Vec::new()];
        assert!(agent_brief(&report, "a.gscope").contains("gilscope dump --pid 100"));
        report.deadlocks.clear();
        assert!(agent_brief(&report, "a.report.json").contains("gilscope report a.report.json"));
    }
}
