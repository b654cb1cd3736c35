//! Getting the BPF programs into the kernel, and saying what to do where that is refused.

use std::error::Error;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{MapData, MapError, RingBuf};
use aya::programs::RawTracePointRunOptions;
use aya::programs::{BtfTracePoint, PerfEvent, ProgramError, RawTracePoint, TestRun};
use aya::{Btf, BtfError, EbpfError, EbpfLoader};
use nix::errno::Errno;
use rustc_hash::FxHashMap;
use rustix::event::epoll;

use super::Kernel;
use super::abi::KernelCounter;
use super::clock::CpuClock;
use super::maps::{KernelMaps, array, map_error};
use crate::process::access::{CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN};
use crate::process::error::{KERNEL_MODE, setcap};
use crate::process::refusal::{number, remedy_for_limit};
use crate::process::{Status, in_first_pid_namespace};

/// The programs, as the kernel takes them; compiled by `bpf/build`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("bpf/gilscope.bpf.o");

/// The first kernel that has all that the BPF programs use.
pub(crate) const OLDEST_KERNEL: (u32, u32) = (5, 15);

/// How kernel mode observes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelOptions {
    /// Samples a second of CPU time.
    pub(crate) rate: f64,
    /// Times off the CPU that are shorter get no record of their own, in nanoseconds.
    pub(crate) min_wait_ns: u64,
}

/// Why kernel mode is not available.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The process does not have the capabilities for it.
    #[error(
        "kernel mode needs the capabilities CAP_BPF and CAP_PERFMON: run gilscope as root, or give them to it once \
         with: {}; in a container: --cap-add BPF --cap-add PERFMON",
        setcap(KERNEL_MODE)
    )]
    NotPermitted,
    /// The kernel does not describe its types.
    #[error("kernel mode needs a kernel with BTF (/sys/kernel/btf/vmlinux; CONFIG_DEBUG_INFO_BTF=y): {0}")]
    Btf(#[from] BtfError),
    /// The programs were not taken.
    #[error("the kernel does not take gilscope's BPF programs: {}", with_advice(.0))]
    Load(#[from] EbpfError),
    /// A program could not be attached.
    #[error("the kernel refuses to run gilscope's BPF programs: {}", with_advice(.0))]
    Program(#[from] ProgramError),
    /// The clock of samples could not be opened, or the ring not be waited for.
    #[error("the kernel refuses perf events on every CPU, or epoll on its ring buffer (perf_event_open, epoll): {}", with_advice(.0))]
    Clock(std::io::Error),
    /// A map could not be used.
    #[error("the kernel's table `{name}` cannot be written: {error}")]
    Map {
        /// The name that the map has in the object.
        name: &'static str,
        /// What the kernel said.
        error: MapError,
    },
}

/// The first line of an error (the rest of one of the kernel's verifier is for the log), and what helps.
fn with_advice(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    log::debug!("{text}");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let cause = number(error).map_or_else(String::new, |number| format!(" ({})", number.desc()));
    format!("{line}{cause}. {}", advice(number(error), release.trim()))
}

/// What helps if the kernel of this release refuses gilscope's programs with this error.
fn advice(error: Option<Errno>, release: &str) -> String {
    if let Some(remedy) = error.and_then(remedy_for_limit) {
        return format!("This is a limit: {remedy}");
    }
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match error {
        _ if version < OLDEST_KERNEL => {
            format!("Kernel mode needs Linux {}.{} or later, and this is {release}", OLDEST_KERNEL.0, OLDEST_KERNEL.1)
        }
        Some(Errno::EPERM | Errno::EACCES) => {
            "Something beyond capabilities forbids it: lockdown, a system call filter, SELinux, or a user namespace \
             (a rootless container)"
                .to_owned()
        }
        _ => format!("Please report this with your kernel's version, which is {release}"),
    }
}

/// Whether these capabilities are enough for kernel mode.
pub(crate) fn is_permitted(capabilities: u64) -> bool {
    let has = |bit| capabilities & bit != 0;
    has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON))
}

