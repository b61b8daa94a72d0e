//! A descriptor that travels by token: whoever opens the token gets a duplicate.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tenure_core::{fault, sync};
use tenure_segment::passing::{Holder, Identity, Refusal};
use tenure_slab::Token;

use super::error::{DescriptorError, Refused};
use super::slots::{Slots, payload};
use crate::error::{NotMember, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named};
use crate::object::Object;
use crate::state::STATE_WORDS;

/// How long those who must be asked may take. It decides nothing about anybody's life: who does not answer now, may answer
/// the next time.
const PATIENCE: Duration = Duration::from_secs(2);

/// A file, pipe, socket, memfd, eventfd or whatever else a descriptor leads to, as a handle.
///
/// Whoever opens the token gets a duplicate, as by `dup`: the offset, the flags and the access mode are shared. It can be had
/// from every member that has it open, not from its creator alone; it is over when the last one has closed it or died.
///
/// A member has one descriptor per token, however often it opens that. It closes on exec; a forked child inherits it as it
/// inherits every other, and may use it, but is no member.
///
/// ```
/// # use std::io::{Read, Write};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let (mut reader, writer) = std::io::pipe()?;
/// let theirs = tenure::Descriptor::create(&me, writer)?;
///
/// // Usually in another process:
/// let ours = tenure::Descriptor::open(&other, theirs.token())?;
/// std::fs::File::from(ours.duplicate()?).write_all(b"hello")?;
///
/// drop((theirs, ours)); // everybody has closed it: end of file
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Descriptor {
    open: Arc<Open>,
}

/// One member's descriptor.
pub(super) struct Open {
    fd: Arc<OwnedFd>,
    object: Object,
}

/// Which ways to try; for tests.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel first, then the holders.
    Any,
    /// Without asking the holders.
    Direct,
    /// By asking the holders only.
    Socket,
}

impl Descriptor {
    /// Makes a handle of a descriptor.
    ///
    /// Its payload takes 16 bytes of scratch memory for every member of the geometry. The first one that a member has starts
    /// a thread, which hands descriptors to those who may not trace us.
    ///
    /// # Errors
    ///
    /// [`DescriptorError::Create`]; the descriptor was closed.
    ///
    /// # Progress
    ///
    /// Waits for no other process.
    ///
    /// # Crash
    ///
    /// The kernel closes what a dead process had open, and recovery ends a handle that nobody else holds.
    pub fn create(member: &Member, fd: impl Into<OwnedFd>) -> Result<Self, DescriptorError> {
        Self::create_as(member, None, fd.into())
    }

    /// As [`Descriptor::create`], with a name that nothing has.
    ///
    /// # Errors
    ///
    /// As [`Descriptor::create`], and [`CreateError::NameTaken`](crate::CreateError::NameTaken).
    pub fn create_named(
        member: &Member,
        name: &str,
        fd: impl Into<OwnedFd>,
    ) -> Result<Self, DescriptorError> {
        Self::create_as(member, Some(Name::new(name)?), fd.into())
    }

    /// Opens the descriptor that has a name, whatever it leads to, or makes a handle of this one with the name, in one step; see
    /// [`Member::create_or_open`](crate::Member::create_or_open). If it opened, `fd` was closed. Where all who had it are dead,
    /// it ended with them: they are recovered first.
    ///
    /// # Errors
    ///
    /// As [`Descriptor::create_named`] and [`Descriptor::open_named`]; `fd` was closed.
    pub fn create_or_open(
        member: &Member,
        name: &str,
        fd: impl Into<OwnedFd>,
    ) -> Result<Named<Self>, DescriptorError> {
        let (fd, name) = (fd.into(), Name::new(name)?);
        let (state, rest) = words_of(member, &fd)?;
        let mut has_recovered = false;
        loop {
            let object = match Object::create_or_open(member, name, Kind::DESCRIPTOR, state, &rest)? {
                Named::Created(object) => return Ok(Named::Created(Self::publish(fd, object)?)),
                Named::Opened(object) => object,
            };
            match Self::over(member, object, Way::Any) {
                Err(DescriptorError::Nobody) if !has_recovered => {
                    member.recover()?;
                    has_recovered = true;
                }
                opened => return Ok(Named::Opened(opened?)),
            }
        }
    }

