//! The threads of a process and its descendants, in gilscope's own pid namespace.

use std::fs;

use super::identity::{remote, thread_state};
use super::status::numbers;
use crate::event::{Pid, Tid};

/// The threads of a process; empty once it is gone.
pub fn threads(pid: Pid) -> Vec<Tid> {
    let threads = remote(pid).and_then(|process| process.threads().ok()).unwrap_or_default();
    threads.iter().filter_map(|thread| thread.id().ok()).collect()
}

/// All processes of the machine, in the order of their numbers, as far as gilscope may see them.
pub fn all() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<Pid> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// The thread through which a process's memory and files can be reached, its first one: or, if that has ended while others
/// go on (`pthread_exit` in `main`), one of the others. None once all have ended.
pub fn living_thread(pid: Pid) -> Option<Tid> {
    let lives = |&tid: &Tid| thread_state(pid, tid).is_some_and(|state| !matches!(state, b'Z' | b'X' | b'x'));
    if lives(&pid) { Some(pid) } else { threads(pid).into_iter().find(lives) }
}

/// All descendants of a process, parents before their children.
pub fn descendants(pid: Pid) -> Vec<Pid> {
    // The lists of children that the kernel keeps per thread (`CONFIG_PROC_CHILDREN`, on in all distributions) cost a read
    // for each thread of the family. The crate reads every process of the machine instead, and this is asked 50 times
    // a second.
    if fs::exists("/proc/thread-self/children").unwrap_or(false) {
        return breadth_first(pid, listed_children);
    }
    let pairs = remote(pid).and_then(|process| process.child_processes().ok()).unwrap_or_default();
    breadth_first(pid, |parent| pairs.iter().filter(|pair| pair.1 == parent).map(|pair| pair.0).collect())
}

/// The children of a process, by the lists of its threads.
fn listed_children(parent: Pid) -> Vec<Pid> {
    let lists = threads(parent).into_iter();
    let lists = lists.filter_map(|tid| fs::read_to_string(format!("/proc/{parent}/task/{tid}/children")).ok());
    lists.flat_map(|list| numbers(&list)).collect()
}

fn breadth_first(root: Pid, mut children: impl FnMut(Pid) -> Vec<Pid>) -> Vec<Pid> {
    let mut found = children(root);
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(children(parent));
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_threads_and_its_children() {
        let own = std::process::id() as Pid;
        assert!(threads(own).contains(&own));
        assert!(threads(i32::MAX).is_empty());
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let pid = child.id() as Pid;
        assert!(descendants(own).contains(&pid));
        // What is used where the kernel has no lists of children finds the same.
        assert!(remote(own).unwrap().child_processes().unwrap().contains(&(pid, own)));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_lives_until_its_last_thread_has_ended() {
        let own = std::process::id() as Pid;
        assert_eq!(living_thread(own), Some(own));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as Pid;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while living_thread(pid).is_some() {
            assert!(std::time::Instant::now() < deadline);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.wait().unwrap();
    }

    #[test]
    fn parents_come_before_their_children() {
        let tree = breadth_first(1, |parent| if parent < 4 { vec![parent * 2, parent * 2 + 1] } else { vec![] });
        assert_eq!(tree, [2, 3, 4, 5, 6, 7]);
    }
}
