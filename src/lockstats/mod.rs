//! Locks: which were waited for, by whom, for how long, and who held them meanwhile. Pure; fed by
//! [`crate::profile::Profile`].
//!
//! Only waiting is seen: a lock that is always free costs nothing and shows nothing. A thread that releases a lock
//! wakes one that waits, if there is one; so while somebody waits, the wake-ups say who held it until when
//! ([`releases`]).

pub mod analysis;
mod releases;
mod resource;
mod sampled;
pub mod summary;
pub mod trend;

pub use self::analysis::Locks;
