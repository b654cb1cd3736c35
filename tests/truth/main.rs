//! Whether what is reported of running programs is true: every stack was there, every share is what the program
//! has measured itself. A test binary of its own, so that nothing of the suite disturbs the measurements.

#[allow(dead_code)]
#[path = "../suite/support.rs"]
mod support;

mod chains;
mod collections;
mod counts;
mod gil;
mod locks;
mod split;
mod waits;
