//! Records of stacks.

use super::*;

/// What a sample of the main thread with this stack shows, at a look `now`.
fn seen(fixture: &mut Fixture, stack: u64, now: u64) -> String {
    fixture.send(sample_record(fixture.main, SampleFlags::default(), 0, stack).as_bytes());
    let line = fixture.look(now);
    line.split_once(", in ").or(line.split_once(", no ")).map_or(line.clone(), |(_, stack)| stack.to_owned())
}

#[test]
fn a_stack_has_the_names_and_lines_of_its_frames() {
    let mut fixture = Fixture::with_gil();
    assert_eq!(seen(&mut fixture, WORKER_STACK, 10), "step:22 < run:13");
    assert_eq!(seen(&mut fixture, 0, 11), "no Python code");
    assert!(fixture.forgotten.is_empty());
}

#[test]
fn a_stack_that_was_cut_says_so() {
    let mut fixture = Fixture::with_gil();
    fixture.send(&stack_record(13, true, &[fixture.step.at(0)]));
    assert_eq!(seen(&mut fixture, 13, 10), "step:20 < [deeper frames left out]");
}

#[test]
fn a_stack_that_never_arrived_is_lost() {
    let mut fixture = Fixture::with_gil();
    assert_eq!(seen(&mut fixture, 99, 10), "stack: Unreadable");
}

#[test]
fn an_address_alone_proves_nothing() {
    let mut fixture = Fixture::with_gil();
    let mut frame = fixture.step.at(0);
    frame.key ^= 1;
    fixture.send(&stack_record(13, false, &[frame, fixture.run.at(0)]));
    assert_eq!(seen(&mut fixture, 13, 10), "[code object freed] < run:10");
    assert!(fixture.forgotten.contains(&13), "the programs are to send it again");
}

#[test]
fn names_outlive_the_code_of_a_thread_that_has_slept_since() {
    let mut fixture = Fixture::with_gil();
    let off = off_record(fixture.worker, OffKind::Blocked, Syscall(0), OffFlags::default(), WORKER_STACK);
    // All was there at a look at 2; it is freed before the thread is back.
    fixture.fake.free(fixture.step);
    fixture.send(WireOff { start: 2, ..off }.as_bytes());
    assert!(fixture.look(4000).contains("in step:22 < run:13"));
    // But of a sleep that began after that look nothing is known.
    fixture.send(WireOff { start: 3, ..off }.as_bytes());
    assert!(fixture.look(4001).contains("in [code object freed] < run:13"));
    assert_eq!(fixture.forgotten, [WORKER_STACK, WORKER_STACK]);
}
