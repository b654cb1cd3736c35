//! The analysis against single events, and against a simulated GIL of which everything is known.

mod analysis;
mod simulated;
mod simulator;
