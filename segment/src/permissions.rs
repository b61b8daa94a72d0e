//! Who gets in: the owner, the group and the mode of a segment.

use std::os::fd::AsFd;

use rustix::fs::{Gid, Mode, Stat, Uid};
use rustix::io::Errno;

use crate::error::OpenError;
use crate::host;

/// Who may use a segment. Nothing set: the user who creates it, and nobody else.
///
/// The creator sets what is given before anybody can find the segment; the umask does not matter. An attacher refuses a segment that has
/// another owner, group or mode than it gives, so one that gives a mode meets nobody who got in by a wider one. What is not given is
/// not compared, with one exception: the owner has to be the attacher itself, unless an owner, a group or a mode for all users is
/// given. Only a member of the group, or root, can have made a file of that group, unless the folder has the setgid bit: there every
/// file that anybody makes is of the folder's group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// The mode, of `0o666`; `0o600` unless given. Every user needs both reading and writing.
    pub mode: Option<u32>,
    /// The user who owns it; only root can give it to another one.
    pub owner: Option<u32>,
    /// The group; the creator has to be in it, or root.
    pub group: Option<u32>,
}

/// What a mode may have.
const MODES: u32 = 0o666;
const OWNER_ONLY: u32 = 0o600;

impl Permissions {
    /// Whether anything is given.
    pub(crate) fn is_given(self) -> bool {
        self != Self::default()
    }

    pub(crate) fn check(self) -> Result<(), OpenError> {
        match self.mode {
            Some(mode) if mode & !MODES != 0 || mode & OWNER_ONLY != OWNER_ONLY => {
                let what = "the mode (as a decimal number), which is 0o600 to 0o666,";
                Err(OpenError::Geometry { what, found: mode.into(), limit: MODES.into() })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn mode(self) -> u32 {
        self.mode.unwrap_or(OWNER_ONLY)
    }

    /// Gives a new file its owner, group and mode. Nobody else can reach it yet.
    pub(crate) fn apply(self, fd: impl AsFd) -> rustix::io::Result<()> {
        // The mode first narrow: between two calls nobody gets in who does not get in at the end.
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(OWNER_ONLY))?;
        if self.owner.is_some() || self.group.is_some() {
            rustix::fs::fchown(&fd, self.owner.map(Uid::from_raw), self.group.map(Gid::from_raw))?;
        }
        // An ACL that the folder gives to new files counts as far as the mode lets the group in: for nobody by now.
        if self.mode() & 0o070 != 0 {
            match rustix::fs::fremovexattr(&fd, "system.posix_acl_access") {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error),
            }
        }
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(self.mode()))
    }

    /// Whether the owner may be any user.
    fn is_any_owner(self) -> bool {
        self.owner.is_none() && (self.group.is_some() || self.mode.is_some_and(|mode| mode & 0o006 == 0o006))
    }

    /// Refuses the file of another owner, group or mode.
    pub(crate) fn accept(self, stat: &Stat, place: &str) -> Result<(), OpenError> {
        let owner = u64::from(stat.st_uid);
        let is_owner = match self.owner {
            Some(expected) => owner == u64::from(expected),
            None => self.is_any_owner() || owner == host::effective_uid(),
        };
        let is_group = self.group.is_none_or(|group| group == stat.st_gid);
        let is_mode = self.mode.is_none_or(|mode| mode == stat.st_mode & 0o777);
        if is_owner && is_group && is_mode { Ok(()) } else { Err(self.refusal(stat, place)) }
    }

    /// The error for a file that does not let us in.
    pub(crate) fn refusal(self, stat: &Stat, place: &str) -> OpenError {
        OpenError::Owner {
            place: place.to_owned(),
            expected: host::effective_uid(),
            asked: self,
            found: stat.st_uid.into(),
            group: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        }
    }
}

impl std::fmt::Display for Permissions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mode, owner, group } = self;
        match owner {
            Some(owner) => write!(f, "uid {owner}")?,
            None if self.is_any_owner() => f.write_str("any uid")?,
            None => write!(f, "uid {}", host::effective_uid())?,
        }
        if let Some(group) = group {
            write!(f, ", gid {group}")?;
        }
        mode.map_or(Ok(()), |mode| write!(f, ", mode {mode:03o}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_whose_segment_is_accepted() {
        let text = |mode, group| Permissions { mode, owner: None, group }.to_string();
        let own = format!("uid {}", host::effective_uid());
        assert_eq!(text(None, None), own);
        assert_eq!(text(Some(0o660), None), format!("{own}, mode 660"));
        assert_eq!(text(Some(0o666), None), "any uid, mode 666");
        assert_eq!(text(Some(0o660), Some(7)), "any uid, gid 7, mode 660");
    }
}
