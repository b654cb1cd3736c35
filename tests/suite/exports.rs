//! Files that gilscope writes, opened by what they are for. `tests/viewers` provides these programs; a test that lacks
//! one is reported as not measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{self, Done, Python, Words, folder, gilscope, not_measured, not_measured_in_part, run, until};

/// Where `tests/viewers` has put a program.
fn viewer(name: &str) -> &'static Path {
    static VIEWERS: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let viewers = VIEWERS.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/viewers");
        let output = Command::new(script).arg("--offline").output().expect("tests/viewers can be run");
        let table = String::from_utf8(output.stdout).unwrap();
        let rows = table.lines().filter_map(|line| line.split_once('\t'));
        rows.map(|(name, path)| (name.to_owned(), PathBuf::from(path))).collect()
    });
    viewers.get(name).unwrap_or_else(|| not_measured(&format!("no {name} (see tests/viewers)")))
}

/// Three threads that fight for the GIL, recorded into a file; in kernel mode if that can be.
#[track_caller]
fn record(out: &Path, options: &[&str]) -> Done {
    let python = Python::usual();
    let mut words = python.words();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gil_fight.py");
    words.extend([script.display().to_string(), "1".to_owned()]);
    let mode = if is_exact() { "kernel" } else { "memory" };
    let options: Vec<&str> = ["--mode", mode].iter().chain(options).copied().collect();
    let done = run(support::recording(out, &options, &Words::of(words)));
    done.ok();
    done
}

/// Whether waits can be measured here. Where they cannot, that part of the test is reported as not measured.
fn is_exact() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        not_measured_in_part("not root: waits are estimated");
    }
    is_root
}

/// What a page is after its scripts have run.
#[track_caller]
fn browse(chromium: &Path, folder: &Path, url: &str) -> String {
    let mut command = Command::new(chromium);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]);
    command.args(["--allow-file-access-from-files", "--virtual-time-budget=10000"]);
    command.arg(format!("--user-data-dir={}", folder.join("chromium").display())).arg(url);
    run(command).ok().to_owned()
}

/// Acts as a user would, and leaves what came of it in attributes of the root.
const USE_FLAME_GRAPH: &str = r##"<script><![CDATA[
window.addEventListener("load", () => setTimeout(() => {
    const root = document.documentElement;
    const frame = [...document.querySelectorAll("#frames g")]
        .filter(g => g.querySelector("title").textContent.startsWith("ask "))[0];
    const width = () => frame.querySelector("rect").getBoundingClientRect().width;
    root.setAttribute("before", width());
    frame.querySelector("rect").dispatchEvent(new MouseEvent("click", { bubbles: true }));
    root.setAttribute("zoomed", width());
    root.setAttribute("whole", document.querySelector("#frames").getBoundingClientRect().width);
    document.querySelector("#unzoom").dispatchEvent(new MouseEvent("click", { bubbles: true }));
    root.setAttribute("after", width());
    window.prompt = () => "wait_for_answer";
    window.dispatchEvent(new KeyboardEvent("keydown", { keyCode: 114 }));
    root.setAttribute("matched", document.querySelector("#matched").textContent);
}, 500));
]]></script></svg>"##;

#[test]
fn a_flame_graph_can_be_zoomed_and_searched_in_a_browser() {
    let chromium = viewer("chromium");
    let folder = folder();
    let svg = folder.path().join("wait.svg");
    record(&svg, &["--view", "gil-wait", "--threads"]);
    let text = fs::read_to_string(&svg).unwrap();
    assert!(text.contains(">Waiting for the GIL: "), "no title");
    // At the end of the outermost picture.
    let end = text.rfind("</svg>").unwrap();
    fs::write(&svg, format!("{}{USE_FLAME_GRAPH}", &text[..end])).unwrap();
    let page = browse(chromium, folder.path(), &format!("file://{}", svg.display()));
    let root = page.split_once("<svg").unwrap().1.split_once('>').unwrap().0.to_owned();
    let attribute = |name: &str| {
        let rest = root.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name} in {root}")).1;
        rest.split_once('"').unwrap().0.to_owned()
    };
    let number = |name: &str| attribute(name).parse::<f64>().unwrap();
    assert!(number("before") < 0.99 * number("whole"), "{root}");
    assert!(number("zoomed") > 0.99 * number("whole"), "{root}");
    assert!((number("after") - number("before")).abs() < 1.0, "{root}");
    let matched = attribute("matched");
    let share: f64 = matched.trim_start_matches("Matched: ").trim_end_matches('%').parse().unwrap();
    assert!(share > 10.0, "the client waits for its answers: {matched}");
}

