//! x86_64 with the System V calling convention, and glibc or musl.

mod instructions;

use syscalls::Sysno;

pub(crate) use self::instructions::{DecodedFunction, Operand};

/// Its name, as in [`std::env::consts::ARCH`].
pub(crate) const ARCH_NAME: &str = "x86_64";
/// What doctor calls it.
pub(crate) const PLATFORM: &str = "Linux on x86_64";
/// `e_machine` of its ELF files.
pub(crate) const ELF_MACHINE: object::elf::Machine = object::elf::EM_X86_64;
/// The size of a page, in bytes.
pub(crate) const PAGE_SIZE: u64 = 4096;

/// Where glibc and musl keep the tid in the thread descriptor that `pthread_self()` points to, in bytes.
pub(crate) const PTHREAD_TID_OFFSETS: [u64; 2] = [720, 48];
/// Where glibc keeps the descriptor's own address there.
pub(crate) const PTHREAD_SELF_OFFSET: u64 = 16;
/// Where in it glibc has the futex at which `pthread_join` waits: the tid, from 2.43 on a state.
pub(crate) const PTHREAD_JOIN_OFFSETS: [u64; 2] = [720, 1576];

/// How many general registers there are.
const GENERAL: usize = 16;
/// Numbers of the registers that a function leaves as they were for its caller: rbx, rbp, r12 to r15.
const CALLEE_SAVED: [usize; 6] = [3, 5, 12, 13, 14, 15];

/// Registers that a perf event can send.
pub(crate) const PERF_REGISTERS: usize = GENERAL + 1;
/// Which ones those are: ax, bx, cx, dx, si, di, bp, sp, ip, and r8 to r15, in the order of `enum perf_event_x86_regs`.
pub(crate) const PERF_REGISTERS_MASK: u64 = 0x1ff | 0xff << 16;
/// Where each of them, but for the ninth, is in the order in which the processor numbers them.
const PERF_ORDER: [usize; PERF_REGISTERS] = [0, 3, 1, 2, 6, 7, 5, 4, 16, 8, 9, 10, 11, 12, 13, 14, 15];

/// What a thread's registers held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The address of the next instruction.
    pub(crate) ip: u64,
    /// The general registers, in the order in which the processor numbers them: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi,
    /// r8 to r15.
    pub(crate) general: [u64; GENERAL],
}

impl Registers {
    /// The registers that a perf event has sent because of [`PERF_REGISTERS_MASK`].
    pub(crate) fn from_perf(sent: [u64; PERF_REGISTERS]) -> Registers {
        let mut all = [0; PERF_REGISTERS];
        for (value, number) in sent.into_iter().zip(PERF_ORDER) {
            all[number] = value;
        }
        let [general @ .., ip] = all;
        Registers { ip, general }
    }

    /// What the registers hold that a function leaves as they were: in a thread that is in a system call, what the
    /// functions that led there keep.
    pub(crate) fn callee_saved(&self) -> impl Iterator<Item = u64> {
        CALLEE_SAVED.into_iter().map(|number| self.general[number])
    }
}

/// What a call instruction calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallTarget {
    At(u64),
    /// What a pointer at this address leads to.
    Through(u64),
    Unknown,
}

fn displaced(address: u64, displacement: &[u8]) -> u64 {
    let bytes = displacement.first_chunk().copied().unwrap_or_default();
    address.wrapping_add_signed(i32::from_le_bytes(bytes).into())
}

/// The call that ends with these seven bytes, before `address`, if that is one: `E8` with a displacement of four bytes, or `FF /2`
/// with any operand.
pub(crate) fn call_before(before: &[u8; 7], address: u64) -> Option<CallTarget> {
    if before[2] == 0xe8 {
        return Some(CallTarget::At(displaced(address, &before[3..])));
    }
    if before[1..3] == [0xff, 0x15] {
        return Some(CallTarget::Through(displaced(address, &before[3..])));
    }
    // By the length of the instruction: where `FF` is, and which operands are that long.
    let is_indirect = |len: usize| {
        let [opcode, operand] = [before[7 - len], before[8 - len]];
        let (mode, register, base) = (operand >> 6, operand >> 3 & 7, operand & 7);
        let has_index = base == 4 && mode != 3;
        let displacement = match (mode, base) {
            (0, 5) | (2, _) => 4,
            (1, _) => 1,
            _ => 0,
        };
        opcode == 0xff && register == 2 && len == 2 + usize::from(has_index) + displacement
    };
    (2..=7).any(is_indirect).then_some(CallTarget::Unknown)
}

/// Where the pointer is through which a stub of a procedure linkage table jumps, that begins at `address` with these bytes: `FF 25`,
/// perhaps after `endbr64` and a prefix.
pub(crate) fn jump_pointer(stub: &[u8; 16], address: u64) -> Option<u64> {
    let skipped = if stub.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) { 4 } else { 0 };
    let skipped = skipped + usize::from(stub[skipped] == 0xf2);
    let operand = stub[skipped..].strip_prefix(&[0xff, 0x25])?;
    Some(displaced(address + skipped as u64 + 6, operand))
}

/// The registers of a thread that `ptrace` has stopped: `user_regs_struct`.
pub(crate) type StoppedRegisters = nix::libc::user_regs_struct;

/// What a stop has done to the system call in which a thread was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InterruptedCall {
    /// It was in none, or in one that the kernel restarts by itself.
    Unharmed,
    /// The call would have failed with `EINTR`; with its registers changed, it is made once more.
    Restarted,
    /// The call fails with `EINTR`: to make it once more could do something twice.
    Failed,
}

