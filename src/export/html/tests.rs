use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::*;
use crate::event::{Event, ThreadId, ThreadState};
use crate::export::{View, fixture};
use crate::intern::StackId;

fn page(profile: &Profile, options: &Options) -> String {
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
    let options = Options { view: View::GilWait, threads: true, ..Options::default() };
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
    let data = data(&page(&fixture::profile(), &Options::default()));
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
    let page = page(&profile, &Options::default());
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
    let page = page(&Profile::default(), &Options::default());
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
    let page = page(&Profile::default(), &Options::default());
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
    let mut table = data::StateTable::default();
    let mut stacks = stacks::Stacks::new(&profile);
    let (lanes, notes) = lanes::lanes_of(&profile, &[], &mut table, &mut stacks, [200, 10, 10]).unwrap();
    let lanes = serde_json::to_value(lanes).unwrap();
    let rows = lanes["threads"].as_array().unwrap();
    let total: usize = rows.iter().map(|row| row["what"].as_array().unwrap().len()).sum();
    assert!(total <= 200, "{total}");
    assert!(rows[0]["merged"].as_array().is_some_and(|merged| !merged.is_empty()));
    assert!(notes.len() == 1 && notes[0].starts_with("the timeline has "), "{notes:?}");
    assert!(rows[1]["merged"].is_null(), "short rows stay as they are");
}
