//! The orders to a program, its answers and its faults: the words that all languages share.

use serde::{Deserialize, Serialize};

/// An object that a program holds: its own number for it, and the token by which others open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    /// The program's own number; another one for each time that it holds the same handle.
    pub id: u32,
    /// The token.
    pub token: u64,
}

/// An object to create.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum New {
    /// A handle with bytes.
    Raw {
        /// Chosen by the application.
        kind: u32,
        /// The payload.
        bytes: Vec<u8>,
    },
    /// A handle with a typed value: a number and lines of text.
    Typed {
        /// The number.
        id: u64,
        /// The text.
        lines: Vec<String>,
    },
    /// A mutex.
    Mutex {
        /// Its owner may lock it again.
        recursive: bool,
    },
    /// An event.
    Event {
        /// It stays signalled until it is reset; otherwise until one waiter took it.
        manual: bool,
        /// It is signalled to begin with.
        signalled: bool,
    },
    /// A read-write lock.
    RwLock,
    /// A semaphore.
    Semaphore {
        /// The initial count.
        count: u32,
        /// The maximum.
        maximum: u32,
    },
    /// A handle of the process with this number.
    Process(u32),
    /// A handle of the thread with this number.
    Thread(u32),
    /// A handle that carries this file descriptor, which becomes the handle's.
    Descriptor(i32),
    /// Bytes with a lock.
    Locked {
        /// Their type.
        of: u64,
        /// The initial bytes.
        bytes: Vec<u8>,
    },
    /// Bytes that are replaced as a whole.
    Versioned {
        /// Their type.
        of: u64,
        /// The initial bytes.
        bytes: Vec<u8>,
    },
    /// Zeros that all change by atomic operations.
    Shared {
        /// Their type.
        of: u64,
        /// Bytes.
        size: usize,
        /// A power of two.
        align: usize,
    },
    /// A condition variable.
    Condvar,
    /// Permits with owners.
    Permits {
        /// How many.
        total: u32,
    },
    /// A queue.
    Queue {
        /// The kind of its elements.
        kind: u32,
        /// The number of elements that may wait.
        capacity: u32,
    },
    /// A map.
    Map {
        /// The number of pairs for which it is made.
        capacity: u32,
        /// The bound of the bytes of all pairs; 0 is none.
        max_bytes: u64,
    },
}

impl New {
    /// The sort as which it is opened.
    #[must_use]
    pub fn sort(&self) -> Sort {
        match self {
            Self::Raw { kind, .. } => Sort::Raw(*kind),
            Self::Typed { .. } => Sort::Typed,
            Self::Mutex { .. } => Sort::Mutex,
            Self::Event { .. } => Sort::Event,
            Self::RwLock => Sort::RwLock,
            Self::Semaphore { .. } => Sort::Semaphore,
            Self::Process(_) => Sort::Process,
            Self::Thread(_) => Sort::Thread,
            Self::Descriptor(_) => Sort::Descriptor,
            Self::Locked { of, .. } => Sort::Locked(*of),
            Self::Versioned { of, .. } => Sort::Versioned(*of),
            Self::Shared { of, .. } => Sort::Shared(*of),
            Self::Condvar => Sort::Condvar,
            Self::Permits { .. } => Sort::Permits,
            Self::Queue { kind, .. } => Sort::Queue(*kind),
            Self::Map { .. } => Sort::Map,
        }
    }
}

/// The sort as which an object is opened, by token or by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sort {
    /// Bytes of this kind.
    Raw(u32),
    /// A typed value.
    Typed,
    /// A mutex.
    Mutex,
    /// An event of either sort.
    Event,
    /// A read-write lock.
    RwLock,
    /// A semaphore.
    Semaphore,
    /// A process.
    Process,
    /// A thread.
    Thread,
    /// A descriptor.
    Descriptor,
    /// A locked value of this type.
    Locked(u64),
    /// A versioned value of this type.
    Versioned(u64),
    /// A shared value of this type.
    Shared(u64),
    /// A condition variable.
    Condvar,
    /// Permits.
    Permits,
    /// A queue of elements of this kind.
    Queue(u32),
    /// A map.
    Map,
}

/// Modes of using a file, or of letting others use it: read, write or delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modes {
    /// Reading.
    pub read: bool,
    /// Writing.
    pub write: bool,
    /// Deleting or renaming.
    pub delete: bool,
}

