#![no_main]

gilscope_fuzz::fuzz!(gilscope::fuzzing::debug_offsets);
