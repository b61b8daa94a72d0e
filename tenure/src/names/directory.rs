//! Creates with a name, opens by name, creates or opens: for handles of all kinds.

use std::alloc::Layout;
use std::num::NonZeroU8;
use std::time::Duration;

use tenure_slab::{self as slab, Handles, Inserted, Label, NameHash, Payload, Token};

use super::Name;
use super::api::{Named, NamedError};
use crate::error::{CreateError, NotMember, OpenHandleError, ScratchError};
use crate::kind::Kind;
use crate::raw::{Contents, RawBlock, RawHandle};
use crate::shared::Shared;

/// Finds the handle that has one name, and opens it.
struct Seeker<'s, 'n> {
    shared: &'s Shared,
    name: Name<'n>,
}

/// The token of the handle that has the name; the opened handle, or the error of opening it.
type Found = (Token, Result<slab::Held, OpenHandleError>);

impl Handles for Seeker<'_, '_> {
    type Found = Found;

    fn is_over(&self, token: Token) -> bool {
        self.shared.slab.is_over(token)
    }

    fn hash(&self, token: Token) -> NameHash {
        self.shared.slab.label(token).map_or(NameHash::from_bits(0), |label| label.hash)
    }

    fn open(&mut self, token: Token) -> Option<Found> {
        let Self { shared, name } = self;
        // A handle with another hash is not opened, because a process that is stopped while it holds the handle keeps it.
        let label = shared.slab.label(token)?;
        if label.hash != name.hash || usize::from(label.len.get()) != name.bytes.len() {
            return None;
        }
        let (acquire, ref_counts) = (shared.lease.acquire(), shared.ref_counts());
        match shared.slab.open(acquire, ref_counts, token, |block| shared.free_block(block)) {
            Ok(held) if shared.name_of(held) == Some(name.bytes) => Some((token, Ok(held))),
            Ok(held) => {
                shared.give_back(held);
                None
            }
            Err(error @ slab::OpenError::CountFull { .. }) => Some((token, Err(error.into()))),
            Err(_) => None,
        }
    }
}

/// Whether a resource ran out that another process may hold only for a moment.
fn has_run_out(error: &CreateError) -> bool {
    matches!(
        error,
        CreateError::Exhausted { .. }
            | CreateError::NamesFull(_)
            | CreateError::ContainerSlots { .. }
            | CreateError::Scratch(ScratchError::Exhausted { .. } | ScratchError::NoMemory { .. })
    )
}

/// The number of further tries, a millisecond apart, while another process copies a value of this size and inserts its name: ten, and
/// one more for each MiB, since a copy of one MiB takes about a millisecond; at most 1000.
fn patience(bytes: usize) -> usize {
    (10 + (bytes >> 20)).min(1000)
}

impl Shared {
    /// The bytes of the name of a handle that the caller holds.
    pub(crate) fn name_of(&self, held: slab::Held) -> Option<&[u8]> {
        let label = self.slab.label(held.token(&self.slab))?;
        let (len, Some(offset)) = self.slab.payload_of(held).ok()? else { return None };
        let bytes = usize::from(label.len.get());
        self.scratch.find(offset).ok().filter(|found| len + bytes as u64 <= found.bytes)?;
        let name = self.scratch.address(offset).wrapping_add(len as usize);
        // SAFETY: inside the handle's own block, which is mapped, and immutable while the handle is held [slab-bit-covers-use].
        Some(unsafe { std::slice::from_raw_parts(name, bytes) })
    }

    /// Closes a handle that this call has opened or created and does not return.
    fn give_back(&self, held: slab::Held) {
        let (acquire, ref_counts) = (self.lease.acquire(), self.ref_counts());
        // The handle is held; if its word is corrupted, there is nothing to close.
        let _ = self.slab.close(acquire, ref_counts, None, held, |block| self.free_block(block));
    }

    fn seek(&self, name: Name<'_>) -> Result<Option<Found>, NotMember> {
        self.lease.check()?;
        Ok(self.names.find(name.hash, &mut Seeker { shared: self, name }))
    }

    /// Kind and token of the handle that has the name.
    pub(crate) fn look_up(&self, name: Name<'_>) -> Result<(Kind, Token), OpenHandleError> {
        let (token, held) = self.seek(name)?.ok_or(OpenHandleError::NoSuchName)?;
        let held = held?;
        let kind = self.slab.kind(held).map_err(slab::OpenError::from);
        self.give_back(held);
        Ok((Kind::from_number(kind?), token))
    }

    /// Opens the handle that has the name.
    pub(crate) fn open_named(&self, name: Name<'_>, kind: Kind) -> Result<RawHandle, OpenHandleError> {
        let (_, held) = self.seek(name)?.ok_or(OpenHandleError::NoSuchName)?;
        self.take(held?, kind)
    }

