//! What depends on the processor, the C library on it, and the numbers of Linux's system calls: no other folder knows.
//! The BPF programs have the same for their half in `kernel/bpf/arch_x86_64.h`.

mod system_calls;
mod x86_64;

pub(crate) use self::x86_64::*;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!(
    "gilscope runs on x86_64 Linux only. Another processor needs a folder beside src/arch/x86_64 (its registers and \
     their order in perf events, its instructions, the sizes of its C library's structures), a header beside \
     src/kernel/bpf/arch_x86_64.h, and an object built with that; another operating system is out of reach"
);
