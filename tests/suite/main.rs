//! What gilscope does to real programs of every Python, through its command line.

mod support;

mod stacks;
