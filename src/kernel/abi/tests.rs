//! Both halves of kernel mode agree: the structures here are those that the committed object was compiled with.

use std::collections::BTreeMap;
use std::mem::offset_of;

use proptest::prelude::*;
use zerocopy::{FromZeros, IntoBytes};

use super::btf::{Btf, BtfStructure};
use super::records::{REC_EXIT, REC_OFF, REC_RESUME, REC_SAMPLE, REC_SITE, REC_STACK};
use super::wire::*;
use super::*;
use crate::cpython::locks::PARKING_LOT;
use crate::kernel::load::OBJECT;

fn size_of_field<T, F>(_: impl Fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// A structure of ours, with the name that it has in C.
macro_rules! structure {
    ($name:literal, $type:ty { $($field:ident),* $(,)? }) => {
        ($name, BtfStructure {
            size: size_of::<$type>(),
            fields: vec![$((
                stringify!($field).to_owned(),
                offset_of!($type, $field),
                size_of_field(|value: &$type| &value.$field),
            )),*],
        })
    };
}

fn structures() -> Vec<(&'static str, BtfStructure)> {
    vec![
        structure!(
            "target",
            TargetConfig {
                runtime,
                text,
                gils,
                gil_count,
                state_index,
                interpreters_head,
                interp_next,
                interp_threads,
                gil_place,
                gil_in_runtime,
                gil_enabled,
                gil_holder,
                gil_locked,
                gil_switches,
                gil_cond,
                gil_wait_len,
                ts_next,
                ts_interp,
                ts_head,
                cframe_current,
                ts_thread_id,
                ts_native_id,
                ts_state,
                frame_previous,
                frame_code,
                frame_instr,
                frame_owner,
                frame_tlbc,
                frame_len,
                frame_reach,
                instr_shift,
                code_name,
                code_filename,
                code_line_table,
                code_first_line,
                gc_collecting,
                gc_in_runtime,
                world_stopped,
                parked_within,
            }
        ),
        structure!("process_state", ProcessState { collector_in, collector, collector_away, resumed_at }),
        structure!("tstates", KernelThreadStates { tstate, interp, ident, gil, count }),
        structure!(
            "account",
            WireAccount {
                on_cpu,
                runnable,
                gil_held_runnable,
                gil_held_off_cpu,
                gil_wait,
                futex,
                blocked,
                unknown,
                gil_waits,
                blocks,
            }
        ),
        structure!("header", WireHeader { kind, flags, syscall, tid, tgid, off_kind }),
        structure!("frame", WireFrame { code, instr, key }),
        structure!("stack_head", WireStackHead { header, id, frames, truncated }),
        structure!(
            "off_record",
            WireOff {
                header,
                start,
                end,
                stack,
                woken_at,
                waker_stack,
                waker,
                waker_switches,
                gil,
                holder,
                switches,
                waker_gil,
                lock,
                fair_at,
                site,
            }
        ),
        structure!("sample_record", WireSample { header, at, stack, gil, ip }),
        structure!("registers", WireRegisters { ip, general }),
        structure!("sample_with_registers", WireSampleWithRegisters { sample, registers }),
        structure!("thread", KernelThread { in_at, search_at, search_after, account, off }),
        structure!("exit_record", WireExit { header, at, account, name }),
        structure!("resume_record", WireResume { header, at, words }),
        structure!("site_record", WireSite { header, id, ip, operation, value, words }),
    ]
}

#[test]
fn structures_are_those_of_the_object() {
    let btf = Btf::of_object(OBJECT);
    for (name, ours) in structures() {
        assert_eq!(btf.structure(name), ours, "struct {name}");
    }
    // Of a record of a stack the frames that there are follow its head.
    let stack = btf.structure("stack_record");
    let frames = ("frame".to_owned(), size_of::<WireStackHead>(), stack.size - size_of::<WireStackHead>());
    assert_eq!(stack.fields, [("head".to_owned(), 0, size_of::<WireStackHead>()), frames]);
}

#[test]
fn nothing_is_mirrored_that_is_not_compared() {
    let btf = Btf::of_object(OBJECT);
    let mirrored: Vec<String> = btf.structure("mirrored").fields.into_iter().map(|(name, ..)| name).collect();
    let known = [
        "target",
        "process_state",
        "tstates",
        "thread",
        "stack",
        "off",
        "sample",
        "exit",
        "resume",
        "site",
        "limit",
        "parked_for",
        "counter",
        "off_kind",
        "gil_flag",
        "off_flag",
        "sample_flag",
        "record_kind",
    ];
    assert_eq!(mirrored, known);
}

fn enumerators<const N: usize>(of: [(&str, u32); N]) -> BTreeMap<String, u32> {
    of.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[test]
fn enumerations_are_those_of_the_object() {
    let btf = Btf::of_object(OBJECT);
    let kinds = [REC_STACK, REC_OFF, REC_SAMPLE, REC_EXIT, REC_RESUME, REC_SITE].map(u32::from);
    let [stack, off, sample, exit, resume, site] = kinds;
    let ours = [
        ("REC_STACK", stack),
        ("REC_OFF", off),
        ("REC_SAMPLE", sample),
        ("REC_EXIT", exit),
        ("REC_RESUME", resume),
        ("REC_SITE", site),
    ];
    assert_eq!(btf.enumeration("record_kind"), enumerators(ours));
    let names = [
        "OFF_UNKNOWN",
        "OFF_RUNNABLE",
        "OFF_GIL_WAIT",
        "OFF_BLOCKED",
        "OFF_STOPPED",
        "OFF_PARKED_MUTEX",
        "OFF_PARKED",
        "OFF_NATIVE_MUTEX",
        "OFF_JOIN",
    ];
    let ours: Vec<_> = names.into_iter().zip(OffKind::ALL.map(|kind| kind as u32)).collect();
    assert_eq!(btf.enumeration("off_kind"), enumerators::<9>(ours.try_into().unwrap()));
    assert!(OffKind::ALL.iter().enumerate().all(|(index, &kind)| kind as usize == index));
    let ours = [
        ("LOST_RECORDS", KernelCounter::LostRecords as u32),
        ("UNTRACKED_THREADS", KernelCounter::UntrackedThreads as u32),
        ("PID_NAMESPACE_LEVEL", KernelCounter::PidNamespaceLevel as u32),
        ("COUNTERS", KernelCounter::PidNamespaceLevel as u32 + 1),
    ];
    assert_eq!(btf.enumeration("counter"), enumerators(ours));
    let limits = btf.enumeration("limit");
    let ours = [
        ("MAX_TEXTS", MAX_TEXTS as u32),
        ("MAX_GILS", MAX_GILS as u32),
        ("MAX_TSTATES", MAX_TSTATES as u32),
        ("MAX_FRAMES", limits["MAX_FRAMES"]),
        ("MAX_PROCESSES", MAX_PROCESSES as u32),
        ("STACK_WORDS", STACK_WORDS as u32),
        ("FRAMES_LEN", FRAMES_LEN),
        ("TLBC_SHIFT", TLBC_SHIFT),
        ("NONE", NONE),
    ];
    assert_eq!(limits, enumerators(ours));
    assert_eq!(btf.enumeration("parked_for"), enumerators([("PARKING_LOT", PARKING_LOT as u32)]));
}

#[test]
fn flags_are_those_of_the_object() {
    let btf = Btf::of_object(OBJECT);
    let (gil, off, sample) =
        (btf.enumeration("gil_flag"), btf.enumeration("off_flag"), btf.enumeration("sample_flag"));
    let of_off = enumerators([
        ("HELD", OffFlags::HELD.0.into()),
        ("LOCKED", OffFlags::LOCKED.0.into()),
        ("HAS_GIL", OffFlags::HAS_GIL.0.into()),
        ("WOKEN", OffFlags::WOKEN.0.into()),
        ("WAKER", OffFlags::WAKER.0.into()),
        ("WAKER_GIL", OffFlags::WAKER_GIL.0.into()),
        ("OPEN", OffFlags::OPEN.0.into()),
        ("COLLECTING", OffFlags::COLLECTING.0.into()),
    ]);
    let of_sample = enumerators([
        ("HELD", SampleFlags::HELD.0.into()),
        // Of samples this one is of no interest.
        ("LOCKED", OffFlags::LOCKED.0.into()),
        ("HAS_GIL", SampleFlags::HAS_GIL.0.into()),
        ("IN_USER", SampleFlags::IN_USER.0.into()),
        ("COLLECTS", SampleFlags::COLLECTS.0.into()),
        ("ATTACHED", SampleFlags::ATTACHED.0.into()),
        ("NATIVE", SampleFlags::NATIVE.0.into()),
    ]);
    for (of_its_own, ours) in [(off, of_off), (sample, of_sample)] {
        let all: BTreeMap<String, u32> = gil.clone().into_iter().chain(of_its_own).collect();
        assert_eq!(all, ours);
        let bits = all.values().fold(0, |bits, bit| bits | bit);
        assert_eq!(bits.count_ones() as usize, all.len(), "no bit has two meanings");
    }
}

fn header(kind: u8) -> WireHeader {
    WireHeader { kind, tid: 7, tgid: 5, ..WireHeader::default() }
}

/// A record of each kind, whole.
fn records() -> Vec<Vec<u8>> {
    let head = WireStackHead { header: header(REC_STACK), id: 9, frames: 2, truncated: 0 };
    let frames = [WireFrame { code: 1, instr: 2, key: 3 }; 2];
    let sample = WireSample { header: header(REC_SAMPLE), ..WireSample::default() };
    let mut resume = WireResume::new_zeroed();
    resume.header = header(REC_RESUME);
    let mut site = WireSite::new_zeroed();
    site.header = header(REC_SITE);
    vec![
        [head.as_bytes(), frames.as_bytes()].concat(),
        WireOff { header: header(REC_OFF), ..WireOff::default() }.as_bytes().to_vec(),
        sample.as_bytes().to_vec(),
        WireExit { header: header(REC_EXIT), ..WireExit::default() }.as_bytes().to_vec(),
        resume.as_bytes().to_vec(),
        site.as_bytes().to_vec(),
    ]
}

#[test]
fn records_that_are_cut_are_none() {
    for whole in records() {
        let (pid, record) = KernelRecord::decode(&whole).unwrap();
        assert_eq!(pid, 5, "{record:?}");
        for len in 0..whole.len() {
            assert!(KernelRecord::decode(&whole[..len]).is_none(), "{len} bytes of {record:?}");
        }
        // What the ring may have behind it makes no difference.
        assert!(KernelRecord::decode(&[&whole[..], &[0; 8]].concat()).is_some());
    }
}

#[test]
fn registers_that_are_cut_are_no_registers() {
    let sample = WireSample { header: header(REC_SAMPLE), at: 1, ..WireSample::default() };
    let registers = WireRegisters { ip: 2, general: [3; 16] };
    let whole = WireSampleWithRegisters { sample, registers };
    let decoded = |bytes: &[u8]| match KernelRecord::decode(bytes) {
        Some((_, KernelRecord::Sample(sample))) => sample.registers,
        other => panic!("{other:?}"),
    };
    let all = whole.as_bytes();
    assert_eq!(decoded(all).map(|registers| (registers.ip, registers.general[15])), Some((2, 3)));
    assert_eq!(decoded(&all[..all.len() - 1]), None);
    assert_eq!(decoded(sample.as_bytes()), None);
}

#[test]
fn a_record_of_a_kind_that_does_not_exist_is_none() {
    for kind in (0..=255).filter(|kind| !(REC_STACK..=REC_SITE).contains(kind)) {
        let mut bytes = header(kind).as_bytes().to_vec();
        bytes.resize(4096, 0xff);
        assert!(KernelRecord::decode(&bytes).is_none());
    }
}

#[test]
fn a_stack_with_more_frames_than_bytes_is_none() {
    let head = WireStackHead { header: header(REC_STACK), id: 9, frames: u32::MAX, truncated: 0 };
    assert!(KernelRecord::decode(&[head.as_bytes(), &[0; 64]].concat()).is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_none(kind in 0u8..9, mut bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        let _ = KernelRecord::decode(&bytes);
    }

    #[test]
    fn any_state_of_a_thread_has_an_account(bytes in proptest::array::uniform32(any::<u8>()), now in any::<u64>()) {
        let mut thread = KernelThread::new_zeroed();
        let len = thread.as_bytes().len();
        let all: Vec<u8> = bytes.into_iter().cycle().take(len).collect();
        thread.as_mut_bytes().copy_from_slice(&all);
        thread.account = WireAccount::default();
        let (off, account) = thread.under_way(crate::event::Nanos(now));
        prop_assert_eq!(off.is_some(), thread.off.start != 0 && thread.off.start < now);
        prop_assert_eq!(account.at.0, now);
    }
}

#[test]
fn time_under_way_is_put_where_the_kernel_would_put_it() {
    use crate::event::{Account, Nanos, Syscall};
    let under_way = |kind: OffKind, call: Syscall, flags: OffFlags| {
        let wait = SeededWait { flags, ..SeededWait::new(kind, call) };
        let thread = KernelThread::seeded(Nanos(100), 7, 5, Some(wait));
        let (off, account) = thread.under_way(Nanos(130));
        let off = off.unwrap();
        assert_eq!((off.tid, off.start, off.end, off.kind), (7, Nanos(100), Nanos(130), kind));
        assert!(off.flags.has(OffFlags::OPEN));
        account
    };
    let none = OffFlags::default();
    let at = Nanos(130);
    let read = Syscall(0);
    let cases = [
        (OffKind::GilWait, Syscall::FUTEX, none, Account { at, gil_wait_ns: 30, ..Account::default() }),
        (OffKind::Runnable, Syscall(-1), none, Account { at, runnable_ns: 30, ..Account::default() }),
        (
            OffKind::Runnable,
            Syscall(-1),
            OffFlags::HELD,
            Account { at, gil_held_runnable_ns: 30, ..Account::default() },
        ),
        (OffKind::Blocked, read, OffFlags::HELD, Account { at, gil_held_off_cpu_ns: 30, ..Account::default() }),
        (OffKind::ParkedMutex, Syscall::FUTEX, none, Account { at, futex_ns: 30, ..Account::default() }),
        (OffKind::Blocked, read, none, Account { at, blocked_ns: 30, ..Account::default() }),
        (OffKind::Stopped, Syscall(-1), none, Account { at, unknown_ns: 30, ..Account::default() }),
    ];
    for (kind, call, flags, expected) in cases {
        assert_eq!(under_way(kind, call, flags), expected, "{kind:?}");
    }
    let running = KernelThread::seeded(Nanos(100), 7, 5, None);
    let (off, account) = running.under_way(Nanos(130));
    assert!(off.is_none());
    assert_eq!(account, Account { at, on_cpu_ns: 30, ..Account::default() });
}
