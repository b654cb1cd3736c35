//! The HTML report, opened in a headless Chromium and clicked through.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::browser::Browser;
use crate::support::{self, Done, Python, folder, run};

/// Records a script, and makes a page of the recording. In place of what `record` printed comes what `report` does.
fn recorded(folder: &Path, script: &str, arguments: &[&str], mode: &str) -> (PathBuf, Done) {
    let recording = folder.join(format!("{script}.{mode}.gscope"));
    let page = recording.with_extension("html");
    let program = Python::usual().script(script, arguments);
    let mut done = run(support::recording(&recording, &["--mode", mode], &program));
    done.ok();
    run(support::gilscope([Path::new("export"), &recording, Path::new("-o"), &page])).ok();
    done.stderr = run(support::gilscope([Path::new("report"), &recording])).ok().to_owned();
    (page, done)
}

/// The first number after `word` in what a target printed.
fn printed(done: &Done, word: &str) -> f64 {
    let rest = done.stdout.split(word).nth(1).unwrap_or_else(|| panic!("no {word}: {}", done.stdout));
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Text of everything that matches, on one line.
fn text_of(browser: &mut Browser, selector: &str) -> String {
    let all =
        format!("[...document.querySelectorAll({})].map((one) => one.textContent).join(' | ')", json!(selector));
    browser.text(&all)
}

/// Text with too little contrast to what is behind it, by the WCAG: `[contrast, text]`.
const HARD_TO_READ: &str = r"(() => {
  const channels = (color) => {
    const ink = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    ink.fillStyle = color;
    ink.fillRect(0, 0, 1, 1);
    return [...ink.getImageData(0, 0, 1, 1).data];
  };
  const seen = new Map();
  const rgba = (color) => seen.get(color) ?? (seen.set(color, channels(color)), seen.get(color));
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const bad = [];
  for (const one of document.querySelectorAll('body *')) {
    const own = [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim() !== '');
    if (!own || one.disabled || one.checkVisibility?.() === false || one.closest('noscript, script, option')) continue;
    let behind = one;
    while (behind.parentElement && rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
    const [a, b] = [rgba(getComputedStyle(one).color), rgba(getComputedStyle(behind).backgroundColor)].map(light);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) bad.push([contrast, one.className, one.textContent.slice(0, 40)]);
  }
  return bad;
})()";

