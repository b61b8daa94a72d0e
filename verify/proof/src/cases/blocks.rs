//! Alloc, free, realloc, pin, adopt and trim, on every path.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "the cases own their blocks by raw values, use no bytes after the end of a block, and two of them free what is gone on purpose"
)]

use tenure::{Local, error::FreeError, raw::RawBlock};

use crate::case::{Case, KIND, LAZY, LONG, SMALL, Stage};
use crate::survivor::{Survivor, fill, is_block_intact, layout, payload, posted_lease};

const UNIT: usize = SMALL.unit_bytes;
/// Bytes of a block whose spans have two units, where units have 1 KiB.
const SEVERAL: usize = 380;

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::new("alloc, cached", |stage| alloc(stage, 100, &[100])),
        Case::new("alloc, new span", |stage| alloc(stage, 100, &[])),
        Case::new("alloc, new span of several units", |stage| alloc(stage, SEVERAL, &[])),
        Case::new("alloc, large", |stage| alloc(stage, 3 * UNIT, &[])),
        Case::new("alloc, large, kept", |stage| alloc(stage, 3 * UNIT, &[3 * UNIT])),
        Case::new("alloc, large, of longer ones kept", |stage| alloc(stage, 3 * UNIT, &[2 * UNIT, 5 * UNIT])),
        Case::new("alloc, aligned", alloc_aligned),
        Case::new("alloc, committing", |stage| alloc(stage, 100, &[])).size(LAZY),
        Case::new("alloc, large, committing", |stage| alloc(stage, 3 * LAZY.unit_bytes, &[])).size(LAZY),
        Case::new("alloc, extending the region", alloc_extending).size(LONG).uses_up(),
        Case::new("alloc, collecting", alloc_collecting),
        Case::new("alloc, exhausted", alloc_exhausted).uses_up(),
        Case::new("alloc, adopting", |stage| alloc(stage, 500, &[]))
            .before(|survivor| abandon_a_span(survivor, 500)),
        Case::new("alloc, adopting several units", |stage| alloc(stage, SEVERAL, &[]))
            .before(|survivor| abandon_a_span(survivor, SEVERAL)),
        Case::new("free, cached", |stage| free(stage, 100)),
        Case::new("free, large", |stage| free(stage, 3 * UNIT)),
        Case::new("free, of another local", free_of_another_local),
        Case::new("free, of another member", free_of_another_member).before(give_a_block),
        Case::new("free, of another member, reused meanwhile", free_of_another_member)
            .before(give_a_block)
            .meanwhile(use_given),
        Case::new("realloc, in place", |stage| realloc(stage, 3 * UNIT, 4 * UNIT)),
        Case::new("realloc, cutting", |stage| realloc(stage, 4 * UNIT, 2 * UNIT)),
        Case::new("realloc, growing out of its class", |stage| realloc(stage, 100, 300)),
        Case::new("realloc, shrinking out of its class", |stage| realloc(stage, 300, 40)),
        Case::new("realloc, large to small", |stage| realloc(stage, 3 * UNIT, 40)),
        Case::new("pin", pin),
        Case::new("free pinned", free_pinned),
        // A trimmer holds the free units that it gives back; in a space this small that is all of them.
        Case::new("trim", trim).uses_up(),
        Case::new("trim, decommitting", trim).size(LAZY).uses_up(),
        Case::new("trim, handles claimed ahead", trim_claimed).uses_up(),
    ]
}

fn check_and_free(local: &mut Local<'_>, block: RawBlock) {
    fill(local, block);
    assert!(is_block_intact(local, block));
    unsafe { local.free(block) }.unwrap();
}

/// After blocks of these lengths were allocated, and then freed.
fn alloc(stage: &Stage<'_>, len: usize, before: &[usize]) {
    let me = stage.join();
    let mut local = me.local();
    let freed: Vec<_> = before.iter().map(|len| local.alloc(layout(*len)).unwrap()).collect();
    freed.into_iter().for_each(|block| unsafe { local.free(block) }.unwrap());
    let wanted = layout(len);
    stage.begin();
    let block = local.alloc(wanted);
    stage.end();
    check_and_free(&mut local, block.unwrap());
    drop(local);
    me.leave().unwrap();
}

pub(super) fn alloc_several(stage: &Stage<'_>) {
    alloc(stage, SEVERAL, &[]);
}