impl Kernel {
    /// Loads the programs; from then on the kernel looks at every context switch.
    ///
    /// # Errors
    /// [`KernelError`] says what is missing.
    pub(crate) fn load(options: &KernelOptions) -> Result<Kernel, KernelError> {
        if !is_permitted(Status::own().effective) {
            return Err(KernelError::NotPermitted);
        }
        let btf = Btf::from_sys_fs()?;
        let level = pid_namespace_level(&btf)?;
        let mut bpf = EbpfLoader::new()
            .btf(Some(&btf))
            .override_global("pidns_level", &level, true)
            .override_global("min_wait", &options.min_wait_ns, true)
            .load(OBJECT)?;
        let on_cpu_clock: &mut PerfEvent = bpf.program_mut("on_cpu_clock").expect("a program").try_into()?;
        on_cpu_clock.load()?;
        let clock = CpuClock::open(options.rate, on_cpu_clock.fd()?.as_fd()).map_err(KernelError::Clock)?;
        for (name, tracepoint) in
            [("on_exit", "sched_process_exit"), ("on_waking", "sched_waking"), ("on_switch", "sched_switch")]
        {
            let program: &mut BtfTracePoint = bpf.program_mut(name).expect("a program").try_into()?;
            program.load(tracepoint, &btf)?;
            program.attach()?;
        }
        let ring = RingBuf::try_from(bpf.take_map("ring").expect("a map")).map_err(map_error("ring"))?;
        Ok(Kernel {
            calls: calls_of(&ring).map_err(KernelError::Clock)?,
            ring,
            maps: KernelMaps::open(&mut bpf)?,
            _bpf: bpf,
            clock,
            lost: 0,
            observed: FxHashMap::default(),
            forget: Vec::new(),
        })
    }
}

/// A descriptor that becomes readable whenever the kernel asks for the ring to be emptied.
fn calls_of(ring: &RingBuf<MapData>) -> std::io::Result<OwnedFd> {
    let calls = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(0);
    epoll::add(&calls, ring.as_fd(), data, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
    Ok(calls)
}

/// How deep gilscope is in pid namespaces, as the kernel sees it: threads have an id in each.
fn pid_namespace_level(btf: &Btf) -> Result<u32, KernelError> {
    if in_first_pid_namespace() {
        return Ok(0);
    }
    let mut bpf = EbpfLoader::new().btf(Some(btf)).load(OBJECT)?;
    let program: &mut RawTracePoint = bpf.program_mut("find_level").expect("a program").try_into()?;
    program.load()?;
    program.test_run(RawTracePointRunOptions::default())?;
    let counters = array::<u64>(&mut bpf, "counters")?;
    let level = counters.get(&(KernelCounter::PidNamespaceLevel as u32), 0).map_err(map_error("counters"))?;
    Ok(level as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_not_taken_for_an_old_kernel() {
        for (error, words) in [(Errno::EMFILE, "ulimit -n"), (Errno::ENOMEM, "no memory"), (Errno::EPERM, "lockdown")]
        {
            let text = advice(Some(error), "6.1.0-18-amd64");
            assert!(text.contains(words) && !text.contains("5.15"), "{text}");
        }
        let old = advice(Some(Errno::EINVAL), "5.10.0-28-amd64");
        assert_eq!(old, "Kernel mode needs Linux 5.15 or later, and this is 5.10.0-28-amd64");
        assert!(advice(Some(Errno::EMFILE), "5.10.0").contains("ulimit -n"), "the limit comes first");
        assert!(advice(None, "6.1.0").starts_with("Please report"));
        let wrapped = KernelError::Clock(std::io::Error::from_raw_os_error(Errno::EMFILE as i32));
        assert!(wrapped.to_string().contains("ulimit -n"), "{wrapped}");
    }
}
