//! Handles for tests of the table of names: each with a name and a count, and used once.

use tenure_core::sync::{Ordering, Word};
use tenure_slab::{Full, Handles, Inserted, NameHash, Names, Token};

use super::SPACE;

/// All handles: the count of each, and its name.
pub struct World {
    counts: Vec<Word>,
    names: Vec<Word>,
    hash: fn(u64) -> NameHash,
}

/// The name that is looked for.
pub struct Wanted<'w> {
    world: &'w World,
    name: u64,
}

pub fn token(handle: u32) -> Token {
    Token::new(SPACE, 5, handle).unwrap()
}

impl World {
    pub fn new(handles: u32, hash: fn(u64) -> NameHash) -> Self {
        let zeroes = || (0..handles).map(|_| Word::new(0)).collect();
        Self { counts: zeroes(), names: zeroes(), hash }
    }

    fn count(&self, token: Token) -> &Word {
        &self.counts[token.index() as usize]
    }

    // Relaxed throughout: the table publishes the handles.

    pub fn name(&self, token: Token) -> u64 {
        self.names[token.index() as usize].load(Ordering::Relaxed)
    }

    pub fn is_held(&self, token: Token) -> bool {
        self.count(token).load(Ordering::Relaxed) > 0
    }

    pub fn create(&self, handle: u32, name: u64) -> Token {
        let token = token(handle);
        self.names[handle as usize].store(name, Ordering::Relaxed);
        self.count(token).store(1, Ordering::Relaxed);
        token
    }

    pub fn close(&self, token: Token) {
        assert!(self.count(token).fetch_sub(1, Ordering::AcqRel) > 0);
    }

    pub fn find(&self, names: &Names<'_>, name: u64) -> Option<Token> {
        names.find((self.hash)(name), &mut Wanted { world: self, name })
    }

    /// Creates the handle and inserts it; if another handle has the name, opens that one instead.
    pub fn insert(&self, names: &Names<'_>, handle: u32, name: u64) -> Result<Inserted<Token>, Full> {
        let mine = self.create(handle, name);
        names.missing((self.hash)(name)).into_iter().for_each(|chunk| names.extend(chunk));
        let entered = names.insert((self.hash)(name), mine, &mut Wanted { world: self, name });
        if entered != Ok(Inserted::New) {
            self.close(mine);
        }
        entered
    }
}

impl Handles for Wanted<'_> {
    type Found = Token;

    fn is_over(&self, token: Token) -> bool {
        !self.world.is_held(token)
    }

    fn hash(&self, token: Token) -> NameHash {
        (self.world.hash)(self.world.name(token))
    }

    fn open(&mut self, token: Token) -> Option<Token> {
        if self.world.name(token) != self.name {
            return None;
        }
        let count = self.world.count(token);
        let mut seen = count.load(Ordering::Relaxed);
        while seen > 0 {
            match count.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(token),
                Err(now) => seen = now,
            }
        }
        None
    }
}
