//! Where a thread sleeps whose system call is hidden. `/proc/PID/task/TID/syscall` is a file of the process's owner that
//! nobody else may open (mode 0400): who may read the memory (`CAP_SYS_PTRACE`), but not the files of others
//! (`CAP_DAC_READ_SEARCH`), does not see it. `stat` and `wchan` have no such mode: they tell that a thread sleeps, and in
//! which function of the kernel.

use syscalls::Sysno;

use super::os_thread::RunState;
use crate::event::Syscall;

/// How the names of functions begin in which the kernel has threads sleep, and the call that leads there. Linux 4.18 to
/// 6.18; several calls lead to some of them, of which that is the usual one.
const CHANNELS: [(&str, Sysno); 22] = [
    ("futex_", Sysno::futex),
    ("hrtimer_nanosleep", Sysno::clock_nanosleep),
    ("do_nanosleep", Sysno::clock_nanosleep),
    ("ep_poll", Sysno::epoll_wait),
    ("do_epoll_wait", Sysno::epoll_wait),
    ("do_poll", Sysno::poll),
    ("do_sys_poll", Sysno::poll),
    ("poll_schedule_timeout", Sysno::poll),
    ("do_select", Sysno::select),
    ("pipe_read", Sysno::read),
    ("anon_pipe_read", Sysno::read),
    ("pipe_write", Sysno::write),
    ("anon_pipe_write", Sysno::write),
    ("do_wait", Sysno::wait4),
    ("kernel_wait4", Sysno::wait4),
    ("inet_csk_accept", Sysno::accept4),
    ("__skb_wait_for_more_packets", Sysno::recvfrom),
    ("unix_stream_read_generic", Sysno::recvfrom),
    ("sk_wait_data", Sysno::recvfrom),
    ("flock_lock_inode_wait", Sysno::flock),
    ("locks_lock_inode_wait", Sysno::flock),
    ("do_sigtimedwait", Sysno::rt_sigtimedwait),
];

/// Functions in which threads of a frozen control group are: of version 2 (as the compiler may have inlined it), and of
/// version 1. A thread that a signal stops there is not asleep.
const FREEZER: [&str; 3] = ["do_freezer_trap", "get_signal", "__refrigerator"];

/// The state that the letter in `stat` and the function in `wchan` amount to; none for a thread that has ended. Of a
/// sleep in `futex` the address is not known, and so 0.
pub(super) fn run_state(letter: u8, function: &str) -> Option<RunState> {
    Some(match letter {
        b'R' => RunState::Running,
        b'T' | b't' => RunState::Stopped,
        b'Z' | b'X' | b'x' => return None,
        _ if is_freezer(function) => RunState::Stopped,
        _ => {
            let known = CHANNELS.iter().find(|(start, _)| function.starts_with(start));
            let call = known.map_or(Syscall::HIDDEN, |&(_, call)| Syscall(call as i16));
            RunState::Blocked { call, arg: 0 }
        }
    })
}

/// Whether a thread that sleeps in this function of the kernel is frozen.
pub(super) fn is_freezer(function: &str) -> bool {
    FREEZER.iter().any(|start| function.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_known_by_the_function_of_the_kernel() {
        let blocked = |call| Some(RunState::Blocked { call, arg: 0 });
        assert_eq!(run_state(b'R', "0"), Some(RunState::Running));
        assert_eq!(run_state(b'S', "futex_wait_queue"), blocked(Syscall::FUTEX));
        assert_eq!(run_state(b'S', "futex_wait_queue_me"), blocked(Syscall::FUTEX), "up to Linux 5.15");
        assert_eq!(run_state(b'S', "hrtimer_nanosleep"), blocked(Syscall(Sysno::clock_nanosleep as i16)));
        assert_eq!(run_state(b'S', "0"), blocked(Syscall::HIDDEN), "the kernel does not say");
        assert_eq!(run_state(b'D', ""), blocked(Syscall::HIDDEN));
        assert_eq!(run_state(b't', "ptrace_stop"), Some(RunState::Stopped));
        assert_eq!(run_state(b'S', "do_freezer_trap"), Some(RunState::Stopped));
        assert_eq!(run_state(b'Z', "0"), None);
    }
}
