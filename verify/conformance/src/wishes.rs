//! Orders of scenarios to programs, in few words: an order and the one answer that fits it.

use crate::order::{Answer, End, Fault, Modes, New, Order, Sort, Thing};
use crate::program::Program;

/// The kind of handles whose kind does not matter.
pub(crate) const KIND: u32 = 1;

macro_rules! wishes {
    ($($name:ident($($argument:ident: $of:ty),*) -> $result:ty = $order:expr => $pattern:pat => $value:expr;)*) => {
        impl Program {
            $(
                pub(crate) fn $name(&mut self, $($argument: $of),*) -> Result<$result, Fault> {
                    match self.ask($order)? {
                        $pattern => Ok($value),
                        other => panic!("the answer to {} is {other:?}", stringify!($name)),
                    }
                }
            )*
        }
    };
}

type Many<T> = (Vec<T>, Option<Fault>);

wishes! {
    join() -> () = Order::Join => Answer::Done => ();
    leave() -> () = Order::Leave => Answer::Done => ();
    lease() -> u64 = Order::Lease => Answer::Number(lease) => lease;
    recover() -> u64 = Order::Recover => Answer::Number(count) => count;
    make(new: New) -> Thing = Order::Create(new) => Answer::Thing(thing) => thing;
    create_with(block: u64, len: usize) -> Thing =
        Order::CreateWith { kind: KIND, block, len } => Answer::Thing(thing) => thing;
    open_as(sort: Sort, token: u64) -> Thing = Order::Open { sort, token } => Answer::Thing(thing) => thing;
    get(thing: Thing) -> Vec<u8> = Order::Get(thing) => Answer::Bytes(bytes) => bytes;
    get_typed(thing: Thing) -> (u64, Vec<String>) =
        Order::GetTyped(thing) => Answer::Typed(id, lines) => (id, lines);
    try_clone(thing: Thing) -> Thing = Order::Clone(thing) => Answer::Thing(thing) => thing;
    close(thing: Thing) -> () = Order::Close(thing) => Answer::Done => ();
    create_named(name: &str, new: New) -> Thing =
        Order::CreateNamed { name: name.into(), new } => Answer::Thing(thing) => thing;
    create_or_open(name: &str, new: New) -> (Thing, bool) =
        Order::CreateOrOpen { name: name.into(), new } => Answer::CreatedOrOpened(thing, created) => (thing, created);
    open_named(name: &str, sort: Sort) -> Thing =
        Order::OpenNamed { name: name.into(), sort } => Answer::Thing(thing) => thing;
    look_up(name: &str) -> u64 = Order::LookUp(name.into()) => Answer::Number(token) => token;
    names() -> Vec<(String, u64)> = Order::Names => Answer::Names(names) => names;
    alloc(bytes: usize, align: usize) -> u64 =
        Order::Alloc { bytes, align, zeroed: false } => Answer::Number(block) => block;
    alloc_zeroed(bytes: usize) -> u64 =
        Order::Alloc { bytes, align: 16, zeroed: true } => Answer::Number(block) => block;
    resize(block: u64, bytes: usize) -> u64 = Order::Resize { block, bytes } => Answer::Number(block) => block;
    free(block: u64) -> () = Order::Free(block) => Answer::Done => ();
    free_of(block: u64, lease: u64) -> () = Order::FreeOf { block, lease } => Answer::Done => ();
    pin(block: u64) -> () = Order::Pin(block) => Answer::Done => ();
    free_pinned(block: u64) -> () = Order::FreePinned(block) => Answer::Done => ();
    address(block: u64) -> u64 = Order::Address(block) => Answer::Number(address) => address;
    poke(block: u64, bytes: &[u8]) -> () = Order::Poke { block, bytes: bytes.into() } => Answer::Done => ();
    peek(block: u64, len: usize) -> Vec<u8> = Order::Peek { block, len } => Answer::Bytes(bytes) => bytes;
    take(thing: Thing, timeout: Option<u64>) -> bool =
        Order::Take { thing, timeout } => Answer::Truth(abandoned) => abandoned;
    take_any(things: &[Thing], timeout: Option<u64>) -> (usize, bool) =
        Order::TakeAny { things: things.into(), timeout } => Answer::Woken(index, abandoned) => (index, abandoned);
    take_all(things: &[Thing], timeout: Option<u64>) -> Vec<usize> =
        Order::TakeAll { things: things.into(), timeout } => Answer::Indices(indices) => indices;
    unlock(mutex: Thing) -> () = Order::Unlock(mutex) => Answer::Done => ();
    lock_read(lock: Thing, timeout: Option<u64>) -> bool =
        Order::LockRead { lock, timeout } => Answer::Truth(abandoned) => abandoned;
    unlock_read(lock: Thing) -> () = Order::UnlockRead(lock) => Answer::Done => ();
    lock_write(lock: Thing, timeout: Option<u64>) -> bool =
        Order::LockWrite { lock, timeout } => Answer::Truth(abandoned) => abandoned;
    unlock_write(lock: Thing) -> () = Order::UnlockWrite(lock) => Answer::Done => ();
    set(event: Thing) -> () = Order::Set(event) => Answer::Done => ();
    reset(event: Thing) -> bool = Order::Reset(event) => Answer::Truth(was) => was;
    is_set(event: Thing) -> bool = Order::IsSet(event) => Answer::Truth(is) => is;
    release(thing: Thing, more: u32) -> u64 = Order::Release { thing, more } => Answer::Number(before) => before;
    count(semaphore: Thing) -> u64 = Order::Count(semaphore) => Answer::Number(count) => count;
    wait_with(condvar: Thing, lock: Thing, timeout: Option<u64>) -> bool =
        Order::WaitWith { condvar, lock, timeout } => Answer::Truth(abandoned) => abandoned;
    notify(condvar: Thing) -> () = Order::Notify(condvar) => Answer::Done => ();
    acquire(permits: Thing, timeout: Option<u64>) -> u64 =
        Order::Acquire { permits, timeout } => Answer::Number(permit) => permit;
    give_back_permit(permits: Thing, permit: u64) -> () =
        Order::GiveBackPermit { permits, permit } => Answer::Done => ();
    available(permits: Thing) -> u64 = Order::Available(permits) => Answer::Number(count) => count;
    exit_of(process: Thing) -> Option<End> = Order::ExitOf(process) => Answer::Exit(end) => end;
    wait_for_exit(thing: Thing, timeout: Option<u64>) -> Option<End> =
        Order::WaitForExit { thing, timeout } => Answer::Exit(end) => end;
    number_of(thing: Thing) -> u64 = Order::NumberOf(thing) => Answer::Number(number) => number;
    exiting(thing: Thing, code: i32) -> () = Order::Exiting { thing, code } => Answer::Done => ();
    reaped(thing: Thing, status: i32) -> () = Order::Reaped { thing, status } => Answer::Done => ();
    start_thread() -> u64 = Order::StartThread => Answer::Number(thread) => thread;
    end_thread(thread: u64) -> () = Order::EndThread(thread) => Answer::Done => ();
    duplicate(descriptor: Thing) -> i32 = Order::Duplicate(descriptor) => Answer::Number(fd) => fd as i32;
    put(slot: u32, thing: Thing) -> () = Order::Put { slot: Some(slot), thing } => Answer::Done => ();
    put_anywhere(thing: Thing) -> u64 = Order::Put { slot: None, thing } => Answer::Number(slot) => slot;
    replace(slot: u32, thing: Thing) -> u64 = Order::Replace { slot, thing } => Answer::Number(token) => token;
    take_out(slot: u32) -> Thing = Order::TakeOut { slot, kind: KIND } => Answer::Thing(thing) => thing;
    take_out_as(slot: u32, kind: u32) -> Thing = Order::TakeOut { slot, kind } => Answer::Thing(thing) => thing;
    claim(slot: u32) -> Thing = Order::Claim { slot, kind: KIND } => Answer::Thing(thing) => thing;
    claim_as(slot: u32, kind: u32) -> Thing = Order::Claim { slot, kind } => Answer::Thing(thing) => thing;
    ack(slot: u32, thing: Thing) -> () = Order::Ack { slot, thing } => Answer::Done => ();
    give_back(slot: u32, thing: Thing) -> () = Order::GiveBack { slot, thing } => Answer::Done => ();
    evict(slot: u32) -> u64 = Order::Evict(slot) => Answer::Number(token) => token;
    find_slot(token: u64) -> Option<u64> = Order::FindSlot(token) => Answer::Number(found) => found.checked_sub(1);
    lock(thing: Thing, timeout: Option<u64>) -> bool = Order::Lock { thing, timeout } => Answer::Truth(damaged) => damaged;
    look(thing: Thing) -> Vec<u8> = Order::Look(thing) => Answer::Bytes(bytes) => bytes;
    change(thing: Thing, bytes: &[u8]) -> () = Order::Change { thing, bytes: bytes.into() } => Answer::Done => ();
    repaired(thing: Thing) -> () = Order::Repaired(thing) => Answer::Done => ();
    unlock_value(thing: Thing) -> () = Order::UnlockValue(thing) => Answer::Done => ();
    give_up(thing: Thing) -> () = Order::GiveUp(thing) => Answer::Done => ();
    read(thing: Thing) -> (Vec<u8>, u64) = Order::Read(thing) => Answer::Version(bytes, version) => (bytes, version);
    write(thing: Thing, bytes: &[u8]) -> u64 = Order::Write { thing, bytes: bytes.into() } => Answer::Number(version) => version;
    shared_at(thing: Thing) -> (u64, usize) = Order::SharedAt(thing) => Answer::Memory(start, len) => (start, len);
    word_at(value: Thing, at: usize) -> u64 = Order::AddTo { value, at, times: 0 } => Answer::Number(word) => word;
    add_to(value: Thing, at: usize) -> u64 = Order::AddTo { value, at, times: 1 } => Answer::Number(before) => before;
    push(queue: Thing, bytes: &[u8], timeout: Option<u64>) -> () =
        Order::Push { queue, bytes: bytes.into(), timeout } => Answer::Done => ();
    push_handle(queue: Thing, thing: Thing, timeout: Option<u64>) -> () =
        Order::PushHandle { queue, thing, timeout } => Answer::Done => ();
    pop(queue: Thing, timeout: Option<u64>) -> Thing = Order::Pop { queue, timeout } => Answer::Thing(thing) => thing;
    push_many(queue: Thing, values: &[&[u8]], timeout: Option<u64>) -> u64 =
        Order::PushMany { queue, values: values.iter().map(|value| value.to_vec()).collect(), timeout }
            => Answer::Number(pushed) => pushed;
    pop_many(queue: Thing, limit: usize, timeout: Option<u64>) -> Vec<Thing> =
        Order::PopMany { queue, limit, timeout } => Answer::Many(things, None) => things;
    claim_next(queue: Thing, timeout: Option<u64>) -> Thing =
        Order::ClaimNext { queue, timeout } => Answer::Thing(thing) => thing;
    ack_next(queue: Thing, thing: Thing) -> () = Order::AckNext { queue, thing } => Answer::Done => ();
    give_back_next(queue: Thing, thing: Thing) -> () = Order::GiveBackNext { queue, thing } => Answer::Done => ();
    queue_len(queue: Thing) -> (i32, i32) = Order::QueueLen(queue) => Answer::Pair(waiting, claimed) => (waiting, claimed);
    insert(map: Thing, key: &[u8], value: &[u8]) -> bool =
        Order::Insert { map, key: key.into(), value: value.into() } => Answer::Truth(was_there) => was_there;
    insert_new(map: Thing, key: &[u8], value: &[u8]) -> bool =
        Order::InsertNew { map, key: key.into(), value: value.into() } => Answer::Truth(did) => did;
    exchange(map: Thing, key: &[u8], expected: Option<&[u8]>, new: Option<&[u8]>) -> bool =
        Order::Exchange { map, key: key.into(), expected: expected.map(Into::into), new: new.map(Into::into) }
            => Answer::Truth(was) => was;
    value_of(map: Thing, key: &[u8]) -> Vec<u8> = Order::GetValue { map, key: key.into() } => Answer::Bytes(bytes) => bytes;
    get_short(map: Thing, key: &[u8], size: usize) -> u64 =
        Order::GetShort { map, key: key.into(), size } => Answer::Number(needed) => needed;
    hold_value(map: Thing, key: &[u8]) -> Thing = Order::HoldValue { map, key: key.into() } => Answer::Thing(thing) => thing;
    has_key(map: Thing, key: &[u8]) -> bool = Order::HasKey { map, key: key.into() } => Answer::Truth(has) => has;
    remove_key(map: Thing, key: &[u8]) -> bool = Order::RemoveKey { map, key: key.into() } => Answer::Truth(was) => was;
    clear(map: Thing) -> () = Order::Clear(map) => Answer::Done => ();
    map_len(map: Thing) -> (i32, i32) = Order::MapLen(map) => Answer::Pair(count, bytes) => (count, bytes);
    pairs(map: Thing) -> Vec<(Vec<u8>, Vec<u8>)> = Order::Pairs(map) => Answer::Pairs(pairs) => pairs;
    insert_for(map: Thing, key: &[u8], value: &[u8], time: u64) -> bool =
        Order::InsertFor { map, key: key.into(), value: value.into(), time } => Answer::Truth(was_there) => was_there;
    insert_new_for(map: Thing, key: &[u8], value: &[u8], time: u64) -> bool =
        Order::InsertNewFor { map, key: key.into(), value: value.into(), time } => Answer::Truth(did) => did;
    time_left(map: Thing, key: &[u8]) -> u64 = Order::TimeLeft { map, key: key.into() } => Answer::Number(left) => left;
    remove_expired(map: Thing) -> () = Order::RemoveExpired(map) => Answer::Done => ();
    share(fd: i32, access: Modes, sharing: Modes) -> Thing =
        Order::Share { fd, access, sharing } => Answer::Thing(thing) => thing;
    create_many(new: New, most: usize) -> Many<Thing> =
        Order::CreateMany { new, most } => Answer::Many(things, fault) => (things, fault);
    alloc_many(bytes: usize, most: usize) -> Many<u64> =
        Order::AllocMany { bytes, most } => Answer::Blocks(blocks, fault) => (blocks, fault);
    close_many(things: &[Thing]) -> () = Order::CloseMany(things.into()) => Answer::Done => ();
    fork(orders: &[Order]) -> Vec<Result<Answer, Fault>> =
        Order::Fork(orders.into()) => Answer::Answers(answers) => answers;
    pipe() -> (i32, i32) = Order::Pipe => Answer::Pair(reader, writer) => (reader, writer);
    open_file(path: &str) -> i32 = Order::OpenFile(path.into()) => Answer::Number(fd) => fd as i32;
    write_to(fd: i32, bytes: &[u8]) -> () = Order::WriteTo { fd, bytes: bytes.into() } => Answer::Done => ();
    read_from(fd: i32, most: usize) -> Vec<u8> = Order::ReadFrom { fd, most } => Answer::Bytes(bytes) => bytes;
    close_fd(fd: i32) -> () = Order::CloseFd(fd) => Answer::Done => ();
}
impl Program {
    /// A handle with bytes.
    pub(crate) fn create(&mut self, bytes: &[u8]) -> Result<Thing, Fault> {
        self.make(raw(bytes))
    }

