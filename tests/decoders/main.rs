//! The decoders of CPython's structures, on an interpreter made of bytes: what was put in comes out; and with bytes
//! changed, cut off or pointing anywhere, nothing panics, every walk ends, and memory stays bounded.

mod damage;
mod interpreter;
mod lines;
mod objects;
mod watch;
mod whole;