/// One order to a program. A block is named by its offset, which is the same in every process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Become a member.
    Join,
    /// Leave.
    Leave,
    /// The number of our lease.
    Lease,
    /// Recover dead members.
    Recover,
    /// Check every word: violations, and pending states.
    Check,
    /// Count the objects and bytes in use.
    Stats,
    /// Create a handle.
    Create(New),
    /// Create a handle that is a block of ours.
    CreateWith {
        /// Chosen by the application.
        kind: u32,
        /// The block.
        block: u64,
        /// Bytes that count.
        len: usize,
    },
    /// Open a token.
    Open {
        /// The expected sort.
        sort: Sort,
        /// The token.
        token: u64,
    },
    /// The payload.
    Get(Thing),
    /// The typed value.
    GetTyped(Thing),
    /// Hold a handle once more.
    Clone(Thing),
    /// Close a handle.
    Close(Thing),
    /// Create a handle with a name.
    CreateNamed {
        /// The name.
        name: String,
        /// The object to create.
        new: New,
    },
    /// Open the object of that name, or create it.
    CreateOrOpen {
        /// The name.
        name: String,
        /// The object to create.
        new: New,
    },
    /// Open the object of that name.
    OpenNamed {
        /// The name.
        name: String,
        /// The expected sort.
        sort: Sort,
    },
    /// The token of the object of that name.
    LookUp(String),
    /// All names.
    Names,
    /// Allocate.
    Alloc {
        /// Bytes.
        bytes: usize,
        /// A power of two.
        align: usize,
        /// Filled with zeros.
        zeroed: bool,
    },
    /// Make a block larger or smaller.
    Resize {
        /// The block.
        block: u64,
        /// Bytes that it shall have.
        bytes: usize,
    },
    /// Free a block of ours.
    Free(u64),
    /// Free a block that another member gave us.
    FreeOf {
        /// The block.
        block: u64,
        /// The lease of its owner.
        lease: u64,
    },
    /// Pin a block.
    Pin(u64),
    /// Free a pinned block.
    FreePinned(u64),
    /// The address of a block in this process; any member may own the block.
    Address(u64),
    /// Wait for an object and take it: lock the mutex, take the signal, take one of the count.
    Take {
        /// The object.
        thing: Thing,
        /// The timeout in milliseconds; none waits as long as it takes.
        timeout: Option<u64>,
    },
    /// Take the first available object.
    TakeAny {
        /// In the order of preference.
        things: Vec<Thing>,
        /// As for `Take`.
        timeout: Option<u64>,
    },
    /// Take all objects as soon as all are available.
    TakeAll {
        /// Which.
        things: Vec<Thing>,
        /// As for `Take`.
        timeout: Option<u64>,
    },
    /// Unlock a mutex.
    Unlock(Thing),
    /// Lock a read-write lock for reading.
    LockRead {
        /// The lock.
        lock: Thing,
        /// As for `Take`.
        timeout: Option<u64>,
    },
    /// Unlock a read-write lock for reading.
    UnlockRead(Thing),
    /// Lock a read-write lock for writing.
    LockWrite {
        /// The lock.
        lock: Thing,
        /// As for `Take`.
        timeout: Option<u64>,
    },
    /// Unlock a read-write lock for writing.
    UnlockWrite(Thing),
    /// Set an event.
    Set(Thing),
    /// Reset an event; was it set?
    Reset(Thing),
    /// Is the event set?
    IsSet(Thing),
    /// Give back to a semaphore; answers the count before.
    Release {
        /// The semaphore.
        thing: Thing,
        /// The number to give back.
        more: u32,
    },
    /// The count of a semaphore.
    Count(Thing),
    /// Give up a mutex or a locked value, wait until somebody notifies, and lock it again; was it abandoned, or is it damaged?
    WaitWith {
        /// The condition variable.
        condvar: Thing,
        /// The lock, which is locked.
        lock: Thing,
        /// As for `Take`; the lock is locked again also after it.
        timeout: Option<u64>,
    },
    /// Wake all that wait with a condition variable.
    Notify(Thing),
    /// Acquire a permit; its number.
    Acquire {
        /// The permits.
        permits: Thing,
        /// As for `Take`.
        timeout: Option<u64>,
    },
    /// Give back a permit.
    GiveBackPermit {
        /// The permits.
        permits: Thing,
        /// Its number.
        permit: u64,
    },
    /// Count the permits that are free.
    Available(Thing),
    /// How a process or thread ended, if it did.
    ExitOf(Thing),
    /// Wait until a process or thread ended; how did it?
    WaitForExit {
        /// Which.
        thing: Thing,
        /// As for `Take`.
        timeout: Option<u64>,
    },
    /// The number of a process or thread.
    NumberOf(Thing),
    /// Announce the code with which we are about to end.
    Exiting {
        /// This process, or this thread.
        thing: Thing,
        /// The code.
        code: i32,
    },
    /// Report how a process ended that was reaped.
    Reaped {
        /// The process.
        thing: Thing,
        /// As waitpid has it.
        status: i32,
    },
    /// A duplicate of the file descriptor in a handle, for our own use.
    Duplicate(Thing),
    /// Have the file of this descriptor open for this.
    Share {
        /// The descriptor, which stays ours.
        fd: i32,
        /// How we use the file.
        access: Modes,
        /// How we let others use the file.
        sharing: Modes,
    },

    /// Put a handle into a slot.
    Put {
        /// The slot; any empty one if there is none given.
        slot: Option<u32>,
        /// The handle.
        thing: Thing,
    },
    /// Put a handle into a slot, in the place of another one if there is one: the token of that one, or 0.
    Replace {
        /// The slot.
        slot: u32,
        /// The handle.
        thing: Thing,
    },
    /// Take a handle of this kind out of a slot.
    TakeOut {
        /// The slot.
        slot: u32,
        /// The expected kind.
        kind: u32,
    },
    /// Claim what is in a slot.
    Claim {
        /// The slot.
        slot: u32,
        /// The expected kind.
        kind: u32,
    },
    /// End a claim: the slot is empty.
    Ack {
        /// The slot.
        slot: u32,
        /// What was claimed.
        thing: Thing,
    },
    /// Give a claim back.
    GiveBack {
        /// The slot.
        slot: u32,
        /// What was claimed.
        thing: Thing,
    },
    /// Empty a slot; the token of what was in it.
    Evict(u32),
    /// The number of the slot that holds this token, plus one; 0 if none does.
    FindSlot(u64),
    /// Lock a value; is it damaged?
    Lock {
        /// The value.
        thing: Thing,
        /// As for `Take`.
        timeout: Option<u64>,
    },
    /// The bytes of a value that we have locked.
    Look(Thing),
    /// Change the first bytes of a value that we have locked.
    Change {
        /// The value.
        thing: Thing,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Say that a value makes sense again.
    Repaired(Thing),
    /// Unlock a value.
    UnlockValue(Thing),
    /// Unlock a value in the middle of a change.
    GiveUp(Thing),
    /// The bytes of a versioned value, and their version.
    Read(Thing),
    /// Replace the bytes of a versioned value; the version.
    Write {
        /// The value.
        thing: Thing,
        /// The bytes.
        bytes: Vec<u8>,
    },

    /// Where a shared value is in this process, and its length.
    SharedAt(Thing),

    /// Push bytes.
    Push {
        /// The queue.
        queue: Thing,
        /// The bytes.
        bytes: Vec<u8>,
        /// As for `Take`; 0 only tries.
        timeout: Option<u64>,
    },
    /// Push a handle.
    PushHandle {
        /// The queue.
        queue: Thing,
        /// The handle.
        thing: Thing,
        /// As for `Push`.
        timeout: Option<u64>,
    },
    /// Take the oldest element out of a queue.
    Pop {
        /// The queue.
        queue: Thing,
        /// As for `Push`.
        timeout: Option<u64>,
    },
    /// Push several, as many as there is room for.
    PushMany {
        /// The queue.
        queue: Thing,
        /// The bytes of each.
        values: Vec<Vec<u8>>,
        /// As for `Push`.
        timeout: Option<u64>,
    },
    /// Take several elements out of a queue, the oldest ones.
    PopMany {
        /// The queue.
        queue: Thing,
        /// How many, at most.
        limit: usize,
        /// As for `Push`.
        timeout: Option<u64>,
    },
    /// Claim the oldest element of a queue.
    ClaimNext {
        /// The queue.
        queue: Thing,
        /// As for `Push`.
        timeout: Option<u64>,
    },
    /// End a claim: the element is out of the queue.
    AckNext {
        /// The queue.
        queue: Thing,
        /// What was claimed.
        thing: Thing,
    },
    /// Give a claim back to its queue.
    GiveBackNext {
        /// The queue.
        queue: Thing,
        /// What was claimed.
        thing: Thing,
    },
    /// The numbers of elements of a queue: that wait, and that are claimed.
    QueueLen(Thing),
    /// Insert a pair into a map; had the key a value?
    Insert {
        /// The map.
        map: Thing,
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Insert a pair if the key has no value; had it none?
    InsertNew {
        /// The map.
        map: Thing,
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// If the value of a key is the expected one, make it the new one; was it?
    Exchange {
        /// The map.
        map: Thing,
        /// The key.
        key: Vec<u8>,
        /// None is no value.
        expected: Option<Vec<u8>>,
        /// None is no value.
        new: Option<Vec<u8>>,
    },
    /// The value of a key.
    GetValue {
        /// The map.
        map: Thing,
        /// The key.
        key: Vec<u8>,
    },
    /// Read the value of a key into a buffer of this size, which is too short: the size that is needed.
    GetShort {
        /// The map.
        map: Thing,
        /// The key.
        key: Vec<u8>,
        /// Bytes of the buffer.
        size: usize,
    },
    /// Hold the value of a key, for `Get`.
    HoldValue {
        /// The map.
        map: Thing,
        /// The key.
        key: Vec<u8>,
    },
    /// Has the key a value?
    HasKey {
        /// The map.
        map: Thing,
        /// The key.
        key: Vec<u8>,
    },
    /// Remove the value of a key; had it one?
    RemoveKey {
        /// The map.
        map: Thing,
        /// The key.
        key: Vec<u8>,
    },
    /// Remove all pairs.
    Clear(Thing),
    /// The number of pairs, and their bytes.
    MapLen(Thing),
    /// All pairs.
    Pairs(Thing),
    /// Insert a pair into a map for this many nanoseconds; had the key a value?
    InsertFor {
        /// The map.
        map: Thing,
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
        /// Nanoseconds.
        time: u64,
    },
    /// Insert a pair for this many nanoseconds if the key has no value; had it none?
    InsertNewFor {
        /// The map.
        map: Thing,
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
        /// Nanoseconds.
        time: u64,
    },
    /// The nanoseconds until the pair of a key expires; the largest number if it does not expire.
    TimeLeft {
        /// The map.
        map: Thing,
        /// The key.
        key: Vec<u8>,
    },
    /// Give back the memory of pairs that have expired.
    RemoveExpired(Thing),

    // The orders below are the same in every language; see `program.rs`.
    /// Create until it fails, or this number of times.
    CreateMany {
        /// The object to create.
        new: New,
        /// The maximum.
        most: usize,
    },
    /// Allocate until it fails, or this often.
    AllocMany {
        /// Bytes of each.
        bytes: usize,
        /// The maximum.
        most: usize,
    },
    /// Let go of all of them.
    CloseMany(Vec<Thing>),
    /// This often: lock the mutex, add 1 to the first word of the block in two steps, unlock.
    CountUnder {
        /// The mutex.
        mutex: Thing,
        /// The block.
        block: u64,
        /// The number of rounds.
        times: u32,
    },
    /// This often: lock the value, add 1 to its first word in two steps, unlock.
    CountIn {
        /// The value.
        value: Thing,
        /// The number of rounds.
        times: u32,
    },
    /// This often: add 1 to a word of a shared value, atomically. The word before, of the last time.
    AddTo {
        /// The value.
        value: Thing,
        /// The position of the word in bytes.
        at: usize,
        /// The number of rounds.
        times: u32,
    },
    /// This often: replace the value by as many equal bytes, others each time.
    WriteRounds {
        /// The value.
        value: Thing,
        /// Its length.
        len: usize,
        /// The number of rounds.
        times: u32,
    },
    /// This often: read the value, whose bytes must be equal. The number of different values.
    ReadRounds {
        /// The value.
        value: Thing,
        /// The number of rounds.
        times: u32,
    },
    /// Store bytes at the beginning of a block.
    Poke {
        /// The block.
        block: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The first bytes of a block.
    Peek {
        /// The block.
        block: u64,
        /// The number of bytes.
        len: usize,
    },
    /// Fork, and have the child obey these orders.
    Fork(Vec<Order>),
    /// Start one more thread of this program, which does nothing: its number.
    StartThread,
    /// Have it end.
    EndThread(u64),
    /// A pipe: its end to read from and its end to write to.
    Pipe,
    /// Open a file to read and write.
    OpenFile(String),
    /// Write to a descriptor.
    WriteTo {
        /// Which.
        fd: i32,
        /// The bytes to write.
        bytes: Vec<u8>,
    },
    /// Read from a descriptor.
    ReadFrom {
        /// Which.
        fd: i32,
        /// The maximum number of bytes.
        most: usize,
    },
    /// Close a descriptor.
    CloseFd(i32),
}

/// How a process or thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// With a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// In an unknown way.
    Unknown,
}

/// The counts of objects in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InUse {
    /// Members.
    pub members: u64,
    /// Handles that a member holds.
    pub handles: u64,
    /// Handles claimed ahead.
    pub claimed: u64,
    /// Blocks of members.
    pub leased: u64,
    /// Blocks of handles.
    pub attached: u64,
    /// Pinned blocks.
    pub pinned: u64,
}

/// The answer of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The order was obeyed.
    Done,
    /// The object that it holds.
    Thing(Thing),
    /// The object that it holds, and whether it created it.
    CreatedOrOpened(Thing, bool),
    /// The objects that were created, and the fault that ended the order.
    Many(Vec<Thing>, Option<Fault>),
    /// The blocks that were allocated, and the fault that ended the order.
    Blocks(Vec<u64>, Option<Fault>),
    /// A number: an offset, a count, a descriptor.
    Number(u64),
    /// Yes or no: set, abandoned.
    Truth(bool),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Bytes and their version.
    Version(Vec<u8>, u64),
    /// A typed value.
    Typed(u64, Vec<String>),
    /// The index of the first available object, and whether it was abandoned.
    Woken(usize, bool),
    /// The indices of the abandoned ones.
    Indices(Vec<usize>),
    /// Names and tokens.
    Names(Vec<(String, u64)>),
    /// How a process ended, if it did.
    Exit(Option<End>),
    /// Violations, and pending states.
    Report(Vec<String>, Vec<String>),
    /// The counts of objects in use.
    InUse(InUse),
    /// Two numbers: descriptors, counts.
    Pair(i32, i32),
    /// An address in the program, and the number of bytes there.
    Memory(u64, usize),
    /// The pairs of a map.
    Pairs(Vec<(Vec<u8>, Vec<u8>)>),
    /// The answers of a forked child.
    Answers(Vec<Result<Answer, Fault>>),
}