#[test]
fn a_page_says_who_held_the_gil_and_can_be_clicked_through() {
    let mut browser = Browser::start();
    let folder = folder();
    let (file, done) = recorded(folder.path(), "stall.py", &["1.5"], "kernel");
    browser.screen(1280, false);
    browser.open(&file);

    // The same words and numbers as in the terminal.
    let verdict = text_of(&mut browser, ".verdict p");
    assert!(
        verdict.starts_with("Biggest cost: victim waits") && done.stderr.contains(&verdict[..33]),
        "{verdict}\n{}",
        done.stderr
    );
    let check = text_of(&mut browser, "#gil .check code").replace(" | ", " ");
    assert!(done.stderr.contains(check.trim()), "{check} is not in\n{}", done.stderr);
    let findings = browser.eval("document.querySelectorAll('.finding').length");
    let listed =
        done.stderr.lines().filter(|line| ["HIGH: ", "MEDIUM: ", "LOW: "].iter().any(|of| line.starts_with(of)));
    assert_eq!(findings, listed.count());

    // By construction: the holder sleeps with the GIL in `holding`, and the victim waits for that.
    let holder = text_of(&mut browser, "#gil .blamed li:first-child .who");
    assert!(holder.starts_with("holder ("), "{holder}");
    let place = text_of(&mut browser, "#gil .panel .blamed > li:first-child .stack li:first-child");
    assert!(place.contains("holding (stall.py:"), "{place}");
    let waits =
        "[...document.querySelectorAll('#gil tbody tr')].find((row) => row.textContent.includes('victim')).cells";
    let total = browser.text(&format!("{waits}[2].textContent"));
    let printed = done.stderr.lines().find(|line| line.starts_with("victim ") && line.contains(&total));
    assert!(printed.is_some(), "{total} is not in\n{}", done.stderr);
    let matrix = text_of(&mut browser, ".matrix thead th:nth-child(2)");
    assert!(matrix.starts_with("holder ("), "{matrix}");
    // Bars of a thread's states add up to its time.
    let sums = browser.eval(
        "[...document.querySelectorAll('#threads .bar')].map((bar) => [...bar.children].reduce((sum, one) => sum + \
         Number(one.style.flexGrow), 0))",
    );
    assert!(sums.as_array().unwrap().iter().all(|sum| (sum.as_f64().unwrap() - 1.0).abs() < 0.001), "{sums}");

    // Views, search and zoom.
    browser.click("[data-view='gil-wait']");
    let title = text_of(&mut browser, ".flame-title");
    assert!(title.starts_with("Waiting for the GIL: "), "{title}");
    let waited = browser.text("document.querySelector('#gil .fact:nth-child(4) strong').textContent");
    assert_eq!(title.strip_prefix("Waiting for the GIL: ").unwrap()[..3], waited[..3], "{title}, {waited}");
    assert!(text_of(&mut browser, ".flame .box").contains("victim (stall.py:"));
    browser.eval("(() => { const one = document.querySelector('input[type=search]'); one.value = 'VICTIM'; one.dispatchEvent(new Event('input')); })()");
    assert!(text_of(&mut browser, ".flame .hit").contains("victim (stall.py:"));
    let status = text_of(&mut browser, "#flame .status");
    assert!(status.contains("Found: ") && !status.contains("Found: 0 %"), "{status}");
    browser.eval("document.querySelector('.flame .hit').dataset.test = 'hit'");
    browser.click("[data-test=hit]");
    assert!(text_of(&mut browser, "#flame .status").contains("victim (stall.py:"));
    let widths = "[...document.querySelectorAll('.flame .hit')].map((one) => parseFloat(one.style.width))[0]";
    assert_eq!(browser.eval(widths), 100);
    assert!(browser.text("document.activeElement.textContent").contains("victim"));
    browser.key("ArrowUp");
    assert!(browser.text("document.activeElement.ariaLabel").contains("threading.py"));
    browser.key("Escape");
    assert_eq!(browser.text("document.activeElement.textContent"), "all");
    // A thread's name leads to its flame graph.
    browser.eval("[...document.querySelectorAll('#threads tbody button')].find((one) => one.textContent.startsWith('holder')).dataset.test = 'thread'");
    browser.click("[data-test=thread]");
    let boxes = text_of(&mut browser, ".flame .box");
    assert!(boxes.contains("holding (stall.py:") && !boxes.contains("victim (stall.py:"), "{boxes}");
    assert!(text_of(&mut browser, ".flame-title").starts_with("Wall clock: "));

    // The timeline: zoom and back, by keys and by mouse; a stretch tells who was in the way.
    let all = text_of(&mut browser, ".where");
    browser.click(".lanes");
    browser.key("+");
    until_changed(&mut browser, &all);
    browser.key("0");
    let back = support::until("all of it", || Some(text_of(&mut browser, ".where")).filter(|now| *now == all));
    assert!(back.starts_with("0 to "), "{back}");
    browser.eval("document.querySelector('.lanes').dispatchEvent(new WheelEvent('wheel', {deltaY: -300, ctrlKey: true, clientX: 700, bubbles: true, cancelable: true}))");
    until_changed(&mut browser, &all);
    let rows = browser.eval("[...document.querySelectorAll('.lane-names span')].map((one) => one.textContent)");
    let victim =
        rows.as_array().unwrap().iter().position(|name| name.as_str().unwrap().starts_with("victim")).unwrap();
    assert_eq!(rows[0], "GIL: held by");
    browser.key("Escape");
    (0..=victim).for_each(|_| browser.key("ArrowDown"));
    let found = (0..200).any(|_| {
        browser.key(".");
        let detail = text_of(&mut browser, ".detail");
        detail.starts_with("victim (")
            && detail.contains("waits for the GIL for")
            && detail.contains("Held meanwhile by holder (")
    });
    assert!(found, "{}", text_of(&mut browser, ".detail"));
    assert!(text_of(&mut browser, ".detail .stack").contains("victim (stall.py:"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

fn until_changed(browser: &mut Browser, before: &str) {
    support::until("another part of the timeline", || (text_of(browser, ".where") != before).then_some(()));
}

#[test]
fn a_page_can_be_read_on_every_screen_and_on_paper() {
    let mut browser = Browser::start();
    let folder = folder();
    let (file, done) = recorded(folder.path(), "locks.py", &["lock", "1"], "kernel");
    for dark in [false, true] {
        for width in [1280, 360] {
            browser.screen(width, dark);
            browser.open(&file);
            browser.eval("document.querySelectorAll('details').forEach((one) => (one.open = true))");
            let wide = browser.eval("document.documentElement.scrollWidth").as_u64().unwrap();
            assert!(wide <= u64::from(width), "{wide} on {width}");
            assert_eq!(browser.eval(HARD_TO_READ), json!([]), "{width}, dark: {dark}");
            let back = browser.text("getComputedStyle(document.body).backgroundColor");
            assert_eq!(back == "rgb(255, 255, 255)", !dark, "{back}");
        }
    }
    // The button goes from what the system says to light and to dark.
    browser.click("#theme");
    assert_eq!(browser.text("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)");
    browser.click("#theme");
    assert_ne!(browser.text("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)");

    // By construction: the holder holds it in `hold_detached`, and the victim waits.
    let lock = text_of(&mut browser, "#locks tbody tr:first-child th");
    assert!(lock.starts_with("threading.Lock"), "{lock}");
    let card = "#locks .card:first-child";
    let holder = text_of(&mut browser, &format!("{card} .panel .blamed > li:first-child .stack li:first-child"));
    assert!(holder.contains("hold_detached (locks.py:"), "{holder}");
    browser.eval(&format!("[...document.querySelectorAll('{card} .choice button')].find((one) => one.textContent === 'Waiters').dataset.test = 'waiters'"));
    browser.click("[data-test=waiters]");
    let waiter = text_of(&mut browser, &format!("{card} .panel .blamed > li:first-child"));
    assert!(waiter.contains("victim (") && waiter.contains("use (locks.py:"), "{waiter}");
    let data = browser.eval(&format!("document.querySelector('{card} .fact strong').textContent"));
    let (value, unit) = data.as_str().unwrap().split_once(' ').unwrap();
    let seconds = value.parse::<f64>().unwrap() * if unit == "ms" { 1e-3 } else { 1.0 };
    // It waits, and then it may wait for a CPU.
    let waited = printed(&done, "WAITED");
    assert!((0.5..1.2).contains(&(seconds / waited)), "{seconds} s for {waited} s");
    // All waits are in the histogram.
    browser.eval(&format!("document.querySelectorAll('{card} details').forEach((one) => (one.open = true))"));
    let bars = "[...document.querySelectorAll('#locks .card:first-child .histogram td:last-child')].reduce((sum, one) => sum + Number(one.textContent.replaceAll(',', '')), 0)";
    let waits = browser
        .eval("Number(document.querySelector('#locks tbody td:nth-child(3)').textContent.replaceAll(',', ''))");
    let (bars, waits) = (browser.eval(bars).as_u64().unwrap(), waits.as_u64().unwrap());
    assert!(bars > 0 && bars <= waits && waits - bars <= 2, "{bars} of {waits}");

    // On paper all is light and open, and afterwards as before.
    let closed = "document.querySelectorAll('details:not([open])').length";
    browser.open(&file);
    let open = "document.querySelectorAll('details[open]').length";
    let before = browser.eval(open);
    assert_ne!(browser.eval(closed), 0);
    browser.eval("window.dispatchEvent(new Event('beforeprint'))");
    browser.call("Emulation.setEmulatedMedia", json!({"media": "print"}));
    assert_eq!(browser.eval(closed), 0);
    assert_eq!(browser.eval(HARD_TO_READ), json!([]));
    assert_eq!(browser.text("getComputedStyle(document.querySelector('nav')).display"), "none");
    browser.eval("window.dispatchEvent(new Event('afterprint'))");
    assert_eq!(browser.eval(open), before);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_page_of_a_part_says_which() {
    let mut browser = Browser::start();
    let folder = folder();
    let recording = folder.path().join("stall.gscope");
    run(support::recording(&recording, &["--mode", "memory"], &Python::usual().script("stall.py", &["0.5"]))).ok();
    for (options, filter) in
        [(&["--thread", "victim", "--from", "0.1"][..], "from 0.1 s on; thread victim"), (&[], "")]
    {
        let page = folder.path().join("part.html");
        let mut command = support::gilscope(["export", "-o"]);
        command.arg(&page).arg(&recording).args(options);
        run(command).ok();
        browser.open(&page);
        let listed = text_of(&mut browser, ".subject .filter");
        assert_eq!(listed, if filter.is_empty() { String::new() } else { format!("Only a part of it: {filter}") });
        let names = browser.eval("[...document.querySelectorAll('.lane-names span')].map((one) => one.textContent)");
        let others = names.as_array().unwrap().iter().any(|name| name.as_str().unwrap().starts_with("holder"));
        assert_eq!(others, filter.is_empty(), "{names}");
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_page_of_nothing_and_a_damaged_one_say_so() {
    let mut browser = Browser::start();
    let folder = folder();
    let (file, _) = recorded(folder.path(), "stall.py", &["0.3"], "memory");
    let page = fs::read_to_string(&file).unwrap();
    let packed = page.split("id=\"data\">").nth(1).unwrap().split('<').next().unwrap();
    let mut json = String::new();
    GzDecoder::new(&*BASE64.decode(packed).unwrap()).read_to_string(&mut json).unwrap();
    let mut data: Value = serde_json::from_str(&json).unwrap();
    let nothing = json!([]);
    for key in ["threads", "gils", "locks", "findings", "waiting_for_work"] {
        data["report"][key] = nothing.clone();
    }
    data["views"] = nothing.clone();
    data["verdicts"] = nothing.clone();
    data["timeline"] = json!({"length": 0, "threads": [], "contended": []});
    let mut pack = GzEncoder::new(Vec::new(), Compression::fast());
    pack.write_all(data.to_string().as_bytes()).unwrap();
    let empty = folder.path().join("empty.html");
    fs::write(&empty, page.replace(packed, &BASE64.encode(pack.finish().unwrap()))).unwrap();
    browser.open(&empty);
    assert!(text_of(&mut browser, ".verdict").contains("Nothing was recorded"), "{}", text_of(&mut browser, "main"));
    assert_eq!(browser.complaints(), Vec::<String>::new());

    let damaged = folder.path().join("damaged.html");
    fs::write(&damaged, page.replace(packed, &packed[..packed.len() / 8 * 4])).unwrap();
    browser.call("Page.navigate", json!({"url": format!("file://{}", damaged.display())}));
    let alert =
        support::until("a word", || Some(text_of(&mut browser, "[role=alert]")).filter(|text| !text.is_empty()));
    assert!(alert.contains("damaged or was cut off"), "{alert}");
}
