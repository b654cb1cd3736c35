//! Rules of the source that no compiler knows. Each test lists all violations at once, with their places.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::visit_mut::VisitMut;

/// The folders of `src`, and the files that stand for one. Each may use only what is before it.
const ORDER: [&str; 24] = [
    "text",
    "stack",
    "event",
    "arch",
    "process",
    "cpython",
    "interpreter",
    "sampler",
    "kernel",
    "contention",
    "gil",
    "lockstats",
    "refcount",
    "profile",
    "output",
    "filter",
    "recording",
    "report",
    "snapshot",
    "export",
    "session",
    "tui",
    "commands",
    "fuzzing",
];
/// These work on events alone: they use nothing that looks at a living process.
const PURE: [&str; 12] = [
    "text",
    "stack",
    "event",
    "contention",
    "gil",
    "lockstats",
    "refcount",
    "profile",
    "filter",
    "report",
    "snapshot",
    "export",
];
const IMPURE: [&str; 5] = ["process", "cpython", "interpreter", "sampler", "kernel"];

/// Files whose types have the names that a format or a report gives them.
const NAMED_BY_FORMATS: [&str; 3] =
    ["src/report/model.rs", "src/export/perfetto/proto.rs", "src/export/pprof/proto.rs"];

const MAX_LINES: usize = 650;

/// What these phrases mean has a standard term: release, attribute, report, limit, available.
const PHRASES: [&str; 7] = ["let go of", "lets go of", "letting go of", "told of", "tells of", "so many", "be had"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder with one of these endings, relative to the root.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut folders = vec![root().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| path.extension().is_some_and(|extension| extension == *ending)) {
                files.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

fn text(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[track_caller]
fn assert_none(rule: &str, violations: &[String]) {
    let mut list = String::new();
    violations.iter().for_each(|violation| writeln!(list, "  {violation}").unwrap());
    assert!(violations.is_empty(), "{rule}, but not in {} places:\n{list}", violations.len());
}

/// A file of the library without its tests.
struct Module {
    file: PathBuf,
    /// `gil::exact` is `["gil", "exact"]`.
    path: Vec<String>,
    items: syn::File,
}

/// Removes what is compiled only for tests.
struct WithoutTests;

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test = |tree: TokenTree| tree.to_string() == "test";
        let cfg = attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.clone().into_iter().any(is_test));
        cfg || attribute.path().is_ident("test")
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Union(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| !is_for_tests(attributes(item)));
        syn::visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| !is_for_tests(attributes(item)));
        }
        syn::visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, block: &mut syn::ItemImpl) {
        block.items.retain(|item| match item {
            syn::ImplItem::Fn(function) => !is_for_tests(&function.attrs),
            _ => true,
        });
        syn::visit_mut::visit_item_impl_mut(self, block);
    }
}

/// The library, without what is only for tests.
fn modules() -> Vec<Module> {
    let mut modules = Vec::new();
    add_module(PathBuf::from("src/lib.rs"), Vec::new(), &mut modules);
    modules
}

