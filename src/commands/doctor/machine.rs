//! The checks of the machine and of gilscope's privileges on it. Called by [`super::run`].

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid as NixPid;

use super::{Check, Verdict};
use crate::arch::{ARCH_NAME, PLATFORM};
use crate::event::Pid;
use crate::kernel::{self, Kernel, OLDEST_KERNEL};
use crate::process::access::{self, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE};
use crate::process::error::{AttachError, KERNEL_MODE, MEMORY_MODE, setcap};
use crate::process::memory::{LiveMemory, Memory, ReadError};
use crate::process::{Process, Status, in_user_namespace};
use crate::text::from_bytes;

pub fn checks() -> Vec<Check> {
    let capabilities = Status::own().effective;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        platform(std::env::consts::ARCH, release.trim()),
        children(),
        same_user(),
        any_process(capabilities, access::yama_scope()),
        visibility(&fs::read_to_string("/proc/self/mounts").unwrap_or_default(), capabilities),
        run_times(&fs::read_to_string("/proc/self/schedstat").unwrap_or_default()),
        cpu_samples(
            fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok().and_then(|text| text.trim().parse().ok()),
            capabilities,
        ),
        kernel_mode(release.trim(), capabilities),
    ]
}

fn platform(arch: &str, release: &str) -> Check {
    let verdict = if arch == ARCH_NAME { Verdict::Yes } else { Verdict::No };
    let check = Check::new("platform", PLATFORM, verdict, format!("kernel {release}, {arch}"));
    if verdict == Verdict::Yes { check } else { check.remedy("gilscope supports no other architecture yet") }
}

/// Whether programs that gilscope starts can be measured.
fn children() -> Check {
    const NAME: &str = "measuring programs that gilscope starts";
    let answer = sleeper().map(|mut child| {
        let answer = try_read(child.id() as Pid);
        let _ = child.kill();
        let _ = child.wait();
        answer
    });
    tried("memory_of_children", NAME, answer)
}

/// Whether programs that the same user started can be measured.
fn same_user() -> Check {
    const NAME: &str = "measuring running processes of the same user";
    // Its parent exits at once, so that it is no descendant of gilscope.
    let orphan = Command::new("sh").args(["-c", "sleep 10 >/dev/null 2>&1 & echo $!"]).output();
    let answer = orphan.map(|output| {
        let pid: Pid = from_bytes(&output.stdout).trim().parse().unwrap_or(0);
        let answer = try_read(pid);
        if Process::open(pid).is_ok() {
            let _ = kill(NixPid::from_raw(pid), Signal::SIGKILL);
        }
        answer
    });
    tried("memory_of_same_user", NAME, answer)
}

