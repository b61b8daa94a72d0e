//! Scratch memory.

use super::Row;
use crate::driver::Sizes;
use crate::order::Fault;
use crate::stage::Stage;
use tenure_testkit::eventually;

pub(super) const ROWS: &[Row] = &[
    ("memory keeps what was written to it, and others read it by its offset", Sizes::USUAL, write_and_read),
    ("memory that was asked for zeroed is zero, also when it was used before", Sizes::USUAL, zeroed),
    ("memory is aligned as asked, up to a page", Sizes::USUAL, aligned),
    ("0 bytes and an alignment that is none are refused", Sizes::USUAL, impossible),
    ("a block that grows or shrinks keeps its beginning", Sizes::USUAL, resized),
    ("freeing twice is told", Sizes::USUAL, freed_twice),
    ("an offset where no block starts is refused", Sizes::USUAL, no_block),
    ("a block is not freed by somebody it was not given to", Sizes::USUAL, somebody_elses),
    ("a block that was given away is freed by who got it", Sizes::USUAL, free_of),
    ("a pinned block outlives who pinned it; anybody frees it, once", Sizes::USUAL, pinned),
    ("a pinned block outlives even a kill", Sizes::USUAL, pinned_by_the_dead),
    ("memory used up is a clear error, and fine again after a free", Sizes::USUAL, exhausted),
    ("the memory of a program that was killed is used again", Sizes::USUAL, memory_of_the_dead),
];

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 11 + 3) as u8).collect()
}

fn write_and_read(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    for len in [1, 16, 1000, 70_000] {
        let block = a.alloc(len, 16)?;
        a.poke(block, &pattern(len))?;
        assert!(b.peek(block, len)? == pattern(len), "{len} bytes");
        a.free(block)?;
    }
    Ok(())
}

fn zeroed(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    for len in [64, 70_000] {
        let used = a.alloc(len, 16)?;
        a.poke(used, &vec![0xff; len])?;
        a.free(used)?;
        let block = a.alloc_zeroed(len)?;
        assert!(a.peek(block, len)? == vec![0; len], "{len} bytes");
        a.free(block)?;
    }
    Ok(())
}

fn aligned(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    for align in [1, 2, 16, 64, 256, 4096] {
        let block = a.alloc(40, align)?;
        assert_eq!(a.address(block)? % align as u64, 0, "aligned to {align}");
        a.free(block)?;
    }
    Ok(())
}

fn impossible(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    assert_eq!(a.alloc(0, 16), Err(Fault::Argument));
    assert_eq!(a.alloc(16, 3), Err(Fault::Argument));
    assert_eq!(a.alloc(16, 8192), Err(Fault::Argument));
    assert_eq!(stage.in_use().leased, 0);
    Ok(())
}

fn resized(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let mut block = a.alloc(100, 16)?;
    a.poke(block, &pattern(100))?;
    for len in [50, 200, 10_000, 200_000, 60] {
        block = a.resize(block, len)?;
        let kept = len.min(50);
        assert_eq!(a.peek(block, kept)?, pattern(kept), "after {len} bytes");
    }
    let fault = a.resize(block, 64 << 20);
    assert!(matches!(fault, Err(Fault::TooLarge | Fault::Exhausted)), "{fault:?}");
    assert_eq!(a.peek(block, 50)?, pattern(50));
    assert_eq!(stage.in_use().leased, 1);
    a.free(block)
}

fn freed_twice(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let (block, kept) = (a.alloc(48, 16)?, a.alloc(48, 16)?);
    a.poke(kept, &pattern(48))?;
    a.free(block)?;
    assert_eq!(a.free(block), Err(Fault::AlreadyFree));
    assert_eq!(a.peek(kept, 48)?, pattern(48));
    a.free(kept)
}

fn no_block(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let block = a.alloc(48, 16)?;
    for offset in [block + 8, block + 1, u64::MAX, 1 << 40] {
        assert_eq!(a.free(offset), Err(Fault::NotABlock), "{offset}");
    }
    a.free(block)
}

fn somebody_elses(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let block = a.alloc(48, 16)?;
    a.poke(block, &pattern(48))?;
    assert_eq!(b.free(block), Err(Fault::WrongOwner));
    let not_its = b.lease()?;
    assert_eq!(b.free_of(block, not_its), Err(Fault::WrongOwner));
    assert_eq!(a.peek(block, 48)?, pattern(48));
    a.free(block)
}

fn free_of(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (block, lease) = (a.alloc(48, 16)?, a.lease()?);
    a.poke(block, &pattern(48))?;
    assert_eq!(b.peek(block, 48)?, pattern(48));
    b.free_of(block, lease)?;
    assert_eq!(stage.in_use().leased, 0);
    let again = b.free_of(block, lease);
    assert!(matches!(again, Err(Fault::AlreadyFree | Fault::WrongOwner)), "{again:?}");
    Ok(())
}

fn pinned(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let block = a.alloc(300, 16)?;
    a.poke(block, &pattern(300))?;
    assert_eq!(b.free_pinned(block), Err(Fault::WrongOwner));
    a.pin(block)?;
    assert_eq!(stage.in_use().pinned, 1);
    drop(a);
    assert_eq!(b.peek(block, 300)?, pattern(300));
    assert_eq!(b.free(block), Err(Fault::WrongOwner));
    b.free_pinned(block)?;
    let again = b.free_pinned(block);
    assert!(matches!(again, Err(Fault::AlreadyFree | Fault::NotABlock)), "{again:?}");
    Ok(())
}

fn pinned_by_the_dead(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let (pinned, owned) = (a.alloc(300, 16)?, a.alloc(300, 16)?);
    a.poke(pinned, &pattern(300))?;
    a.pin(pinned)?;
    a.kill()?;
    b.recover()?;
    eventually("what it owned is free", || stage.in_use().leased == 0);
    assert_eq!(b.peek(pinned, 300)?, pattern(300));
    assert!(b.free(owned).is_err());
    b.free_pinned(pinned)
}

fn exhausted(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let (blocks, fault) = a.alloc_many(50_000, 1000)?;
    assert_eq!(fault, Some(Fault::Exhausted));
    assert!(blocks.len() >= 20, "{} blocks of 50000 bytes in 2 MiB", blocks.len());
    assert_eq!(a.alloc(50_000, 16), Err(Fault::Exhausted));
    a.free(blocks[0])?;
    let again = a.alloc(50_000, 16)?;
    a.poke(again, &pattern(50_000))?;
    for block in blocks.into_iter().skip(1).chain([again]) {
        a.free(block)?;
    }
    let whole = a.alloc(1 << 20, 16)?;
    a.free(whole)
}

fn memory_of_the_dead(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let (blocks, fault) = a.alloc_many(50_000, 1000)?;
    assert_eq!(fault, Some(Fault::Exhausted));
    a.kill()?;
    // A member that runs out of memory recovers dead members by itself.
    let (again, fault) = b.alloc_many(50_000, blocks.len())?;
    assert_eq!((again.len(), fault), (blocks.len(), None));
    for block in again {
        b.free(block)?;
    }
    Ok(())
}
