//! The last resort, for a Python up to 3.12 that was stripped and exports nothing: py-spy's library finds the
//! interpreter state by trying every address in its data, and what refers to that state as the head of the list
//! of interpreters is `_PyRuntime`. Called by [`super`].

use py_spy::config::LockingStrategy;
use py_spy::{Config, PythonSpy};

use super::image::Image;
use super::version;
use crate::event::Pid;
use crate::target::memory::Live;
use crate::target::version::Version;

/// The `_PyRuntime` of the Python in `image`.
pub fn search(pid: Pid, image: &Image, python: Version) -> Option<u64> {
    let config = Config { blocking: LockingStrategy::NonBlocking, ..Config::default() };
    let spy = PythonSpy::new(pid, &config).inspect_err(|error| log::debug!("process {pid}: py-spy: {error:#}"));
    let interpreter = spy.ok()?.addresses.interpreter_address as u64;
    // `_PyRuntimeState.interpreters`: the head of the list, then the main interpreter. Head and main are the
    // same unless there are subinterpreters, of which py-spy takes one as well as another.
    let head: u64 = if python.minor < 11 { 32 } else { 40 };
    let word = |bytes: &[u8], place: usize| -> Option<u64> {
        Some(u64::from_le_bytes(bytes.get(place..place + 8)?.try_into().ok()?))
    };
    image.writable().iter().find_map(|range| {
        version::search(&Live(pid), range, |addr, bytes| {
            let places = (0..bytes.len()).step_by(8);
            let mut pairs = places.filter(|&place| {
                let (head, main) = (word(bytes, place), word(bytes, place + 8));
                main == Some(interpreter) && head.is_some_and(|head| head != 0 && head % 8 == 0)
            });
            pairs.next().map(|place| addr + place as u64 - head)
        })
    })
}