/// `ERESTARTNOHAND` of the kernel: the call is made once more, unless a signal handler runs first; then it fails with `EINTR`,
/// as it does without `ptrace`.
const RESTART_UNLESS_HANDLED: i64 = 514;

/// Calls that only fail with `EINTR` as long as they have done nothing. `signal(7)` has those that a stop interrupts and that
/// the kernel does not restart.
const REPEATABLE: [Sysno; 23] = [
    Sysno::epoll_wait,
    Sysno::epoll_pwait,
    Sysno::epoll_pwait2,
    Sysno::read,
    Sysno::readv,
    Sysno::write,
    Sysno::writev,
    Sysno::recvfrom,
    Sysno::recvmsg,
    Sysno::recvmmsg,
    Sysno::sendto,
    Sysno::sendmsg,
    Sysno::sendmmsg,
    Sysno::accept,
    Sysno::accept4,
    Sysno::connect,
    Sysno::semop,
    Sysno::semtimedop,
    Sysno::msgrcv,
    Sysno::msgsnd,
    Sysno::io_getevents,
    Sysno::io_pgetevents,
    Sysno::rt_sigtimedwait,
];

/// Has the system call that a stop has interrupted be made once more when the thread goes on, if that changes nothing but that
/// its time-out begins anew.
pub(crate) fn restart_interrupted_call(registers: &mut StoppedRegisters) -> InterruptedCall {
    // Outside of any call, `orig_rax` is negative.
    let call = usize::try_from(registers.orig_rax as i64).ok();
    let is_interrupted = registers.rax as i64 == -i64::from(nix::libc::EINTR);
    let Some(call) = call.filter(|_| is_interrupted) else { return InterruptedCall::Unharmed };
    if !Sysno::new(call).is_some_and(|call| REPEATABLE.contains(&call)) {
        return InterruptedCall::Failed;
    }
    registers.rax = -RESTART_UNLESS_HANDLED as u64;
    InterruptedCall::Restarted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(orig_rax: u64, rax: u64) -> StoppedRegisters {
        StoppedRegisters {
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            rbp: 0,
            rbx: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rax,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            orig_rax,
            rip: 0,
            cs: 0,
            eflags: 0,
            rsp: 0,
            ss: 0,
            fs_base: 0,
            gs_base: 0,
            ds: 0,
            es: 0,
            fs: 0,
            gs: 0,
        }
    }

    #[test]
    fn calls_that_a_stop_has_interrupted_are_made_once_more_if_that_does_no_harm() {
        let after = |orig_rax: i64, rax: i64| {
            let mut registers = registers(orig_rax as u64, rax as u64);
            let call = restart_interrupted_call(&mut registers);
            (call, registers.rax as i64)
        };
        let eintr = -i64::from(nix::libc::EINTR);
        assert_eq!(after(Sysno::epoll_wait as i64, eintr), (InterruptedCall::Restarted, -514));
        assert_eq!(after(Sysno::semtimedop as i64, eintr), (InterruptedCall::Restarted, -514));
        // The descriptor is closed whatever it says.
        assert_eq!(after(Sysno::close as i64, eintr), (InterruptedCall::Failed, eintr));
        assert_eq!(after(Sysno::epoll_wait as i64, 3), (InterruptedCall::Unharmed, 3));
        assert_eq!(after(Sysno::nanosleep as i64, -516), (InterruptedCall::Unharmed, -516));
        assert_eq!(after(-1, eintr), (InterruptedCall::Unharmed, eintr));
    }

    #[test]
    fn calls_are_recognized_by_their_bytes() {
        let call = |bytes: &[u8]| {
            let mut before = [0x90; 7];
            before[7 - bytes.len()..].copy_from_slice(bytes);
            call_before(&before, 0x1000)
        };
        assert_eq!(call(&[0xe8, 0xf0, 0xff, 0xff, 0xff]), Some(CallTarget::At(0xff0)));
        assert_eq!(call(&[0xff, 0x15, 0x10, 0, 0, 0]), Some(CallTarget::Through(0x1010)));
        for indirect in [&[0xff, 0xd0][..], &[0x41, 0xff, 0xd2], &[0xff, 0x50, 0x18], &[0xff, 0x94, 0x24, 1, 0, 0, 0]]
        {
            assert_eq!(call(indirect), Some(CallTarget::Unknown), "{indirect:x?}");
        }
        assert_eq!(call(&[0xff, 0xe0]), None, "a jump");
        let mut stub = [0x90; 16];
        stub[..11].copy_from_slice(&[0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0x10, 0, 0, 0]);
        assert_eq!(jump_pointer(&stub, 0x1000), Some(0x101b));
        assert_eq!(jump_pointer(&[0x90; 16], 0x1000), None);
    }

    #[test]
    fn registers_of_perf_events_are_put_in_the_order_of_the_processor() {
        // Each is given its number in `enum perf_event_x86_regs`: ax, bx, cx, dx, si, di, bp, sp, ip, flags, segments, r8.
        let sent = [0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 18, 19, 20, 21, 22, 23];
        let registers = Registers::from_perf(sent);
        assert_eq!(registers.ip, 8);
        assert_eq!(registers.general, [0, 2, 3, 1, 7, 6, 4, 5, 16, 17, 18, 19, 20, 21, 22, 23]);
        assert_eq!(registers.callee_saved().collect::<Vec<_>>(), [1, 6, 20, 21, 22, 23]);
        assert_eq!(PERF_REGISTERS_MASK.count_ones() as usize, PERF_REGISTERS);
    }
}
