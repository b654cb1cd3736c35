//! The screen of `gilscope top`: a program's threads, GIL and locks, live.
//!
//! Three parts that do not wait for each other: the session collects, and publishes a [`crate::snapshot`] of what it knows at
//! each interval (`feed`); the screen, in a thread of its own, takes the newest one and works out what happened since an
//! older one (`state`), makes a scene of it (`scene`, from the `tabs`), and draws that (`draw`); keys change what the user
//! chose (`keys`). All of it but `feed`, `live`, `screen`, `terminal`, `batch` and `save` is pure. Where there is no terminal,
//! `batch` prints tables instead.
//!
//! Imports go one way: `state` < `tabs` < `scene` < `keys`, `draw` < `screen` < `live`.

mod batch;
mod draw;
mod feed;
#[cfg(test)]
mod fixture;
mod keys;
mod live;
mod save;
mod scene;
mod screen;
mod state;
mod tabs;
mod terminal;
mod theme;

pub(crate) use self::live::{LiveView, ViewOptions, ViewTarget};
pub use self::terminal::ScreenLog;
pub(crate) use self::terminal::hold_stops;
