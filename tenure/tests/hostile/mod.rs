//! Hostile bytes: the common code of the tests and the fuzz targets. Segments are corrupted, and every operation is
//! called on them. Any answer is accepted; only a missing one is an error.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "the bytes are hostile: slices are used at once, and nobody else has the blocks and counts that scripts give back"
)]
#![allow(dead_code, reason = "each user takes a part")]

pub(crate) mod objects;

use std::alloc::Layout;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use tenure::{
    Block, Handle, Kind, LeaseId, Local, Member, Options, Raw, Space, Token,
    raw::{RawBlock, RawHandle},
};

pub(crate) const KIND: Kind = Kind::raw(5);
/// Maximum number of executed steps of a script; more only take time.
const STEPS_MAX: usize = 200;
/// Maximum number of held objects of each sort.
const HELD_MAX: usize = 64;

fn options() -> Options {
    Space::options().members(4).handles(128).unit(4 << 10).scratch(200 << 10).monitor(false)
}

/// One change of the bytes, in words.
#[derive(Clone, Debug)]
pub(crate) enum Corrupt {
    Noise { at: u64, word: u64 },
    Copy { from: u64, to: u64 },
    Flip { at: u64, bit: u8 },
    Small { at: u64, value: u8 },
}

/// The bytes of a segment through its file. Positions are reduced to its length.
pub(crate) struct Bytes {
    file: File,
    words: u64,
}

impl Bytes {
    pub(crate) fn of(space: &Space) -> Self {
        let path = format!("/proc/self/fd/{}", space.fd().unwrap().as_raw_fd());
        let file = File::options().read(true).write(true).open(path).unwrap();
        Self { file, words: space.bytes() / 8 }
    }

    /// All words.
    pub(crate) fn image(&self) -> Vec<u64> {
        let mut bytes = vec![0; self.words as usize * 8];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
    }

    /// The positions of the words that it changes.
    fn changed_by(&self, act: impl FnOnce()) -> Vec<u64> {
        let before = self.image();
        act();
        let words = before.into_iter().zip(self.image());
        (0..).zip(words).filter(|(_, (one, other))| one != other).map(|(at, _)| at).collect()
    }

    fn read(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, at % self.words * 8).unwrap();
        u64::from_le_bytes(word)
    }

    fn write(&self, at: u64, word: u64) {
        self.file.write_all_at(&word.to_le_bytes(), at % self.words * 8).unwrap();
    }

    pub(crate) fn corrupt(&self, corrupt: &Corrupt) {
        match *corrupt {
            Corrupt::Noise { at, word } => self.write(at, word),
            Corrupt::Copy { from, to } => self.write(to, self.read(from)),
            Corrupt::Flip { at, bit } => self.write(at, self.read(at) ^ 1 << (bit % 64)),
            Corrupt::Small { at, value } => self.write(at, value.into()),
        }
    }
}

/// A member with resources of all sorts: handles with payloads inline and in blocks, a typed one, blocks, a pinned one.
pub(crate) struct Belongings {
    pub(crate) tokens: Vec<Token>,
    _handles: Vec<Handle<Raw>>,
    _typed: Option<Handle<u64>>,
    _blocks: Vec<Block>,
    objects: objects::Objects,
    object_tokens: Vec<Token>,
}

impl Belongings {
    pub(crate) fn of(me: &Member) -> Self {
        let sizes = [8, 32, 33, 900, 9000];
        let handles = sizes.iter().filter_map(|len| me.create_raw(KIND, &vec![1; *len]).ok());
        let handles: Vec<_> = handles
            .chain(NAMES[..2].iter().filter_map(|name| me.named(name).create_raw(KIND, &[2; 40]).ok()))
            .collect();
        let typed = me.create(&7u64).ok();
        let mut blocks: Vec<_> = [100, 17, 5000, 12_000]
            .iter()
            .filter_map(|len| me.alloc(Layout::from_size_align(*len, 1).unwrap()).ok())
            .collect();
        if let Some(block) = blocks.pop() {
            let _ = block.pin();
        }
        let tokens = handles.iter().map(Handle::token).chain(typed.iter().map(Handle::token)).collect();
        Self {
            tokens,
            _handles: handles,
            _typed: typed,
            _blocks: blocks,
            objects: objects::Objects::default(),
            object_tokens: Vec::new(),
        }
    }