/// As [`alloc_several`], while another process may have all free memory.
pub(super) fn alloc_if_any(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let wanted = layout(SEVERAL);
    stage.begin();
    let block = local.alloc(wanted);
    stage.end();
    if let Ok(block) = block {
        check_and_free(&mut local, block);
    }
    drop(local);
    me.leave().unwrap();
}

pub(super) fn alloc_large(stage: &Stage<'_>) {
    alloc(stage, 3 * UNIT, &[]);
}

/// One is of the class that [`alloc_several`] takes from.
pub(super) fn abandon_spans(survivor: &mut Survivor) {
    abandon_a_span(survivor, SEVERAL);
    abandon_a_span(survivor, 500);
}

/// Its own blocks are freed by itself but for one, which is posted.
pub(super) fn alloc_collecting_posted(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let per_span = UNIT / 128;
    let mut blocks: Vec<_> = (0..per_span).map(|_| local.alloc(layout(128)).unwrap()).collect();
    stage.board.post(0, blocks.pop().unwrap().offset);
    stage.board.post(1, me.lease().index.into());
    stage.board.post(2, me.lease().incarnation);
    let wanted = layout(128);
    stage.begin();
    let block = local.alloc(wanted);
    stage.end();
    check_and_free(&mut local, block.unwrap());
    blocks.into_iter().for_each(|block| check_and_free(&mut local, block));
    drop(local);
    me.leave().unwrap();
}

/// Frees the block that [`alloc_collecting_posted`] has posted, unless its owner has left and it is gone.
pub(super) fn free_posted(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let block = RawBlock { offset: stage.board.read(0), len: 128 };
    let owner = posted_lease(stage.board, 1);
    stage.begin();
    let freed = unsafe { local.free_of(block, owner) };
    stage.end();
    let _ = freed;
    drop(local);
    me.leave().unwrap();
}

fn alloc_aligned(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let wanted = std::alloc::Layout::from_size_align(80, 64).unwrap();
    stage.begin();
    let block = local.alloc(wanted);
    stage.end();
    let block = block.unwrap();
    assert_eq!(block.offset % 64, 0);
    check_and_free(&mut local, block);
    drop(local);
    me.leave().unwrap();
}

fn alloc_extending(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    // Fewer of the initial units are left than the operation allocates.
    let most = local.alloc(layout(1000 * LONG.unit_bytes)).unwrap();
    let wanted = layout(50 * LONG.unit_bytes);
    stage.begin();
    let block = local.alloc(wanted);
    stage.end();
    // Unless somebody else has taken them meanwhile.
    if let Ok(block) = block {
        check_and_free(&mut local, block);
    }
    unsafe { local.free(most) }.unwrap();
    drop(local);
    me.leave().unwrap();
}

fn alloc_collecting(stage: &Stage<'_>) {
    let me = stage.join();
    let (mut local, mut other) = (me.local(), me.local());
    let per_span = UNIT / 128;
    let blocks: Vec<_> = (0..per_span).map(|_| local.alloc(layout(128)).unwrap()).collect();
    blocks.into_iter().skip(1).for_each(|block| unsafe { other.free(block) }.unwrap());
    let wanted = layout(128);
    stage.begin();
    let block = local.alloc(wanted);
    stage.end();
    check_and_free(&mut local, block.unwrap());
    drop((local, other));
    me.leave().unwrap();
}

fn alloc_exhausted(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let mut all = Vec::with_capacity(40);
    while let Ok(block) = local.alloc(layout(UNIT)) {
        all.push(block);
    }
    let wanted = layout(UNIT);
    stage.begin();
    let one_more = local.alloc(wanted);
    stage.end();
    // Unless another process gave one up.
    all.extend(one_more);
    assert!(all.len() > 10);
    all.into_iter().for_each(|block| unsafe { local.free(block) }.unwrap());
    drop(local);
    me.leave().unwrap();
}

/// A process creates a handle with a block and dies, and the survivor holds the handle.
fn abandon_a_span(survivor: &mut Survivor, len: usize) {
    let doomed = survivor.space.join().unwrap();
    let mut local = doomed.local();
    let held = local.create(KIND, &payload(len)).unwrap();
    let token = local.token(&held);
    let held = survivor.local.open(KIND, token).unwrap();
    survivor.held.push(held);
    drop(local);
    // Leaving takes the same path as recovery.
    doomed.leave().unwrap();
}

