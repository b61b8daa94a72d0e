//! What a program can be asked to do, what it answers, and what can go wrong: the words that all languages share.

use serde::{Deserialize, Serialize};

/// Something that a program holds: its own number for it, and the token that others open it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    /// The program's own number; another one for each time that it holds the same handle.
    pub id: u32,
    /// The token.
    pub token: u64,
}

/// What can be created.
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
    /// A semaphore.
    Semaphore {
        /// What it begins with.
        count: u32,
        /// The most.
        maximum: u32,
    },
    /// A handle of the process with this number.
    Process(u32),
    /// A handle of the thread with this number.
    Thread(u32),
    /// A handle that carries this file descriptor, which becomes the handle's.
    Descriptor(i32),
}

impl New {
    /// What it is opened as.
    #[must_use]
    pub fn sort(&self) -> Sort {
        match self {
            Self::Raw { kind, .. } => Sort::Raw(*kind),
            Self::Typed { .. } => Sort::Typed,
            Self::Mutex { .. } => Sort::Mutex,
            Self::Event { .. } => Sort::Event,
            Self::Semaphore { .. } => Sort::Semaphore,
            Self::Process(_) => Sort::Process,
            Self::Thread(_) => Sort::Thread,
            Self::Descriptor(_) => Sort::Descriptor,
        }
    }
}

/// What is opened, by token or by name.
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
    /// A semaphore.
    Semaphore,
    /// A process.
    Process,
    /// A thread.
    Thread,
    /// A descriptor.
    Descriptor,
}

/// Read, write or delete: what somebody does with a file, or lets others do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modes {
    /// Reading.
    pub read: bool,
    /// Writing.
    pub write: bool,
    /// Deleting or renaming.
    pub delete: bool,
}

/// One thing that a program is asked to do. Blocks are named by their offset, which is the same for everybody.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Become a member.
    Join,
    /// Stop being one.
    Leave,
    /// The number of our lease.
    Lease,
    /// Take back what the dead held.
    Recover,
    /// Look at every word: what is wrong, and what operations in progress explain.
    Check,
    /// Count what is in use.
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
        /// What it is expected to be.
        sort: Sort,
        /// The token.
        token: u64,
    },
    /// The payload.
    Get(Thing),
    /// The typed value.
    GetTyped(Thing),
    /// Hold it once more.
    Clone(Thing),
    /// Let go of it.
    Close(Thing),
    /// Create a handle with a name.
    CreateNamed {
        /// The name.
        name: String,
        /// What to create.
        new: New,
    },
    /// Open what has the name, or create it.
    CreateOrOpen {
        /// The name.
        name: String,
        /// What to create.
        new: New,
    },
    /// Open what has the name.
    OpenNamed {
        /// The name.
        name: String,
        /// What it is expected to be.
        sort: Sort,
    },
    /// The token of what has the name.
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
    /// Free a block that somebody gave us.
    FreeOf {
        /// The block.
        block: u64,
        /// Whose it was.
        lease: u64,
    },
    /// Give it up to nobody.
    Pin(u64),
    /// Free a pinned one.
    FreePinned(u64),
    /// Where a block lies in this process, whoever's it is.
    Address(u64),
    /// Take it, as soon as it can be had: lock the mutex, take the signal, take one of the count.
    Take {
        /// What.
        thing: Thing,
        /// For how many milliseconds; none: as long as it takes.
        timeout: Option<u64>,
    },
    /// Take the first that can be had.
    TakeAny {
        /// In the order of preference.
        things: Vec<Thing>,
        /// As for `Take`.
        timeout: Option<u64>,
    },
    /// Take all as soon as all can be had.
    TakeAll {
        /// Which.
        things: Vec<Thing>,
        /// As for `Take`.
        timeout: Option<u64>,
    },
    /// Unlock a mutex.
    Unlock(Thing),
    /// Set an event.
    Set(Thing),
    /// Reset an event; was it set?
    Reset(Thing),
    /// Is the event set?
    IsSet(Thing),
    /// Give back to a semaphore; what was the count before?
    Release {
        /// The semaphore.
        thing: Thing,
        /// How many.
        more: u32,
    },
    /// The count of a semaphore.
    Count(Thing),
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
    /// Say how a process ended that was reaped.
    Reaped {
        /// The process.
        thing: Thing,
        /// As waitpid has it.
        status: i32,
    },
    /// A file descriptor of our own of what a handle carries.
    Duplicate(Thing),
    /// Have the file of this descriptor open for this.
    Share {
        /// The descriptor, which stays ours.
        fd: i32,
        /// What we do.
        access: Modes,
        /// What others may do.
        sharing: Modes,
    },

    // What follows is the same in every language; see `program.rs`.
    /// Create until it fails, or this often.
    CreateMany {
        /// What to create.
        new: New,
        /// How often at most.
        most: usize,
    },
    /// Allocate until it fails, or this often.
    AllocMany {
        /// Bytes of each.
        bytes: usize,
        /// How often at most.
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
        /// How often.
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
        /// How many.
        len: usize,
    },
    /// Fork, and have the child do all this.
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
        /// What.
        bytes: Vec<u8>,
    },
    /// Read from a descriptor.
    ReadFrom {
        /// Which.
        fd: i32,
        /// How many bytes at most.
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
    /// Nobody was told.
    Unknown,
}

/// What is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InUse {
    /// Members.
    pub members: u64,
    /// Handles that somebody holds.
    pub handles: u64,
    /// Handles claimed ahead.
    pub claimed: u64,
    /// Blocks of members.
    pub leased: u64,
    /// Blocks of handles.
    pub attached: u64,
    /// Blocks of nobody.
    pub pinned: u64,
}

/// What a program answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It did it.
    Done,
    /// It holds this.
    Thing(Thing),
    /// It holds this; true: it created it.
    CreatedOrOpened(Thing, bool),
    /// Those that were created, and why not more.
    Many(Vec<Thing>, Option<Fault>),
    /// Blocks that were allocated, and why not more.
    Blocks(Vec<u64>, Option<Fault>),
    /// A number: an offset, a count, a descriptor.
    Number(u64),
    /// Yes or no: set, abandoned.
    Truth(bool),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A typed value.
    Typed(u64, Vec<String>),
    /// The first that could be had, and whether it was abandoned.
    Woken(usize, bool),
    /// The abandoned ones.
    Indices(Vec<usize>),
    /// Names and tokens.
    Names(Vec<(String, u64)>),
    /// How it ended, if it did.
    Exit(Option<End>),
    /// What is wrong, and what is in progress.
    Report(Vec<String>, Vec<String>),
    /// What is in use.
    InUse(InUse),
    /// Two descriptors.
    Pair(i32, i32),
    /// What a forked child answered.
    Answers(Vec<Result<Answer, Fault>>),
}

/// Why a program did not do what it was asked to, coarsely enough for every language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Not possible in this language.
    NotInThisLanguage(String),
    /// The scenario needs a second process, and this backend has one only.
    OneProcessOnly,
    /// The kernel or the machine lacks what is needed.
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
    /// Everybody let go of it.
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
    /// Somebody else's block.
    WrongOwner,
    /// Not in time.
    TimedOut,
    /// Waiting for oneself.
    Deadlock,
    /// Somebody else's mutex.
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
    /// Nobody is left who could hand the descriptor over.
    Nobody,
    /// Somebody else's open is in the way.
    Conflict {
        /// Whose.
        pid: u32,
        /// What it does.
        access: Modes,
        /// What it lets others do.
        sharing: Modes,
    },
    /// Anything else.
    Other(String),
}
