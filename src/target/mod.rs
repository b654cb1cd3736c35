//! The target process: finding the interpreter in it, reading its memory, knowing its structures.

pub mod access;
pub mod attach;
pub mod debug_offsets;
pub mod elf;
pub mod error;
pub mod functions;
pub mod gil_module;
pub mod identity;
pub mod layout;
pub mod locate;
pub mod locks;
pub mod maps;
pub mod memory;
pub mod names;
pub mod objects;
pub mod os_thread;
pub mod pages;
pub mod pauses;
pub mod process;
pub mod statics;
pub mod stop;
pub mod variables;
pub mod version;
