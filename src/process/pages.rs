//! Memory read by whole pages that are kept: for a search that reads very many small things that are close to one another.
//! Used by [`crate::cpython::variables`].

use std::cell::RefCell;
use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

use super::memory::{Memory, MemorySpan, ReadError, read_each};

/// Bytes of a page.
const PAGE: usize = crate::arch::PAGE_SIZE as usize;
/// The limit of pages that are kept: 64 MiB.
const MAX_PAGES: usize = 1 << 14;

type CachedPage = Box<[u8; PAGE]>;

/// What `memory` was when its pages were first read.
#[derive(Debug)]
pub struct Pages<'a, M> {
    memory: &'a M,
    /// By number; none for one that cannot be read whole.
    pages: RefCell<FxHashMap<u64, Option<CachedPage>>>,
}

impl<'a, M: Memory> Pages<'a, M> {
    /// Nothing is read yet.
    pub fn new(memory: &'a M) -> Pages<'a, M> {
        Pages { memory, pages: RefCell::default() }
    }

    /// Fills `to` from pages. Returns false if one of them is not there or not kept.
    fn copy(&self, mut addr: u64, mut to: &mut [u8]) -> Result<bool, ReadError> {
        let mut pages = self.pages.borrow_mut();
        while !to.is_empty() {
            let number = addr / PAGE as u64;
            let full = pages.len() >= MAX_PAGES;
            let page = match pages.entry(number) {
                Entry::Occupied(page) => page.into_mut(),
                Entry::Vacant(_) if full => return Ok(false),
                Entry::Vacant(place) => place.insert(self.page(number)?),
            };
            let Some(page) = page else { return Ok(false) };
            let from = &page[addr as usize % PAGE..];
            let len = from.len().min(to.len());
            to[..len].copy_from_slice(&from[..len]);
            to = &mut to[len..];
            addr = addr.wrapping_add(len as u64);
        }
        Ok(true)
    }

    fn page(&self, number: u64) -> Result<Option<CachedPage>, ReadError> {
        let mut page = Box::new([0; PAGE]);
        Ok(self.memory.read_mapped(number * PAGE as u64, &mut *page)?.then_some(page))
    }
}

impl<M: Memory> Memory for Pages<'_, M> {
    fn read_some(&self, spans: &[MemorySpan], buffer: &mut [u8]) -> Result<usize, ReadError> {
        read_each(spans, buffer, |addr, to| Ok(self.copy(addr, to)? || self.memory.read_mapped(addr, to)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::memory::MemoryImage;

    #[test]
    fn it_is_as_the_memory_itself() {
        let mut image = MemoryImage::default();
        let bytes: Vec<u8> = (0..3 * PAGE).map(|index| (index / 16) as u8).collect();
        image.insert(0x10_0000, bytes);
        image.insert(0x20_0010, vec![7; 16]);
        let over_two = MemorySpan { addr: 0x10_0000 + PAGE as u64 - 20, len: PAGE + 40 };
        let spans =
            [over_two, MemorySpan { addr: 0x20_0018, len: 8 }, MemorySpan { addr: 0x20_0018, len: 9 }, over_two];
        let len = spans.iter().map(|span| span.len).sum();
        let (mut kept, mut whole, mut arrived) = (vec![1; len], vec![2; len], Vec::new());
        image.read_spans(&spans, &mut whole, &mut arrived).unwrap();
        let pages = Pages::new(&image);
        for _ in 0..2 {
            pages.read_spans(&spans, &mut kept, &mut arrived).unwrap();
            assert_eq!(kept, whole);
            assert_eq!(arrived, [true, true, false, true]);
        }
    }
}
