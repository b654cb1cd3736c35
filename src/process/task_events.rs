//! Every `fork`, `exec` and end of the processes below one, however short they live: the task records of perf events. The
//! kernel permits those of the whole machine to the privileged, and to everybody those of one's own processes and of all
//! that these start. Read by the session, which counts the processes that it could not observe.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use perf_event::events::Software;
use perf_event::{Builder, Counter};
use perf_event_open_sys::{bindings as sys, ioctls};
use rustix::io::{FdFlags, fcntl_setfd};

use super::perf_ring::{HEADER, PerfRing};
use super::relatives::{descendants, threads};
use crate::event::{Nanos, Pid, Tid};
use crate::text::from_bytes;

/// Pages of records for each CPU: enough for thousands of threads that start in a second. Fewer where there are many CPUs.
const PAGES: usize = 64;
const FEW_PAGES: usize = 16;
const MANY_CPUS: usize = 16;
/// Events without privileges: one for each thread that is there and each CPU. Beyond that number it would cost too many
/// descriptors.
const MAX_EVENTS: usize = 512;

/// What became of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskChange {
    /// Another process started it.
    Forked {
        parent: Pid,
    },
    /// It runs another program now, of which that is the short name.
    Executed {
        comm: String,
    },
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEvent {
    pub at: Nanos,
    pub pid: Pid,
    pub change: TaskChange,
}

/// The events of a process and of all below it.
#[derive(Debug)]
pub struct TaskEvents {
    /// Kept open for as long as the rings are read.
    counters: Vec<Counter>,
    rings: Vec<PerfRing>,
    /// Records were lost: the rings were full.
    pub lost: bool,
    /// Events that are later than the last complete moment of all rings.
    early: Vec<TaskEvent>,
}

impl TaskEvents {
    /// Begins to watch what `root` and the processes below it do.
    ///
    /// # Errors
    /// The kernel does not permit it, or there are too many threads to watch without privileges.
    pub fn open(root: Pid) -> io::Result<TaskEvents> {
        let cpus = online_cpus()?;
        let mut events = TaskEvents { counters: Vec::new(), rings: Vec::new(), lost: false, early: Vec::new() };
        if events.open_each(&cpus, &[None]).is_ok() {
            return Ok(events);
        }
        let mut tids: Vec<Option<Tid>> = threads(root).into_iter().map(Some).collect();
        tids.extend(descendants(root).into_iter().flat_map(threads).map(Some));
        if tids.is_empty() || tids.len() * cpus.len() > MAX_EVENTS {
            return Err(io::ErrorKind::Unsupported.into());
        }
        (events.counters, events.rings) = (Vec::new(), Vec::new());
        events.open_each(&cpus, &tids)?;
        Ok(events)
    }

    /// On each CPU, opens an event for each thread (or for all, if it is none), which share a ring.
    fn open_each(&mut self, cpus: &[usize], tids: &[Option<Tid>]) -> io::Result<()> {
        let pages = if cpus.len() > MANY_CPUS { FEW_PAGES } else { PAGES };
        for &cpu in cpus {
            let mut first = None;
            for &tid in tids {
                let counter = match event(cpu, tid) {
                    Ok(counter) => counter,
                    // That thread has ended.
                    Err(error) if tid.is_some() && error.raw_os_error() == Some(nix::libc::ESRCH) => continue,
                    Err(error) => return Err(error),
                };
                // SAFETY: the descriptor belongs to `counter`, which outlives the borrow.
                let fd = unsafe { BorrowedFd::borrow_raw(counter.as_raw_fd()) };
                fcntl_setfd(fd, FdFlags::CLOEXEC)?;
                match first {
                    None => {
                        self.rings.push(PerfRing::map(fd, pages)?);
                        first = Some(counter.as_raw_fd());
                    }
                    // SAFETY: both descriptors are open; the kernel checks that they belong to the same CPU.
                    Some(first) if unsafe { ioctls::SET_OUTPUT(counter.as_raw_fd(), first) } != 0 => {
                        return Err(io::Error::last_os_error());
                    }
                    Some(_) => {}
                }
                self.counters.push(counter);
            }
        }
        Ok(())
    }

    /// What happened since the last time, in the order in which it did. What is later than `now`, the moment at which the
    /// call began, is kept for the next one: another ring may have something earlier still.
    pub fn drain(&mut self, now: Nanos) -> Vec<TaskEvent> {
        let mut events = std::mem::take(&mut self.early);
        for ring in &mut self.rings {
            ring.drain(|record| match decode(record) {
                Some(TaskRecord::Event(event)) => events.push(event),
                Some(TaskRecord::Lost) => self.lost = true,
                None => {}
            });
        }
        events.sort_by_key(|event| event.at);
        let complete = events.partition_point(|event| event.at <= now);
        self.early = events.split_off(complete);
        events
    }
}

