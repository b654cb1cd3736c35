//! Getting the BPF programs into the kernel, and saying what to do where that is refused.

use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{MapData, MapError, RingBuf};
use aya::programs::RawTracePointRunOptions;
use aya::programs::{BtfTracePoint, PerfEvent, ProgramError, RawTracePoint, TestRun};
use aya::{Btf, BtfError, EbpfError, EbpfLoader};
use rustc_hash::FxHashMap;
use rustix::event::epoll;

use super::Kernel;
use super::abi::KernelCounter;
use super::clock::CpuClock;
use super::maps::{KernelMaps, array, map_error};
use crate::process::Status;
use crate::process::access::{CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN};
use crate::process::error::setcap;

/// The programs, as the kernel takes them; compiled by `bpf/build`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("bpf/gilscope.bpf.o");

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
        setcap("cap_bpf,cap_perfmon,cap_sys_ptrace")
    )]
    NotPermitted,
    /// The kernel does not describe its types.
    #[error("kernel mode needs a kernel with BTF (/sys/kernel/btf/vmlinux; CONFIG_DEBUG_INFO_BTF=y): {0}")]
    Btf(#[from] BtfError),
    /// The programs were not taken.
    #[error("the kernel does not take gilscope's BPF programs (Linux 5.15 or later is needed): {0}")]
    Load(#[from] EbpfError),
    /// A program could not be attached.
    #[error("the kernel refuses to run gilscope's BPF programs: {}", first_line(.0))]
    Program(#[from] ProgramError),
    /// The clock of samples could not be opened, or the ring not be waited for.
    #[error("the kernel refuses perf events on every CPU, or epoll on its ring buffer (perf_event_open, epoll): {0}")]
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

/// The first line of an error: the rest of one of the kernel's verifier is for the log.
fn first_line(error: &ProgramError) -> String {
    let text = error.to_string();
    log::debug!("{text}");
    text.lines().next().unwrap_or_default().to_owned()
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

/// The inode of the pid namespace that the machine starts with (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// How deep gilscope is in pid namespaces, as the kernel sees it: threads have an id in each.
fn pid_namespace_level(btf: &Btf) -> Result<u32, KernelError> {
    if std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == FIRST_PID_NAMESPACE) {
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
