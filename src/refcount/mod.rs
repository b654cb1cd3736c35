//! Reference counts of free-threaded builds: which objects' counts hold threads up, for how much of the CPU time, and
//! where. Pure.
//!
//! The count of an object that several threads use is in a cache line that moves from one CPU to the next with every
//! operation. A thread waits for it in the middle of an instruction, so there is nothing to trace; but a sample finds
//! it there, and its registers tell which object it was ([`access`]). How many samples do so is the part of the CPU time
//! that is lost ([`analysis`]).

pub mod analysis;

pub use self::analysis::Refcounts;