    /// Adds objects; returns the positions of their words.
    fn add_objects(&mut self, me: &Member, bytes: &Bytes) -> Vec<u64> {
        bytes.changed_by(|| {
            self.objects = objects::Objects::of(me);
            self.object_tokens = self.objects.tokens();
            let _ = me;
        })
    }
}

/// The segment and tokens left by dead members.
pub(crate) struct Remains {
    image: Vec<u8>,
    tokens: Vec<Token>,
    object_tokens: Vec<Token>,
    object_words: Vec<u64>,
}

/// The bytes of a segment whose two members died with all their resources, and the tokens of their handles.
fn remains() -> &'static Remains {
    static REMAINS: OnceLock<Remains> = OnceLock::new();
    REMAINS.get_or_init(|| {
        let space = options().memfd().unwrap();
        let (first, second) = (space.join().unwrap(), space.join().unwrap());
        let bytes = Bytes::of(&space);
        let (mut ones, mut others) = (Belongings::of(&first), Belongings::of(&second));
        let mut object_words = ones.add_objects(&first, &bytes);
        object_words.extend(others.add_objects(&second, &bytes));
        let shared = second.open_raw(KIND, ones.tokens[3]).unwrap();
        let mut image = vec![0; space.bytes() as usize];
        bytes.file.read_exact_at(&mut image, 0).unwrap();
        let tokens = ones.tokens.iter().chain(&others.tokens).copied().collect();
        let object_tokens = ones.object_tokens.iter().chain(&others.object_tokens).copied().collect();
        drop((shared, ones, others));
        Remains { image, tokens, object_tokens, object_words }
    })
}

/// A sealed memfd with these contents; no process holds a lock on it, so every member in it is dead.
pub(crate) fn memfd(image: &[u8]) -> OwnedFd {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: a name that outlives the call.
    let fd = unsafe { libc::memfd_create(c"hostile".as_ptr(), flags) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor with no other owner.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let file = File::from(fd);
    file.write_all_at(image, 0).unwrap();
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
    // SAFETY: a descriptor of ours and plain numbers.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }, 0);
    file.into()
}

/// Reads numbers from the input of a fuzzer; zeroes after its end.
struct Script<'s> {
    left: &'s [u8],
    /// Positions of the words of objects.
    object_words: &'s [u64],
}

impl Script<'_> {
    fn number<const N: usize>(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let (head, rest) = self.left.split_at(self.left.len().min(N));
        bytes[..head.len()].copy_from_slice(head);
        self.left = rest;
        u64::from_le_bytes(bytes)
    }

    fn byte(&mut self) -> u8 {
        self.number::<1>() as u8
    }

    /// A position in words: near the start, where the words of the protocol are, one of an object, or any.
    fn at(&mut self) -> u64 {
        let kind = self.byte();
        if kind >= 192 && !self.object_words.is_empty() {
            return self.object_words[self.number::<2>() as usize % self.object_words.len()];
        }
        match kind % 4 {
            0 => self.number::<1>() % 64,
            1 | 2 => self.number::<2>() % 4096,
            _ => self.number::<4>(),
        }
    }

    /// One of these tokens, or noise, or none.
    fn token(&mut self, tokens: &[Token]) -> Option<Token> {
        match self.byte() {
            0..64 => None,
            64..72 => Token::try_from(self.number::<8>()).ok(),
            which => (!tokens.is_empty()).then(|| tokens[usize::from(which) % tokens.len()]),
        }
    }

    fn corrupt(&mut self) -> Corrupt {
        let kind = self.byte() % 4;
        let at = self.at();
        match kind {
            0 => Corrupt::Noise { at, word: self.number::<8>() },
            1 => Corrupt::Copy { from: at, to: self.at() },
            2 => Corrupt::Flip { at, bit: self.byte() },
            _ => Corrupt::Small { at, value: self.byte() },
        }
    }
}

