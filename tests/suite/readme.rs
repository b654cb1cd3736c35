//! The documents, held to the program that they describe: the commands of their examples run, the options, views, formats,
//! files and links that they name exist, and what they quote is what is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::geteuid;

use crate::support::{
    GILSCOPE, Proc, Python, Words, folder, gilscope, need_root, not_measured, not_measured_in_part, recording, run,
    until,
};

const MAX_README_LINES: usize = 200;
/// Top-level folders: a word in code font that begins with one is a path.
const FOLDERS: [&str; 7] = [".github/", "bench/", "docs/", "examples/", "release/", "src/", "tests/"];
/// The pid of the examples.
const EXAMPLE_PID: &str = "1234";

/// What the documents call `app.py`: it ends by itself if it was started by an example.
const APP: &str = r#"
import os, threading, time

deadline = time.monotonic() + float(os.environ.get("APP_SECONDS", "3"))
lock = threading.Lock()


def handle():
    with lock:
        time.sleep(0.002)
    return sum(range(20000))


def serve():
    while time.monotonic() < deadline:
        handle()


threads = [threading.Thread(target=serve, name=name) for name in ("worker", "other")]
for thread in threads:
    thread.start()
print("READY", flush=True)
for thread in threads:
    thread.join()
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Markdown file.
struct Document {
    /// Relative to the repository's root.
    path: PathBuf,
    text: String,
}

/// A fenced block of code.
struct Block<'d> {
    language: &'d str,
    /// With their numbers in the document, from 1.
    lines: Vec<(usize, &'d str)>,
}

impl Document {
    fn read(path: &str) -> Document {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Document { path: path.into(), text }
    }

    /// The README, CONTRIBUTING and all of `docs/`.
    fn for_users() -> Vec<Document> {
        let mut pages: Vec<String> = fs::read_dir(root().join("docs"))
            .unwrap()
            .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()))
            .filter(|path| path.ends_with(".md"))
            .collect();
        pages.sort();
        assert!(pages.len() >= 6, "{pages:?}");
        pages.extend(["README.md".to_owned(), "CONTRIBUTING.md".to_owned()]);
        pages.iter().map(|path| Document::read(path)).collect()
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// `README.md:12`
    fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.name())
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        let (mut blocks, mut open): (_, Option<Block>) = (Vec::new(), None);
        for (number, line) in (1..).zip(self.text.lines()) {
            match (line.strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(language), None) => open = Some(Block { language, lines: Vec::new() }),
                (None, Some(block)) => block.lines.push((number, line)),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", self.name());
        blocks
    }

    /// The text outside of fenced blocks, without the title.
    fn prose(&self) -> String {
        // Fences open and close a block in turn; what follows one in its line is not text.
        let parts = self.text.split("\n```");
        parts.step_by(2).map(|part| part.split_once('\n').map_or("", |(_, rest)| rest)).collect()
    }

    /// What is in code font in the prose.
    fn code_spans(&self) -> Vec<String> {
        let prose = self.prose();
        assert_eq!(prose.matches('`').count() % 2, 0, "{}: a backtick is missing", self.name());
        prose.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")).collect()
    }

    /// The examples that are meant to be run, with their line numbers.
    fn shell_lines(&self) -> Vec<(usize, &str)> {
        let blocks = self.blocks().into_iter().filter(|block| block.language == "sh");
        blocks.flat_map(|block| block.lines).filter(|(_, line)| !line.is_empty()).collect()
    }

    /// The rows of the table whose first column has this title.
    fn table(&self, title: &str) -> Vec<Vec<&str>> {
        let cells = |line| -> Vec<&str> { str::trim_matches(line, '|').split('|').map(str::trim).collect() };
        let mut lines = self.text.lines().skip_while(|line| !line.starts_with('|') || cells(line)[0] != title);
        assert!(lines.next().is_some(), "{} has no table of {title}", self.name());
        lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect()
    }

    /// What the first column of a table has in code font.
    fn first_column(&self, title: &str) -> BTreeSet<String> {
        let rows = self.table(title);
        rows.iter().flat_map(|row| row[0].split('`').skip(1).step_by(2)).map(str::to_owned).collect()
    }
}

/// A line of shell that runs gilscope, built or installed: the same with the built one.
fn gilscope_line(line: &str) -> Option<String> {
    let arguments = ["cargo run --release -- ", "python -m gilscope ", "gilscope "]
        .iter()
        .find_map(|start| line.strip_prefix(start))?;
    Some(format!("gilscope {arguments}"))
}