fn event(cpu: usize, tid: Option<Tid>) -> io::Result<Counter> {
    let mut builder = Builder::new().kind(Software::DUMMY).one_cpu(cpu);
    builder = match tid {
        Some(tid) => builder.observe_pid(tid),
        None => builder.any_pid(),
    };
    builder.inherit(tid.is_some());
    let attrs = builder.attrs_mut();
    attrs.sample_type = sys::PERF_SAMPLE_TIME.into();
    attrs.set_sample_id_all(1);
    attrs.set_use_clockid(1);
    attrs.clockid = nix::libc::CLOCK_MONOTONIC;
    attrs.set_task(1);
    attrs.set_comm(1);
    attrs.set_comm_exec(1);
    let mut counter = builder.build()?;
    counter.enable()?;
    Ok(counter)
}

fn online_cpus() -> io::Result<Vec<usize>> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    Ok(ranges.flatten().collect())
}

#[derive(Debug, PartialEq, Eq)]
enum TaskRecord {
    Event(TaskEvent),
    Lost,
}

/// Decodes `PERF_RECORD_FORK`, `_COMM`, `_EXIT` and `_LOST`, each with its time at the end; none for any other record, and
/// for what concerns a single thread.
fn decode(record: &[u8]) -> Option<TaskRecord> {
    let (kind, misc) = (u32_at(record, 0)?, u16::from_le_bytes(record.get(4..6)?.try_into().ok()?));
    let body = record.get(HEADER..record.len().checked_sub(8)?)?;
    let at = Nanos(u64::from_le_bytes(record[record.len() - 8..].try_into().ok()?));
    let pid_at = |offset| u32_at(body, offset).map(|pid| pid as Pid);
    let event = |pid, change| Some(TaskRecord::Event(TaskEvent { at, pid, change }));
    match kind {
        // pid, ppid, tid, ptid, time
        sys::PERF_RECORD_FORK => {
            let (pid, parent) = (pid_at(0)?, pid_at(4)?);
            if pid == parent { None } else { event(pid, TaskChange::Forked { parent }) }
        }
        sys::PERF_RECORD_EXIT => {
            let (pid, tid) = (pid_at(0)?, pid_at(8)?);
            if pid == tid { event(pid, TaskChange::Ended) } else { None }
        }
        // pid, tid, name
        sys::PERF_RECORD_COMM if u32::from(misc) & sys::PERF_RECORD_MISC_COMM_EXEC != 0 => {
            let name = body.get(8..)?.split(|&byte| byte == 0).next().unwrap_or_default();
            event(pid_at(0)?, TaskChange::Executed { comm: from_bytes(name) })
        }
        sys::PERF_RECORD_LOST => Some(TaskRecord::Lost),
        _ => None,
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::clock::now;

    fn record(kind: u32, misc: u32, words: &[u32], rest: &[u8], at: u64) -> Vec<u8> {
        let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        body.extend(rest);
        let size = (HEADER + body.len() + 8) as u16;
        let mut record = kind.to_le_bytes().to_vec();
        record.extend((misc as u16).to_le_bytes());
        record.extend(size.to_le_bytes());
        record.extend(body);
        record.extend(at.to_le_bytes());
        record
    }

    #[test]
    fn records_are_decoded_and_never_read_beyond_their_end() {
        let event = |pid, change| Some(TaskRecord::Event(TaskEvent { at: Nanos(9), pid, change }));
        let fork = record(sys::PERF_RECORD_FORK, 0, &[7, 3, 7, 4, 0, 0], &[], 9);
        assert_eq!(decode(&fork), event(7, TaskChange::Forked { parent: 3 }));
        let thread = record(sys::PERF_RECORD_FORK, 0, &[3, 3, 8, 3, 0, 0], &[], 9);
        assert_eq!(decode(&thread), None, "a thread is no process");
        let exec = record(sys::PERF_RECORD_COMM, sys::PERF_RECORD_MISC_COMM_EXEC, &[7, 7], b"python3\0", 9);
        assert_eq!(decode(&exec), event(7, TaskChange::Executed { comm: "python3".to_owned() }));
        let renamed = record(sys::PERF_RECORD_COMM, 0, &[7, 7], b"worker\0\0", 9);
        assert_eq!(decode(&renamed), None);
        let end = record(sys::PERF_RECORD_EXIT, 0, &[7, 3, 7, 3, 0, 0], &[], 9);
        assert_eq!(decode(&end), event(7, TaskChange::Ended));
        assert_eq!(decode(&record(sys::PERF_RECORD_LOST, 0, &[0, 0, 5, 0], &[], 9)), Some(TaskRecord::Lost));
        for record in [fork, exec, end] {
            for len in 0..record.len() {
                let _ = decode(&record[..len]);
            }
        }
    }

    #[test]
    fn a_child_that_lives_for_a_moment_is_seen() {
        let own = std::process::id() as Pid;
        // Where perf events are not permitted the session estimates.
        let Ok(mut events) = TaskEvents::open(own) else { return };
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as Pid;
        child.wait().unwrap();
        let seen = events.drain(now());
        let of_child: Vec<&TaskChange> =
            seen.iter().filter(|event| event.pid == pid).map(|event| &event.change).collect();
        assert_eq!(
            of_child,
            [
                &TaskChange::Forked { parent: own },
                &TaskChange::Executed { comm: "true".to_owned() },
                &TaskChange::Ended
            ]
        );
    }
}
