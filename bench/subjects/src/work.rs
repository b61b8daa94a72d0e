//! The work that is measured in two places: by the comparison, and at the end of the demo.

use std::alloc::Layout;
use std::hint::black_box;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::subject::{Handles, Heap, Outcome};
use crate::team::Work;

const HELD: usize = 8;
const BATCH: usize = 1000;

/// So many bytes, aligned as malloc aligns.
#[must_use]
pub fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 16).unwrap_or(Layout::new::<u128>())
}

/// Allocates, and writes the first byte.
///
/// # Errors
/// The error of the heap.
#[inline]
pub fn touched<H: Heap>(heap: &mut H, layout: Layout) -> Outcome<H::Block> {
    let block = heap.alloc(layout)?;
    // SAFETY: the block is ours and has at least one byte.
    unsafe { black_box(heap.address(block)).write(1) };
    Ok(block)
}

/// Frees the oldest of eight blocks of 64 B and allocates another.
///
/// # Errors
/// The error of the heap.
pub fn pair_held<H: Heap + 'static>(mut heap: H) -> Outcome<Work> {
    let small = layout(64);
    let mut held = [touched(&mut heap, small)?; HELD];
    for block in &mut held[1..] {
        *block = touched(&mut heap, small)?;
    }
    Ok(Box::new(move |lap| {
        lap.each(|number| {
            let oldest = &mut held[number as usize % HELD];
            heap.free(*oldest, small)?;
            *oldest = touched(&mut heap, small)?;
            Ok(())
        })
    }))
}

/// Allocates 1000 blocks of 16 to 1024 B and frees them in random order.
///
/// # Errors
/// The error of the heap.
pub fn batch<H: Heap + 'static>(mut heap: H) -> Outcome<Work> {
    let mut rng = SmallRng::seed_from_u64(1);
    let layouts: Vec<Layout> = (0..BATCH).map(|_| layout(rng.random_range(16..=1024))).collect();
    let mut order: Vec<usize> = (0..BATCH).collect();
    order.shuffle(&mut rng);
    let mut blocks = Vec::with_capacity(BATCH);
    Ok(Box::new(move |lap| {
        let batches = (lap.wanted as usize / BATCH).max(1);
        lap.whole((batches * BATCH) as u64, || {
            for _ in 0..batches {
                for &layout in &layouts {
                    blocks.push(touched(&mut heap, layout)?);
                }
                for &index in &order {
                    heap.free(blocks[index], layouts[index])?;
                }
                blocks.clear();
            }
            Ok(())
        })
    }))
}

/// Allocates, touches and frees a block of 64 KiB to 4 MiB.
///
/// # Errors
/// The error of the heap.
pub fn large<H: Heap + 'static>(mut heap: H) -> Outcome<Work> {
    let mut rng = SmallRng::seed_from_u64(1);
    let layouts: Vec<Layout> = (0..64).map(|_| layout(rng.random_range(64 << 10..=4 << 20))).collect();
    Ok(Box::new(move |lap| {
        lap.each(|number| {
            let layout = layouts[number as usize % layouts.len()];
            let block = touched(&mut heap, layout)?;
            heap.free(block, layout)
        })
    }))
}

/// Creates a handle, reads it once, closes it.
///
/// # Errors
/// The error of the subject.
pub fn create_get_close<M: Handles + 'static>(mut member: M) -> Outcome<Work> {
    Ok(Box::new(move |lap| {
        lap.each(|number| {
            let held = member.create(u64::from(number))?;
            black_box(member.get(&held)?);
            member.close(held)
        })
    }))
}

/// Opens and closes a handle that this member holds already.
///
/// # Errors
/// The error of the subject.
pub fn open_own<M: Handles + 'static>(mut member: M) -> Outcome<Work> {
    let held = member.create(7)?;
    let token = member.token(&held);
    Ok(Box::new(move |lap| {
        lap.each(|_| {
            let held = member.open(black_box(token))?;
            member.close(held)
        })
    }))
}