/// Fuzz target: corrupts a segment whose members died, then attaches, reads, joins, and executes the script. The first
/// byte is the number of changes before attaching.
pub(crate) fn before_attaching(input: &[u8]) {
    let Remains { image, tokens, object_tokens, object_words } = remains();
    let fd = memfd(image);
    let bytes = Bytes { file: File::from(fd.try_clone().unwrap()), words: image.len() as u64 / 8 };
    let mut script = Script { left: input, object_words };
    for _ in 0..script.byte() % 32 {
        bytes.corrupt(&script.corrupt());
    }
    let Ok(space) = Space::options().monitor(false).from_fd(fd) else { return };
    look(&space);
    let Ok(me) = space.join() else { return };
    look(&space);
    everything(&space, &me, tokens, object_tokens);
    perform(&space, &bytes, &me, (tokens.clone(), object_tokens), script);
    let _ = me.leave();
    look(&space);
}

/// Fuzz target: two members work while the bytes change between their steps.
pub(crate) fn while_members_work(input: &[u8]) {
    let space = options().memfd().unwrap();
    let bytes = Bytes::of(&space);
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let mut belongings = Belongings::of(&other);
    let object_words = belongings.add_objects(&other, &bytes);
    let script = Script { left: input, object_words: &object_words };
    let (tokens, objects) = (&belongings.tokens, &belongings.object_tokens);
    perform(&space, &bytes, &me, (tokens.clone(), objects), script);
    everything(&space, &me, tokens, objects);
    // A new process joins, if that is possible.
    if let Ok(again) =
        Space::options().monitor(false).from_fd(space.fd().unwrap().try_clone_to_owned().unwrap())
        && let Ok(late) = again.join()
    {
        everything(&again, &late, tokens, objects);
        let _ = late.leave();
    }
    drop(belongings);
    let _ = (me.leave(), other.leave());
    look(&space);
}

pub(crate) fn look(space: &Space) {
    let _ = (space.stats(), space.check(), space.check_quiet());
    let _ = (space.leases(), space.handles(), space.blocks());
    let _ = space.names();
}

/// The resources of a script.
struct Things<'m> {
    local: Local<'m>,
    tokens: Vec<Token>,
    held: Vec<RawHandle>,
    blocks: Vec<RawBlock>,
    owned: Vec<Block>,
    handles: Vec<Handle<Raw>>,
    objects: objects::Objects,
}

fn pick<T>(things: &mut Vec<T>, which: u64) -> Option<T> {
    (!things.is_empty()).then(|| things.swap_remove((which % things.len() as u64) as usize))
}

fn sum(bytes: &[u8]) -> u64 {
    std::hint::black_box(bytes.iter().map(|byte| u64::from(*byte)).sum())
}

/// Number of operations on handles and blocks.
const OPERATIONS: u8 = 28;

/// Executes the script to its end: every other step changes bytes. The tokens are those of handles, and of objects.
fn perform(
    space: &Space,
    bytes: &Bytes,
    me: &Member,
    (tokens, object_tokens): (Vec<Token>, &[Token]),
    mut script: Script<'_>,
) {
    let mut things = Things {
        local: me.local(),
        tokens,
        held: Vec::new(),
        blocks: Vec::new(),
        owned: Vec::new(),
        handles: Vec::new(),
        objects: objects::Objects::default(),
    };
    for _ in 0..STEPS_MAX {
        if script.left.is_empty() {
            break;
        }
        let step = script.byte();
        if step.is_multiple_of(2) {
            bytes.corrupt(&script.corrupt());
        } else {
            match (step / 2).checked_sub(OPERATIONS) {
                None => operate(space, me, &mut things, step / 2, &mut script),
                Some(operation) => {
                    let token = script.token(object_tokens);
                    let operation = operation % objects::OPERATIONS;
                    objects::operate(me, &mut things.objects, operation, token, &mut script);
                }
            }
        }
        things.objects.truncate();
        things.held.truncate(HELD_MAX);
        things.blocks.truncate(HELD_MAX);
        things.owned.truncate(HELD_MAX);
        things.handles.truncate(HELD_MAX);
    }
    for held in &things.held {
        let _ = unsafe { things.local.get(held) }.map(sum);
        let _ = unsafe { things.local.close(*held) };
    }
    for block in &things.blocks {
        let _ = unsafe { things.local.free(*block) };
    }
}

