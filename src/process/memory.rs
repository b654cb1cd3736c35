//! Reading the target's memory: one trait, so that everything that decodes CPython's structures runs alike on a
//! living process ([`LiveMemory`]) and on bytes in a test ([`MemoryImage`]). Used by `cpython/`, `interpreter/`
//! and the collectors.

use std::io::IoSliceMut;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid as NixPid;

use super::relatives::living_thread;
use crate::event::Pid;

/// Why memory could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing is mapped there (any more).
    #[error("no memory at {0:#x} in the target")]
    Unmapped(u64),
    /// The process is gone.
    #[error("the target is gone")]
    Gone,
    /// Reading the process is not allowed.
    #[error("reading the target's memory is not permitted")]
    Permission,
}

/// A stretch of the target's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySpan {
    /// Where it starts in the target.
    pub addr: u64,
    /// Its length in bytes.
    pub len: usize,
}

/// Most spans that the kernel takes in one call (`IOV_MAX`).
const MAX_SPANS: usize = 1024;

/// Read access to a process's memory.
pub trait Memory {
    /// Reads as many of `spans` as one call can, in order and back to back into `buffer` (which has room for
    /// all). Returns how many spans arrived whole; the first one that did not is unreadable, or over the limit
    /// of one call.
    fn read_some(&self, spans: &[MemorySpan], buffer: &mut [u8]) -> Result<usize, ReadError>;

    /// Reads all of `spans`, in order and back to back into `buffer`, in as few calls as possible. `arrived[i]`
    /// says whether span i could be read; the bytes of one that could not are zeroed.
    fn read_spans(&self, spans: &[MemorySpan], buffer: &mut [u8], arrived: &mut Vec<bool>) -> Result<(), ReadError> {
        arrived.clear();
        let mut offset = 0;
        while arrived.len() < spans.len() {
            let rest = &spans[arrived.len()..];
            let whole = self.read_some(rest, &mut buffer[offset..])?;
            offset += rest[..whole].iter().map(|span| span.len).sum::<usize>();
            arrived.resize(arrived.len() + whole, true);
            if whole < rest.len().min(MAX_SPANS) {
                buffer[offset..offset + rest[whole].len].fill(0);
                offset += rest[whole].len;
                arrived.push(false);
            }
        }
        Ok(())
    }

    /// Fills `buffer` from `addr`.
    fn read(&self, addr: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        if self.read_mapped(addr, buffer)? { Ok(()) } else { Err(ReadError::Unmapped(addr)) }
    }

    /// Fills `buffer` from `addr`. Returns false if some of it is not mapped.
    fn read_mapped(&self, addr: u64, buffer: &mut [u8]) -> Result<bool, ReadError> {
        Ok(self.read_some(&[MemorySpan { addr, len: buffer.len() }], buffer)? == 1)
    }