fn add_module(file: PathBuf, path: Vec<String>, modules: &mut Vec<Module>) {
    let mut items = syn::parse_file(&text(&file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    WithoutTests.visit_file_mut(&mut items);
    let folder = match file.file_name().unwrap().to_str().unwrap() {
        "lib.rs" | "mod.rs" => file.parent().unwrap().to_owned(),
        _ => file.with_extension(""),
    };
    for item in &items.items {
        if let syn::Item::Mod(module) = item
            && module.content.is_none()
        {
            let name = module.ident.to_string();
            let files = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
            let found = files.into_iter().find(|file| root().join(file).exists());
            let found = found.unwrap_or_else(|| panic!("{}: no file for mod {name}", file.display()));
            add_module(found, [&path[..], &[name]].concat(), modules);
        }
    }
    modules.push(Module { file, path, items });
}

/// A path in a file that leads to another one.
struct Arrow {
    from: usize,
    line: usize,
    to: usize,
}

/// Finds paths in the words of a file, wherever they are: in `use`, in types, in macros.
struct Paths<'a> {
    modules: &'a [Module],
    from: usize,
    /// Where in the file, in modules that it contains.
    inside: Vec<String>,
    arrows: Vec<Arrow>,
}

impl Paths<'_> {
    fn items(&mut self, items: &[syn::Item]) {
        for item in items {
            match item {
                syn::Item::Mod(module) => {
                    let Some((_, items)) = &module.content else { continue };
                    self.inside.push(module.ident.to_string());
                    self.items(items);
                    self.inside.pop();
                }
                _ => self.words(item.to_token_stream(), None),
            }
        }
    }

    /// `within` is what a group in a `use` is a list of.
    fn words(&mut self, words: TokenStream, within: Option<&[String]>) {
        let words: Vec<TokenTree> = words.into_iter().collect();
        let mut at = 0;
        while at < words.len() {
            let starts = match &words[at] {
                TokenTree::Ident(_) => within.is_none_or(|_| at == 0 || words[at - 1].to_string() == ","),
                TokenTree::Group(group) => {
                    self.words(group.stream(), None);
                    false
                }
                _ => false,
            };
            if starts && !follows_colons(&words, at) {
                at = self.path(&words, at, within.unwrap_or_default());
            } else {
                at += 1;
            }
        }
    }

    /// A path that starts at a word. Returns where it ends.
    fn path(&mut self, words: &[TokenTree], start: usize, before: &[String]) -> usize {
        let mut path = before.to_vec();
        let mut at = start;
        loop {
            match words.get(at) {
                Some(TokenTree::Ident(word)) => path.push(word.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace && at > start => {
                    self.list(group.stream(), &path);
                    return at + 1;
                }
                _ => break,
            }
            at += 1;
            if !is_colons(words, at) {
                break;
            }
            at += 2;
        }
        self.arrow(&path, words[start].span().start().line);
        at.max(start + 1)
    }

    fn list(&mut self, list: TokenStream, before: &[String]) {
        let words: Vec<TokenTree> = list.into_iter().collect();
        for entry in words.split(|word| word.to_string() == ",").filter(|entry| !entry.is_empty()) {
            self.path(entry, 0, before);
        }
    }

    fn arrow(&mut self, path: &[String], line: usize) {
        let own: Vec<String> = [&self.modules[self.from].path[..], &self.inside].concat();
        let supers = path.iter().take_while(|word| *word == "super").count();
        let target: Vec<String> = match path[0].as_str() {
            "crate" => path[1..].to_vec(),
            "super" => [&own[..own.len() - supers.min(own.len())], &path[supers..]].concat(),
            "self" => [&own[..], &path[1..]].concat(),
            // A module of this one.
            _ => [&own[..], path].concat(),
        };
        let known = |length: usize| self.modules.iter().position(|module| module.path == target[..length]);
        let Some(to) = (1..=target.len()).rev().find_map(known) else { return };
        if to != self.from && (path.len() > 1 || path[0] == "crate") {
            self.arrows.push(Arrow { from: self.from, line, to });
        }
    }
}

fn is_colons(words: &[TokenTree], at: usize) -> bool {
    let is_colon = |at: usize| matches!(words.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    is_colon(at) && is_colon(at + 1)
}

fn follows_colons(words: &[TokenTree], at: usize) -> bool {
    at >= 2 && is_colons(words, at - 2)
}

fn arrows(modules: &[Module]) -> Vec<Arrow> {
    let paths = |from: usize| {
        let mut paths = Paths { modules, from, inside: Vec::new(), arrows: Vec::new() };
        paths.items(&modules[from].items.items);
        paths.arrows
    };
    (0..modules.len()).flat_map(paths).collect()
}

#[test]
fn no_folder_uses_what_is_above_it() {
    let modules = modules();
    let place = |module: usize| modules[module].path.first().map(String::as_str);
    let rank = |name: &str| ORDER.iter().position(|known| *known == name);
    let mut violations = BTreeSet::new();
    for module in &modules {
        if module.path.first().is_some_and(|name| rank(name).is_none()) {
            violations.insert(format!("{}: not in the list of this test", module.file.display()));
        }
    }
    for arrow in arrows(&modules) {
        let (Some(from), Some(to)) = (place(arrow.from), place(arrow.to)) else { continue };
        let is_up = rank(from) < rank(to);
        let is_impure = PURE.contains(&from) && IMPURE.contains(&to);
        if is_up || is_impure {
            let target = modules[arrow.to].path.join("::");
            violations.insert(format!("{}:{}: uses crate::{target}", modules[arrow.from].file.display(), arrow.line));
        }
    }
    assert_none("a folder uses only what is below it", &Vec::from_iter(violations));
}

/// Files of one folder may use each other, and a module those inside of it, which may use it.
#[test]
fn no_files_of_different_folders_use_each_other_in_a_circle() {
    let modules = modules();
    let mut next: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for Arrow { from, to, .. } in arrows(&modules) {
        if !modules[to].path.starts_with(&modules[from].path) {
            next.entry(from).or_default().insert(to);
        }
    }
    let reached: Vec<BTreeSet<usize>> = (0..modules.len()).map(|from| reachable(&next, from)).collect();
    let mut circles = BTreeSet::new();
    for (a, from_a) in reached.iter().enumerate().filter(|(a, from_a)| from_a.contains(a)) {
        let circle: BTreeSet<&Path> =
            from_a.iter().filter(|&&b| reached[b].contains(&a)).map(|&b| modules[b].file.as_path()).collect();
        let folders: BTreeSet<_> = circle.iter().map(|file| file.parent()).collect();
        if folders.len() > 1 {
            circles.insert(circle.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "));
        }
    }
    assert_none("files of different folders do not use each other in a circle", &Vec::from_iter(circles));
}

fn reachable(next: &BTreeMap<usize, BTreeSet<usize>>, from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        open.extend(next.get(&module).into_iter().flatten().filter(|&&to| reached.insert(to)));
    }
    reached
}

#[test]
fn no_folder_is_called_as_one_that_tools_skip_and_no_file_is_somewhere_else() {
    let mut violations = Vec::new();
    for file in [files("src", &["rs"]), files("tests", &["rs"])].concat() {
        if file.components().any(|part| part.as_os_str() == "target" || part.as_os_str() == "target.rs") {
            violations.push(format!("{}: cargo's folder has that name", file.display()));
        }
        let attribute = concat!("#[", "path");
        let lines = text(&file);
        let lines = (1..).zip(lines.lines()).filter(|(_, line)| line.trim_start().starts_with(attribute));
        violations.extend(lines.map(|(number, _)| format!("{}:{number}: {attribute}", file.display())));
    }
    assert_none("a module is where its name says, and cargo's build folder has no namesake", &violations);
}

#[test]
fn no_file_is_too_long() {
    let files = [files("src", &["rs"]), files("tests", &["rs"])].concat();
    let lengths = files.iter().map(|file| (file, text(file).lines().count()));
    let long = lengths.filter(|(_, lines)| *lines >= MAX_LINES);
    let long: Vec<String> = long.map(|(file, lines)| format!("{}: {lines} lines", file.display())).collect();
    assert_none(&format!("a file has less than {MAX_LINES} lines"), &long);
}

/// Parts of the source that are in one place only: what they are, written without spaces, and the files that may have them.
const IN_ONE_PLACE: [(&str, &[&str], &[&str]); 4] = [
    (
        "files are created, replaced and removed by src/output: no link is followed there, and nothing is half written",
        &[
            "File::create",
            "OpenOptions::",
            ".write(true",
            ".append(true",
            "fs::write(",
            "fs::rename(",
            "fs::copy(",
            "fs::remove_",
            "fs::create_dir",
            "fs::hard_link(",
            "fs::set_permissions(",
            "DirBuilder",
            "OFlags::CREATE",
            "OFlags::TMPFILE",
            "renameat",
            "linkat(",
            "mkdirat(",
            "fchmod(",
            "symlink(",
        ],
        &["src/output/"],
    ),
    (
        "paths and bytes become text in src/text: use Shown, from_bytes or from_os",
        &[".display()", "from_utf8_lossy", "to_string_lossy"],
        &["src/text/"],
    ),
    (
        "JSON is written by src/text/json.rs, which escapes what is unsafe",
        &["serde_json::to_"],
        &["src/text/json.rs"],
    ),
    (
        "text is printed by src/output, which makes visible what is unsafe",
        &[
            "println!",
            "print!(",
            "stdout().lock()",
            "stdout().write",
            "stderr().write",
            "write!(stderr()",
            "writeln!(stderr()",
        ],
        &["src/output/", "src/process/watchdog.rs", "src/tui/terminal.rs", "src/commands/progress.rs"],
    ),
];

#[test]
fn what_is_dangerous_is_in_one_place() {
    let mut violations = Vec::new();
    for Module { file, items, .. } in modules() {
        let words: String = items.to_token_stream().to_string().split_whitespace().collect();
        let name = file.to_str().unwrap();
        for (rule, parts, places) in IN_ONE_PLACE {
            if !places.iter().any(|place| name.starts_with(place)) {
                let found = parts.iter().filter(|part| words.contains(*part));
                violations.extend(found.map(|part| format!("{name}: {part}: {rule}")));
            }
        }
    }
    assert_none("what can harm if it is done without care is in one place", &violations);
}

/// Names of types, with their places.
#[derive(Default)]
struct Names(BTreeMap<String, Vec<usize>>);

impl Names {
    fn add(&mut self, name: &syn::Ident) {
        self.0.entry(name.to_string()).or_default().push(name.span().start().line);
    }
}

impl Visit<'_> for Names {
    fn visit_item_struct(&mut self, item: &syn::ItemStruct) {
        self.add(&item.ident);
    }

    fn visit_item_enum(&mut self, item: &syn::ItemEnum) {
        self.add(&item.ident);
    }

    fn visit_item_union(&mut self, item: &syn::ItemUnion) {
        self.add(&item.ident);
    }

    fn visit_item_trait(&mut self, item: &syn::ItemTrait) {
        self.add(&item.ident);
    }

    fn visit_item_type(&mut self, item: &syn::ItemType) {
        self.add(&item.ident);
    }
}

#[test]
fn no_two_types_have_one_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for module in modules() {
        if NAMED_BY_FORMATS.iter().any(|file| module.file == Path::new(file)) {
            continue;
        }
        let mut names = Names::default();
        names.visit_file(&module.items);
        for (name, lines) in names.0 {
            let own = lines.iter().map(|line| format!("{}:{line}", module.file.display()));
            places.entry(name).or_default().extend(own);
        }
    }
    let twice = places.iter().filter(|(_, places)| places.len() > 1);
    let twice: Vec<String> = twice.map(|(name, places)| format!("{name}: {}", places.join(", "))).collect();
    assert_none("a name is that of one type", &twice);
}