fn sleeper() -> std::io::Result<Child> {
    Command::new("sleep").arg("10").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Reads one byte of a process's memory.
fn try_read(pid: Pid) -> Result<(), AttachError> {
    let read = || {
        let maps = Process::open(pid)?.maps()?;
        let first = maps.first().map_or(0, |mapping| mapping.start);
        LiveMemory(pid).read(first, &mut [0]).map_err(|error| match error {
            ReadError::Permission => access::denied(pid),
            _ => AttachError::Read { pid, error },
        })
    };
    // A read may fail while `exec` replaces the memory.
    let failed = |result: &Result<(), AttachError>| matches!(result, Err(AttachError::Read { .. }));
    let mut result = read();
    for _ in 0..20 {
        if !failed(&result) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        result = read();
    }
    result
}

fn tried(id: &'static str, name: &'static str, answer: std::io::Result<Result<(), AttachError>>) -> Check {
    match answer {
        Ok(Ok(())) => Check::new(id, name, Verdict::Yes, "tested with `sleep`: its memory can be read"),
        Ok(Err(AttachError::Permission { cause, .. })) => {
            Check::new(id, name, Verdict::No, format!("tested with `sleep`: {}", cause.reason()))
                .remedy(cause.remedy())
        }
        Ok(Err(error)) => Check::new(id, name, Verdict::No, format!("tested with `sleep`: {error}")).remedy(
            "If a sandbox blocks process_vm_readv: start the container with --security-opt seccomp=unconfined",
        ),
        Err(error) => Check::new(id, name, Verdict::Partly, format!("not tested: `sleep` does not start: {error}")),
    }
}

fn any_process(capabilities: u64, yama: Option<u8>) -> Check {
    let check =
        |verdict, reason: &str| Check::new("memory_of_any", "measuring processes of other users", verdict, reason);
    match (capabilities & CAP_SYS_PTRACE != 0, yama) {
        (true, Some(3..)) => check(Verdict::No, "kernel.yama.ptrace_scope is 3: no process may do this")
            .remedy("Set it to 1 in /etc/sysctl.d/ and reboot"),
        (true, _) if in_user_namespace() => check(
            Verdict::Partly,
            "gilscope has the capability CAP_SYS_PTRACE in its own user namespace (a rootless container): it counts for \
             processes of that",
        ),
        (true, _) => check(Verdict::Yes, "gilscope has the capability CAP_SYS_PTRACE"),
        (false, _) => check(Verdict::No, "gilscope lacks the capability CAP_SYS_PTRACE").remedy(format!(
            "Run gilscope as root, or grant it the capability permanently: {} (in a container: start it with \
             --cap-add SYS_PTRACE)",
            setcap(MEMORY_MODE)
        )),
    }
}

fn visibility(mounts: &str, capabilities: u64) -> Check {
    let check = |verdict, reason: String| Check::new("proc", "seeing other users' processes", verdict, reason);
    let options = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        (words.next() == Some("/proc")).then(|| words.nth(1).unwrap_or_default())
    });
    let hidepid = options.and_then(|options| options.split(',').find_map(|option| option.strip_prefix("hidepid=")));
    match hidepid {
        Some(level) if !matches!(level, "0" | "off") && capabilities & CAP_SYS_PTRACE == 0 => {
            check(Verdict::No, format!("/proc is mounted with hidepid={level}")).remedy("Run gilscope as root")
        }
        _ => check(Verdict::Yes, "/proc shows all processes".into()),
    }
}

fn run_times(schedstat: &str) -> Check {
    let check = |verdict, reason: &str| {
        Check::new("schedstat", "skipping threads that have not run since the last sample", verdict, reason)
    };
    match schedstat.split(' ').next().and_then(|run_time| run_time.parse::<u64>().ok()) {
        Some(1..) => check(Verdict::Yes, "/proc/PID/task/TID/schedstat counts their run time"),
        _ => check(
            Verdict::No,
            "the kernel was built without CONFIG_SCHED_INFO. Nothing is missing, but processes with many idle threads \
             cost more to measure",
        ),
    }
}

fn cpu_samples(paranoid: Option<i32>, capabilities: u64) -> Check {
    let check = |verdict, reason: String| {
        let reason = format!("{reason}. Only kernel mode uses them");
        Check::new("perf_events", "sampling the CPU through perf events", verdict, reason)
    };
    match paranoid {
        None => check(Verdict::No, "the kernel was built without perf events".into()),
        Some(_) if capabilities & (CAP_PERFMON | CAP_SYS_ADMIN) != 0 => {
            check(Verdict::Yes, "gilscope has the capability CAP_PERFMON or CAP_SYS_ADMIN".into())
        }
        Some(level @ ..=2) => check(Verdict::Yes, format!("kernel.perf_event_paranoid is {level}")),
        Some(level) => check(Verdict::No, format!("kernel.perf_event_paranoid is {level}"))
            .remedy("sudo sysctl kernel.perf_event_paranoid=2"),
    }
}

/// Kernel mode needs a recent kernel with BTF, and privileges.
fn kernel_mode(release: &str, capabilities: u64) -> Check {
    let btf = fs::metadata("/sys/kernel/btf/vmlinux").is_ok();
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let check = kernel_mode_with(release, capabilities, btf, lockdown.contains("[confidentiality]"));
    if check.verdict != Verdict::Yes {
        return check;
    }
    match Kernel::load(&kernel::KernelOptions { rate: 1.0, min_wait_ns: 0 }) {
        Ok(_) => check,
        Err(error) => Check { verdict: Verdict::No, reason: error.to_string(), ..check },
    }
}