/// The reason why a program did not obey, coarse enough for every language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Not possible in this language.
    NotInThisLanguage(String),
    /// The scenario needs a second process, and this backend has one only.
    OneProcessOnly,
    /// The kernel or the machine lacks something that is needed.
    NotHere(String),
    /// A forked child is not the member that its parent is.
    Forked,
    /// No member, or not any more.
    NotMember,
    /// Used by others.
    InUse,
    /// As many members as there can be.
    Full,
    /// No handle or no scratch is left.
    Exhausted,
    /// No member holds the handle any more.
    Stale,
    /// Never issued.
    Forged,
    /// A token of another space.
    ForeignSpace,
    /// Of another kind.
    ForeignKind,
    /// Not to be had as bytes.
    SystemKind,
    /// A wrong argument.
    Argument,
    /// Larger than possible.
    TooLarge,
    /// No block starts there.
    NotABlock,
    /// The block is free already.
    AlreadyFree,
    /// The block has another owner.
    WrongOwner,
    /// The wait timed out.
    TimedOut,
    /// The wait is for a mutex that the caller owns.
    Deadlock,
    /// The mutex has another owner.
    NotOwner,
    /// More than the semaphore's maximum.
    Maximum,
    /// Another handle has the name.
    NameTaken,
    /// Nothing has the name.
    NoSuchName,
    /// Not a name.
    BadName,
    /// No such process or thread.
    Gone,
    /// It has announced its code already.
    Announced,
    /// No process is left that could hand the descriptor over.
    Nobody,
    /// Another member's open excludes this one.
    Conflict {
        /// The process that uses the file.
        pid: u32,
        /// How it uses the file.
        access: Modes,
        /// How it lets others use the file.
        sharing: Modes,
    },
    /// The space has no such slot.
    NoSlot,
    /// The slot holds nothing.
    SlotEmpty,
    /// The slot, or every slot, holds something.
    SlotFull,
    /// A slot holds the handle already.
    Kept,
    /// A member has claimed what is in the slot.
    Claimed,
    /// This member has not claimed that.
    NotClaimed,
    /// No element waits in the queue.
    QueueEmpty,
    /// The queue has no room.
    QueueFull,
    /// The bucket of the key has no room.
    MapFull,
    /// The key has no value.
    NoSuchKey,
    /// Not so many container slots in a row.
    ContainerSlots,
    /// Anything else.
    Other(String),
}