/// Words that make a short comment worth having.
const UNITS: [&str; 20] = [
    "nanoseconds",
    "microseconds",
    "milliseconds",
    "seconds",
    "ns",
    "us",
    "ms",
    "s",
    "hz",
    "hertz",
    "bytes",
    "byte",
    "bits",
    "percent",
    "%",
    "mib",
    "kib",
    "pages",
    "samples",
    "ticks",
];

#[test]
fn no_comment_says_what_the_name_says() {
    let mut violations = Vec::new();
    for file in files("src", &["rs"]) {
        let source = text(&file);
        let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
        let is_doc = |at: usize| lines.get(at).is_some_and(|line| line.starts_with("///"));
        // Of an option this is what `--help` shows.
        let is_help = file == Path::new("src/commands/cli.rs") || file == Path::new("src/filter/args.rs");
        for at in (0..lines.len()).filter(|&at| is_doc(at) && !is_help) {
            let is_alone = !is_doc(at + 1) && (at == 0 || !is_doc(at - 1));
            let comment = lines[at].trim_start_matches('/').trim();
            let word = |word: &str| word.trim_matches(|c: char| c.is_ascii_punctuation() && c != '%').to_lowercase();
            let words: Vec<String> = comment.split_whitespace().map(word).collect();
            // A version is worth having, too.
            let says_more = comment.contains(['`', '['])
                || comment.contains(|c: char| c.is_ascii_digit())
                || words.iter().any(|word| UNITS.contains(&word.as_str()));
            if is_alone && words.len() <= 3 && !says_more {
                violations.push(format!("{}:{}: {comment}", file.display(), at + 1));
            }
        }
    }
    assert_none("a doc comment says more than three words, or a unit", &violations);
}

