use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::*;
use crate::event::{Event, ThreadId, ThreadState};
use crate::export::{View, fixture};
use crate::stack::StackId;

fn page(profile: &Profile, options: &ExportOptions) -> String {
    let mut out = Vec::new();
    write(profile, options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn data(page: &str) -> Value {
    let packed = page.split("id=\"data\">").nth(1).unwrap().split('<').next().unwrap();
    let mut json = String::new();
    GzDecoder::new(&*BASE64.decode(packed).unwrap()).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

#[test]
fn a_page_has_the_profile_in_it() {
    let options = ExportOptions { view: View::GilWait, threads: true, ..ExportOptions::default() };
    let data = data(&page(&fixture::profile(), &options));
    assert_eq!(data["report"]["schema"], "gilscope-report/1");
    let processes: Vec<&Value> =
        data["threads"].as_array().unwrap().iter().map(|thread| &thread["process"]).collect();
    assert_eq!(processes, [0, 0, 1]);
    assert_eq!(data["views"][data["view"].as_u64().unwrap() as usize]["name"], "gil-wait");
    assert_eq!((&data["by_thread"], &data["by_function"]), (&true.into(), &false.into()));
    // Each view has what the other formats have.
    for view in data["views"].as_array().unwrap() {
        let expected = match view["name"].as_str().unwrap() {
            "cpu" => 6,
            "wall" => 14,
            "gil-hold" => 5,
            "gil-wait" => 3,
            "lock-wait" | "refcount" => 0,
            "offcpu" => 8,
            name => panic!("a view that this test does not know: {name}"),
        };
        assert_eq!(numbers(&view["amounts"]).iter().sum::<u64>(), expected, "{view}");
        assert_eq!(numbers(&view["stacks"]).len(), numbers(&view["threads"]).len());
    }
    assert_eq!(data["notes"], serde_json::json!([]));
}

#[test]
fn rows_of_the_timeline_are_as_long_as_the_threads_lived() {
    let data = data(&page(&fixture::profile(), &ExportOptions::default()));
    let lanes = data["timeline"]["threads"].as_array().unwrap();
    let length = |lane: &Value| numbers(&lane["lengths"]).iter().sum::<u64>();
    assert_eq!(lanes.iter().map(length).collect::<Vec<_>>(), [6000, 6000, 9000]);
    assert_eq!(data["timeline"]["length"], 10_000);
    assert_eq!(numbers(&lanes[0]["gaps"]).iter().sum::<u64>(), 0);
}

#[test]
fn hostile_names_stay_text() {
    let hostile = "</script><img src=x onerror=alert(1)><!--<script>&\"'";
    let mut profile = fixture::profile();
    profile.push(&Event::ThreadNamed { thread: ThreadId(0), name: hostile.into() });
    let info = std::sync::Arc::make_mut(&mut profile.processes[0]);
    info.command = vec![hostile.to_owned(), "{{data}}{{script}}".to_owned()];
    let page = page(&profile, &ExportOptions::default());
    assert!(!page.contains("<img") && !page.contains("</script><"), "names are escaped or encoded");
    assert_eq!(page.matches("</script>").count(), 2);
    assert_eq!(page.matches("<script").count(), 2);
    assert!(page.contains("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&lt;!--&lt;script&gt;&amp;&quot;&#39;"));
    assert!(page.contains("<title>&lt;/script&gt;") && page.contains("{{data}}{{script}} - gilscope</title>"));
    let data = data(&page);
    assert_eq!(data["report"]["threads"][0]["name"], hostile);
}

#[test]
fn the_policy_names_what_is_in_the_page_and_forbids_the_rest() {
    let page = page(&Profile::default(), &ExportOptions::default());
    let within = |start: &str, end: &str| page.split(start).nth(1).unwrap().split(end).next().unwrap().to_owned();
    let policy = within("Content-Security-Policy\" content=\"", "\"");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains(&format!("script-src '{}'", hash(&within("<script>", "</script>")))), "{policy}");
    assert!(policy.contains(&format!("style-src '{}'", hash(&within("<style>", "</style>")))), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("//cdn"), "nothing is elsewhere");
}

#[test]
fn an_empty_profile_is_a_page_that_can_be_read() {
    let page = page(&Profile::default(), &ExportOptions::default());
    assert!(page.starts_with("<!doctype html>") && page.contains("<title>gilscope</title>"));
    let data = data(&page);
    assert_eq!((&data["report"]["threads"], &data["timeline"]["length"]), (&serde_json::json!([]), &0.into()));
}

#[test]
fn long_timelines_are_cut_and_it_is_said() {
    let mut profile = fixture::profile();
    profile.session.mode = crate::profile::Mode::Memory;
    let states = [ThreadState::GilHeld, ThreadState::GilWait];
    for tick in 0..5000u64 {
        profile.push(&fixture::sample(0, 2_000_000_000 + tick * 1000, states[tick as usize % 2], StackId::EMPTY));
    }
    let mut table = data::PageStates::default();
    let mut stacks = stacks::PageStacks::new(&profile);
    let (lanes, notes) = lanes::lanes_of(&profile, &[], &mut table, &mut stacks, [200, 10, 10]).unwrap();
    let lanes = serde_json::to_value(lanes).unwrap();
    let rows = lanes["threads"].as_array().unwrap();
    let total: usize = rows.iter().map(|row| row["what"].as_array().unwrap().len()).sum();
    assert!(total <= 200, "{total}");
    assert!(rows[0]["merged"].as_array().is_some_and(|merged| !merged.is_empty()));
    assert!(notes.len() == 1 && notes[0].starts_with("the timeline has "), "{notes:?}");
    assert!(rows[1]["merged"].is_null(), "short rows stay as they are");
}

#[test]
fn a_state_is_of_the_class_that_the_report_has_its_time_in() {
    use crate::event::{LockId, LockInfo, LockKind, Nanos, ProcessId, Syscall};
    use ThreadState::*;
    let (call, lock) = (Syscall(0), LockId(0));
    let held = [GilHeld, GilHeldNative, GilHeldRunnable, GilHeldOffCpu(call), GilWait];
    let rest = [LockWait(lock), Paused(lock), Running, Native, Runnable, Blocked(call), Stopped, Unknown];
    for state in held.into_iter().chain(rest) {
        let mut profile = Profile::default();
        profile.keep_timeline();
        (profile.session.end, profile.session.rate_hz) = (Nanos(3_000_000_000), 100.0);
        fixture::start(&mut profile, 7, &[70]);
        let info = LockInfo { process: ProcessId(0), address: 1, kind: LockKind::Lock, type_name: None, name: None };
        profile.push(&Event::Lock { lock, info: info.into() });
        for at in [1_000_000_000, 1_010_000_000, 2_000_000_000] {
            profile.push(&fixture::sample(0, at, state, StackId::EMPTY));
        }
        let data = data(&page(&profile, &ExportOptions::default()));
        let states = data["report"]["threads"][0]["states"].as_object().unwrap();
        let used: Vec<&String> =
            states.iter().filter(|(_, time)| time.as_f64() > Some(0.0)).map(|(key, _)| key).collect();
        let classes: Vec<&Value> = data["states"].as_array().unwrap().iter().map(|state| &state["class"]).collect();
        assert_eq!(used, classes, "{state:?}");
    }
}

#[test]
fn numbers_are_samples_in_memory_mode_and_time_in_kernel_mode() {
    use crate::profile::Mode;
    let timed = |mode| {
        let mut profile = fixture::profile();
        profile.session.mode = mode;
        let data = data(&page(&profile, &ExportOptions::default()));
        assert_eq!(data["period"], 10_000.0, "microseconds");
        let views = data["views"].as_array().unwrap().iter().filter(|view| view["timed"] == true);
        views.map(|view| view["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(timed(Mode::Memory), [""; 0]);
    assert_eq!(timed(Mode::Kernel), ["wall", "gil-hold", "gil-wait", "lock-wait", "offcpu"]);
}

#[test]
fn who_held_it_and_who_waited_are_not_mixed_up() {
    use crate::contention::{Hold, Timeline};
    use crate::event::{GilInfo, Nanos, OffCpu, ProcessId};
    use crate::export::contended::{ContendedKind, ContendedTrack};
    let mut profile = Profile::default();
    profile.keep_timeline();
    profile.session.mode = crate::profile::Mode::Kernel;
    profile.session.end = Nanos(100_000);
    fixture::start(&mut profile, 7, &[70, 71, 72]);
    profile.threads.iter_mut().for_each(|thread| (thread.start, thread.end) = (Nanos(0), Nanos(0)));
    let (thread, start, end, state) = (ThreadId(1), Nanos(10_000), Nanos(40_000), ThreadState::GilWait);
    let stack = StackId::EMPTY;
    let off = OffCpu::new(thread, start, end, state, stack);
    profile.push(&Event::OffCpu(off));
    let info = GilInfo { process: ProcessId(0), interpreter: 0, enabled: true, switch_interval_ns: 1 };
    let hold = |thread, from, to| Hold { start: Nanos(from), end: Nanos(to), thread: ThreadId(thread) };
    let holds = vec![hold(2, 5_000, 30_000), hold(0, 30_000, 40_000), hold(1, 40_000, 50_000)];
    let waiters = vec![(Nanos(10_000), 1), (Nanos(40_000), 0)];
    let timeline = Timeline { holds, waiters, ..Timeline::default() };
    let gil = [ContendedTrack { process: ProcessId(0), what: ContendedKind::Gil(&info), timeline: &timeline }];
    assert_eq!(whom::whom(&profile, &gil), [vec![(1, 2, 20_000), (1, 0, 10_000)]], "waiter, holder, time");
    let mut table = data::PageStates::default();
    let mut stacks = stacks::PageStacks::new(&profile);
    let (lanes, _) = lanes::lanes(&profile, &gil, &mut table, &mut stacks).unwrap();
    let lane = &serde_json::to_value(lanes).unwrap()["contended"][0];
    assert_eq!(
        (numbers(&lane["holds"]["what"]), numbers(&lane["holds"]["lengths"])),
        (vec![2, 0, 1], vec![25, 10, 10])
    );
    assert_eq!(lane["waiters"], serde_json::json!([[10, 1], [30, 0]]));
}

#[test]
fn the_page_is_told_of_the_filter() {
    let mut profile = fixture::profile();
    profile.session.filter = Some("thread <worker>".to_owned());
    let page = page(&profile, &ExportOptions::default());
    assert_eq!(data(&page)["report"]["session"]["filter"], "thread <worker>");
    assert!(page.contains("only a part of it: thread &lt;worker&gt;"), "where scripts are switched off");
}
