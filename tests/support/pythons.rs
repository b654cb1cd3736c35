//! The interpreters that `tests/pythons` has found or provided, and tests that run once for each of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::Trial;

use super::harness::{not_measured, not_measured_in_part, python_trial};
use super::process::CopiedScript;
use super::{Proc, Words, targets};

/// What gilscope is for: where one of these is missing, its tests are reported as not measured. Others that
/// `GILSCOPE_TEST_PYTHONS` names are tested, too.
const LABELS: [&str; 11] = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.13t", "3.14", "3.14t", "3.15", "3.15t"];

/// An interpreter that `tests/pythons` has found or provided.
#[derive(Debug)]
pub struct Python {
    /// `3.13`, `3.13t`, `pypy`.
    pub label: String,
    /// `3.13.5`.
    pub version: String,
    root: PathBuf,
    exe: PathBuf,
}

impl Python {
    /// Those with a label, best first. If there is none, that part of the test is reported as not measured.
    pub fn all(label: &str) -> Vec<&'static Python> {
        let found = Python::found(label);
        if found.is_empty() {
            not_measured_in_part(&missing(label));
        }
        found
    }

    /// Those with a label, best first, of which there need not be any.
    pub fn found(label: &str) -> Vec<&'static Python> {
        pythons().iter().filter(|python| python.label == label).collect()
    }

    /// All that were found.
    pub fn everyone() -> &'static [Python] {
        pythons()
    }

    /// Where its headers are, the internal ones among them; none if they are not installed.
    pub fn include(&self) -> Option<PathBuf> {
        let words = self.words();
        let code = "import sysconfig; print(sysconfig.get_path('include'))";
        let output = Command::new(&words[0]).args(&words[1..]).args(["-c", code]).output().ok()?;
        let inside = String::from_utf8(output.stdout).ok()?;
        let include = self.root.join(inside.trim().trim_start_matches('/'));
        include.join("internal").is_dir().then_some(include)
    }

    /// The first with one of these labels. If there is none, the test is reported as not measured.
    pub fn first_of(labels: &[&str]) -> &'static Python {
        let found = labels.iter().find_map(|label| Python::found(label).first().copied());
        found.unwrap_or_else(|| not_measured(&missing(labels[0])))
    }

    /// For tests to which the version makes no difference.
    pub fn usual() -> &'static Python {
        Python::first_of(&["3.12", "3.11", "3.13", "3.10", "3.14", "3.9", "3.8"])
    }

    /// All free-threaded builds. A version of which there is none is reported as not measured.
    pub fn free_threaded() -> Vec<&'static Python> {
        LABELS.into_iter().filter(|label| label.ends_with('t')).flat_map(Python::all).collect()
    }

    /// 3.8 is 8.
    pub fn minor(&self) -> u32 {
        self.label.trim_end_matches('t').split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0)
    }

    /// `3.15.0` of `3.15.0rc1+dev`.
    pub fn release(&self) -> &str {
        let version = &self.version;
        &version[..version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len())]
    }

    pub fn is_free_threaded(&self) -> bool {
        self.label.ends_with('t')
    }

    /// The executable, if it can be run without chroot.
    pub fn exe(&self) -> Option<&Path> {
        (self.root == Path::new("/")).then_some(&*self.exe)
    }

    /// The words that run it.
    pub fn words(&self) -> Vec<String> {
        let exe = self.exe.display().to_string();
        match self.exe() {
            Some(_) => vec![exe],
            None => vec!["chroot".to_owned(), self.root.display().to_string(), exe],
        }
    }

    /// The words that run a script of `tests/targets` under it.
    pub fn script(&self, name: &str, arguments: &[&str]) -> Words {
        let source = targets().join(name);
        let mut words = self.words();
        let copy = match self.exe() {
            Some(_) => None,
            None => {
                static COUNT: AtomicU32 = AtomicU32::new(0);
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                let inside = format!("tmp/gilscope-{}-{count}-{name}", std::process::id());
                let copy = self.root.join(&inside);
                fs::copy(&source, &copy).unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
                words.push(format!("/{inside}"));
                Some(CopiedScript(copy))
            }
        };
        if copy.is_none() {
            words.push(source.display().to_string());
        }
        words.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Words { words, copy }
    }

    /// The same, with the GIL of a free-threaded build on.
    pub fn script_with_gil(&self, name: &str, arguments: &[&str]) -> Words {
        let mut program = self.script(name, arguments);
        let script = self.words().len();
        program.words.splice(script..script, ["-X".to_owned(), "gil=1".to_owned()]);
        program
    }

    /// Runs a script of `tests/targets` up to its line READY.
    pub fn start(&self, script: &str, arguments: &[&str]) -> Proc {
        let words = self.script(script, arguments);
        let mut target = words.run();
        target.wait_for("READY");
        target
    }

    /// Runs a piece of source up to its line READY.
    pub fn start_code(&self, code: &str) -> Proc {
        let mut words = Words::of(self.words());
        words.words.extend(["-u".to_owned(), "-c".to_owned(), code.to_owned()]);
        let mut target = words.run();
        target.wait_for("READY");
        target
    }
}

fn missing(label: &str) -> String {
    format!("no Python {label}")
}

