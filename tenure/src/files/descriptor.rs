//! Descriptors as handles: a process that opens the token gets a duplicate of the descriptor.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tenure_core::{mutant, sync};
use tenure_segment::passing::{Holder, Identity, Refusal};
use tenure_slab::Token;

use super::error::{DescriptorError, Refused};
use super::slots::{Slots, payload};
use crate::error::{NotMember, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named};
use crate::object::Object;
use crate::place::{Key, Place};
use crate::state::STATE_WORDS;

/// The longest wait for the answers of other members. It does not decide whether a member is alive: a member that does not answer in
/// this time may answer the next time.
const PATIENCE: Duration = Duration::from_secs(2);

/// A file descriptor as a handle: of a file, pipe, socket, memfd, eventfd or any other object.
///
/// A member that opens the token gets a duplicate, as by `dup`: the offset, the flags and the access mode are shared. It gets the
/// duplicate from any member that has the descriptor open, not only from the creator. The handle ends when its last holder has closed it
/// or died.
///
/// A member has one descriptor for each token, even if it opens the token several times. The descriptor is close-on-exec. A forked child
/// inherits it as any other descriptor, and may use it, but is not a member.
///
/// ```
/// # use std::io::{Read, Write};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let (mut reader, writer) = std::io::pipe()?;
/// let theirs = tenure::file::Descriptor::create(&me, writer)?;
///
/// // Usually in another process:
/// let ours = tenure::file::Descriptor::open(&other, theirs.token())?; // a duplicate of the writer
/// std::fs::File::from(ours.duplicate()?).write_all(b"hello")?;
///
/// drop((theirs, ours)); // all holders have closed it: end of file
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

/// The ways to get a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel first, then the holders.
    Any,
    /// The kernel only (`pidfd_getfd`).
    Direct,
    /// The holders only, by their sockets.
    Socket,
}

