//! `/proc/PID/status`: who a process is and what it may do. Called by [`super`] and whoever must know about
//! privileges, namespaces or debuggers.

use std::fs;

use crate::event::{Pid, Tid};
use crate::text::from_bytes;

/// `/proc/PID/status`, as far as it is of use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The process that this thread belongs to.
    pub process: Pid,
    pub parent: Pid,
    /// Who traces it (a debugger), 0 for nobody.
    pub tracer: Pid,
    /// The letter of its state: `R`, `S`, `T` and so on.
    pub state: u8,
    /// Real, effective, saved and file system user.
    pub uids: Vec<u32>,
    /// Real, effective, saved and file system group.
    pub gids: Vec<u32>,
    /// Its id in each pid namespace it is visible in, from ours down to its own.
    pub ids: Vec<Tid>,
    /// Permitted capabilities, one bit each.
    pub permitted: u64,
    /// Effective capabilities, one bit each.
    pub effective: u64,
    /// 2 when a system call filter is in force.
    pub seccomp: u8,
}

impl Status {
    /// Of process `pid`; `None` once it is gone.
    pub fn read(pid: Pid) -> Option<Status> {
        Some(Self::parse(&fs::read(format!("/proc/{pid}/status")).ok()?))
    }

    pub fn own() -> Status {
        Self::read(std::process::id() as Pid).unwrap_or_default()
    }

    fn parse(raw: &[u8]) -> Status {
        // A thread's name may be cut in the middle of a character.
        let text = from_bytes(raw);
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map_or("", str::trim)
        };
        let mask = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(0);
        Status {
            process: field("Tgid").parse().unwrap_or(0),
            parent: field("PPid").parse().unwrap_or(0),
            state: field("State").bytes().next().unwrap_or(0),
            tracer: field("TracerPid").parse().unwrap_or(0),
            uids: numbers(field("Uid")),
            gids: numbers(field("Gid")),
            ids: numbers(field("NSpid")),
            permitted: mask("CapPrm"),
            effective: mask("CapEff"),
            seccomp: field("Seccomp").parse().unwrap_or(0),
        }
    }
}

/// The numbers in `text`.
pub(super) fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_users_and_tracer_are_read_from_the_status() {
        let raw = b"Name:\tp\xff\nState:\tS (sleeping)\nTgid:\t900\nNgid:\t0\nTracerPid:\t77\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n\
            NStgid:\t900\t7\nNSpid:\t901\t8\nCapPrm:\t0000000000080000\nCapEff:\t000001ffffffffff\nSeccomp:\t2\n";
        let status = Status::parse(raw);
        assert_eq!((status.process, status.tracer, status.state, status.seccomp), (900, 77, b'S', 2));
        assert_eq!((status.uids, status.gids, status.ids), (vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![901, 8]));
        assert_eq!((status.permitted, status.effective), (1 << 19, 0x1ff_ffff_ffff));
    }
}
