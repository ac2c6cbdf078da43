//! br (RFC 7932). The decoder's memory is ours: it is wiped.

use brotli_decompressor::{
    Allocator, BrotliDecompressStream, BrotliResult, BrotliState, HuffmanCode, SliceWrapper,
    SliceWrapperMut,
};
use zeroize::Zeroizing;

use super::{End, Output, after, inflate::finished};

pub(super) fn decode(coded: &[u8], output: &mut Output) -> End {
    // Windows of up to 16 MiB, as RFC 7932 has them; larger ones are another format.
    let mut state = Box::new(BrotliState::new_strict(Memory, Memory, Memory));
    let (mut available, mut used, mut total) = (coded.len(), 0, 0);
    loop {
        let mut at = output.filled;
        let Some(room) = output.room() else { return output.limit() };
        let mut left = room.len().saturating_sub(at);
        let start = at;
        let result = BrotliDecompressStream(
            &mut available,
            &mut used,
            coded,
            &mut left,
            &mut at,
            room,
            &mut total,
            &mut state,
        );
        output.fill(at.saturating_sub(start));
        return match result {
            BrotliResult::ResultSuccess => finished(End::Whole, after(coded, used)),
            BrotliResult::NeedsMoreOutput => continue,
            BrotliResult::NeedsMoreInput => End::Cut,
            BrotliResult::ResultFailure => End::Malformed,
        };
    }
}

#[derive(Clone, Copy)]
struct Memory;

/// Content: wiped.
#[derive(Default)]
struct Octets(Zeroizing<Vec<u8>>);

/// Tables.
#[derive(Default)]
struct Cells<T>(Vec<T>);

impl SliceWrapper<u8> for Octets {
    fn slice(&self) -> &[u8] {
        &self.0
    }
}

impl SliceWrapperMut<u8> for Octets {
    fn slice_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<T> SliceWrapper<T> for Cells<T> {
    fn slice(&self) -> &[T] {
        &self.0
    }
}

impl<T> SliceWrapperMut<T> for Cells<T> {
    fn slice_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl Allocator<u8> for Memory {
    type AllocatedMemory = Octets;

    fn alloc_cell(&mut self, len: usize) -> Octets {
        Octets(Zeroizing::new(vec![0; len]))
    }

    fn free_cell(&mut self, _octets: Octets) {}
}

impl Allocator<u32> for Memory {
    type AllocatedMemory = Cells<u32>;

    fn alloc_cell(&mut self, len: usize) -> Cells<u32> {
        Cells(vec![0; len])
    }

    fn free_cell(&mut self, _cells: Cells<u32>) {}
}

impl Allocator<HuffmanCode> for Memory {
    type AllocatedMemory = Cells<HuffmanCode>;

    fn alloc_cell(&mut self, len: usize) -> Cells<HuffmanCode> {
        Cells(vec![HuffmanCode::default(); len])
    }

    fn free_cell(&mut self, _cells: Cells<HuffmanCode>) {}
}