fn free(stage: &Stage<'_>, len: usize) {
    let me = stage.join();
    let mut local = me.local();
    let block = local.alloc(layout(len)).unwrap();
    fill(&local, block);
    stage.begin();
    let freed = unsafe { local.free(block) };
    stage.end();
    freed.unwrap();
    drop(local);
    me.leave().unwrap();
}

fn free_of_another_local(stage: &Stage<'_>) {
    let me = stage.join();
    let (mut local, mut other) = (me.local(), me.local());
    let block = local.alloc(layout(100)).unwrap();
    stage.begin();
    let freed = unsafe { other.free(block) };
    stage.end();
    freed.unwrap();
    let block = local.alloc(layout(100)).unwrap();
    check_and_free(&mut local, block);
    drop((local, other));
    me.leave().unwrap();
}

fn give_a_block(survivor: &mut Survivor) {
    let block = survivor.local.alloc(layout(100)).unwrap();
    survivor.given.push(block);
    survivor.board.post(0, block.offset);
    let lease = survivor.me.lease();
    survivor.board.post(1, lease.index.into());
    survivor.board.post(2, lease.incarnation);
}

/// Takes blocks of the size of the given one for good, and with luck that one, if it is free.
fn use_given(survivor: &mut Survivor) {
    let given = survivor.given[0];
    let mut local = survivor.me.local();
    for _ in 0..2 * UNIT / 112 {
        let block = survivor.local.alloc(layout(100)).unwrap();
        if block == given {
            // It was freed, and is another block by now.
            survivor.given.clear();
        }
        fill(&local, block);
        survivor.blocks.push(block);
    }
    let spare = local.alloc(layout(100)).unwrap();
    unsafe { local.free(spare) }.unwrap();
}

fn free_of_another_member(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let block = RawBlock { offset: stage.board.read(0), len: 100 };
    let owner = posted_lease(stage.board, 1);
    stage.begin();
    let freed = unsafe { local.free_of(block, owner) };
    stage.end();
    let freed: Result<(), FreeError> = freed;
    freed.unwrap();
    drop(local);
    me.leave().unwrap();
}

fn realloc(stage: &Stage<'_>, from: usize, to: usize) {
    let me = stage.join();
    let mut local = me.local();
    let block = local.alloc(layout(from)).unwrap();
    // SAFETY: our own block.
    unsafe { local.address(block).write_bytes(5, from) };
    let wanted = layout(to);
    stage.begin();
    let resized = unsafe { local.realloc(block, wanted) };
    stage.end();
    let resized = resized.unwrap();
    // SAFETY: our own block, at least that long.
    let kept = unsafe { std::slice::from_raw_parts(local.address(resized), from.min(to)) };
    assert!(kept.iter().all(|byte| *byte == 5), "realloc lost what the block contained");
    check_and_free(&mut local, resized);
    drop(local);
    me.leave().unwrap();
}

fn pin(stage: &Stage<'_>) {
    let me = stage.join();
    let block = me.alloc(layout(100)).unwrap();
    stage.begin();
    let pinned = block.pin();
    stage.end();
    unsafe { me.free_pinned(pinned.unwrap()) }.unwrap();
    me.leave().unwrap();
}

fn free_pinned(stage: &Stage<'_>) {
    let me = stage.join();
    let pinned = me.alloc(layout(100)).unwrap().pin().unwrap();
    stage.begin();
    let freed = unsafe { me.free_pinned(pinned) };
    stage.end();
    freed.unwrap();
    me.leave().unwrap();
}

pub(super) fn trim(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let blocks: Vec<_> = [100, SEVERAL, 3 * UNIT].map(|len| local.alloc(layout(len)).unwrap()).into();
    blocks.into_iter().for_each(|block| unsafe { local.free(block) }.unwrap());
    drop(local);
    stage.begin();
    let trimmed = me.trim();
    stage.end();
    trimmed.unwrap();
    let mut local = me.local();
    let block = local.alloc(layout(100)).unwrap();
    check_and_free(&mut local, block);
    drop(local);
    me.leave().unwrap();
}

/// Resources that calls without a local have claimed ahead are returned.
fn trim_claimed(stage: &Stage<'_>) {
    let me = stage.join();
    drop(me.create_raw(KIND, &payload(8)).unwrap());
    stage.begin();
    let trimmed = me.trim();
    stage.end();
    trimmed.unwrap();
    me.leave().unwrap();
}