    fn create_as(member: &Member, name: Option<Name<'_>>, fd: OwnedFd) -> Result<Self, DescriptorError> {
        let (state, rest) = words_of(member, &fd)?;
        let object = Object::create(member, name, Kind::DESCRIPTOR, state, &rest)?;
        Self::publish(fd, object)
    }

    /// Opens a token: afterwards this member has a duplicate of its own.
    ///
    /// # Errors
    ///
    /// [`DescriptorError::Open`] when everybody let go of it; [`DescriptorError::Nobody`] when those who had it died, and
    /// nobody has taken that back yet; [`DescriptorError::Refused`], with all reasons, when tracing is denied and nobody
    /// answers.
    ///
    /// # Progress
    ///
    /// Where the kernel allows tracing: waits for nobody. Otherwise for the first answer of all members that have it, up to two
    /// seconds: one that is stopped cannot answer.
    ///
    /// # Crash
    ///
    /// As [`Descriptor::create`].
    pub fn open(member: &Member, token: Token) -> Result<Self, DescriptorError> {
        Self::open_by(member, token, Way::Any)
    }

    /// As [`Descriptor::open`], by the given way.
    #[doc(hidden)]
    pub fn open_by(member: &Member, token: Token, way: Way) -> Result<Self, DescriptorError> {
        Self::over(member, Object::open(member, Kind::DESCRIPTOR, token)?, way)
    }

    /// Opens the descriptor that has a name.
    ///
    /// # Errors
    ///
    /// As [`Descriptor::open`]; [`OpenHandleError::NoSuchName`](crate::OpenHandleError::NoSuchName).
    pub fn open_named(member: &Member, name: &str) -> Result<Self, DescriptorError> {
        Self::over(member, Object::open_named(member, Name::known(name)?, Kind::DESCRIPTOR)?, Way::Any)
    }

    fn over(member: &Member, object: Object, way: Way) -> Result<Self, DescriptorError> {
        let (shared, token) = (member.shared(), object.token());
        if let Some(open) = shared.objects.files.find(token.into()) {
            return Ok(Self { open });
        }
        let slots = slots(&object)?;
        let fd = obtain(member, slots, token, way)?;
        Self::publish(fd, object)
    }

    /// Makes it known to others that this member has it, unless another thread has been faster.
    fn publish(fd: OwnedFd, object: Object) -> Result<Self, DescriptorError> {
        let (shared, token) = (Arc::clone(object.shared()), u64::from(object.token()));
        let offers = shared.objects.files.offers(&shared.lease);
        // Before there is anything whose end needs the lock below.
        slots(&object)?;
        let mut all = sync::lock(&shared.objects.files.open);
        if let Some(open) = all.get(&token).and_then(std::sync::Weak::upgrade) {
            drop(all);
            return Ok(Self { open });
        }
        let open = Arc::new(Open { fd: Arc::new(fd), object });
        if let Some(offers) = offers {
            offers.put(token, Arc::clone(&open.fd));
        }
        all.insert(token, Arc::downgrade(&open));
        drop(all);
        slots(&open.object)?.put(shared.lease.id(), open.fd.as_raw_fd());
        Ok(Self { open })
    }

    /// The 64 bits to pass to others. It keeps nothing alive: hold the descriptor until the other has opened it.
    #[must_use]
    pub fn token(&self) -> Token {
        self.open.object.token()
    }

    /// One more duplicate, that has nothing to do with the handle.
    ///
    /// # Errors
    ///
    /// No room for one more.
    pub fn duplicate(&self) -> std::io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }
}

