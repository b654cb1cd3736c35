//! Which memory access held a thread up, from its registers and the code that it ran. Pure; called by
//! `interpreter/memory_accesses.rs` for samples of free-threaded builds.
//!
//! A processor that is interrupted finishes the instruction that it is waiting for and stops before the next one. So
//! the instruction *before* the one that a sample shows is the one that took the time, and where its memory operand
//! is can be computed from the registers, unless it has overwritten them.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory};
use iced_x86::{Mnemonic, OpAccess, OpKind, Register};

use super::Registers;
use crate::event::CountOp;

/// Where the memory operand of an instruction is, and what the instruction does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    /// The number of the register that the address is relative to.
    base: Option<u8>,
    index: Option<u8>,
    scale: u64,
    displacement: u64,
    /// The registers are not what they were before the instruction.
    overwritten: bool,
    /// The size of the access, in bytes.
    pub(crate) size: usize,
    /// With the bus locked: a `lock` prefix, or an exchange.
    pub(crate) atomic: bool,
    /// What it is a part of, if it is an access to a reference count, as far as the code around it tells.
    pub(crate) op: CountOp,
}

impl Operand {
    /// What the register has in it that it is relative to, if there is one.
    pub(crate) fn base(&self, registers: &Registers) -> Option<u64> {
        self.base.filter(|_| !self.overwritten).map(|number| registers.general[usize::from(number)])
    }

    /// Its address; none if that cannot be computed any more.
    pub(crate) fn address(&self, registers: &Registers) -> Option<u64> {
        let of = |number: Option<u8>| number.map_or(0, |number| registers.general[usize::from(number)]);
        let indexed = of(self.base).wrapping_add(of(self.index).wrapping_mul(self.scale));
        (!self.overwritten).then(|| indexed.wrapping_add(self.displacement))
    }
}

/// How many instructions before and after one are searched for what it is for.
const MAX_DISTANCE: usize = 10;

/// The instructions of a function.
#[derive(Debug)]
pub(crate) struct DecodedFunction {
    start: u64,
    code: Vec<u8>,
    /// Where each instruction begins, from the start.
    begins: Vec<u32>,
    /// Jumps: where to, from the start, and the number of the instruction. In order.
    jumps: Vec<(u32, u32)>,
}

impl DecodedFunction {
    /// Decodes the code of a function that begins at `start`.
    pub(crate) fn decode(start: u64, code: Vec<u8>) -> DecodedFunction {
        let mut function = DecodedFunction { start, code, begins: Vec::new(), jumps: Vec::new() };
        let mut decoder = Decoder::with_ip(64, &function.code, start, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            let direct = matches!(
                instruction.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            );
            let target = instruction.near_branch_target().wrapping_sub(start);
            if direct && target < function.code.len() as u64 {
                function.jumps.push((target as u32, function.begins.len() as u32));
            }
            function.begins.push((instruction.ip() - start) as u32);
        }
        function.jumps.sort_unstable();
        function
    }

