//! The ring into which the kernel writes the records of a perf event, mapped into gilscope's memory. Used by
//! [`super::task_events`] and for samples of registers.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

use perf_event_open_sys::bindings as sys;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The first page has the head and the tail of the ring.
const PAGE: usize = 4096;
/// No record is longer: `perf_event_header.size` has 16 bits.
const MAX_RECORD: usize = u16::MAX as usize;
/// `struct perf_event_header`: type, misc, size.
pub const HEADER: usize = 8;

#[derive(Debug)]
pub struct PerfRing {
    pages: NonNull<u8>,
    /// Of the records, in bytes: a power of two.
    len: usize,
}

impl PerfRing {
    /// Maps the ring of an event, with room for this number of pages of records, a power of two.
    ///
    /// # Errors
    /// The kernel refuses: too much memory is locked already, for example.
    pub fn map(event: BorrowedFd<'_>, pages: usize) -> io::Result<PerfRing> {
        let len = pages * PAGE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start =
            unsafe { mmap(null_mut(), PAGE + len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, event, 0)? };
        Ok(PerfRing { pages: NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?, len })
    }

    /// Hands over all records that have been written since the last time, with their headers, in their order.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        // SAFETY: both are in the first page of the mapping, aligned, and shared with the kernel only through atomic
        // operations.
        let (head, tail) = unsafe {
            let page = self.pages.as_ptr();
            let at = |offset: usize| &*page.add(offset).cast::<AtomicU64>();
            (
                at(std::mem::offset_of!(sys::perf_event_mmap_page, data_head)),
                at(std::mem::offset_of!(sys::perf_event_mmap_page, data_tail)),
            )
        };
        let (to, mut from) = (head.load(Ordering::Acquire), tail.load(Ordering::Relaxed));
        let mut record = Vec::new();
        while to.wrapping_sub(from) >= HEADER as u64 {
            let mut header = [0; HEADER];
            self.copy(from, &mut header);
            let size = usize::from(u16::from_le_bytes([header[6], header[7]]));
            if !(HEADER..=MAX_RECORD.min(self.len)).contains(&size) {
                break;
            }
            record.resize(size, 0);
            self.copy(from, &mut record);
            take(&record);
            from = from.wrapping_add(size as u64);
        }
        tail.store(to, Ordering::Release);
    }

    /// Copies from the ring, around its end.
    fn copy(&self, from: u64, into: &mut [u8]) {
        for (offset, byte) in into.iter_mut().enumerate() {
            let place = (from as usize).wrapping_add(offset) % self.len;
            // SAFETY: after the first page and within the mapping, in a part that the kernel leaves alone until the tail is
            // moved past it.
            *byte = unsafe { self.pages.as_ptr().add(PAGE + place).read() };
        }
    }
}

impl Drop for PerfRing {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nobody refers to it any more.
        let _ = unsafe { munmap(self.pages.as_ptr().cast(), PAGE + self.len) };
    }
}