fn operate(space: &Space, me: &Member, things: &mut Things<'_>, operation: u8, script: &mut Script<'_>) {
    let Things { local, tokens, held, blocks, owned, handles, .. } = things;
    let which = script.number::<1>();
    let layout = |script: &mut Script<'_>| {
        let len = 1 + script.number::<2>() as usize % 20_000;
        Layout::from_size_align(len, 1 << (script.byte() % 14)).unwrap()
    };
    // Sometimes a block that no member owns.
    let block = |script: &mut Script<'_>, blocks: &mut Vec<RawBlock>| match which % 4 {
        0 => Some(RawBlock { offset: script.number::<4>(), len: script.number::<2>() as usize }),
        _ => pick(blocks, which / 4),
    };
    let token = |script: &mut Script<'_>, tokens: &[Token]| match which % 4 {
        0 => Token::try_from(script.number::<8>()).ok(),
        _ => (!tokens.is_empty()).then(|| tokens[which as usize / 4 % tokens.len()]),
    };
    match operation {
        0..=2 => {
            let payload = vec![which as u8; (script.number::<2>() as usize % 10_000) >> (which % 10)];
            if let Ok(one) = local.create(KIND, &payload) {
                tokens.push(local.token(&one));
                held.push(one);
            }
        }
        3 => {
            handles.extend(me.create_raw(KIND, &vec![3; which as usize]).ok());
            handles.extend(me.named(NAMES[which as usize % 4]).create_raw(KIND, &[4; 30]).ok());
        }
        4 => {
            let _ = me.create(&vec![which; which as usize]);
        }
        5 | 6 => held.extend(token(script, tokens).and_then(|token| local.open(KIND, token).ok())),
        7 => {
            handles.extend(token(script, tokens).and_then(|token| me.open_raw(KIND, token).ok()));
            handles.extend(
                me.create_or_open_raw(NAMES[which as usize % 4], KIND, &[5; 3])
                    .ok()
                    .map(tenure::Named::into_inner),
            );
        }
        8 => {
            if let Some(token) = token(script, tokens) {
                let _ = me.open::<u64>(token).map(|handle| handle.get().map(|value| value.to_native()));
                let _ = me.open::<Vec<u64>>(token).map(|handle| handle.get().map(|value| value.len()));
            }
        }
        9 => held.iter().for_each(|one| {
            let _ = unsafe { local.get(one) }.map(sum);
        }),
        10 | 11 => {
            let _ = pick(held, which).map(|one| unsafe { local.close(one) });
        }
        12 => handles.iter().for_each(|one| {
            let _ = one.get().map(sum);
        }),
        13 => {
            let _ = pick(handles, which);
        }
        14 | 15 => {
            if let Ok(one) = local.alloc(layout(script)) {
                // SAFETY: the block is ours and has that many bytes.
                unsafe { local.address(one).write_bytes(0xa5, one.len) };
                blocks.push(one);
            }
        }
        16 => {
            if let Ok(mut one) = me.alloc_zeroed(layout(script)) {
                one.fill(which as u8);
                owned.push(one);
            }
        }
        17 => {
            if let Some(from) = block(script, blocks) {
                blocks.push(unsafe { local.realloc(from, layout(script)) }.unwrap_or(from));
            }
        }
        18 | 19 => {
            let _ = block(script, blocks).map(|one| (local.usable(one), unsafe { local.free(one) }));
        }
        20 => {
            let owner = LeaseId { index: script.byte(), incarnation: script.number::<2>() };
            let _ = block(script, blocks).map(|one| unsafe { local.free_of(one, owner) });
        }
        21 => held.extend(block(script, blocks).and_then(|one| unsafe { local.create_with(KIND, one) }.ok())),
        22 => {
            let _ =
                pick(owned, which).map(|mut one| (one.resize(1 + script.number::<2>() as usize), sum(&one)));
        }
        23 => {
            let _ =
                pick(owned, which).map(|one| if which.is_multiple_of(2) { one.pin().is_ok() } else { true });
        }
        24 => {
            let _ = unsafe { me.free_pinned(script.number::<4>()) };
        }
        25 => {
            let _ = (me.recover(), me.trim());
        }
        26 => look(space),
        _ => {
            if let Ok(guest) = space.join() {
                drop(guest.create_raw(KIND, &[1; 100]));
                let _ = (guest.recover(), guest.leave());
            }
        }
    }
}