impl Descriptor {
    /// Makes a handle of a descriptor.
    ///
    /// The payload takes 16 bytes of scratch memory for each member of the geometry. The first descriptor of a member starts a thread, which
    /// sends descriptors to processes that may not trace this one.
    ///
    /// ```
    /// # use std::os::fd::AsFd;
    /// # use tenure::file::Descriptor;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let (reader, _writer) = std::io::pipe()?;
    /// let descriptor = Descriptor::create(&me, reader)?;
    /// let _fd = descriptor.as_fd();
    /// # Ok(()) }
    /// ```
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
    /// If a process dies, the kernel closes its descriptors, and recovery ends a handle that no other member holds.
    pub fn create<'a>(place: impl Into<Place<'a>>, fd: impl Into<OwnedFd>) -> Result<Self, DescriptorError> {
        let (place, fd) = (place.into(), fd.into());
        let (state, rest) = words_of(place.member, &fd)?;
        Self::publish(fd, Object::create(place, Kind::DESCRIPTOR, state, &rest)?)
    }

    /// Opens the descriptor that has the name, or makes a handle of `fd` with the name, in one step; see
    /// [`Member::create_or_open`](crate::Member::create_or_open). If it opened, `fd` was closed; the opened descriptor may be of another
    /// object than `fd`. If all holders are dead, this recovers them first, and the old handle ends with them.
    ///
    /// ```
    /// # use tenure::file::Descriptor;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let (reader, writer) = std::io::pipe()?;
    /// let first = Descriptor::create_or_open(&me, "pipe", writer)?;
    /// let second = Descriptor::create_or_open(&other, "pipe", reader)?; // closes `reader`, opens the writer
    /// assert!(first.is_created() && !second.is_created());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Descriptor::create`] and [`Descriptor::open`]; `fd` was closed.
    pub fn create_or_open(
        member: &Member,
        name: &str,
        fd: impl Into<OwnedFd>,
    ) -> Result<Named<Self>, DescriptorError> {
        let fd = fd.into();
        let (state, rest) = words_of(member, &fd)?;
        let mut has_recovered = false;
        loop {
            let object =
                match Object::create_or_open(member, Name::new(name)?, Kind::DESCRIPTOR, state, &rest)? {
                    Named::Created(object) => return Ok(Named::Created(Self::publish(fd, object)?)),
                    Named::Opened(object) => object,
                };
            match Self::over(member, object, Way::Any) {
                Err(DescriptorError::NoHolder) if !has_recovered => {
                    // If it cannot recover, the next round ends with `Nobody`.
                    let _ = member.recover();
                    has_recovered = true;
                }
                opened => return Ok(Named::Opened(opened?)),
            }
        }
    }

    /// Opens the descriptor of a token, or the one that has a name: afterwards this member has a duplicate of its own.
    ///
    /// ```
    /// # use tenure::{error::{DescriptorError, OpenHandleError}, file::Descriptor};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let (reader, _writer) = std::io::pipe()?;
    /// let descriptor = Descriptor::create(&me, reader)?;
    /// let token = descriptor.token();
    /// let theirs = Descriptor::open(&other, token)?; // usually in another process
    ///
    /// drop((descriptor, theirs)); // the last holders
    /// let stale = Descriptor::open(&other, token);
    /// assert!(matches!(stale, Err(DescriptorError::Open(OpenHandleError::Stale { .. }))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DescriptorError::Open`], for instance for a stale token; [`DescriptorError::NoHolder`] when all members that had it open are dead and
    /// not recovered yet; [`DescriptorError::Refused`], with all reasons, when tracing is denied and no member answers.
    ///
    /// # Progress
    ///
    /// Waits for no process if the kernel allows tracing. Else it waits for the first answer of all members that have the descriptor open, at
    /// most two seconds: a stopped member cannot answer.
    ///
    /// # Crash
    ///
    /// As [`Descriptor::create`].
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, DescriptorError> {
        Self::open_by(member, key.into(), Way::Any)
    }

    /// As [`Descriptor::open`], but tries only the given way.
    pub(crate) fn open_by(member: &Member, key: Key<'_>, way: Way) -> Result<Self, DescriptorError> {
        Self::over(member, Object::open(member, Kind::DESCRIPTOR, key)?, way)
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

    /// Publishes that this member has the descriptor open. If another thread of this process has opened the same token first, returns that
    /// descriptor.
    fn publish(fd: OwnedFd, object: Object) -> Result<Self, DescriptorError> {
        let (shared, token) = (Arc::clone(object.shared()), u64::from(object.token()));
        let offers = shared.objects.files.offers(&shared.lease);
        // Checked before an `Open` exists, because the drop of an `Open` takes the lock below.
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

    /// The token: 64 bits to pass to other processes. A token keeps nothing alive: hold the descriptor until the other process has opened
    /// the token.
    #[must_use]
    pub fn token(&self) -> Token {
        self.open.object.token()
    }

    /// Makes one more duplicate, which is independent of the handle.
    ///
    /// ```
    /// # use std::io::Write;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let (_reader, writer) = std::io::pipe()?;
    /// let descriptor = tenure::file::Descriptor::create(&me, writer)?;
    /// let mut file = std::fs::File::from(descriptor.duplicate()?);
    /// drop(descriptor);
    /// file.write_all(b"still open")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the kernel, for instance when the process has too many open descriptors.
    pub fn duplicate(&self) -> std::io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }
}

/// The payload of a handle of a descriptor of this member: the state words, and the bytes after them.
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
        // In a forked child the memory is not mapped, and the lock may be held by a thread that does not exist there.
        if shared.lease.check().is_err() {
            return;
        }
        let token = self.object.token().into();
        let mut all = sync::lock(&shared.objects.files.open);
        // If another thread has opened the token again after the last reference was dropped, the words describe the new descriptor.
        if all.get(&token).is_some_and(|known| known.strong_count() == 0) {
            all.remove(&token);
            if let Ok(slots) = slots(&self.object)
                && !mutant!("files.kept_in_its_slot")
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

/// Gets a duplicate from any member that claims to have the descriptor open.
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
            Ok(fd) if !slots.still(&claim) && !mutant!("files.no_second_look") => {
                // The holder has closed the descriptor, and the duplicate may be of another object.
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
    if refused.is_empty() { Err(DescriptorError::NoHolder) } else { Err(DescriptorError::Refused(refused)) }
}
