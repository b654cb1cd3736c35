//! Everything about one row: who waits where, who holds it meanwhile and where, how long the waits are, over time. Called
//! by `draw`, and to be copied. Pure.

use std::fmt;

use ratatui::text::{Line, Span};

use super::app::App;
use super::calls::{Calls, Choice};
use super::class::Class;
use super::draw::bars;
use super::history::{History, Moment};
use super::shown::Shown;
use super::table::{RowKey, Tone};
use super::tabs::{List, holder, waits_for};
use super::theme::{BARS, Theme};
use crate::contention::Blame;
use crate::contention::lengths::WaitLengths;
use crate::event::{GilId, LockId, ThreadId, ThreadState};
use crate::report::model::{Blamed, States, Wait};
use crate::report::text::units::{cut, duration, label, percent, plural, wrap};
use crate::stack::StackId;
use crate::stack::label::one_line;

/// So many stacks of a kind are shown, and so many frames of each.
const MOST_STACKS: usize = 4;
const MOST_FRAMES: usize = 12;

/// A line, and how its parts stand out.
#[derive(Clone, Debug, Default)]
pub struct Text(Vec<(String, Tone, bool)>);

impl Text {
    fn plain(text: impl Into<String>) -> Text {
        Text(vec![(text.into(), Tone::Plain, false)])
    }

    fn heading(text: impl Into<String>) -> Text {
        Text(vec![(text.into(), Tone::Plain, true)])
    }

    fn and(mut self, text: impl Into<String>, tone: Tone) -> Text {
        self.0.push((text.into(), tone, false));
        self
    }

    /// As it is drawn.
    pub fn styled(&self, theme: Theme) -> Line<'static> {
        let span = |(text, tone, bold): &(String, Tone, bool)| {
            let style = if *bold { theme.bold() } else { theme.tone(*tone) };
            Span::styled(theme.text(text).into_owned(), style)
        };
        Line::from(self.0.iter().map(span).collect::<Vec<_>>())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(text, ..)| f.write_str(text))
    }
}

/// What is written so far.
struct Page<'a> {
    shown: &'a Shown,
    history: &'a History,
    width: usize,
    lines: Vec<Text>,
}

/// The detail of the row that was opened.
pub fn lines(app: &App, shown: &Shown, history: &History, width: u16) -> Vec<Text> {
    let mut page = Page { shown, history, width: usize::from(width).max(20), lines: Vec::new() };
    match &app.detail {
        Some(RowKey::Thread(thread)) => page.thread(*thread),
        Some(RowKey::Threads(name)) => page.say(&format!("{name}: t shows its threads one by one.")),
        Some(RowKey::Waiter(gil, thread)) => page.waiter(*gil, *thread),
        Some(RowKey::Lock(lock)) => page.lock(*lock),
        Some(RowKey::Object(address)) => page.object(*address),
        Some(RowKey::Pause(list, index)) => page.pause(*list, *index),
        Some(RowKey::Function(name)) => page.function(&app.choice(), name),
        Some(RowKey::Finding(index)) => page.finding(*index),
        None => {}
    }
    page.lines
}

