//! What happened at a GIL, from the events: who held it when, who waited for whom. [`analysis`] is what the profile uses; the
//! other modules are its parts.

pub mod analysis;
pub mod delays;
mod exact;
mod facts;
mod holders;
mod resource;
mod sampled;
pub mod summary;
#[cfg(test)]
mod tests;
mod waits;
