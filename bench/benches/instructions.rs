//! Instructions of single operations, counted by callgrind, against `budgets.toml`. Without valgrind one line says so.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "raw values are this benchmark's alone, and slices are not used after the close"
)]
#![allow(missing_docs, reason = "gungraun makes modules of the functions")]

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::hint::black_box;

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use tenure::{
    Handle, Kind, Local, Member, Raw, Space, Token,
    collections::{Map, Queue},
    error::WaitError,
    raw::RawHandle,
    sync::{Event, Locked, Mutex, MutexGuard, Reset, RwLock, Semaphore, Versioned},
};

const KIND: Kind = Kind::raw(1);
/// Operations of one run; the way in and out is shared by all of them.
const OPERATIONS: u64 = 1000;

/// Two members of a space.
struct Pair {
    me: Local<'static>,
    other: Local<'static>,
}

/// Two warm members; making them is not counted.
fn pair() -> Pair {
    let space = Space::options().scratch(64 << 20).monitor(false).memfd().expect("a space");
    let join = || &*Box::leak(Box::new(space.join().expect("a member")));
    let mut pair = Pair { me: join().local(), other: join().local() };
    for layout in [SMALL, LARGE] {
        let block = pair.me.alloc(layout).expect("a block");
        unsafe { pair.me.free(block) }.expect("ours");
    }
    let held = pair.me.create(KIND, &[7; 100]).expect("a handle");
    let opened = pair.other.open(KIND, pair.me.token(&held)).expect("held");
    unsafe { pair.other.close(opened) }.expect("held");
    unsafe { pair.me.close(held) }.expect("held");
    pair
}

const SMALL: Layout = Layout::new::<[u64; 8]>();
const LARGE: Layout = Layout::new::<[u64; 1 << 17]>();