    /// The handle with bytes that has this token.
    pub(crate) fn open(&mut self, token: u64) -> Result<Thing, Fault> {
        self.open_as(Sort::Raw(KIND), token)
    }

    /// A mutex that its owner cannot lock again.
    pub(crate) fn mutex(&mut self) -> Result<Thing, Fault> {
        self.make(New::Mutex { recursive: false })
    }

    /// An event that is not set.
    pub(crate) fn event(&mut self, manual: bool) -> Result<Thing, Fault> {
        self.make(New::Event { manual, signalled: false })
    }

    /// A semaphore.
    pub(crate) fn semaphore(&mut self, count: u32, maximum: u32) -> Result<Thing, Fault> {
        self.make(New::Semaphore { count, maximum })
    }

    /// The process with this number.
    pub(crate) fn process_of(&mut self, pid: u32) -> Result<Thing, Fault> {
        self.make(New::Process(pid))
    }

    /// The thread with this number.
    pub(crate) fn thread_of(&mut self, tid: u64) -> Result<Thing, Fault> {
        self.make(New::Thread(tid as u32))
    }

    /// A handle that carries this descriptor.
    pub(crate) fn carry(&mut self, fd: i32) -> Result<Thing, Fault> {
        self.make(New::Descriptor(fd))
    }