#[test]
fn no_words_of_our_own_for_what_has_a_standard_term() {
    let mut sources = [files("src", &["rs", "c", "h", "js", "html", "css"]), files("docs", &["md"])].concat();
    sources.extend(["README.md", "ARCHITECTURE.md"].map(PathBuf::from));
    let phrases: Vec<Vec<&str>> = PHRASES.iter().map(|phrase| phrase.split(' ').collect()).collect();
    let mut violations = Vec::new();
    for file in sources {
        let source = text(&file);
        // Across the ends of lines, and what marks comments there.
        let words: Vec<(usize, &str)> = (1..)
            .zip(source.lines())
            .flat_map(|(number, line)| line.split_whitespace().map(move |word| (number, word)))
            .filter(|(_, word)| !["///", "//", "//!", "*", "#", ">", "\\"].contains(word))
            .collect();
        let plain: Vec<String> =
            words.iter().map(|(_, word)| word.trim_matches(not_in_words).to_lowercase()).collect();
        for at in 0..plain.len() {
            let phrase = phrases.iter().find(|phrase| plain[at..].iter().take(phrase.len()).eq(phrase.iter()));
            let put = ["put", "puts", "putting"].contains(&plain[at].as_str());
            let put_down_to = put && plain[at..].windows(2).take(5).any(|pair| pair[0] == "down" && pair[1] == "to");
            let found = match phrase {
                Some(phrase) => phrase.join(" "),
                None if put_down_to => "put down to".to_owned(),
                // As in the names of limits.
                None if words[at].1.contains("MOST_") => "MOST_".to_owned(),
                None => continue,
            };
            violations.push(format!("{}:{}: {found}", file.display(), words[at].0));
        }
    }
    violations.dedup();
    assert_none("standard terms are used", &violations);
}

fn not_in_words(c: char) -> bool {
    !c.is_alphanumeric()
}

#[test]
fn the_place_of_a_word_is_known() {
    // Without this all the lines above would be 1.
    let file = syn::parse_file("struct A;\nstruct B;\n").unwrap();
    assert_eq!(file.items[1].span().start().line, 2);
}