/// The budget of an operation, for all operations of a run.
fn budget(name: &str) -> LibraryBenchmarkConfig {
    let budgets: BTreeMap<String, f64> = toml::from_str(include_str!("../budgets.toml")).expect("budgets");
    let each = budgets.get(name).unwrap_or_else(|| panic!("budgets.toml lacks {name}"));
    let limit = (each * OPERATIONS as f64) as u64;
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

#[library_benchmark(config = budget("create_close"), setup = pair)]
#[bench::held()]
fn create_close(mut pair: Pair) -> Pair {
    for i in 0..OPERATIONS {
        let held = pair.me.create(KIND, &i.to_le_bytes()).unwrap();
        unsafe { pair.me.close(held) }.unwrap();
    }
    pair
}

#[library_benchmark(config = budget("create_get_close"), setup = pair)]
#[bench::held()]
fn create_get_close(mut pair: Pair) -> Pair {
    for i in 0..OPERATIONS {
        let held = pair.me.create(KIND, &i.to_le_bytes()).unwrap();
        black_box(unsafe { pair.me.get(&held) }.unwrap());
        unsafe { pair.me.close(held) }.unwrap();
    }
    pair
}

// The operations as functions of their own, whose results are passed back.

#[inline(never)]
fn create_called(local: &mut Local<'static>, payload: u64) -> Option<RawHandle> {
    local.create(KIND, &payload.to_le_bytes()).ok()
}

#[inline(never)]
fn get_called(local: &Local<'static>, held: &RawHandle) -> Option<&'static [u8]> {
    unsafe { local.get(held).ok().map(|bytes| std::slice::from_raw_parts(bytes.as_ptr(), bytes.len())) }
}

#[inline(never)]
fn open_called(local: &mut Local<'static>, token: Token) -> Option<RawHandle> {
    local.open(KIND, token).ok()
}

#[inline(never)]
fn close_called(local: &mut Local<'static>, held: RawHandle) -> bool {
    unsafe { local.close(held) }.is_ok()
}

#[library_benchmark(config = budget("create_get_close_called"), setup = pair)]
#[bench::held()]
fn create_get_close_called(mut pair: Pair) -> Pair {
    for i in 0..OPERATIONS {
        let held = create_called(&mut pair.me, i).unwrap();
        black_box(get_called(&pair.me, &held).unwrap());
        assert!(close_called(&mut pair.me, held));
    }
    pair
}

#[library_benchmark(config = budget("open_close_held_called"), setup = pair)]
#[bench::held()]
fn open_close_held_called(mut pair: Pair) -> Pair {
    let held = pair.me.create(KIND, b"8 bytes.").unwrap();
    let token = pair.me.token(&held);
    let _kept = pair.other.open(KIND, token).unwrap();
    for _ in 0..OPERATIONS {
        let opened = open_called(&mut pair.other, token).unwrap();
        assert!(close_called(&mut pair.other, opened));
    }
    pair
}

#[library_benchmark(config = budget("open_close_first_called"), setup = pair)]
#[bench::held()]
fn open_close_first_called(mut pair: Pair) -> Pair {
    let held = pair.me.create(KIND, b"8 bytes.").unwrap();
    let token = pair.me.token(&held);
    for _ in 0..OPERATIONS {
        let opened = open_called(&mut pair.other, token).unwrap();
        assert!(close_called(&mut pair.other, opened));
    }
    pair
}

#[library_benchmark(config = budget("create_close_100_bytes"), setup = pair)]
#[bench::held()]
fn create_close_100_bytes(mut pair: Pair) -> Pair {
    for _ in 0..OPERATIONS {
        let held = pair.me.create(KIND, &[7; 100]).unwrap();
        unsafe { pair.me.close(held) }.unwrap();
    }
    pair
}

#[library_benchmark(config = budget("get"), setup = pair)]
#[bench::held()]
fn get(mut pair: Pair) -> Pair {
    let held = pair.me.create(KIND, b"8 bytes.").unwrap();
    for _ in 0..OPERATIONS {
        black_box(unsafe { pair.me.get(black_box(&held)) }.unwrap());
    }
    pair
}

// A payload in a block.
#[library_benchmark(config = budget("get_block"), setup = pair)]
#[bench::held()]
fn get_block(mut pair: Pair) -> Pair {
    let held = pair.me.create(KIND, &[7; 100]).unwrap();
    for _ in 0..OPERATIONS {
        black_box(unsafe { pair.me.get(black_box(&held)) }.unwrap());
    }
    pair
}

// Opened by a process that holds it already.
#[library_benchmark(config = budget("open_close_held"), setup = pair)]
#[bench::held()]
fn open_close_held(mut pair: Pair) -> Pair {
    let held = pair.me.create(KIND, b"8 bytes.").unwrap();
    let token = pair.me.token(&held);
    let _kept = pair.other.open(KIND, token).unwrap();
    for _ in 0..OPERATIONS {
        let opened = pair.other.open(KIND, token).unwrap();
        unsafe { pair.other.close(opened) }.unwrap();
    }
    pair
}

// Opened by a process that does not hold it yet.
#[library_benchmark(config = budget("open_close_first"), setup = pair)]
#[bench::held()]
fn open_close_first(mut pair: Pair) -> Pair {
    let held = pair.me.create(KIND, b"8 bytes.").unwrap();
    let token = pair.me.token(&held);
    for _ in 0..OPERATIONS {
        let opened = pair.other.open(KIND, token).unwrap();
        unsafe { pair.other.close(opened) }.unwrap();
    }
    pair
}

// Created by one, opened by another, closed by both.
#[library_benchmark(config = budget("create_open_close_close"), setup = pair)]
#[bench::held()]
fn create_open_close_close(mut pair: Pair) -> Pair {
    for i in 0..OPERATIONS {
        let held = pair.me.create(KIND, &i.to_le_bytes()).unwrap();
        let opened = pair.other.open(KIND, pair.me.token(&held)).unwrap();
        unsafe { pair.me.close(held) }.unwrap();
        unsafe { pair.other.close(opened) }.unwrap();
    }
    pair
}

#[library_benchmark(config = budget("alloc_free_64"), setup = pair)]
#[bench::block()]
fn alloc_free_64(mut pair: Pair) -> Pair {
    for _ in 0..OPERATIONS {
        let block = pair.me.alloc(SMALL).unwrap();
        unsafe { pair.me.free(black_box(block)) }.unwrap();
    }
    pair
}

#[library_benchmark(config = budget("alloc_free_1_mib"), setup = pair)]
#[bench::block()]
fn alloc_free_1_mib(mut pair: Pair) -> Pair {
    for _ in 0..OPERATIONS {
        let block = pair.me.alloc(LARGE).unwrap();
        unsafe { pair.me.free(black_box(block)) }.unwrap();
    }
    pair
}

// Lengths that change from block to block.
#[library_benchmark(config = budget("alloc_free_64_kib_to_4_mib"), setup = pair)]
#[bench::block()]
fn alloc_free_64_kib_to_4_mib(mut pair: Pair) -> Pair {
    for i in 0..OPERATIONS {
        let units = [1, 5, 64, 17, 2, 33, 9, 40][i as usize % 8];
        let block = pair.me.alloc(Layout::from_size_align(units << 16, 16).unwrap()).unwrap();
        unsafe { pair.me.free(black_box(block)) }.unwrap();
    }
    pair
}

// Allocated by one member, freed by another.
#[library_benchmark(config = budget("alloc_free_of_other"), setup = pair)]
#[bench::block()]
fn alloc_free_of_other(mut pair: Pair) -> Pair {
    let owner = pair.me.owner();
    for _ in 0..OPERATIONS {
        let block = pair.me.alloc(SMALL).unwrap();
        unsafe { pair.other.free_of(block, owner) }.unwrap();
    }
    pair
}

/// Objects without contention.
struct Waits {
    mutex: Mutex,
    recursive: Mutex,
    lock: RwLock,
    event: Event,
    latch: Event,
    permits: Semaphore,
}

/// Warm objects; making them is not counted.
fn waits() -> Waits {
    let space = Space::options().scratch(1 << 20).monitor(false).memfd().expect("a space");
    let member = space.join().expect("a member");
    let mutex = Mutex::create(&member).expect("a mutex");
    drop(mutex.lock().expect("free"));
    let recursive = Mutex::options().recursive(true).create(&member).expect("a mutex");
    let lock = RwLock::create(&member).expect("a lock");
    let event = Event::options(Reset::Auto).signalled(true).create(&member).expect("an event");
    event.wait(None).expect("set");
    let latch = Event::options(Reset::Manual).signalled(true).create(&member).expect("an event");
    let permits = Semaphore::create(&member, 0, 3).expect("a semaphore");
    // The mapping stays with the objects.
    Waits { mutex, recursive, lock, event, latch, permits }
}

#[library_benchmark(config = budget("lock_unlock"), setup = waits)]
#[bench::alone()]
fn lock_unlock(waits: Waits) -> Waits {
    for _ in 0..OPERATIONS {
        drop(black_box(waits.mutex.lock().unwrap()));
    }
    waits
}

// As functions that are not inlined: results pass in registers.

#[inline(never)]
fn lock(mutex: &Mutex) -> Result<MutexGuard<'_>, WaitError> {
    mutex.lock()
}

#[inline(never)]
fn unlock(guard: MutexGuard<'_>) {
    drop(guard);
}

#[library_benchmark(config = budget("lock_unlock_called"), setup = waits)]
#[bench::alone()]
fn lock_unlock_called(waits: Waits) -> Waits {
    for _ in 0..OPERATIONS {
        unlock(lock(&waits.mutex).unwrap());
    }
    waits
}

#[library_benchmark(config = budget("lock_unlock_recursive"), setup = waits)]
#[bench::alone()]
fn lock_unlock_recursive(waits: Waits) -> Waits {
    for _ in 0..OPERATIONS {
        drop(black_box(waits.recursive.lock().unwrap()));
    }
    waits
}

#[library_benchmark(config = budget("read_unlock"), setup = waits)]
#[bench::alone()]
fn read_unlock(waits: Waits) -> Waits {
    for _ in 0..OPERATIONS {
        drop(black_box(waits.lock.read().unwrap()));
    }
    waits
}

#[library_benchmark(config = budget("write_unlock"), setup = waits)]
#[bench::alone()]
fn write_unlock(waits: Waits) -> Waits {
    for _ in 0..OPERATIONS {
        drop(black_box(waits.lock.write().unwrap()));
    }
    waits
}

#[library_benchmark(config = budget("set_wait"), setup = waits)]
#[bench::alone()]
fn set_wait(waits: Waits) -> Waits {
    for _ in 0..OPERATIONS {
        waits.event.set().unwrap();
        waits.event.wait(None).unwrap();
    }
    waits
}

// A manual-reset event that is signalled already.
#[library_benchmark(config = budget("wait_signalled"), setup = waits)]
#[bench::alone()]
fn wait_signalled(waits: Waits) -> Waits {
    for _ in 0..OPERATIONS {
        waits.latch.wait(None).unwrap();
    }
    waits
}

#[library_benchmark(config = budget("post_wait"), setup = waits)]
#[bench::alone()]
fn post_wait(waits: Waits) -> Waits {
    for _ in 0..OPERATIONS {
        black_box(waits.permits.release(1).unwrap());
        waits.permits.acquire(None).unwrap();
    }
    waits
}

/// A space with slots, and a handle that is in none.
struct Kept {
    member: Member,
    handle: Handle<u64>,
}

fn kept() -> Kept {
    let space = Space::options().slots(8).scratch(1 << 20).monitor(false).memfd().expect("a space");
    let member = space.join().expect("a member");
    let handle = member.create(&7u64).expect("a handle");
    member.slots().put(0, &handle).expect("empty");
    drop(member.slots().take::<u64>(0).expect("full"));
    Kept { member, handle }
}

#[library_benchmark(config = budget("slot_put_take"), setup = kept)]
#[bench::held()]
fn slot_put_take(kept: Kept) -> Kept {
    let slots = kept.member.slots();
    for _ in 0..OPERATIONS {
        slots.put(0, &kept.handle).unwrap();
        drop(black_box(slots.take::<u64>(0).unwrap()));
    }
    kept
}

#[library_benchmark(config = budget("slot_claim_give_back"), setup = kept)]
#[bench::held()]
fn slot_claim_give_back(kept: Kept) -> Kept {
    let slots = kept.member.slots();
    slots.put(0, &kept.handle).unwrap();
    for _ in 0..OPERATIONS {
        black_box(slots.claim::<u64>(0).unwrap()).give_back().unwrap();
    }
    kept
}

// After a put, since the slot is empty then.
#[library_benchmark(config = budget("slot_put_claim_ack"), setup = kept)]
#[bench::held()]
fn slot_put_claim_ack(kept: Kept) -> Kept {
    let slots = kept.member.slots();
    for _ in 0..OPERATIONS {
        slots.put(0, &kept.handle).unwrap();
        black_box(slots.claim::<u64>(0).unwrap()).ack().unwrap();
    }
    kept
}

/// Values of 64 bytes.
struct Values {
    locked: Locked<[u64; 8]>,
    versioned: Versioned<[u64; 8]>,
}

fn values() -> Values {
    let space = Space::options().scratch(1 << 20).monitor(false).memfd().expect("a space");
    let member = space.join().expect("a member");
    let locked = Locked::create(&member, &[7; 8]).expect("a value");
    locked.lock().expect("free")[0] += 1;
    let versioned = Versioned::create(&member, &[7; 8]).expect("a value");
    versioned.write(&[8; 8]).expect("free");
    Values { locked, versioned }
}

#[library_benchmark(config = budget("locked_change"), setup = values)]
#[bench::alone()]
fn locked_change(values: Values) -> Values {
    for _ in 0..OPERATIONS {
        values.locked.lock().unwrap()[1] += 1;
    }
    values
}

#[library_benchmark(config = budget("versioned_read_64"), setup = values)]
#[bench::alone()]
fn versioned_read_64(values: Values) -> Values {
    for _ in 0..OPERATIONS {
        black_box(values.versioned.read().unwrap());
    }
    values
}

#[library_benchmark(config = budget("versioned_write_64"), setup = values)]
#[bench::alone()]
fn versioned_write_64(values: Values) -> Values {
    for i in 0..OPERATIONS {
        values.versioned.write(&[i; 8]).unwrap();
    }
    values
}

/// Warm containers.
struct Containers {
    queue: Queue<Raw>,
    map: Map,
}

/// The map has one pair: the buckets of several keys depend on a secret of the map.
fn containers() -> Containers {
    let options = Space::options().container_slots(128).handles(1 << 10).scratch(1 << 20);
    let space = options.monitor(false).memfd().expect("a space");
    let member = space.join().expect("a member");
    let queue = Queue::create_raw(&member, KIND, 64).expect("a queue");
    let map = Map::create(&member, 64).expect("a map");
    for _ in 0..100 {
        queue.push(&[7; 32]).expect("empty");
        drop(queue.pop().expect("a queue"));
        map.insert(MAP_KEY, &[7; 100]).expect("a map");
    }
    Containers { queue, map }
}

const MAP_KEY: &[u8] = b"16 bytes of key.";

#[library_benchmark(config = budget("queue_push_pop_8"), setup = containers)]
#[bench::alone()]
fn queue_push_pop_8(containers: Containers) -> Containers {
    for i in 0..OPERATIONS {
        containers.queue.push(&i.to_le_bytes()).unwrap();
        black_box(containers.queue.pop().unwrap());
    }
    containers
}

// Batches of 20.
#[library_benchmark(config = budget("queue_push_pop_many_8"), setup = containers)]
#[bench::alone()]
fn queue_push_pop_many_8(containers: Containers) -> Containers {
    let numbers = [7_u64.to_le_bytes(); 20];
    let mut popped = Vec::with_capacity(20);
    for _ in 0..OPERATIONS / 20 {
        containers.queue.push_many(numbers.iter().map(|number| &number[..])).unwrap();
        black_box(containers.queue.pop_many(&mut popped, 20).unwrap());
        popped.clear();
    }
    containers
}

#[library_benchmark(config = budget("queue_push_claim_ack_8"), setup = containers)]
#[bench::alone()]
fn queue_push_claim_ack_8(containers: Containers) -> Containers {
    for i in 0..OPERATIONS {
        containers.queue.push(&i.to_le_bytes()).unwrap();
        black_box(containers.queue.claim().unwrap()).unwrap().ack().unwrap();
    }
    containers
}

#[library_benchmark(config = budget("map_get_100"), setup = containers)]
#[bench::alone()]
fn map_get_100(containers: Containers) -> Containers {
    let mut copy = Vec::with_capacity(128);
    for _ in 0..OPERATIONS {
        black_box(containers.map.get_into(black_box(MAP_KEY), &mut copy).unwrap());
    }
    containers
}

#[library_benchmark(config = budget("map_insert_100"), setup = containers)]
#[bench::alone()]
fn map_insert_100(containers: Containers) -> Containers {
    for i in 0..OPERATIONS {
        containers.map.insert(MAP_KEY, black_box(&[i as u8; 100])).unwrap();
    }
    containers
}

library_benchmark_group!(
    name = operations;
    benchmarks =
        create_close, create_get_close, create_get_close_called, create_close_100_bytes, get, get_block, open_close_held,
        open_close_held_called, open_close_first, open_close_first_called, create_open_close_close, alloc_free_64, alloc_free_1_mib,
        alloc_free_64_kib_to_4_mib, alloc_free_of_other, lock_unlock, lock_unlock_called,
        lock_unlock_recursive, read_unlock, write_unlock, set_wait, wait_signalled, post_wait, slot_put_take, slot_claim_give_back,
        slot_put_claim_ack, locked_change, versioned_read_64, versioned_write_64, queue_push_pop_8, queue_push_claim_ack_8,
        queue_push_pop_many_8,
        map_get_100, map_insert_100
);

main!(library_benchmark_groups = operations);
