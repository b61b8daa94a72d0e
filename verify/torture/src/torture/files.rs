//! Operations on descriptors and on the table of open files.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::MemfdFlags;
use tenure::{
    Member, Token,
    error::{CreateError, DescriptorError, OpenHandleError, ShareError},
    file::{Access, Conflict, Descriptor, FileShare, Sharing},
};

use super::chance::Choice;
use super::hands::{Hands, must};
use crate::verdict::{Trouble, Wrong};

/// Maximum number of entries of a thread.
const SHARES_MAX: usize = 4;

/// Creates a memfd that contains its identity. The inner error: no handle was free.
pub(super) fn create(member: &Member, identity: u64) -> Result<Result<Descriptor, CreateError>, Trouble> {
    let file = File::from(must("make a memfd", rustix::fs::memfd_create("torture", MemfdFlags::CLOEXEC))?);
    must("write a memfd", file.write_all_at(&identity.to_le_bytes(), 0))?;
    match Descriptor::create(member, file) {
        Ok(descriptor) => Ok(Ok(descriptor)),
        Err(DescriptorError::Create(error)) => Ok(Err(error)),
        Err(error) => Err((Wrong::Refused, format!("cannot create a descriptor: {error}"))),
    }
}

pub(super) fn open(member: &Member, token: Token) -> Result<Descriptor, OpenHandleError> {
    Descriptor::open(member, token).map_err(|error| match error {
        DescriptorError::Open(error) => error,
        other => OpenHandleError::Corrupt(other.to_string()),
    })
}

/// Checks that the descriptor is the memfd that was passed.
pub(super) fn verify(descriptor: &Descriptor, identity: u64) -> Result<(), Trouble> {
    let file = File::from(must("duplicate a descriptor", descriptor.duplicate())?);
    let mut found = [0; 8];
    must("read a memfd", file.read_exact_at(&mut found, 0))?;
    let found = u64::from_le_bytes(found);
    let text = || format!("the memfd {identity:016x} is {found:016x}");
    (found == identity).then_some(()).ok_or_else(|| (Wrong::MixedUp, text()))
}

fn access(bits: u64) -> Access {
    let all = [Access::READ, Access::WRITE, Access::DELETE];
    (0..3).filter(|bit| bits >> bit & 1 != 0).fold(Access::NONE, |sum, bit| sum | all[bit])
}

fn sharing(bits: u64) -> Sharing {
    let all = [Sharing::READ, Sharing::WRITE, Sharing::DELETE];
    (0..3).filter(|bit| bits >> bit & 1 != 0).fold(Sharing::NONE, |sum, bit| sum | all[bit])
}

/// Whether the two entries exclude each other.
fn is_in_the_way(who: &Conflict, asked: (u64, u64)) -> bool {
    let excludes = |bit: u64| {
        let does = |bits: u64| bits >> bit & 1 != 0;
        let theirs = (who.access.contains(access(1 << bit)), who.sharing.contains(sharing(1 << bit)));
        does(asked.0) && !theirs.1 || theirs.0 && !does(asked.1)
    };
    (0..3).any(excludes)
}

impl Hands<'_> {
    /// Enters a file into the table of our own program, which all members share; mostly with compatible access.
    pub(super) fn share(&mut self, choice: Choice) -> Result<(), Trouble> {
        if self.shares.len() >= SHARES_MAX || (choice.key.is_multiple_of(3) && !self.shares.is_empty()) {
            let at = (choice.which % self.shares.len() as u64) as usize;
            drop(self.shares.swap_remove(at));
            return Ok(());
        }
        let member = self.member(self.space(choice.space));
        let file = must("open our program", File::open("/proc/self/exe"))?;
        let all = 7;
        let asked = if choice.key.is_multiple_of(8) {
            (choice.which & all, choice.how & all)
        } else {
            (choice.which & 1, all ^ (choice.how & 2))
        };
        match FileShare::enter(member, &file, access(asked.0), sharing(asked.1)) {
            Ok(share) => self.shares.push(share),
            Err(ShareError::Conflict(who)) if is_in_the_way(&who, asked) => {}
            Err(ShareError::Named(error)) => {
                let none: Result<(), _> = Err(error);
                self.room("enter the table of a file", none)?;
            }
            Err(error) => return Err((Wrong::Refused, format!("asked for {asked:?}: {error}"))),
        }
        Ok(())
    }
}