/// What `gilscope ... --help` lists.
struct Help {
    /// For each subcommand.
    options: BTreeMap<String, BTreeSet<String>>,
}

impl Help {
    fn ask() -> Help {
        let overview = run(gilscope(["--help"]));
        let list = overview.ok().lines().skip_while(|line| *line != "Commands:").skip(1);
        // A line that is indented further continues the description in the line before.
        let starts = list.take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
        let mut options: BTreeMap<_, _> = starts
            .filter_map(|line| line.split(' ').next())
            .filter(|&command| !command.is_empty() && command != "help")
            .map(|command| (command.to_owned(), Self::options(run(gilscope([command, "--help"])).ok())))
            .collect();
        assert!(options.len() >= 8, "{options:?}");
        options.insert(String::new(), Self::options(overview.ok()));
        Help { options }
    }

    /// A line of an option begins with its names: `-p, --pid <PID>`.
    fn options(help: &str) -> BTreeSet<String> {
        let names = |line: &'_ str| -> Vec<String> {
            let words = line.split([' ', ',']).filter(|word| !word.is_empty());
            words.take_while(|word| word.starts_with('-')).map(|word| word.trim_end_matches('.').to_owned()).collect()
        };
        help.lines().flat_map(|line| names(line.trim_start())).collect()
    }

    /// What a command line names that does not exist.
    fn unknown(&self, line: &str) -> Vec<String> {
        let mut words = line.split_whitespace().skip(1).peekable();
        let command = words.next_if(|word| !word.starts_with('-')).unwrap_or_default();
        let Some(options) = self.options.get(command) else { return vec![command.to_owned()] };
        let named = words.take_while(|&word| word != "--").flat_map(names_of_options);
        named.filter(|option| !options.contains(option)).collect()
    }
}

/// `--from=2` names `--from`, `-vv` names `-v` twice; a value names none.
fn names_of_options(word: &str) -> Vec<String> {
    let word = word.trim_end_matches([',', '.', ';', ':', ')']);
    if let Some(long) = word.strip_prefix("--") {
        return vec![format!("--{}", long.split('=').next().unwrap_or(long))];
    }
    let short = word.strip_prefix('-').unwrap_or_default().chars();
    short.filter(char::is_ascii_alphabetic).map(|letter| format!("-{letter}")).collect()
}