#[test]
fn speedscope_opens_threads_side_by_side() {
    let (chromium, speedscope) = (viewer("chromium"), viewer("speedscope"));
    let folder = folder();
    let file = folder.path().join("app.speedscope.json");
    record(&file, &["--view", "wall"]);
    let profile: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let profiles = profile["profiles"].as_array().unwrap();
    let bounds = |profile: &Value| (profile["startValue"].as_u64().unwrap(), profile["endValue"].as_u64().unwrap());
    assert!(profiles.len() >= 3 && profiles.iter().all(|profile| bounds(profile) == bounds(&profiles[0])));
    // As speedscope's own command hands a file over.
    let script = folder.path().join("app.js");
    let load = "const bytes = new TextEncoder().encode(JSON.stringify(profile)); let text = ''; \
                bytes.forEach(byte => text += String.fromCharCode(byte)); \
                speedscope.loadFileFromBase64('app.speedscope.json', btoa(text));";
    fs::write(&script, format!("const profile = {profile}; {load}")).unwrap();
    let url = format!("file://{}#localProfilePath={}", speedscope.display(), script.display());
    let page = browse(chromium, folder.path(), &url);
    let active = profile["activeProfileIndex"].as_u64().unwrap() as usize;
    let name = profiles[active]["name"].as_str().unwrap();
    assert!(page.contains(name), "{name} is not shown: {page}");
    assert!(page.contains(&format!("({}/{})", active + 1, profiles.len())), "{page}");
}

#[test]
fn the_firefox_profiler_shows_threads_waits_and_stacks() {
    let profiler = viewer("profiler-cli");
    let folder = folder();
    let file = folder.path().join("app.firefox.json");
    record(&file, &[]);
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(profiler);
        command.args(arguments).args(["--session", "test"]).env("PROFILER_CLI_SESSION_DIR", folder.path());
        run(command)
    };
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(ask(arguments).ok()).unwrap() };
    // It gives its server half a second to start, which is not always enough.
    let path = file.display().to_string();
    let load = || {
        let done = ask(&["load", &path]);
        if let Some((_, rest)) = done.stderr.split_once("running as pid ") {
            let pid = rest.split(|char: char| !char.is_ascii_digit()).next().unwrap();
            let _ = kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL);
        }
        (done.code == 0).then_some(())
    };
    until("the profiler", load);
    // The server must not outlive this test, whatever comes.
    let results = std::panic::catch_unwind(|| {
        let info = json(&["profile", "info", "--all", "--json"]);
        let threads = info["processes"][0]["threads"].as_array().unwrap().clone();
        let handle = |name: &str| {
            let of_name = threads.iter().filter(|thread| thread["name"] == name);
            let busiest =
                of_name.max_by(|a, b| a["cpuMs"].as_f64().unwrap().total_cmp(&b["cpuMs"].as_f64().unwrap()));
            let thread = busiest.unwrap_or_else(|| panic!("no {name}: {info:#}"));
            (thread["threadHandle"].as_str().unwrap().to_owned(), thread["cpuMs"].as_f64().unwrap())
        };
        let ((cruncher, busy), (client, idle)) = (handle("cruncher"), handle("client"));
        assert!(busy > 2.0 * idle, "{busy} ms, {idle} ms");
        ask(&["thread", "select", &client]).ok();
        let markers = json(&["thread", "markers", "--json"]);
        ask(&["thread", "select", &cruncher]).ok();
        (markers, ask(&["thread", "functions"]).ok().to_owned())
    });
    ask(&["stop", "test"]);
    let (markers, functions) = results.unwrap();
    let waits = &markers["byType"][0];
    assert_eq!((&waits["markerName"], &waits["isInterval"]), (&"GIL wait".into(), &true.into()), "{markers:#}");
    // The longest of all may be that of a thread that has just started, and has no stack yet; or of one that had the GIL for
    // the taking, but no CPU.
    let is_explained = |marker: &Value| {
        let label = marker["label"].as_str().unwrap_or_default();
        let is_named = ["cruncher (", "legacy ("].iter().any(|holder| label.contains(holder));
        marker["hasStack"] == true && (is_named || !is_exact())
    };
    let mut longest = waits["topMarkers"].as_array().unwrap().iter().take(4);
    assert!(longest.any(is_explained), "{markers:#}");
    assert!(functions.contains("is_prime (gil_fight.py:"), "{functions}");
}