impl Page<'_> {
    fn push(&mut self, line: Text) {
        self.lines.push(line);
    }

    fn say(&mut self, text: &str) {
        let wrapped = wrap(text, "  ", self.width);
        self.lines.extend(wrapped.lines().map(Text::plain));
    }

    fn heading(&mut self, text: impl Into<String>) {
        if !self.lines.is_empty() {
            self.push(Text::default());
        }
        self.push(Text::heading(text));
    }

    fn who(&self, thread: usize) -> String {
        label(&self.shown.name(thread), self.shown.part.profile.threads[thread].tid)
    }

    fn frames(&mut self, stack: StackId, indent: usize) {
        let frames = self.shown.stack(stack);
        self.words(&frames, indent);
    }

    fn words(&mut self, frames: &[String], indent: usize) {
        for frame in frames.iter().take(MOST_FRAMES) {
            let frame = one_line(frame);
            self.push(Text::plain(format!("{:indent$}{}", "", cut(&frame, self.width.saturating_sub(indent)))));
        }
        if frames.len() > MOST_FRAMES {
            self.push(
                Text::default().and(format!("{:indent$}... {} more", "", frames.len() - MOST_FRAMES), Tone::Dim),
            );
        }
        if frames.is_empty() {
            self.push(Text::default().and(format!("{:indent$}(no Python frame)", ""), Tone::Dim));
        }
    }

    /// Who is in a list, with stacks; of one thread only, if asked for.
    fn blamed(&mut self, heading: &str, blames: &[Blame], whole: u64, only: Option<usize>) {
        let of = |blame: &&Blame| only.is_none_or(|thread| blame.thread == ThreadId(thread as u32));
        let found: Vec<Blame> = blames.iter().filter(of).copied().collect();
        if found.is_empty() {
            return;
        }
        self.heading(heading);
        for blame in found.iter().take(MOST_STACKS) {
            let part = if whole > 0 { blame.ns as f64 / whole as f64 } else { 0.0 };
            let text = format!("{:>9} {:>6}  ", duration(blame.ns as f64 / 1e9), percent(part));
            self.push(Text::plain(text).and(self.who(blame.thread.0 as usize), Tone::Of(Class::Held)));
            self.frames(blame.stack, 19);
        }
        if found.len() > MOST_STACKS {
            let rest: u64 = found[MOST_STACKS..].iter().map(|blame| blame.ns).sum();
            let text =
                format!("{:>9}         {} more stacks", duration(rest as f64 / 1e9), found.len() - MOST_STACKS);
            self.push(Text::default().and(text, Tone::Dim));
        }
    }

    /// Waits in the part that is shown, and since the start.
    fn waits(&mut self, part: &Wait, all: Option<&Wait>) {
        let heads = ["waits", "total", "mean", "p50", "p99", "max"].map(|head| format!("{head:>10}")).concat();
        self.push(Text::default().and(format!("{:18}{heads}", ""), Tone::Dim));
        let line = |range: &str, wait: &Wait| {
            let times = [wait.total_s, wait.mean_s, wait.p50_s, wait.p99_s, wait.max_s].map(duration);
            let times = times.map(|time| format!("{time:>10}")).concat();
            format!("{:<18}{:>10}{times}", cut(range, 18), wait.count)
        };
        let shown = self.shown;
        self.push(Text::plain(line(&shown.range, part)));
        if let (Some(wait), Some(all)) = (all, &shown.all) {
            self.push(Text::plain(line(&all.range, wait)));
        }
    }

    /// How many waits there were of each length, by powers of two.
    fn histogram(&mut self, lengths: &WaitLengths) {
        if lengths.count() == 0 {
            return;
        }
        self.heading("How long the waits were");
        let mut bins: Vec<u64> = Vec::new();
        for (ns, count) in lengths.iter() {
            let bin = ns.max(1).ilog2() as usize;
            if bins.len() <= bin {
                bins.resize(bin + 1, 0);
            }
            bins[bin] += count;
        }
        let first = bins.iter().position(|count| *count > 0).unwrap_or(0);
        let most = bins.iter().copied().max().unwrap_or(1).max(1);
        let room = self.width.saturating_sub(32).clamp(4, 60) as u64;
        for (bin, &count) in bins.iter().enumerate().skip(first) {
            let from = duration((1u64 << bin) as f64 / 1e9);
            let to = duration((1u64 << (bin + 1)) as f64 / 1e9);
            let length = if count > 0 { (count * room / most).max(1) } else { 0 };
            let bar = "█".repeat(length as usize);
            self.push(Text::plain(format!("{from:>9} - {to:>8} {count:>8} ")).and(bar, Tone::Of(Class::GilWait)));
        }
    }

    fn over_time(&mut self, heading: &str, of: impl Fn(&Moment) -> f64, unit: &str) {
        let values = self.history.last(self.width, of);
        let most = values.iter().copied().fold(0.0, f64::max);
        if most <= 0.0 {
            return;
        }
        self.heading(format!("{heading} (refresh by refresh; the highest bar is {most:.2}{unit})"));
        self.push(Text::default().and(bars(&values, most, &BARS), Tone::Of(Class::GilWait)));
    }

    fn strip(&mut self, thread: usize) {
        let strip = self.history.last(self.width, |moment| moment.threads.get(thread).copied().unwrap_or_default());
        self.heading("Over time: what it did most, refresh by refresh");
        let mut line = Text::default();
        for class in strip {
            let letter = if class == Class::Idle { '·' } else { class.letter() };
            line = line.and(letter.to_string(), Tone::Of(class));
        }
        self.push(line);
    }

    fn thread(&mut self, thread: usize) {
        let shown = self.shown;
        let info = &shown.part.profile.threads[thread];
        self.heading(format!("{} of {}", self.who(thread), shown.part.profile.process_label(info.process)));
        match shown.now(thread) {
            Some(now) => {
                let seconds = now.since.map_or(0.0, |since| shown.part.at.since(since) as f64 / 1e9);
                let since = if seconds > 0.0 { format!(", for {}", duration(seconds)) } else { String::new() };
                let class = Class::of(now.state);
                self.push(Text::plain("now: ").and(format!("{}{since}", now.state), Tone::Of(class)));
                let waits = waits_for(shown, thread, &now);
                if !waits.is_empty() {
                    self.say(&format!("waits for: {waits}"));
                }
                self.frames(now.stack, 4);
                self.other(thread, now.state);
            }
            None => self.say("It is gone."),
        }
        self.strip(thread);
        self.ledger(thread);
        for gil in &shown.part.gils {
            if let Some(share) = gil.threads.iter().find(|share| share.thread == ThreadId(thread as u32)) {
                self.histogram(&share.lengths);
                self.blamed(
                    "Where it waited for the GIL",
                    &gil.contention.by_waiter,
                    share.waits.total_ns,
                    Some(thread),
                );
                self.blamed(
                    "Where it held the GIL while others waited",
                    &gil.contention.by_holder,
                    share.caused_ns,
                    Some(thread),
                );
            }
        }
    }

    /// The stack of whoever a thread waits for.
    fn other(&mut self, thread: usize, state: ThreadState) {
        let shown = self.shown;
        if state == ThreadState::GilWait {
            let now = shown.now(thread);
            let Some(holder) = now.and_then(|now| holder(shown, thread, &now)) else { return };
            self.heading(format!("The GIL is held by {}", self.who(holder)));
            if let Some(now) = shown.now(holder) {
                self.push(Text::plain("now: ").and(now.state.to_string(), Tone::Of(Class::of(now.state))));
                self.frames(now.stack, 4);
            }
        }
        if let Some((summary, lock)) = state.lock().and_then(|lock| shown.lock(lock)) {
            let heading = format!("{} was held by", one_line(&lock.label));
            self.blamed(&heading, &summary.contention.by_holder, summary.contention.waits.total_ns, None);
        }
    }

    /// Where a thread's time went.
    fn ledger(&mut self, thread: usize) {
        let shown = self.shown;
        let all = shown.all.as_deref();
        self.heading("Where its time went");
        let columns: Vec<&Shown> = [Some(shown), all].into_iter().flatten().collect();
        let heads: String = columns.iter().map(|shown| format!("{:>28}", cut(&shown.range, 26))).collect();
        self.push(Text::default().and(format!("{:<24}{heads}", ""), Tone::Dim));
        type Row = (&'static str, fn(&States) -> f64, Class);
        let rows: [Row; 10] = [
            ("runs", |states| states.running_s, Class::Running),
            ("GIL held", |states| states.gil_held_s, Class::Held),
            ("GIL held idle", |states| states.gil_held_off_cpu_s, Class::HeldIdle),
            ("waits for the GIL", |states| states.gil_wait_s, Class::GilWait),
            ("waits for locks", |states| states.lock_wait_s, Class::LockWait),
            ("native, without the GIL", |states| states.native_s, Class::Native),
            ("stopped with all others", |states| states.paused_s, Class::Paused),
            ("blocked", |states| states.blocked_s, Class::Idle),
            ("ready, without a CPU", |states| states.runnable_s, Class::NoCpu),
            ("unknown", |states| states.unknown_s, Class::Unknown),
        ];
        for (name, of, class) in rows {
            let values: Vec<(f64, f64)> = columns
                .iter()
                .map(|shown| &shown.report.threads[thread])
                .map(|thread| (of(&thread.states), thread.wall_s))
                .collect();
            if values.iter().all(|(part, _)| *part <= 0.0) {
                continue;
            }
            let cell = |(part, whole): &(f64, f64)| {
                let share = if *whole > 0.0 { part / whole } else { 0.0 };
                format!("{:>19} {:>8}", duration(*part), percent(share))
            };
            let cells: String = values.iter().map(cell).collect();
            self.push(Text::default().and(format!("{name:<24}"), Tone::Of(class)).and(cells, Tone::Plain));
        }
    }

    fn waiter(&mut self, gil: GilId, thread: usize) {
        let shown = self.shown;
        let found = |shown: &Shown| {
            let share = shown.part.gils.get(gil.0 as usize)?;
            let at = share.threads.iter().position(|share| share.thread == ThreadId(thread as u32))?;
            Some((share.threads[at].clone(), shown.report.gils[gil.0 as usize].threads[at].clone()))
        };
        let (Some(summary), Some((share, part))) = (shown.part.gils.get(gil.0 as usize), found(shown)) else {
            return self.say("Nothing has been seen of it in this part of the recording.");
        };
        self.heading(format!("{} at the GIL", self.who(thread)));
        let all = shown.all.as_deref().and_then(found).map(|(_, thread)| thread.wait);
        self.waits(&part.wait, all.as_ref());
        self.say(&format!(
            "held the GIL for {} of {}, and caused {} of waiting of others",
            duration(part.held.total_s()),
            duration(part.wall_s),
            duration(part.caused_s)
        ));
        self.blamed("Waiter: where it waited", &summary.contention.by_waiter, share.waits.total_ns, Some(thread));
        let others: Vec<Blame> = summary
            .contention
            .by_holder
            .iter()
            .filter(|blame| blame.thread != ThreadId(thread as u32))
            .copied()
            .collect();
        let heading = "Holders: who else held the GIL while threads waited (of all waiting)";
        self.blamed(heading, &others, summary.contention.waits.total_ns, None);
        self.blamed(
            "Where it held the GIL while others waited",
            &summary.contention.by_holder,
            summary.contention.waits.total_ns,
            Some(thread),
        );
        self.histogram(&share.lengths);
        let waited = |moment: &Moment| moment.waited.get(thread).copied().unwrap_or(0.0) * 100.0;
        self.over_time("Part of its time that it waited", waited, " %");
        let gil = &shown.report.gils[gil.0 as usize];
        self.heading("Self-check");
        self.say(&format!(
            "of all waiting for this GIL: caused {} + gap {} + unknown {} = {}",
            duration(gil.caused_s),
            duration(gil.gap_s),
            duration(gil.unknown_s),
            duration(gil.wait.total_s)
        ));
    }

    fn lock(&mut self, id: LockId) {
        let shown = self.shown;
        let Some((summary, lock)) = shown.lock(id) else {
            let label = shown.part.profile.locks.info(id).label();
            self.heading(one_line(&label));
            return self.say("No thread has waited for it in this part of the recording.");
        };
        self.heading(format!("{} at {:#x}", one_line(&lock.label), lock.address));
        let all = shown.all.as_deref().and_then(|all| all.lock(id)).map(|(_, lock)| lock.wait);
        self.waits(&lock.wait, all.as_ref());
        let of = |part: f64| percent(if lock.wait.total_s > 0.0 { part / lock.wait.total_s } else { 0.0 });
        self.say(&format!(
            "{}; waited for {} of the time; it changed hands {}. Of the waiting {} is put down to holders, \
             {} to hand-overs, {} is unknown",
            plural(lock.parked, "sleep"),
            percent(lock.contended_fraction),
            plural(lock.owner_changes, "time"),
            of(lock.caused_s),
            of(lock.gap_s),
            of(lock.unknown_s)
        ));
        for off in lock.holder_off_cpu.iter().take(3) {
            let doing = off.syscall.as_deref().unwrap_or(&off.state);
            let place = off.by.stack.first().map_or_else(String::new, |at| format!(" in {at}"));
            let who = label(&off.by.thread, off.by.tid);
            self.say(&format!("{} of it while {who} did not run ({doing}){place}", duration(off.by.seconds)));
        }
        let whole = summary.contention.waits.total_ns;
        self.blamed("Holders: who held it meanwhile, and where", &summary.contention.by_holder, whole, None);
        self.blamed("Waiters: who waited, and where", &summary.contention.by_waiter, whole, None);
        self.blamed(
            "Releasers: who let go of it in the end, and where",
            &summary.contention.by_releaser,
            whole,
            None,
        );
        self.histogram(&summary.contention.lengths);
        self.over_time("Threads that waited for it", |moment| moment.locks.get(&id).copied().unwrap_or(0.0), "");
    }

    fn object(&mut self, address: u64) {
        let refcounts = &self.shown.report.refcounts;
        let Some(object) = refcounts.objects.iter().find(|object| object.address == address) else {
            return self.say("No thread was held up by its count in this part of the recording.");
        };
        let length = object.length.map_or_else(String::new, |length| format!(", {length} items"));
        self.heading(format!("{} at {address:#x}{length}", one_line(&object.label)));
        let owner = object.owner.as_ref().map_or_else(|| "nobody".to_owned(), |owner| one_line(owner));
        self.say(&format!(
            "its count takes {} of the CPU time (estimated from {} samples, {} of them at atomic operations); {}; \
             owned by {owner}; counted: {}",
            percent(object.cpu_fraction),
            object.samples,
            object.atomic,
            plural(object.threads as u64, "thread"),
            object.counting
        ));
        if let Some(advice) = &object.advice {
            self.say(&format!("{advice}."));
        }
        let all: u64 = object.stacks.iter().map(|sampled| sampled.samples).sum();
        self.heading("Who is held up, and where");
        for sampled in object.stacks.iter().take(MOST_STACKS * 2) {
            let part = percent(sampled.samples as f64 / all.max(1) as f64);
            self.push(Text::plain(format!("{part:>9}  {}", label(&sampled.thread, sampled.tid))));
            self.words(&sampled.stack, 12);
        }
    }

    fn pause(&mut self, list: List, index: usize) {
        let Some(Blamed { tid, thread, seconds, stack }) = list.of(&self.shown.report).get(index) else {
            return self.say("There was none in this part of the recording.");
        };
        let what = match list {
            List::Stopped => "stopped the others",
            List::LastToStop => "was the last to stop",
            List::Collected => "collected garbage, started here",
        };
        self.heading(format!("{} {what}: {}", label(thread, *tid), duration(*seconds)));
        self.words(stack, 4);
        let pauses = &self.shown.report.pauses;
        if pauses.count == 0 {
            return;
        }
        self.heading("How long threads were held up");
        let all = self.shown.all.as_deref().map(|all| all.report.pauses.wait);
        self.waits(&pauses.wait, all.as_ref());
        self.over_time("Threads that were held up", |moment| moment.paused, "");
    }

    fn function(&mut self, choice: &Choice, name: &str) {
        self.heading(name.to_owned());
        let calls = Calls::of(&self.shown.part.profile, choice);
        let whole = calls.nodes[0].total.max(1);
        let mut callers: Vec<(u64, u32)> = Vec::new();
        let mut callees: Vec<(u64, u32)> = Vec::new();
        let (mut total, mut own) = (0, 0);
        let mut stack: Vec<(u32, bool)> = vec![(0, false)];
        while let Some((at, inside)) = stack.pop() {
            let node = &calls.nodes[at as usize];
            let is_it = calls.label(at) == name;
            if is_it {
                own += node.own;
                total += if inside { 0 } else { node.total };
                callers.push((node.total, calls.nodes[node.parent as usize].label));
                callees.extend(node.children.iter().map(|&child| {
                    let child = &calls.nodes[child as usize];
                    (child.total, child.label)
                }));
            }
            stack.extend(node.children.iter().map(|&child| (child, inside || is_it)));
        }
        let share = |ns: u64| percent(ns as f64 / whole as f64);
        let seconds = |ns: u64| duration(ns as f64 / 1e9);
        self.say(&format!(
            "{} ({}) in itself, {} ({}) with what it called, of {} in the view",
            seconds(own),
            share(own),
            seconds(total),
            share(total),
            seconds(whole)
        ));
        for (heading, mut list) in [("Called by", callers), ("Calls", callees)] {
            list.sort_unstable_by_key(|&(_, label)| label);
            let mut merged: Vec<(u64, u32)> = Vec::new();
            for (ns, label) in list {
                match merged.last_mut() {
                    Some(last) if last.1 == label => last.0 += ns,
                    _ => merged.push((ns, label)),
                }
            }
            merged.sort_unstable_by_key(|&(ns, label)| (std::cmp::Reverse(ns), label));
            if merged.is_empty() {
                continue;
            }
            self.heading(heading);
            for (ns, label) in merged.into_iter().take(12) {
                let text = calls.labels[label as usize].0.as_str();
                let text = if label == 0 { "(nothing: a thread begins here)" } else { text };
                self.push(Text::plain(format!("{:>9} {:>6}  {text}", seconds(ns), share(ns))));
            }
        }
    }

    fn finding(&mut self, index: usize) {
        let Some(finding) = self.shown.report.findings.get(index) else {
            return self.say("It is no longer true.");
        };
        self.heading(finding.id.clone());
        self.say(&one_line(&finding.message));
        self.heading("Evidence");
        for (name, value) in &finding.evidence {
            self.say(&format!("{name:<36} {}", one_line(&value.to_string())));
        }
    }
}
