//! Reference counts as they are reported, against what the program does by construction: the right object, the right line,
//! the right proportions, and nothing where nothing is shared.

use std::fs;

use serde_json::Value;

use crate::support::{self, Python, folder, on_pythons, run, thrice};

/// From 3.14 on many uses of local variables are not counted: there the shapes are other ones.
const LABEL: &str = "3.13t";
/// Shapes of `counts.py`, and the type of the object whose count is used most.
const SHAPES: [(&str, &str); 5] = [
    ("method", "Shared"),
    ("list_item", "Shared"),
    ("dict_value", "Shared"),
    ("closure", "Shared"),
    ("lock", "_thread.lock"),
];

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What is reported of a shape, and the addresses of its objects.
fn recorded(python: &Python, mode: &str, arguments: &[&str]) -> (Value, Vec<u64>) {
    recorded_with(python, mode, arguments, "random")
}

/// The same, with a `PYTHONHASHSEED`.
fn recorded_with(python: &Python, mode: &str, arguments: &[&str], seed: &str) -> (Value, Vec<u64>) {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let program = python.script("counts.py", arguments);
    let mut recording = support::recording(&out, &["--mode", mode, "-r", "1000"], &program);
    recording.env("PYTHONHASHSEED", seed);
    let done = run(recording);
    done.ok();
    let address = |line: &str| {
        let address = line.strip_prefix("OBJECT 0x")?.split(' ').next()?;
        u64::from_str_radix(address, 16).ok()
    };
    let addresses = done.stdout.lines().filter_map(address).collect();
    let report: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    (report["refcounts"].clone(), addresses)
}

/// The line of `counts.py` where a shape uses its object.
fn line_of(shape: &str) -> String {
    let source = include_str!("../targets/counts.py");
    let mut lines = (1..).zip(source.lines()).skip_while(|(_, line)| !line.starts_with(&format!("def {shape}()")));
    let (number, _) = lines.find(|(_, line)| line.ends_with("# HERE")).unwrap();
    format!("(counts.py:{number})")
}

/// The part of an object's samples that is on the line where it is used.
fn on_line(object: &Value, line: &str) -> f64 {
    let stacks = object["stacks"].as_array().unwrap();
    let samples = |here: bool| -> f64 {
        let at = |stack: &Value| stack["stack"][0].as_str().is_some_and(|frame| frame.ends_with(line));
        stacks.iter().filter(|stack| !here || at(stack)).map(|stack| number(&stack["samples"])).sum()
    };
    samples(true) / samples(false)
}

fn check(python: &Python, mode: &str, (shape, type_name): (&str, &str)) -> Result<(), String> {
    let (counts, addresses) = recorded(python, mode, &[shape, "1.5"]);
    let wrong = |what: &str| Err(format!("{shape} on {} in {mode} mode: {what}: {counts:#}", python.version));
    let part = number(&counts["cpu_fraction"]);
    let top = &counts["objects"][0];
    if top["address"] != addresses[0] || top["type"] != type_name {
        return wrong("another object");
    }
    if part < 0.1 || number(&top["cpu_fraction"]) < 0.8 * part {
        return wrong("too little");
    }
    // In memory mode the stack is read a little later.
    if on_line(top, &line_of(shape)) < if mode == "kernel" { 0.9 } else { 0.5 } {
        return wrong("another line");
    }
    let operations = &top["operations"];
    let of = |name: &str| operations[name].as_f64().unwrap_or(0.0);
    let (up, down) = (of("incref") + of("try-incref"), of("decref"));
    if up < 0.2 * down || down < 0.2 * up {
        return wrong("every reference that begins ends");
    }
    let (own, _) = recorded(python, mode, &[shape, "1", "own"]);
    match number(&own["cpu_fraction"]) < 0.2 * part {
        true => Ok(()),
        false => Err(format!("{shape} on {}: {part} shared, but not shared {own:#}", python.version)),
    }
}

on_pythons! {
    Labels(&[LABEL]),
    fn whose_count_holds_threads_up_and_where(python) {
        for shape in SHAPES {
            thrice(|| check(python, "kernel", shape));
        }
    }
}

on_pythons! {
    Labels(&[LABEL]),
    fn in_memory_mode_it_is_the_same_object(python) {
        for shape in &SHAPES[..2] {
            thrice(|| check(python, "memory", *shape));
        }
    }
}

// Used six, three and two times in each round.
on_pythons! {
    Labels(&[LABEL]),
    fn proportions_are_those_of_the_program(python) {
        thrice(|| {
            let (counts, addresses) = recorded(python, "kernel", &["ratio", "2.5"]);
            let objects = counts["objects"].as_array().unwrap();
            let samples = |address: &u64| {
                objects
                    .iter()
                    .filter(|object| object["address"] == *address)
                    .map(|object| number(&object["samples"]))
                    .sum()
            };
            let found: Vec<f64> = addresses.iter().map(samples).collect();
            let all: f64 = found.iter().sum();
            let right = found.iter().zip([6.0, 3.0, 2.0]).all(|(found, uses)| {
                let share = uses / 11.0;
                (found / all - share).abs() <= 0.2 * share
            });
            if right && all > 300.0 { Ok(()) } else { Err(format!("{found:?} of {counts:#}")) }
        });
    }
}

/// With this seed the name of the function has the hash of the name of `class Shared`, whose entry in the dict of the
/// module every look-up of the function then reads: with the class in it, it looks like an object of that class.
const COLLISION: &str = "447";

on_pythons! {
    Labels(&[LABEL]),
    fn functions_of_modules_are_not_counted(python) {
        support::measured(|| check_functions(python));
    }
}

fn check_functions(python: &Python) {
    for seed in ["random", COLLISION] {
        let (counts, _) = recorded_with(python, "kernel", &["module_function", "1"], seed);
        assert!(number(&counts["samples"]) > 100.0 && number(&counts["cpu_fraction"]) < 0.03, "{counts:#}");
        // There is none.
        let is_one = |object: &Value| object["type"] == "Shared";
        assert!(!counts["objects"].as_array().unwrap().iter().any(is_one), "{counts:#}");
    }
}

#[test]
fn with_a_gil_there_is_nothing_to_measure_and_it_says_so() {
    let python = Python::usual();
    let (counts, _) = recorded(python, "kernel", &["method", "0.3"]);
    assert!(counts["unavailable"].as_str().unwrap().contains("has a GIL"), "{counts:#}");
    let folder = folder();
    let out = folder.path().join("out.svg");
    let program = python.script("counts.py", &["method", "0.3"]);
    let done = run(support::recording(&out, &["--view", "refcount"], &program));
    done.ok();
    assert!(done.stderr.contains("has a GIL"), "{}", done.stderr);
    assert!(fs::read_to_string(&out).unwrap().contains("has a GIL"));
}