/// The names used.
pub(crate) const NAMES: [&str; 4] =
    ["queue", "other-17", "x", "a longer name, of more bytes than a line has: it lies in the block"];

/// Every operation on names.
pub(crate) fn names(space: &Space, me: &Member) {
    let mut held = Vec::new();
    for name in NAMES {
        let _ = me.look_up(name);
        held.extend(me.named(name).create_raw(KIND, &[6; 50]).ok());
        held.extend(me.open_raw(KIND, name).ok());
        held.extend(me.create_or_open_raw(name, KIND, b"").ok().map(tenure::Named::into_inner));
        let _ = me.open::<u64>(name).map(|handle| handle.get().map(|value| value.to_native()));
    }
    for handle in &held {
        let _ = (handle.get().map(sum), handle.name().map(|name| name.map(str::len)));
    }
    let _ = (space.names(), space.check());
}

/// Every operation. The tokens are those of handles, and of objects.
pub(crate) fn everything(space: &Space, me: &Member, tokens: &[Token], object_tokens: &[Token]) {
    look(space);
    let mut local = me.local();
    for token in tokens {
        if let Ok(held) = local.open(KIND, *token) {
            let _ = unsafe { local.get(&held) }.map(sum);
            let _ = unsafe { local.close(held) };
        }
        let _ = me.open::<u64>(*token).map(|handle| handle.get().map(|value| value.to_native()));
    }
    let mut held: Vec<_> = (0..70).filter_map(|len| local.create(KIND, &vec![7; len]).ok()).collect();
    let mut blocks: Vec<_> = [1, 40, 700, 3000, 9000, 20_000]
        .iter()
        .filter_map(|len| local.alloc(Layout::from_size_align(*len, 16).unwrap()).ok())
        .collect();
    for block in &mut blocks {
        if let Ok(resized) = unsafe { local.realloc(*block, Layout::from_size_align(5000, 16).unwrap()) } {
            *block = resized;
        }
    }
    for block in blocks {
        let _ = local.usable(block);
        let _ = unsafe { local.free(block) };
        let _ = unsafe { local.free(block) };
    }
    for held in held.drain(..) {
        let _ = unsafe { local.get(&held) }.map(sum);
        let _ = unsafe { local.close(held) };
    }
    drop(local);
    names(space, me);
    objects::use_all(me, object_tokens);
    for block in space.blocks() {
        let _ = unsafe { me.free_pinned(block.offset) };
    }
    let _ = (me.recover(), me.trim());
}

/// Attaches once more; the file descriptor is only a number here.
pub(crate) fn again(space: &Space) -> Result<Space, tenure::error::OpenError> {
    Space::options().from_fd(space.fd().unwrap().as_fd().try_clone_to_owned().unwrap())
}
