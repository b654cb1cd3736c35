//! Tests that measure living programs, each with its deterministic twins: tests that assert the same of programs whose
//! every moment is written down, or of structures made of bytes. On a noisy machine a live test can be unable to measure
//! anything. Its twins can always tell a fault of gilscope from one of the machine.
//!
//! [`super::thrice`] runs only tests that are listed here, and a test checks that the twins exist.

use std::fs;
use std::path::Path;

/// A live test, without the interpreter, and its twins: names of functions in `src` and in `tests`.
type Row = (&'static str, &'static [&'static str]);

const STACKS: &[&str] = &[
    "the_busy_share_is_right_whether_stacks_are_read_or_lost",
    "what_was_put_in_comes_out",
    "damaged_stacks_are_survived",
];
const SPLIT: &[&str] = &["a_split_of_70_20_10_is_the_share_of_the_samples"];
const HELD_ASLEEP: &[&str] = &["a_sleep_that_keeps_the_gil_is_distinguished_from_one_that_does_not"];
const GIL_WAITS: &[&str] = &[
    "waits_for_the_gil_are_as_long_as_they_were_and_of_who_slept_with_it",
    "where_there_is_no_gil_nobody_waits_for_one",
    // A simulated GIL with all that can happen to it.
    "what_is_found_is_what_was",
];
const COLLECTIONS: &[&str] = &[
    "a_collection_is_of_who_makes_it_and_others_wait_for_it",
    "who_runs_while_a_finalizer_waits_does_not_collect",
    "without_a_gil_others_run_meanwhile",
];
const COUNTS: &[&str] = &["accesses_have_the_proportions_of_the_program", "a_count_is_contended_by_several_threads"];
const LOCK: &[&str] = &["a_lock_is_waited_for_as_long_as_it_was_held_by_who_held_it"];
const NAMES: &[&str] = &[
    "a_variable_of_this_very_process_has_its_name_and_others_have_none",
    "a_way_that_is_cut_while_the_search_goes_on_gives_no_name",
];
const LIBRARY_NAMES: &[&str] = &["addresses_in_this_very_process_are_found"];
const SELDOM: &[&str] = &["samples_further_apart_than_waits_are_long_estimate_them_all_the_same"];
const SPINNING: &[&str] = &["spinning_is_cpu_time_of_its_lock"];
const PAUSES: &[&str] = &["who_stands_still_for_a_stop_is_paused_for_as_long"];
const KEPT: &[&str] = &["a_lock_that_is_never_released_is_held_by_who_is_seen_to_have_it"];
const ONE_AFTER_THE_OTHER: &[&str] = &["each_of_many_waits_in_a_row_is_counted"];
/// What is asserted is no number that gilscope works out, but that it is there in time: to look at a lock before the
/// program is gone, to take the first sample, to take enough of them.
const IN_TIME: &[&str] = &[];
const SHORT_WAITS: &[&str] = &["measured_times_are_taken_as_they_are"];
const FILTERS: &[&str] = &[
    "threads_are_selected_by_name_and_by_tid",
    "a_function_is_selected_with_what_it_calls",
    "locks_are_selected_by_a_part_of_their_label",
    "waits_are_selected_by_their_length",
    "times_are_seconds_since_the_start",
];
const QUEUE: &[&str] = &["who_is_handed_work_waits_for_no_lock"];
const FIRST_AND_LAST: &[&str] = &["what_happens_first_and_what_never_ends_is_all_there"];
const TRACE: &[&str] = &["every_moment_of_a_thread_has_a_state_and_a_stack", "arrows_go_from_slice_to_slice"];
const LOCK_TRACE: &[&str] = &["locks_that_were_waited_for_much_have_a_track", "arrows_go_from_slice_to_slice"];
const SHORT_HOLDS: &[&str] =
    &["short_holds_did_what_samples_of_others_show", "short_holds_are_attributed_to_what_was_sampled_in_like_ones"];
const STOPS: &[&str] = &["a_thread_that_moves_is_hardly_ever_tried_and_a_quiet_one_never_stopped"];

const DELAYS: &[&str] = &[
    "a_call_that_does_not_look_is_where_the_time_after_the_request_goes",
    // A simulated GIL with calls that keep it.
    "what_is_found_is_what_was",
];

const COLLECTED: &[&str] =
    &["counts_are_those_of_all_generations", "one_collection_lasts_until_its_thread_is_seen_elsewhere"];

pub const TWINS: [Row; 47] = [
    ("delays::collections_are_counted_and_take_as_long_as_the_program_says", COLLECTED),
    ("delays::a_c_call_that_does_not_release_the_gil_is_named", DELAYS),
    ("chains::every_stack_was_there_and_the_busy_share_is_right_in_kernel_mode_at_10000_hz", STACKS),
    ("chains::every_stack_was_there_and_the_busy_share_is_right_at_2000_hz", STACKS),
    ("chains::every_stack_was_there_and_the_busy_share_is_right_at_100_hz", STACKS),
    ("collections::a_collection_is_distinguished_from_what_started_it", COLLECTIONS),
    ("collections::who_computes_while_a_collection_waits_does_not_collect", COLLECTIONS),
    ("counts::functions_of_modules_are_not_counted", COUNTS),
    ("counts::in_memory_mode_it_is_the_same_object", COUNTS),
    ("counts::proportions_are_those_of_the_program", COUNTS),
    ("counts::whose_count_holds_threads_up_and_where", COUNTS),
    ("gil::a_sleep_that_keeps_the_gil_is_distinguished_from_one_that_does_not", HELD_ASLEEP),
    ("gil::the_gil_of_a_free_threaded_build_is_seen_when_it_is_on", HELD_ASLEEP),
    ("harmless::a_program_can_do_what_it_wants_to", IN_TIME),
    ("harmless::also_when_it_is_never_stopped_and_its_children_are_followed", IN_TIME),
    ("harmless::also_when_it_is_stopped_for_every_sample", IN_TIME),
    ("harmless::a_program_that_is_being_debugged_is_read_without_stopping_it_and_says_so", STOPS),
    ("kernel::short_waits_can_be_left_out_but_count_all_the_same", SHORT_WAITS),
    ("kernel::the_first_thing_a_program_does_is_seen_in_kernel_mode", FIRST_AND_LAST),
    ("kernel::threads_of_c_that_wait_to_enter_python_are_listed", GIL_WAITS),
    ("kernel::threads_that_have_long_been_blocked_are_so_for_all_of_the_recording", FIRST_AND_LAST),
    ("kernel::two_can_record_the_same_program_in_kernel_mode", GIL_WAITS),
    ("locks::a_program_that_is_killed_has_no_other_locks", IN_TIME),
    ("locks::in_memory_mode_short_waits_are_estimated_too", SELDOM),
    ("locks::in_memory_mode_that_is_estimated", LOCK),
    ("locks::locks_of_libraries_have_names", LIBRARY_NAMES),
    ("locks::locks_of_objects_have_names", NAMES),
    ("locks::spinning_is_attributed_to_its_lock", SPINNING),
    ("locks::the_gil_is_no_lock_among_others", GIL_WAITS),
    ("locks::waits_that_follow_one_another_at_once_are_all_counted", ONE_AFTER_THE_OTHER),
    ("locks::who_is_handed_work_waits_for_no_lock", QUEUE),
    ("locks::who_never_releases_a_lock_is_reported_as_its_holder", KEPT),
    ("locks::who_stops_all_threads_is_reported", PAUSES),
    ("locks::a_wait_for_a_lock_is_reported_with_the_lock_and_its_holder", LOCK),
    ("locks::the_reasons_of_stops_are_reported", PAUSES),
    ("record::the_first_sample_comes_soon", IN_TIME),
    ("record::views_show_what_they_say", HELD_ASLEEP),
    ("recordings::filters_show_what_is_known_of_a_part", FILTERS),
    ("short_holds::short_holds_of_a_lock_are_attributed_to_what_is_done_in_them", SHORT_HOLDS),
    ("short_holds::short_holds_of_the_gil_are_attributed_to_what_is_done_in_them", SHORT_HOLDS),
    ("split::a_split_of_70_20_10_is_reported_as_the_program_measures_it", SPLIT),
    ("trace::a_trace_of_estimated_waits_keeps_the_rules", TRACE),
    ("trace::a_trace_of_waits_keeps_the_rules_and_is_true", TRACE),
    ("trace::a_trace_shows_who_held_a_lock_and_who_waited", LOCK_TRACE),
    ("waits::estimated_waits_are_about_as_long_as_the_program_says", GIL_WAITS),
    ("waits::waits_are_as_long_as_the_program_says", GIL_WAITS),
    ("waits::waits_for_the_gil_of_a_free_threaded_build_are_exact_when_it_is_on", GIL_WAITS),
];

/// The twins of a test; none if it is not listed.
pub fn of(test: &str) -> Option<&'static [&'static str]> {
    TWINS.iter().find(|(live, _)| *live == test).map(|(_, twins)| *twins)
}

/// Fails with all rows that name a test which does not exist.
pub fn check() {
    let sources: Vec<String> = ["src", "tests"].into_iter().flat_map(rust_files).collect();
    let exists = |test: &str| sources.iter().any(|source| source.contains(&format!("fn {test}(")));
    let mut missing = Vec::new();
    for (live, twins) in TWINS {
        let live = live.rsplit("::").next().unwrap_or(live);
        missing.extend([live].iter().chain(twins).filter(|test| !exists(test)).map(|test| test.to_string()));
    }
    assert!(missing.is_empty(), "tests/support/twins.rs names tests that do not exist: {missing:#?}");
}

fn rust_files(folder: &str) -> Vec<String> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().is_some_and(|extension| extension == "rs") {
                true => sources.push(fs::read_to_string(path).unwrap()),
                false if path.is_dir() => folders.push(path),
                false => {}
            }
        }
    }
    sources
}