    /// The little-endian u64 at `addr`.
    fn u64(&self, addr: u64) -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        self.read(addr, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The little-endian i32 at `addr`.
    fn i32(&self, addr: u64) -> Result<i32, ReadError> {
        let mut bytes = [0; 4];
        self.read(addr, &mut bytes)?;
        Ok(i32::from_le_bytes(bytes))
    }
}

/// [`Memory::read_some`] of what reads one span at a time: by `read`, which fills a buffer from an address, and returns
/// whether it could.
pub(super) fn read_each(
    spans: &[MemorySpan],
    mut buffer: &mut [u8],
    read: impl Fn(u64, &mut [u8]) -> Result<bool, ReadError>,
) -> Result<usize, ReadError> {
    for (index, span) in spans.iter().enumerate() {
        let (bytes, rest) = buffer.split_at_mut(span.len);
        if !read(span.addr, bytes)? {
            return Ok(index);
        }
        buffer = rest;
    }
    Ok(spans.len())
}

/// The memory of a living process, by `process_vm_readv`.
#[derive(Clone, Copy, Debug)]
pub struct LiveMemory(pub Pid);

impl Memory for LiveMemory {
    fn read_some(&self, spans: &[MemorySpan], buffer: &mut [u8]) -> Result<usize, ReadError> {
        let spans = &spans[..spans.len().min(MAX_SPANS)];
        let total: usize = spans.iter().map(|span| span.len).sum();
        // The array lives on the stack: this is called for every tick and must not allocate.
        let mut remote = [RemoteIoVec { base: 0, len: 0 }; MAX_SPANS];
        for (to, span) in remote.iter_mut().zip(spans) {
            *to = RemoteIoVec { base: span.addr as usize, len: span.len };
        }
        let mut local = [IoSliceMut::new(&mut buffer[..total])];
        let remote = &remote[..spans.len()];
        let mut read = process_vm_readv(NixPid::from_raw(self.0), &mut local, remote);
        // A first thread that has ended has no memory any more, but the others have.
        if read == Err(Errno::ESRCH)
            && let Some(thread) = living_thread(self.0).filter(|&thread| thread != self.0)
        {
            read = process_vm_readv(NixPid::from_raw(thread), &mut local, remote);
        }
        match read {
            Ok(read) if read == total => Ok(spans.len()),
            Ok(read) => {
                let mut left = read;
                Ok(spans
                    .iter()
                    .take_while(|span| {
                        let whole = left >= span.len;
                        left = left.saturating_sub(span.len);
                        whole
                    })
                    .count())
            }
            Err(Errno::ESRCH) => Err(ReadError::Gone),
            // A system call filter may also pretend that there is no such call.
            Err(Errno::EPERM | Errno::EACCES | Errno::ENOSYS) => Err(ReadError::Permission),
            // Nothing at the very first address: the caller goes on after it.
            Err(_) => Ok(0),
        }
    }
}

/// Memory made of bytes: for tests of everything that decodes.
#[derive(Clone, Debug, Default)]
pub struct MemoryImage {
    regions: std::collections::BTreeMap<u64, Vec<u8>>,
}

impl MemoryImage {
    /// Puts `bytes` at `addr`. Regions must not overlap.
    pub fn insert(&mut self, addr: u64, bytes: Vec<u8>) {
        self.regions.insert(addr, bytes);
    }

    /// All bytes that are mapped, region by region (for mutation).
    pub fn regions_mut(&mut self) -> impl Iterator<Item = (&u64, &mut Vec<u8>)> {
        self.regions.iter_mut()
    }
}

impl Memory for MemoryImage {
    fn read_some(&self, spans: &[MemorySpan], buffer: &mut [u8]) -> Result<usize, ReadError> {
        read_each(spans, buffer, |addr, to| {
            let found = self.regions.range(..=addr).next_back().and_then(|(start, bytes)| {
                let from = usize::try_from(addr - start).ok()?;
                bytes.get(from..from.checked_add(to.len())?)
            });
            Ok(found.map(|bytes| to.copy_from_slice(bytes)).is_some())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_spans_are_marked_and_the_others_arrive() {
        let mut image = MemoryImage::default();
        image.insert(0x1000, (0..16).collect());
        let spans = [
            MemorySpan { addr: 0x1000, len: 2 },
            MemorySpan { addr: 0x9000, len: 3 },
            MemorySpan { addr: 0x100e, len: 2 },
            MemorySpan { addr: 0x100f, len: 2 },
        ];
        let mut buffer = [0xff; 9];
        let mut arrived = Vec::new();
        image.read_spans(&spans, &mut buffer, &mut arrived).unwrap();
        assert_eq!(arrived, [true, false, true, false]);
        assert_eq!(buffer, [0, 1, 0, 0, 0, 14, 15, 0, 0]);
    }

    #[test]
    fn a_living_process_reads_like_an_image() {
        let text = *b"some bytes of mine";
        let addr = text.as_ptr() as u64;
        let live = LiveMemory(std::process::id() as Pid);
        let mut spans: Vec<MemorySpan> = (0..3000).map(|i| MemorySpan { addr: addr + i % 16, len: 2 }).collect();
        spans[1500].addr = 8;
        let mut buffer = vec![0; 6000];
        let mut arrived = Vec::new();
        live.read_spans(&spans, &mut buffer, &mut arrived).unwrap();
        assert_eq!(arrived.iter().filter(|&&ok| !ok).count(), 1);
        assert!(!arrived[1500]);
        assert_eq!(buffer[5998..6000], text[2999 % 16..][..2]);
    }
}
