//! Why a free-threaded interpreter stops all its threads, told by the functions that are on the stack of the thread that
//! lets them go on. Called by `kernel/`, which has words of that stack.
//!
//! A word of a stack need not be a return address: what was there before may be left in a gap. So some words are looked at,
//! from the function on that lets threads go on, until one is of a function that is known here. Where the interpreter's
//! file is stripped, few of them have names.

use std::ops::Range;

use crate::event::{LockInfo, Pid};
use crate::process::elf::{Elf, SymbolTable};
use crate::process::maps;

/// How names of functions begin, and why those stop all threads; none if others have them do it. CPython 3.13 to 3.15.
const FUNCTIONS: [(&str, Option<&str>); 37] = [
    ("start_the_world", None),
    ("_PyEval_StartTheWorld", None),
    ("types_start_world", None),
    ("gc_collect_", Some(LockInfo::COLLECTION)),
    ("PyOS_AfterFork", Some(FORK)),
    ("PyOS_BeforeFork", Some(FORK)),
    ("os_fork", Some(FORK)),
    ("object_set_class", Some(TYPE)),
    ("type_", Some(TYPE)),
    ("update_slot", Some(TYPE)),
    ("_PyType_", Some(TYPE)),
    ("PyType_", Some(TYPE)),
    ("_PyMonitoring_", Some(TRACING)),
    ("monitoring_", Some(TRACING)),
    ("_PyEval_SetTrace", Some(TRACING)),
    ("_PyEval_SetProfile", Some(TRACING)),
    ("PyEval_SetTrace", Some(TRACING)),
    ("PyEval_SetProfile", Some(TRACING)),
    ("sys_settrace", Some(TRACING)),
    ("sys_setprofile", Some(TRACING)),
    ("_PyThread_CurrentFrames", Some(STACKS)),
    ("_PyThread_CurrentExceptions", Some(STACKS)),
    ("faulthandler_", Some(STACKS)),
    ("_PyGC_", Some(OBJECTS)),
    ("gc_", Some(OBJECTS)),
    ("PyUnstable_GC_VisitObjects", Some(OBJECTS)),
    ("get_num_global_allocated_blocks", Some(OBJECTS)),
    ("_PyMem_", Some(MEMORY)),
    ("_PyObject_FreeDelayed", Some(MEMORY)),
    ("_Py_brc_", Some(MEMORY)),
    ("_Py_qsbr_", Some(MEMORY)),
    ("_PyEval_EnableGIL", Some("GIL being switched on")),
    ("Py_SetRecursionLimit", Some(LIMIT)),
    ("sys_setrecursionlimit", Some(LIMIT)),
    ("func_", Some("function being changed")),
    ("_Py_Finalize", Some("end of the program")),
    ("Py_Finalize", Some("end of the program")),
];
const FORK: &str = "fork";
const LIMIT: &str = "recursion limit being set";
const TYPE: &str = "type being changed";
const TRACING: &str = "tracing being set";
const STACKS: &str = "stacks being looked at";
const OBJECTS: &str = "list of all objects";
const MEMORY: &str = "memory being freed";

/// A function that is told by its name.
type Known = (Range<u64>, Option<&'static str>);

/// The limit of words that are read as return addresses, if it is known where to begin, and if not.
const MAX_CALLERS: [usize; 2] = [3, 8];

/// Files that are taken for the interpreter's.
const MAX_FILES: usize = 8;

/// The functions of one process that stop all threads.
#[derive(Debug, Default)]
pub struct Reasons {
    interpreter: Option<Interpreter>,
}

/// The code of an interpreter.
#[derive(Debug, Default)]
struct Interpreter {
    code: Vec<Range<u64>>,
    known: Vec<Known>,
}

impl Reasons {
    /// Why the threads had been stopped that are resumed by the thread with these words on its stack, innermost first.
    pub fn of(&mut self, pid: Pid, words: &[u64]) -> Option<&'static str> {
        self.interpreter.get_or_insert_with(|| Interpreter::read(pid)).reason(words)
    }
}

impl Interpreter {
    fn reason(&self, words: &[u64]) -> Option<&'static str> {
        // A return address is behind the call.
        let calls = words.iter().map(|word| word.wrapping_sub(1));
        let mut calls: Vec<u64> = calls.filter(|call| self.code.iter().any(|range| range.contains(call))).collect();
        let function = |call: &u64| self.known.iter().find(|(range, _)| range.contains(call)).map(|known| known.1);
        let resumer = calls.iter().rposition(|call| function(call) == Some(None));
        let most = MAX_CALLERS[usize::from(resumer.is_none())];
        calls.drain(..resumer.map_or(0, |last| last + 1));
        calls.iter().take(most).find_map(|call| function(call)?)
    }

    /// Wherever its code is mapped.
    fn read(pid: Pid) -> Interpreter {
        let mut interpreter = Interpreter::default();
        let Interpreter { code, known } = &mut interpreter;
        let maps = maps::read(pid).unwrap_or_default();
        let files = maps::code_files(&maps).into_iter().filter(|file| file.name().contains("python"));
        for file in files.take(MAX_FILES) {
            let executable = file.mappings.iter().filter(|mapping| mapping.executable);
            code.extend(executable.map(|mapping| mapping.start..mapping.end));
            let Some(elf) = file.open(pid).ok().and_then(|file| Elf::open(file).ok()) else { continue };
            let Ok(Some(bias)) = elf.load_bias(&file.mappings) else { continue };
            let of = |name: &[u8]| FUNCTIONS.iter().find(|(start, _)| name.starts_with(start.as_bytes()));
            for table in [SymbolTable::Full, SymbolTable::Dynamic] {
                let functions = elf.functions(table, |name| of(name).map(|&(_, reason)| reason));
                let moved =
                    |(range, reason): Known| (range.start.wrapping_add(bias)..range.end.wrapping_add(bias), reason);
                known.extend(functions.unwrap_or_default().into_iter().map(moved));
            }
        }
        interpreter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_first_function_that_has_one_behind_the_one_that_resumer() {
        let known = vec![(100..200, None), (200..300, Some(FORK)), (300..400, Some(TYPE))];
        let interpreter = Interpreter { code: vec![100..500, 500..1000], known };
        let reason = |words: &[u64]| interpreter.reason(words);
        assert_eq!(reason(&[7, 150, 9, 350, 250]), Some(TYPE));
        assert_eq!(reason(&[150, 200, 250]), Some(FORK), "200 is behind the end of the first");
        assert_eq!(reason(&[250, 150, 350]), Some(TYPE), "what is further inside is left over");
        assert_eq!(reason(&[150, 500, 600, 700, 350]), None, "others have stopped them");
        assert_eq!(reason(&[500, 600, 700, 350]), Some(TYPE), "without a name for what resumes");
        assert_eq!(reason(&[150, 7]), None);
    }

    #[test]
    fn functions_of_a_program_are_found_by_name() {
        let (elf, bias) = crate::process::elf::tests::own();
        let here = functions_of_a_program_are_found_by_name as *const () as u64;
        let named = |name: &[u8]| memchr::memmem::find(name, b"functions_of_a_program_are_found_by_name").map(|_| ());
        let found = elf.functions(SymbolTable::Full, named).unwrap();
        assert!(found.iter().any(|(range, ())| range.start.wrapping_add(bias) == here), "{found:x?}");
        assert_eq!(elf.functions(SymbolTable::Full, |_| None::<()>).unwrap(), []);
    }
}