#[test]
fn options_that_documents_name_exist() {
    let help = Help::ask();
    let all: BTreeSet<&String> = help.options.values().flatten().collect();
    let (mut problems, mut commands) = (Vec::new(), 0);
    for document in Document::for_users() {
        let mut check = |line: &str, place: String| {
            let unknown = help.unknown(line);
            commands += 1;
            problems.extend(unknown.iter().map(|name| format!("{place}: {line}: there is no {name}")));
        };
        for (number, line) in document.shell_lines() {
            gilscope_line(line).iter().for_each(|line| check(line, document.place(number)));
        }
        let spans = document.code_spans();
        let place = document.name();
        spans.iter().filter(|span| span.starts_with("gilscope ")).for_each(|span| check(span, place.to_string()));
        // An option alone is gilscope's; those of other programs are named together with the program.
        for span in spans.iter().filter(|span| span.starts_with('-') && span.len() > 1) {
            let named = names_of_options(span.split(' ').next().unwrap_or(span));
            problems
                .extend(named.iter().filter(|name| !all.contains(name)).map(|name| format!("{place}: no {name}")));
        }
    }
    assert!(commands > 40, "only {commands} commands found");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What an option accepts, as its error message lists it.
fn accepted(option: &str) -> BTreeSet<String> {
    let done = run(gilscope(["export", "x.gscope", "-o", "x.svg", option, "no-such-value"]));
    let (_, list) = done.stderr.split_once("[possible values: ").unwrap_or_else(|| panic!("{}", done.stderr));
    list.split(']').next().unwrap().split(", ").map(str::to_owned).collect()
}

#[test]
fn views_formats_and_blame_are_documented_in_full() {
    let views = Document::read("docs/views-and-formats.md");
    assert_eq!(views.first_column("view"), accepted("--view"));
    assert_eq!(views.table("suffix").len(), accepted("--format").len(), "a row for each format");
    assert_eq!(Document::read("docs/report.md").first_column("`--blame`"), accepted("--blame"));

    let help = run(gilscope(["record", "--help"]));
    let (_, list) = help.ok().split_once("The suffix picks the format:").expect("the help lists the suffixes");
    let list = list.split("[default").next().unwrap();
    let words = list.split_whitespace().map(|word| word.trim_matches([',', '(', ')']));
    let suffixes = words.filter(|word| word.starts_with('.')).map(str::to_owned).collect();
    assert_eq!(views.first_column("suffix"), suffixes);
}

#[test]
fn the_readme_is_short() {
    let lines = Document::read("README.md").text.lines().count();
    assert!(lines <= MAX_README_LINES, "{lines} lines: move something to docs/");
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|&c| c.is_alphanumeric() || " -_".contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut documents = Document::for_users();
    documents.extend(["ARCHITECTURE.md", "CHANGELOG.md", "bench/README.md"].map(Document::read));
    let (mut problems, mut links) = (Vec::new(), 0);
    for document in &documents {
        let prose = document.prose();
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let folder = document.path.parent().unwrap();
            let file = if file.is_empty() { document.path.clone() } else { folder.join(file) };
            let text = match root().join(&file) {
                path if path.is_dir() => Ok(String::new()),
                path => fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            };
            let has_anchor = |text: &str| {
                let headings = text.lines().filter(|line| line.starts_with('#'));
                headings.map(|line| line.trim_start_matches('#').trim()).any(|heading| anchor(heading) == fragment)
            };
            if text.is_err() || !fragment.is_empty() && !text.is_ok_and(|text| has_anchor(&text)) {
                problems.push(format!("{}: {target} leads nowhere", document.name()));
            }
        }
    }
    assert!(links > 40, "only {links} links found");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn files_that_documents_name_exist() {
    let is_path = |word: &&str| FOLDERS.iter().any(|folder| word.starts_with(folder));
    let (mut problems, mut paths) = (Vec::new(), 0);
    for document in Document::for_users() {
        let spans = document.code_spans();
        let examples = document.shell_lines();
        let words = spans.iter().flat_map(|span| span.split(' '));
        let words = words.chain(examples.iter().flat_map(|(_, line)| line.split(' ')));
        for path in words.filter(is_path) {
            paths += 1;
            if !root().join(path).exists() {
                problems.push(format!("{}: there is no {path}", document.name()));
            }
        }
    }
    assert!(paths > 60, "only {paths} paths found");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn items_that_documents_name_are_in_their_files() {
    let (mut problems, mut items) = (Vec::new(), 0);
    for document in Document::for_users() {
        let prose = document.prose();
        // As in `src/gil/waits.rs`: `continues`.
        let parts: Vec<&str> = prose.split('`').collect();
        for (file, item) in parts.windows(3).filter(|window| window[1] == ": ").map(|window| (window[0], window[2])) {
            if let Ok(source) = fs::read_to_string(root().join(file)) {
                items += 1;
                if !source.contains(item) {
                    problems.push(format!("{}: {file} has no {item}", document.name()));
                }
            }
        }
    }
    assert!(items >= 5, "only {items} items found");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Where examples are run: a folder with what they name, and a running program.
struct Workplace {
    folder: tempfile::TempDir,
    target: Proc,
}

impl Workplace {
    fn new() -> Workplace {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("app.py"), APP).unwrap();
        symlink(root().join("examples"), path("examples")).unwrap();
        fs::create_dir(path("bin")).unwrap();
        symlink(GILSCOPE, path("bin/gilscope")).unwrap();
        let python = Python::usual().exe().expect("a Python that needs no chroot");
        symlink(python, path("bin/python3")).unwrap();
        let mut command = Command::new(path("bin/python3"));
        command.arg(path("app.py")).env("APP_SECONDS", "600");
        let mut target = Proc::start(command);
        target.wait_for("READY");
        Workplace { folder, target }
    }

    /// The same command, on the running program, and over sooner.
    fn adapt(&self, line: &str) -> String {
        let mut line = line.replace(EXAMPLE_PID, &self.target.pid().to_string()).replace(" -d 10", " -d 3");
        if line.starts_with("gilscope top ") && !line.contains(" -n ") {
            line = line.replacen("top ", "top -n 2 -i 0.3 ", 1);
        }
        if line.contains("python3 examples/") && line.ends_with(".py") {
            line += " 1";
        }
        line
    }

    /// Runs a line of shell that begins with `gilscope`.
    fn run(&self, line: &str) -> Result<(), String> {
        let line = self.adapt(line);
        let mut command = Command::new("sh");
        let path = format!("{}/bin:{}", self.folder.path().display(), std::env::var("PATH").unwrap_or_default());
        command.args(["-c", &line]).current_dir(self.folder.path()).env("PATH", path).env_remove("RUST_LOG");
        command.env("GILSCOPE_MODE", std::env::var("GILSCOPE_TEST_MODE").unwrap_or("auto".to_owned()));
        let recordings_before = self.unnamed_recordings();
        let done = run(command);
        if done.code != 0 {
            return Err(format!("{line} ended with {}:\n{}{}", done.code, done.stdout, done.stderr));
        }
        let mut words = line.split_whitespace().take_while(|&word| word != "--").skip_while(|&word| word != "-o");
        let is_written = match words.nth(1) {
            Some("-") => !done.stdout.is_empty(),
            Some(file) => fs::metadata(self.folder.path().join(file)).is_ok_and(|data| data.len() > 0),
            None if line.starts_with("gilscope record ") => self.unnamed_recordings() > recordings_before,
            None => !done.stdout.is_empty() || line.starts_with("gilscope diff "),
        };
        if is_written { Ok(()) } else { Err(format!("{line} has written nothing:\n{}{}", done.stdout, done.stderr)) }
    }

    /// How many recordings there are whose name gilscope has chosen.
    fn unnamed_recordings(&self) -> usize {
        let names = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().is_some_and(|name| name.starts_with("gilscope-app-"))).count()
    }
}

/// Lines that build, install or test are not run: what they need must be there.
fn check_without_running(line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_executable = |path: &str| {
        fs::metadata(root().join(path)).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    let is_right = match *words {
        ["cargo", "build"] => true,
        ["pip", "install", "."] => root().join("pyproject.toml").exists(),
        ["cargo", "install", "--path", ".", "--profile", "dist"] => env!("CARGO_PKG_NAME") == "gilscope",
        ["cargo", "test", "--lib", module] => root().join("src").join(module).exists(),
        ["cargo", "test", "--test", name, ..] => {
            let files = [format!("tests/{name}.rs"), format!("tests/{name}/main.rs")];
            files.iter().any(|file| root().join(file).exists())
        }
        ["sudo", "setcap" | "sysctl", ..] => true,
        ["release/build" | "tests/packages"] => is_executable(words[0]),
        // Both run for as long as one likes: a short part of each is among the tests.
        ["tests/chaos", minutes] => is_executable("tests/chaos") && minutes.parse::<f64>().is_ok(),
        ["fuzz/run", "memory", _] => is_executable("fuzz/run"),
        ["fuzz/run", target] => {
            is_executable("fuzz/run") && root().join(format!("fuzz/fuzz_targets/{target}.rs")).exists()
        }
        ["tests/run"] => {
            let ci = fs::read_to_string(root().join(".ci/run")).unwrap_or_default();
            is_executable("tests/run") && ci.contains("/tests/run")
        }
        _ => return Err(format!("{line}: this test does not know how to check it")),
    };
    if is_right { Ok(()) } else { Err(format!("{line}: what it needs is not there")) }
}

/// Checks all examples of a document in their order, as later ones use files of earlier ones.
fn check_examples(document: &Document) -> Vec<String> {
    let lines = document.shell_lines();
    if lines.is_empty() {
        return Vec::new();
    }
    let workplace = Workplace::new();
    let check = |&(number, line): &(usize, &str)| {
        let result = match gilscope_line(line) {
            Some(line) if line.contains("--mode kernel") && !geteuid().is_root() => {
                not_measured_in_part("not root");
                Ok(())
            }
            Some(line) => workplace.run(&line),
            None => check_without_running(line),
        };
        result.err().map(|problem| format!("{}: {problem}", document.place(number)))
    };
    lines.iter().filter_map(check).collect()
}

#[test]
fn examples_of_the_documents_run() {
    let documents = Document::for_users();
    let problems: Vec<String> = std::thread::scope(|scope| {
        let checks: Vec<_> = documents.iter().map(|document| scope.spawn(|| check_examples(document))).collect();
        checks.into_iter().flat_map(|check| check.join().unwrap()).collect()
    });
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_readme_has_a_command_that_builds_and_records_and_one_that_tests() {
    let readme = Document::read("README.md");
    let lines = readme.shell_lines();
    let has = |start: &str| lines.iter().any(|(_, line)| line.starts_with(start));
    assert!(lines[0].1 == "pip install ." && has("cargo run --release -- record ") && has("tests/run"));
    assert!(readme.prose().contains(&format!("Rust {}", env!("CARGO_PKG_RUST_VERSION"))));
}

/// Prints the report of an example, recorded in kernel mode.
fn report_of(example: &str, python: &Python) -> String {
    let folder = folder();
    let mut words = python.words();
    words.extend([root().join("examples").join(example).display().to_string(), "3".to_owned()]);
    let out = folder.path().join("app.gscope");
    run(recording(&out, &["--mode", "kernel"], &Words::of(words))).ok();
    let mut command = gilscope(["report"]);
    command.arg(&out);
    run(command).ok().to_owned()
}

/// The words of a text that are the same in every run, wherever its lines break: figures and their units are not. Those of
/// a percentile and of a line of source are no figures.
fn lasting(text: &str) -> Vec<&str> {
    let is_lasting = |word: &&str| {
        let is_name = word.contains(".py:") || ["p50", "p99"].contains(word);
        let is_unit =
            ["ns", "us", "ms", "s", "%"].contains(&word.trim_matches(|c: char| !c.is_alphanumeric() && c != '%'));
        is_name || !is_unit && !word.contains(|c: char| c.is_ascii_digit())
    };
    text.split_whitespace().filter(is_lasting).collect()
}

/// Lines of documents that quote the report of an example.
fn quoted_from(example: &str) -> Vec<String> {
    let mut quoted = Vec::new();
    for document in Document::for_users() {
        let blocks = document.blocks().into_iter().filter(|block| block.language == "text");
        let blocks = blocks.filter(|block| block.lines.iter().any(|(_, line)| line.contains(example)));
        let reports = blocks.filter(|block| !block.lines.iter().any(|(_, line)| line.starts_with("Thread ")));
        quoted.extend(reports.flat_map(|block| block.lines).map(|(_, line)| line.to_owned()));
    }
    quoted
}

#[test]
fn reports_are_quoted_as_they_are_printed() {
    need_root();
    let free_threaded = Python::all("3.13t").into_iter().next();
    let examples = [("gil_fight.py", Some(Python::usual())), ("lock_fight.py", free_threaded)];
    for (example, python) in examples.into_iter().filter_map(|(example, python)| Some((example, python?))) {
        let report = report_of(example, python);
        let printed = lasting(&report);
        let quoted = quoted_from(example);
        assert!(quoted.len() >= 4, "{quoted:?}");
        for line in quoted {
            let words = lasting(&line);
            let is_there = words.is_empty() || printed.windows(words.len()).any(|some| some == words);
            assert!(is_there, "{line:?} is quoted, but not in the report of {example}:\n{report}");
        }
        if example == "gil_fight.py" {
            let terms = Document::read("docs/report.md");
            let unknown = |row: &Vec<&str>| row[0] != "wait" && !report.contains(row[0]);
            let unknown: Vec<_> = terms.table("term").into_iter().filter(unknown).collect();
            assert!(unknown.is_empty(), "explained, but not in the report: {unknown:?}");
        }
    }
}

#[test]
fn the_dump_is_quoted_as_it_is_printed() {
    let Some(python) = Python::usual().exe() else { not_measured("no usual Python outside a root folder") };
    let readme = Document::read("README.md");
    let mut blocks = readme.blocks().into_iter();
    let block = blocks.find(|block| block.lines.iter().any(|(_, line)| line.starts_with("Thread "))).unwrap();
    let without_numbers = |line: &str| -> String {
        let parts = line.trim().split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("#")
    };
    let quoted: BTreeSet<String> =
        block.lines.iter().map(|(_, line)| without_numbers(line)).filter(|line| !line.is_empty()).collect();
    let mut command = Command::new(python);
    command.arg(root().join("examples/gil_fight.py")).arg("60");
    let target = Proc::start(command);
    let mut seen = BTreeSet::new();
    // What the threads do differs from moment to moment.
    until(&format!("{quoted:#?}"), || {
        let done = run(gilscope(["dump", "--pid", &target.pid().to_string()]));
        if done.code == 0 {
            seen.extend(done.stdout.lines().map(without_numbers));
        }
        quoted.is_subset(&seen).then_some(())
    });
}