/// The payload of a handle of a descriptor that this member has: the state words, and what follows.
fn words_of(member: &Member, fd: &OwnedFd) -> Result<([u64; STATE_WORDS], Vec<u8>), DescriptorError> {
    member.check()?;
    let lease = &member.shared().lease;
    let identity = Identity::of(fd).map_err(os("ask what the descriptor leads to"))?;
    let members = member.shared().reclaimer.plan.geometry.members;
    let words = payload(members, identity, lease.id(), fd.as_raw_fd());
    let mut state = [0; STATE_WORDS];
    state.copy_from_slice(&words[..STATE_WORDS]);
    let rest = words[STATE_WORDS..].iter().flat_map(|word| word.to_le_bytes()).collect();
    Ok((state, rest))
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.fd.as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> i32 {
        self.open.fd.as_raw_fd()
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptor").field("token", &self.token()).field("fd", &self.as_raw_fd()).finish()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let shared = Arc::clone(self.object.shared());
        // In a forked child there is neither the memory nor, perhaps, the thread that has the lock.
        if shared.lease.check().is_err() {
            return;
        }
        let token = self.object.token().into();
        let mut all = sync::lock(&shared.objects.files.open);
        // Unless another thread opened it anew since our last reference went: then the words are about that.
        if all.get(&token).is_some_and(|known| known.strong_count() == 0) {
            all.remove(&token);
            if let Ok(slots) = slots(&self.object)
                && !fault!("files.kept_in_its_slot")
            {
                slots.clear(shared.lease.id());
            }
            if let Some(offers) = shared.objects.files.offers(&shared.lease) {
                offers.remove(token);
            }
        }
    }
}

fn os(what: &'static str) -> impl Fn(std::io::Error) -> DescriptorError {
    move |source| DescriptorError::Os { what, source }
}

fn slots(object: &Object) -> Result<Slots<'_>, OpenHandleError> {
    let members = object.shared().reclaimer.plan.geometry.members;
    Slots::over(object.words()?, members)
        .ok_or_else(|| OpenHandleError::Corrupt(format!("{object:?} is too short for {members} members")))
}

/// A duplicate from any of those who say that they have it.
fn obtain(member: &Member, slots: Slots<'_>, token: Token, way: Way) -> Result<OwnedFd, DescriptorError> {
    let (lease, expected) = (&member.shared().lease, slots.identity());
    let is_it = |fd: &OwnedFd| {
        let found = Identity::of(fd).map_err(os("ask what the duplicate leads to"))?;
        Ok::<_, DescriptorError>(found == expected)
    };
    let mut refused = Vec::new();
    let mut to_ask: Vec<(Holder, usize)> = Vec::new();
    for claim in slots.claims(lease) {
        let holder = claim.holder;
        let direct = match way {
            Way::Socket => Err(Refusal::NotTried),
            Way::Any | Way::Direct => lease.duplicate(&holder),
        };
        let direct = match direct {
            Ok(fd) if !slots.still(&claim) && !fault!("files.no_second_look") => {
                // It has closed it, and what we got may be anything.
                drop(fd);
                continue;
            }
            Ok(fd) if is_it(&fd)? => return Ok(fd),
            Ok(_) => Refusal::Changed { number: holder.number },
            Err(Refusal::Gone) => continue,
            Err(refusal) => {
                to_ask.push((holder, refused.len()));
                refusal
            }
        };
        refused.push(Refused { lease: holder.lease, pid: holder.pid, direct, socket: None });
    }
    while way != Way::Direct && !to_ask.is_empty() {
        let holders: Vec<_> = to_ask.iter().map(|(holder, _)| *holder).collect();
        match lease.ask(&holders, token.into(), PATIENCE) {
            Ok((_, fd)) if is_it(&fd)? => return Ok(fd),
            Ok((from, _)) => {
                let (holder, at) = to_ask.remove(from);
                refused[at].socket = Some(Refusal::Changed { number: holder.number });
            }
            Err(refusals) => {
                for ((_, at), refusal) in to_ask.drain(..).zip(refusals) {
                    refused[at].socket = Some(refusal);
                }
            }
        }
    }
    refused.retain(|one| !matches!(one.socket, Some(Refusal::Gone)));
    lease.check().map_err(|error: NotMember| DescriptorError::from(error))?;
    if refused.is_empty() { Err(DescriptorError::Nobody) } else { Err(DescriptorError::Refused(refused)) }
}
