//! What was typed cannot be run as it is: exit code 2, as for an unknown option.

/// The exit code of a command line that cannot be run, as the parser of arguments has it.
pub const EXIT_CODE: u8 = 2;

/// A command line that says too little, or something that does not exist here. Its text says what to type instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// What `gilscope` alone prints.
pub const WHAT_TO_TYPE: &str = "\
gilscope: why is this multi-threaded Python program slow? Which thread waits for the GIL or a lock, and who holds it.

Usage:
  gilscope top                       choose a running Python program, and watch it
  gilscope top --pid 1234            watch this one (a pid, or a part of its command line)
  gilscope record -- python app.py   run a program, and say what was wrong
  gilscope dump --pid 1234           what each of its threads does now

gilscope --help has all commands; gilscope doctor says what can be measured on this machine.
";