    /// Begins to take it, and sleeps.
    pub(crate) fn begin_to_take(&mut self, thing: Thing) {
        self.begin_and_sleep(Order::Take { thing, timeout: None });
    }

    /// Begins to lock it for reading, and sleeps.
    pub(crate) fn begin_to_read(&mut self, lock: Thing) {
        self.begin_and_sleep(Order::LockRead { lock, timeout: None });
    }

    /// Begins to lock it for writing, and sleeps.
    pub(crate) fn begin_to_write(&mut self, lock: Thing) {
        self.begin_and_sleep(Order::LockWrite { lock, timeout: None });
    }

    /// Begins to wait with a condition variable and a lock, and sleeps.
    pub(crate) fn begin_to_wait_with(&mut self, condvar: Thing, lock: Thing) {
        self.begin_and_sleep(Order::WaitWith { condvar, lock, timeout: None });
    }

    /// Begins to acquire a permit, and sleeps.
    pub(crate) fn begin_to_acquire(&mut self, permits: Thing) {
        self.begin_and_sleep(Order::Acquire { permits, timeout: None });
    }

    /// The answer to `begin_to_acquire`: the permit.
    pub(crate) fn acquired(&mut self) -> Result<u64, Fault> {
        match self.answer()? {
            Answer::Number(permit) => Ok(permit),
            other => panic!("the answer to acquiring is {other:?}"),
        }
    }

    /// Takes the oldest element out of a queue: its bytes.
    pub(crate) fn pop_bytes(&mut self, queue: Thing) -> Result<Vec<u8>, Fault> {
        let popped = self.pop(queue, Some(0))?;
        let bytes = self.get(popped)?;
        self.close(popped)?;
        Ok(bytes)
    }

    /// The answer to an order that was begun: a thing.
    pub(crate) fn thing(&mut self) -> Result<Thing, Fault> {
        match self.answer()? {
            Answer::Thing(thing) => Ok(thing),
            other => panic!("expected a thing, found {other:?}"),
        }
    }

    /// The answer to `begin_to_take`, `begin_to_read`, `begin_to_write` and `begin_to_wait_with`: whether it was abandoned.
    pub(crate) fn taken(&mut self) -> Result<bool, Fault> {
        match self.answer()? {
            Answer::Truth(abandoned) => Ok(abandoned),
            other => panic!("the answer to taking is {other:?}"),
        }
    }
}

/// The object that `Program::create` creates.
pub(crate) fn raw(bytes: &[u8]) -> New {
    New::Raw { kind: KIND, bytes: bytes.into() }
}