    /// Keeps the opened handle if it is of the expected kind.
    fn take(&self, held: slab::Held, kind: Kind) -> Result<RawHandle, OpenHandleError> {
        let taken = self.slab.kind(held).map_err(slab::OpenError::from).map_err(OpenHandleError::from);
        let taken = taken.map(Kind::from_number).and_then(|found| {
            if found == kind {
                self.place(RawHandle { held }).map(|_| RawHandle { held })
            } else {
                Err(OpenHandleError::ForeignKind { expected: kind, found })
            }
        });
        taken.inspect_err(|_| self.give_back(held))
    }

    /// Creates a handle with a name that is not in use.
    pub(crate) fn create_named(
        &self,
        name: Name<'_>,
        kind: Kind,
        contents: Contents<'_>,
    ) -> Result<RawHandle, CreateError> {
        let (token, found) = match self.seek(name)? {
            Some(found) => found,
            None => match self.create_or_find(name, kind, contents, 0)? {
                Ok(held) => return Ok(held),
                Err(found) => found,
            },
        };
        if let Ok(held) = found {
            self.give_back(held);
        }
        Err(CreateError::NameTaken { token })
    }

    /// Opens the handle that has the name, or creates one with it, in one step: of any number of concurrent calls exactly one creates.
    pub(crate) fn create_or_open(
        &self,
        name: Name<'_>,
        kind: Kind,
        contents: Contents<'_>,
    ) -> Result<Named<RawHandle>, NamedError> {
        let (_, found) = match self.seek(name)? {
            Some(found) => found,
            None => match self.create_or_find(name, kind, contents, patience(contents.layout.size()))? {
                Ok(held) => return Ok(Named::Created(held)),
                Err(found) => found,
            },
        };
        Ok(Named::Opened(self.take(found?, kind)?))
    }

    /// Creates a handle and inserts it into the table; if another handle has the name by then, returns that one.
    ///
    /// If a resource has run out, another process that creates the same name may hold the last of it, and its handle gets the name soon. So
    /// this looks the name up again, and tries up to `patience` more times, a millisecond apart.
    fn create_or_find(
        &self,
        name: Name<'_>,
        kind: Kind,
        contents: Contents<'_>,
        mut patience: usize,
    ) -> Result<Result<RawHandle, Found>, CreateError> {
        loop {
            let error = match self.try_create(name, kind, contents) {
                Err(error) if has_run_out(&error) => error,
                result => return result,
            };
            if let Some(found) = self.seek(name)? {
                return Ok(Err(found));
            }
            if patience == 0 {
                return Err(error);
            }
            patience -= 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// One try of [`Shared::create_or_find`].
    fn try_create(
        &self,
        name: Name<'_>,
        kind: Kind,
        contents: Contents<'_>,
    ) -> Result<Result<RawHandle, Found>, CreateError> {
        self.make_room(name)?;
        let held = self.create_labelled(name, kind, contents)?;
        let token = held.held.token(&self.slab);
        match self.names.insert(name.hash, token, &mut Seeker { shared: self, name }) {
            Ok(Inserted::New) => Ok(Ok(held)),
            Ok(Inserted::Found(found)) => {
                self.give_back(held.held);
                Ok(Err(found))
            }
            Err(full) => {
                self.give_back(held.held);
                Err(full.into())
            }
        }
    }

    /// Commits the chunks of the table that the name needs.
    fn make_room(&self, name: Name<'_>) -> Result<(), CreateError> {
        let plan = &self.reclaimer.plan;
        for chunk in self.names.missing(name.hash) {
            let words = plan.names.chunk_range(chunk);
            let at = plan.slab.words();
            self.lease
                .commit((at + words.start) * 8..(at + words.end) * 8)
                .map_err(|_| ScratchError::NoMemory { bytes: (words.end - words.start) * 8 })?;
            self.names.extend(chunk);
        }
        Ok(())
    }

    /// Creates a handle whose block ends with its name; the handle is not in the table yet.
    fn create_labelled(
        &self,
        name: Name<'_>,
        kind: Kind,
        contents: Contents<'_>,
    ) -> Result<RawHandle, CreateError> {
        self.check_writer()?;
        let caches = &mut *self.common();
        let len = contents.layout.size();
        // A layout has at most isize::MAX bytes, and a name 255.
        let size = len + name.bytes.len();
        let layout = Layout::from_size_align(size, contents.layout.align())
            .map_err(|_| ScratchError::TooLarge { bytes: size as u64, max: isize::MAX as u64 })?;
        let block = RawBlock { offset: self.alloc(caches, layout)?, len: size };
        let address = self.scratch.address(block.offset);
        // SAFETY: the block was allocated just now, is at least that long, and no other code knows it.
        unsafe {
            contents.write_to(address);
            address.add(len).copy_from_nonoverlapping(name.bytes.as_ptr(), name.bytes.len());
        }
        // 1 to 255 bytes: see `Name::of`.
        let name_len = NonZeroU8::new(name.bytes.len() as u8).unwrap_or(NonZeroU8::MIN);
        let label = Some(Label { len: name_len, hash: name.hash });
        let payload = Payload::Block { offset: block.offset, len: len as u64, label };
        self.publish(caches, kind, payload).inspect_err(|_| {
            // Allocated above, by these caches.
            let _ = caches.blocks.free(block.offset);
        })
    }
}
