#![no_main]

gilscope_fuzz::fuzz!(gilscope::fuzzing::unwind_table);
