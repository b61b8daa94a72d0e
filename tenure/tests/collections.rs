//! Private collections in the scratch memory of a space, and offsets in it.
#![cfg(feature = "allocator")]

use std::alloc::Layout;
use std::hash::RandomState;
use std::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use hashbrown::HashMap;
use proptest::prelude::*;
use tenure::{Offset, Space, collections::ScratchAllocator};

fn options() -> tenure::Options {
    Space::options().members(8).handles(64).scratch(4 << 20)
}

#[test]
fn vectors_and_maps_live_in_the_space() {
    let space = options().private().unwrap();
    let me = space.join().unwrap();
    let scratch = ScratchAllocator::new(me.local());
    let mut words: Vec<Vec<u8, _>, _> = Vec::new_in(&scratch);
    let mut places = HashMap::<u64, Box<u64, _>, _, _>::with_hasher_in(RandomState::new(), &scratch);
    for number in 0..1000 {
        let mut word = Vec::new_in(&scratch);
        word.extend_from_slice(number.to_string().as_bytes());
        words.push(word);
        places.insert(number, Box::new_in(number * number, &scratch));
    }
    assert!(space.stats().blocks_leased > 2000);
    assert_eq!(&words[999][..], b"999");
    assert!((0..1000).all(|number| *places[&number] == number * number));
    words.truncate(10);
    words.shrink_to_fit();
    places.retain(|number, _| number % 100 == 0);
    assert_eq!((words.len(), places.len(), &words[9][..]), (10, 10, &b"9"[..]));
    drop((words, places));
    drop(scratch);
    assert_eq!(space.stats().blocks_leased, 0);
    assert!(space.check().is_clean());
}

#[test]
fn what_is_no_longer_there_is_refused() {
    let space = options().scratch(1 << 20).private().unwrap();
    let me = space.join().unwrap();
    let scratch = ScratchAllocator::new(me.local());
    let mut bytes = Vec::<u8, _>::new_in(&scratch);
    assert!(bytes.try_reserve(2 << 20).is_err());
    bytes.extend_from_slice(b"tea");
    assert!(bytes.try_reserve_exact(1 << 30).is_err());
    assert_eq!(&bytes[..], b"tea");
    assert!(scratch.allocate(Layout::from_size_align(1, 1 << 20).unwrap()).is_err());
    let nothing = scratch.allocate(Layout::from_size_align(0, 64).unwrap()).unwrap();
    assert_eq!((nothing.len(), nothing.cast::<u8>().addr().get() % 64), (0, 0));
    // SAFETY: allocated above, with that layout.
    unsafe { scratch.deallocate(nothing.cast(), Layout::from_size_align(0, 64).unwrap()) };
}

#[test]
fn a_reader_allocates_nothing() {
    let space = options().read_only(true).private().unwrap();
    let me = space.join().unwrap();
    let scratch = ScratchAllocator::new(me.local());
    assert!(Vec::<u8, _>::new_in(&scratch).try_reserve(1).is_err());
}

proptest! {
    /// Whatever is asked for, the bytes are as of a vector on the heap, and aligned.
    #[test]
    fn resized_memory_keeps_its_bytes(sizes in prop::collection::vec((0usize..20_000, 0u32..8), 1..20)) {
        let me = options().private().unwrap().join().unwrap();
        let scratch = ScratchAllocator::new(me.local());
        let mut layout = Layout::new::<()>();
        let mut data = scratch.allocate(layout).unwrap().cast::<u8>();
        let mut model = std::vec::Vec::new();
        for (size, align) in sizes {
            let new = Layout::from_size_align(size, 1 << align).unwrap();
            // SAFETY: `data` was allocated with `layout`.
            let resized = unsafe {
                if size >= layout.size() { scratch.grow(data, layout, new) } else { scratch.shrink(data, layout, new) }
            };
            data = resized.unwrap().cast();
            prop_assert_eq!(data.addr().get() % (1 << align), 0);
            let kept = layout.size().min(size);
            // SAFETY: as long as the smaller of the two.
            prop_assert_eq!(unsafe { std::slice::from_raw_parts(data.as_ptr(), kept) }, &model[..kept]);
            model = (0..size).map(|at| (at * 7 + size) as u8).collect();
            // SAFETY: as long as the new layout.
            unsafe { data.as_ptr().copy_from_nonoverlapping(model.as_ptr(), size) };
            layout = new;
        }
        // SAFETY: allocated with `layout`.
        unsafe { scratch.deallocate(data, layout) };
    }

    /// Any bits are harmless: nothing, or bytes of the scratch memory that are mapped.
    #[test]
    fn any_offset_is_checked(bits in prop_oneof![any::<u64>(), 0u64..(4 << 20) + 100]) {
        let me = options().private().unwrap().join().unwrap();
        let local = me.local();
        let kept = me.alloc(Layout::new::<u64>()).unwrap();
        type Odd = [u128; 6];
        if let Some(found) = local.resolve(Offset::<Odd>::from_bits(bits)) {
            prop_assert!(found.is_aligned());
            prop_assert_eq!(local.offset_of(found.as_ptr()), Some(Offset::from_bits(bits)));
            let last = found.as_ptr().cast::<u8>().wrapping_add(size_of::<Odd>() - 1);
            // SAFETY: mapped, as `resolve` says; nobody writes it.
            std::hint::black_box(unsafe { last.read() });
        }
        drop(kept);
    }
}

#[test]
fn an_offset_at_the_border_is_checked() {
    let me = options().private().unwrap().join().unwrap();
    let local = me.local();
    let block = me.alloc(Layout::new::<[u64; 8]>()).unwrap();
    let start = local.offset_of(block.as_ptr().cast::<u64>()).unwrap();
    assert_eq!(local.resolve(start), NonNull::new(block.as_ptr().cast()));
    assert_eq!(start.bits(), block.offset() + 1);
    let shifted = |bytes| Offset::<u64>::from_bits(start.bits() + bytes);
    assert!(local.resolve(shifted(8)).is_some() && local.resolve(shifted(4)).is_none());
    assert!(Offset::<u64>::NONE.is_none() && local.resolve(Offset::<u64>::NONE).is_none());
    // The last bytes that were ever handed out are within, and one more is not.
    let end = (0..=64u64)
        .map(|units| units << 16)
        .rfind(|end| local.resolve(Offset::<u8>::from_bits(end.saturating_sub(1) + 1)).is_some());
    let end = end.unwrap();
    assert!(local.resolve(Offset::<u64>::from_bits(end - 8 + 1)).is_some());
    assert!(local.resolve(Offset::<[u64; 2]>::from_bits(end - 8 + 1)).is_none());
    assert!(local.resolve(Offset::<u64>::from_bits(u64::MAX)).is_none());
    assert!(local.offset_of(&raw const me).is_none());
}