    /// Whether `address` is in it.
    pub(crate) fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.start) < self.code.len() as u64
    }

    /// The memory operands of the instructions that may have been the last before `ip`: one, unless jumps lead there.
    pub(crate) fn before(&self, ip: u64) -> Vec<Operand> {
        let at = ip.wrapping_sub(self.start);
        let Some(number) = u32::try_from(at).ok().and_then(|at| self.begins.binary_search(&at).ok()) else {
            return Vec::new();
        };
        let first = self.jumps.partition_point(|&(target, _)| u64::from(target) < at);
        let jumps = self.jumps[first..].iter().take_while(|&&(target, _)| u64::from(target) == at);
        let from = jumps.map(|&(_, from)| from as usize);
        let falls = number.checked_sub(1).filter(|&before| {
            matches!(self.instruction(before).flow_control(), FlowControl::Next | FlowControl::ConditionalBranch)
        });
        falls.into_iter().chain(from).filter_map(|last| self.operand(last)).collect()
    }

    fn instruction(&self, number: usize) -> Instruction {
        let begin = self.begins[number] as usize;
        let ip = self.start + begin as u64;
        Decoder::with_ip(64, &self.code[begin..], ip, DecoderOptions::NONE).decode()
    }

    /// The memory operand of an instruction. A jump is one step with what is before it.
    fn operand(&self, number: usize) -> Option<Operand> {
        let instruction = self.instruction(number);
        match instruction.flow_control() {
            FlowControl::Next => self.memory_operand(number, &instruction),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                let number = number.checked_sub(1)?;
                let before = self.instruction(number);
                (before.flow_control() == FlowControl::Next).then(|| self.memory_operand(number, &before))?
            }
            _ => None,
        }
    }

    fn memory_operand(&self, number: usize, instruction: &Instruction) -> Option<Operand> {
        let has_memory = (0..instruction.op_count()).any(|op| instruction.op_kind(op) == OpKind::Memory);
        let accesses = !matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Nop);
        // What is thread-local is nobody else's.
        if !has_memory || !accesses || matches!(instruction.memory_segment(), Register::FS | Register::GS) {
            return None;
        }
        let of = |register: Register| match register {
            Register::None | Register::RIP => None,
            register if register.is_gpr64() => Some(register.number() as u8),
            _ => Some(u8::MAX),
        };
        let (base, index) = (of(instruction.memory_base()), of(instruction.memory_index()));
        if base == Some(u8::MAX) || index == Some(u8::MAX) {
            return None;
        }
        let mut factory = InstructionInfoFactory::new();
        let overwritten = factory.info(instruction).used_registers().iter().any(|used| {
            let register = used.register().full_register();
            matches!(
                used.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            ) && [instruction.memory_base(), instruction.memory_index()].contains(&register)
        });
        Some(Operand {
            base,
            index,
            scale: u64::from(instruction.memory_index_scale()),
            displacement: instruction.memory_displacement64(),
            overwritten,
            size: instruction.memory_size().size(),
            atomic: instruction.has_lock_prefix() || instruction.mnemonic() == Mnemonic::Xchg,
            op: self.purpose(number, instruction),
        })
    }

    /// What the access is a part of: the nearest arithmetic that a count would be subject to tells.
    fn purpose(&self, number: usize, instruction: &Instruction) -> CountOp {
        let up = match step(instruction) {
            Some(up) => Some(up),
            None => (1..=MAX_DISTANCE).find_map(|distance| {
                let near = [number.checked_sub(distance), number.checked_add(distance)];
                // What comes after is what is done with a value read; what comes before, with one written.
                let near = near.into_iter().flatten().filter(|&near| near < self.begins.len());
                near.rev().find_map(|near| step(&self.instruction(near)))
            }),
        };
        match up {
            Some(true) if instruction.mnemonic() == Mnemonic::Cmpxchg => CountOp::TryIncref,
            Some(true) => CountOp::Incref,
            Some(false) => CountOp::Decref,
            None => CountOp::Unknown,
        }
    }
}

/// Whether an instruction adds to a reference count (or takes from it): the local half, of four bytes, counts in ones,
/// the shared half, of eight, in fours.
fn step(instruction: &Instruction) -> Option<bool> {
    let by = match instruction.mnemonic() {
        Mnemonic::Inc => 1,
        Mnemonic::Dec => -1,
        Mnemonic::Add | Mnemonic::Xadd if is_immediate(instruction) => instruction.immediate(1) as i64,
        Mnemonic::Sub if is_immediate(instruction) => (instruction.immediate(1) as i64).wrapping_neg(),
        Mnemonic::Lea if instruction.memory_index() == Register::None => instruction.memory_displacement64() as i64,
        _ => return None,
    };
    let size = match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size(),
        OpKind::Memory => instruction.memory_size().size(),
        _ => return None,
    };
    let stack = [instruction.op0_register(), instruction.memory_base()];
    if stack.contains(&Register::RSP) || instruction.code() == Code::INVALID {
        return None;
    }
    match (size, by) {
        (4, 1) | (8, 4) => Some(true),
        (4, -1) | (8, -4) => Some(false),
        // `add $0xffffffff, %edx`
        (4, by) if by as u32 == u32::MAX => Some(false),
        _ => None,
    }
}