fn kernel_mode_with(release: &str, capabilities: u64, btf: bool, locked_down: bool) -> Check {
    let check = |verdict, reason: String| {
        Check::new("kernel_mode", "tracing every wait in the kernel (kernel mode)", verdict, reason)
    };
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = OLDEST_KERNEL;
    if version < OLDEST_KERNEL {
        check(Verdict::No, format!("kernel {release} is older than {major}.{minor}"))
            .remedy(format!("Use kernel {major}.{minor} or later"))
    } else if !btf {
        check(Verdict::No, "the kernel was built without CONFIG_DEBUG_INFO_BTF".into())
            .remedy("Use a kernel that has /sys/kernel/btf/vmlinux, as all major distributions do")
    } else if locked_down {
        check(Verdict::No, "kernel lockdown is at `confidentiality`".into()).remedy("Boot with lockdown=integrity")
    } else if !kernel::is_permitted(capabilities) {
        check(
            Verdict::No,
            "gilscope lacks CAP_BPF or CAP_PERFMON; without them it uses memory mode, in which waits are estimates"
                .into(),
        )
        .remedy(setcap(KERNEL_MODE))
    } else {
        check(Verdict::Yes, "the kernel accepts the BPF programs".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::access::CAP_BPF;

    #[test]
    fn kernel_mode_names_what_is_missing_first() {
        let all = CAP_BPF | CAP_PERFMON | CAP_SYS_PTRACE;
        let reason = |check: Check| (check.verdict, check.reason, check.remedy.unwrap_or_default());
        let (verdict, why, _) = reason(kernel_mode_with("5.10.0-28-amd64", all, true, false));
        assert_eq!(verdict, Verdict::No);
        assert!(why.contains("5.10.0-28-amd64 is older than 5.15"), "{why}");
        assert!(reason(kernel_mode_with("6.1.0", all, false, false)).1.contains("BTF"));
        assert!(reason(kernel_mode_with("6.1.0", all, true, true)).1.contains("lockdown"));
        let (verdict, _, remedy) = reason(kernel_mode_with("6.1.0", CAP_BPF, true, false));
        assert_eq!(verdict, Verdict::No);
        assert!(
            remedy.starts_with("sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep /"),
            "{remedy}"
        );
        for capabilities in [all, CAP_SYS_ADMIN] {
            assert_eq!(kernel_mode_with("5.15.0", capabilities, true, false).verdict, Verdict::Yes);
        }
    }

    #[test]
    fn settings_of_the_system_are_judged() {
        assert_eq!(any_process(CAP_SYS_PTRACE, Some(2)).verdict, Verdict::Yes);
        assert_eq!(any_process(CAP_SYS_PTRACE, Some(3)).verdict, Verdict::No);
        assert!(any_process(0, None).remedy.unwrap().contains("cap_sys_ptrace,cap_dac_read_search+ep"));
        let mounts = "sysfs /sys sysfs rw 0 0\nproc /proc proc rw,nosuid,hidepid=invisible 0 0\n";
        assert_eq!(visibility(mounts, 0).verdict, Verdict::No);
        assert_eq!(visibility(mounts, CAP_SYS_PTRACE).verdict, Verdict::Yes);
        assert_eq!(visibility("proc /proc proc rw,nosuid 0 0\n", 0).verdict, Verdict::Yes);
        assert_eq!(run_times("4871 0 12\n").verdict, Verdict::Yes);
        assert_eq!(run_times("0 0 0\n").verdict, Verdict::No);
        assert_eq!(cpu_samples(Some(2), 0).verdict, Verdict::Yes);
        assert_eq!(cpu_samples(Some(4), 0).verdict, Verdict::No);
        assert_eq!(cpu_samples(Some(4), CAP_PERFMON).verdict, Verdict::Yes);
        assert_eq!(platform("aarch64", "6.1.0").verdict, Verdict::No);
    }
}