/// What `tests/pythons` says is there. It is run if it has never been, or if its table lacks some.
fn pythons() -> &'static [Python] {
    static PYTHONS: OnceLock<Vec<Python>> = OnceLock::new();
    PYTHONS.get_or_init(|| {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = folder("GILSCOPE_TEST_CACHE")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("gilscope-tests")))
            .or_else(|| Some(folder("HOME")?.join(".cache/gilscope-tests")));
        let table = cache.and_then(|cache| fs::read_to_string(cache.join("pythons.tsv")).ok());
        let has_all = |table: &String| named().all(|exe| table.contains(&format!("\t{}\n", exe.display())));
        let table = table.filter(has_all).unwrap_or_else(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pythons");
            let output = Command::new(script).arg("--offline").output().expect("tests/pythons can be run");
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        let python = |line: &str| {
            let mut fields = line.split('\t');
            let mut field = || fields.next().map(str::to_owned);
            let (label, version) = (field()?, field()?);
            let python = Python { label, version, root: field()?.into(), exe: field()?.into() };
            python.root.join(python.exe.strip_prefix("/").ok()?).exists().then_some(python)
        };
        table.lines().filter_map(python).collect()
    })
}

/// The executables that `GILSCOPE_TEST_PYTHONS` names, as the table has them.
fn named() -> impl Iterator<Item = PathBuf> {
    let named = std::env::var("GILSCOPE_TEST_PYTHONS").unwrap_or_default();
    let paths: Vec<PathBuf> = named.split(':').filter_map(|path| fs::canonicalize(path).ok()).collect();
    paths.into_iter()
}

/// For which interpreters there is a trial of a test.
#[derive(Clone, Copy)]
pub enum Which {
    Every,
    WithGil,
    FreeThreaded,
    /// With sub-interpreters that have a GIL each.
    WithGilPerInterpreter,
    /// Not in a root folder of its own.
    WithoutChroot,
    /// The oldest, a newer one, and one that is free-threaded: for tests that take long.
    Three,
    /// The first with each of these labels.
    Labels(&'static [&'static str]),
}

impl Which {
    fn has_label(self, label: &str) -> bool {
        match self {
            Which::WithGil => !label.ends_with('t'),
            Which::FreeThreaded => label.ends_with('t'),
            Which::WithGilPerInterpreter => !["3.8", "3.9", "3.10", "3.11"].contains(&label),
            Which::Three => ["3.8", "3.12", "3.13t"].contains(&label),
            Which::Every | Which::WithoutChroot => true,
            Which::Labels(labels) => labels.contains(&label),
        }
    }

    fn has(self, python: &Python) -> bool {
        !matches!(self, Which::WithoutChroot) || python.exe().is_some()
    }

    /// One is enough of each label.
    fn is_only_first(self) -> bool {
        matches!(self, Which::Three | Which::Labels(_))
    }

    /// The labels, also of those that are missing.
    fn labels(self) -> Vec<&'static str> {
        if let Which::Labels(labels) = self {
            return labels.to_vec();
        }
        let is_named = |python: &&Python| named().any(|exe| Some(&*exe) == python.exe());
        let is_newer = |python: &&Python| python.minor() > 15;
        let others = pythons().iter().filter(is_newer).filter(is_named).map(|python| &*python.label);
        let mut labels: Vec<&str> = LABELS.into_iter().chain(others).collect();
        labels.retain(|label| self.has_label(label));
        labels.dedup();
        labels
    }
}

/// A function that is tested with one interpreter after the other.
pub struct PythonTest {
    pub path: &'static str,
    pub which: Which,
    pub run: fn(&'static Python),
}

inventory::collect!(PythonTest);

impl PythonTest {
    /// A trial for each interpreter, and one that is reported as not measured for each label without any.
    pub fn trials(&'static self) -> Vec<Trial> {
        let mut trials = Vec::new();
        for label in self.which.labels() {
            let found = Python::found(label);
            let word = format!("py{}", label.trim_start_matches("py").replace('.', ""));
            if found.is_empty() {
                trials.push(python_trial(self.path, word, move || not_measured(&missing(label))));
                continue;
            }
            let most = if self.which.is_only_first() { 1 } else { usize::MAX };
            let mut names: BTreeMap<String, u32> = BTreeMap::new();
            for python in found.into_iter().take(most).filter(|python| self.which.has(python)) {
                let name = if names.is_empty() { word.clone() } else { format!("{word}-{}", python.version) };
                let count = names.entry(name.clone()).or_default();
                *count += 1;
                let name = if *count == 1 { name } else { format!("{name}-{count}") };
                trials.push(python_trial(self.path, name, move || (self.run)(python)));
            }
        }
        trials
    }
}

/// Makes one test for each Python out of a function that checks one.
macro_rules! on_every_python {
    ($(#[$doc:meta])* fn $name:ident($python:ident) $body:block) => {
        $crate::support::on_pythons! { Every, $(#[$doc])* fn $name($python) $body }
    };
}
pub(crate) use on_every_python;

/// The same, for some of them: a variant of [`Which`].
macro_rules! on_pythons {
    ($which:ident$(($labels:expr))?, $(#[$doc:meta])* fn $name:ident($python:ident) $body:block) => {
        $(#[$doc])*
        fn $name($python: &'static $crate::support::Python) $body

        inventory::submit! {
            $crate::support::PythonTest {
                path: concat!(module_path!(), "::", stringify!($name)),
                which: $crate::support::Which::$which$(($labels))?,
                run: $name,
            }
        }
    };
}
pub(crate) use on_pythons;