#[test]
fn go_reads_waits_as_contentions() {
    let pprof = viewer("pprof");
    let folder = folder();
    let file = folder.path().join("app.pb.gz");
    record(&file, &["--view", "gil-wait"]);
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(pprof);
        command.env("PPROF_TMPDIR", folder.path()).env("HOME", folder.path()).args(arguments).arg(&file);
        run(command).ok().to_owned()
    };
    let raw = ask(&["-raw"]);
    let counted = if is_exact() { "contentions" } else { "samples" };
    assert!(raw.contains(&format!("{counted}/count delay/nanoseconds[dflt]")), "{raw}");
    assert!(raw.contains("thread name:[client]") && raw.contains("lock name:[GIL]"), "{raw}");
    let line = raw.lines().find_map(|line| line.strip_prefix("Time: ")).expect("a time");
    assert!(line.starts_with("20") && !line.starts_with("2000"), "{line}");
    let top = ask(&["-top", "-cum", "-nodecount=100"]);
    let share = |name: &str| -> f64 {
        let line = top.lines().find(|line| line.ends_with(name)).unwrap_or_else(|| panic!("no {name}: {top}"));
        line.split_whitespace().nth(4).unwrap().trim_end_matches('%').parse().unwrap()
    };
    assert_eq!(share("[waiting for GIL]"), 100.0);
    assert!(share("wait_for_answer") > 10.0, "{top}");
}

#[test]
fn perfetto_knows_tracks_waits_and_who_held_the_gil() {
    let python = viewer("perfetto-python");
    let folder = folder();
    let file = folder.path().join("app.pftrace");
    record(&file, &[]);
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/pftrace.py")).arg(&file);
    let trace: Value = serde_json::from_str(run(command).ok()).unwrap();
    assert_eq!(trace["clocks"][0], 3, "CLOCK_MONOTONIC");
    let tracks = trace["tracks"].as_object().unwrap();
    let with = |key: &str, value: &str| -> Vec<&str> {
        tracks.iter().filter(|(_, track)| track[key] == value).map(|(uuid, _)| uuid.as_str()).collect()
    };
    let slices = |uuid: &str| -> Vec<&Value> {
        let slices = trace["slices"].as_array().unwrap();
        slices.iter().filter(|slice| slice["track"] == uuid).collect()
    };
    let process = tracks.values().find(|track| track["process"].as_str().unwrap().contains("gil_fight.py")).unwrap();
    let [cruncher] = *with("thread", "cruncher") else { panic!("{tracks:#?}") };
    assert_eq!(tracks[cruncher]["pid"], process["pid"]);
    assert!(slices(cruncher).iter().all(|slice| slice["depth"] == 0), "states do not nest");
    let frames = tracks.iter().find(|(_, track)| track["parent"] == cruncher).unwrap().0;
    let is_prime = |slice: &&Value| slice["name"].as_str().unwrap().starts_with("is_prime (gil_fight.py:");
    assert!(slices(frames).iter().any(is_prime));

    // The one that fights for the GIL, not the one that was alone with it before.
    let waits = |uuid: &&str| -> Vec<Value> {
        slices(uuid).into_iter().filter(|slice| slice["name"] == "GIL wait").cloned().collect()
    };
    let client = with("thread", "client").into_iter().max_by_key(|uuid| waits(uuid).len()).unwrap();
    let waits = waits(&client);
    let is_answer = |frame: &Value| frame.as_str().unwrap().starts_with("wait_for_answer (");
    let innermost = |wait: &&Value| wait["stack"].as_array().and_then(|stack| stack.last()).is_some_and(is_answer);
    assert!(waits.iter().any(|wait| innermost(&wait)), "{waits:#?}");
    if !is_exact() {
        return;
    }
    let held_by = |who: &str| waits.iter().any(|wait| wait["args"]["holders"].to_string().contains(who));
    assert!(held_by("cruncher ("), "{waits:#?}");
    let [gil] = *with("name", "GIL") else { panic!("{tracks:#?}") };
    assert!(slices(gil).iter().any(|slice| slice["name"].as_str().unwrap().starts_with("cruncher (")));
    let [waiters] = *with("name", "GIL waiters") else { panic!("{tracks:#?}") };
    assert_eq!(tracks[waiters]["counter"], "threads");
    let counts = trace["counters"].as_array().unwrap().iter();
    assert!(counts.filter(|count| count["track"] == waiters).any(|count| count["value"] == 1));
    let flows = trace["flows"].as_array().unwrap();
    assert!(flows.iter().any(|flow| flow[0] == cruncher && flow[1] == client), "{flows:?}");
}

#[test]
fn a_difference_is_drawn_of_two_recordings() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    record(&path("a.collapsed"), &["--view", "wall"]);
    record(&path("b.collapsed"), &["--view", "wall"]);
    let diff = |before: &str, after: &str| {
        let mut command = gilscope(["diff", "-o"]);
        command.arg(path("d.svg")).arg(path(before)).arg(path(after));
        run(command)
    };
    assert!(diff("a.collapsed", "b.collapsed").stderr.contains("written to"));
    let svg = fs::read_to_string(path("d.svg")).unwrap();
    assert!(svg.contains("From a.collapsed to b.collapsed") && svg.contains("<title>ask (gil_fight.py:"));
    assert!(diff("d.svg", "a.collapsed").failed().contains("no folded stacks"));
    assert!(diff("missing", "a.collapsed").failed().contains("cannot read"));
}
