//! CPython's structures, as they are in the memory of a process: where they are, and what their bytes say.

pub mod attach;
pub mod by_files;
pub mod code;
pub mod debug_offsets;
pub mod frames;
pub mod gc;
pub mod gil;
pub mod gil_module;
pub mod layout;
pub mod line_table;
pub mod locate;
pub mod locks;
mod logging_handlers;
pub mod names;
pub mod object_header;
pub mod objects;
pub mod offsets;
pub mod pauses;
mod variable_names;
pub mod variables;
pub mod work_queue;
