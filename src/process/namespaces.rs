//! Thread ids of a process in another pid namespace, as in a container.

use std::fs;

use rustc_hash::FxHashMap;

use super::relatives::threads;
use super::status::Status;
use crate::event::{Pid, Tid};

/// For a process in another pid namespace: the thread ids that it knows itself by, and those of gilscope's namespace for
/// the same threads. `None` for a process in gilscope's own namespace, where they are equal.
pub fn tid_map(pid: Pid) -> Option<FxHashMap<Tid, Tid>> {
    if Status::read(pid)?.ids.len() < 2 {
        return None;
    }
    let threads = threads(pid).into_iter();
    Some(threads.filter_map(|tid| Some((*Status::read(tid)?.ids.last()?, tid))).collect())
}

/// The inode of the pid namespace that the machine starts with (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether gilscope is in the pid namespace that the machine starts with, and not in a container that has its own.
pub fn in_first_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == FIRST_PID_NAMESPACE)
}

/// Whether gilscope is in another user namespace than that which the machine starts with: its capabilities count only there.
pub fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !maps_all_users(&map))
}

/// The first namespace maps every user to itself.
fn maps_all_users(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether the numbers in `/proc` are those that system calls take.
pub(super) fn proc_is_own() -> bool {
    let own = std::process::id().to_string();
    fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == own.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_this_namespace_needs_no_map() {
        assert_eq!(tid_map(std::process::id() as Pid), None);
        assert!(proc_is_own());
        assert!(maps_all_users("         0          0 4294967295\n"));
        assert!(!maps_all_users("         0       1000          1\n"));
    }
}