fn is_immediate(instruction: &Instruction) -> bool {
    instruction.op_count() == 2 && instruction.try_immediate(1).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x40_0000;

    fn registers(set: &[(usize, u64)]) -> Registers {
        let mut general = [0; 16];
        for &(number, value) in set {
            general[number] = value;
        }
        Registers { ip: 0, general }
    }

    /// Decodes instructions that are given one by one, and returns the operands before each of them and the end.
    fn before(instructions: &[&[u8]]) -> Vec<Vec<Operand>> {
        let function = DecodedFunction::decode(START, [&instructions.concat()[..], &[0x90]].concat());
        let mut at = START;
        let mut operands = vec![function.before(at)];
        for bytes in instructions {
            at += bytes.len() as u64;
            operands.push(function.before(at));
        }
        operands
    }

    #[test]
    fn a_shared_incref() {
        // lock addq $4, 0x10(%rbx)
        let operands = before(&[&[0xf0, 0x48, 0x83, 0x43, 0x10, 0x04]]);
        assert_eq!(operands[0], []);
        let [operand] = operands[1][..] else { panic!("{operands:?}") };
        assert_eq!(operand.address(&registers(&[(3, 0x1000)])), Some(0x1010));
        assert_eq!((operand.size, operand.atomic, operand.op), (8, true, CountOp::Incref));
    }

    #[test]
    fn a_shared_decref_and_a_try_incref() {
        // lea -4(%rax), %rdx; lock cmpxchg %rdx, (%rcx)
        let decref = before(&[&[0x48, 0x8d, 0x50, 0xfc], &[0xf0, 0x48, 0x0f, 0xb1, 0x11]]);
        let [operand] = decref[2][..] else { panic!("{decref:?}") };
        assert_eq!((operand.atomic, operand.op), (true, CountOp::Decref));
        assert_eq!(operand.address(&registers(&[(1, 0x1010)])), Some(0x1010));
        // lea 4(%rax), %rdx
        let incref = before(&[&[0x48, 0x8d, 0x50, 0x04], &[0xf0, 0x48, 0x0f, 0xb1, 0x11]]);
        assert_eq!(incref[2][0].op, CountOp::TryIncref);
    }

    #[test]
    fn a_local_count_is_read_and_the_register_may_be_gone() {
        // mov 0xc(%rdi), %eax; add $1, %eax
        let operands = before(&[&[0x8b, 0x47, 0x0c], &[0x83, 0xc0, 0x01]]);
        let [operand] = operands[1][..] else { panic!("{operands:?}") };
        assert_eq!(operand.address(&registers(&[(7, 0x1000)])), Some(0x100c));
        assert_eq!((operand.size, operand.atomic, operand.op), (4, false, CountOp::Incref));
        assert_eq!(operands[2], [], "an addition of registers waits for no memory");
        // mov 0xc(%rdi), %edi; sub $1, %edi
        let operands = before(&[&[0x8b, 0x7f, 0x0c], &[0x83, 0xef, 0x01]]);
        assert_eq!(operands[1][0].address(&registers(&[(7, 0x1000)])), None);
        assert_eq!(operands[1][0].op, CountOp::Decref);
    }

    #[test]
    fn a_comparison_with_the_owner_is_one_step_with_its_jump() {
        // cmp (%rax), %rdx; jne +1; ret; (there:) nop
        let operands = before(&[&[0x48, 0x3b, 0x10], &[0x75, 0x01], &[0xc3]]);
        let address = |operands: &[Operand]| operands.first().and_then(|op| op.address(&registers(&[(0, 0x2000)])));
        assert_eq!(address(&operands[1]), Some(0x2000), "before the jump");
        assert_eq!(address(&operands[2]), Some(0x2000), "not taken");
        assert_eq!(address(&operands[3]), Some(0x2000), "taken, over the return");
        assert_eq!(operands[3].len(), 1, "a return does not go on there");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_decoded(code in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let len = code.len() as u64;
            let function = DecodedFunction::decode(START, code);
            for ip in START..START + len + 1 {
                for operand in function.before(ip) {
                    operand.address(&registers(&[]));
                }
            }
        }
    }

    #[test]
    fn what_is_no_access_and_what_is_nobody_elses() {
        // lea 0x10(%rax), %rcx; nopw 0(%rax,%rax); mov %fs:0x10(%rax), %rdx; call *0x10(%rax)
        let operands = before(&[
            &[0x48, 0x8d, 0x48, 0x10],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x64, 0x48, 0x8b, 0x50, 0x10],
            &[0xff, 0x50, 0x10],
        ]);
        assert_eq!(operands, vec![Vec::new(); 5]);
        let function = DecodedFunction::decode(START, vec![0x48, 0x3b, 0x10]);
        assert_eq!(function.before(START + 1), [], "in the middle of an instruction");
        assert_eq!(function.before(START - 1), []);
    }
}
