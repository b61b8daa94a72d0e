//! Errors, one enum per family of operations. Messages name the expected value, the value found, and the next step of the user.

use std::io;
use std::path::PathBuf;

use crate::desk::Absence;
use crate::name::Backend;
use crate::permissions::Permissions;

/// Why a segment could not be created or attached. Nothing is left behind by a creation that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name cannot be part of a file name.
    #[error("{name:?} cannot name a segment: {why}")]
    InvalidName {
        /// The name as it was given.
        name: String,
        /// The rule that the name breaks.
        why: &'static str,
    },
    /// The requested geometry, or the one in the header, is impossible.
    #[error("{what} is {found}, the limit is {limit}")]
    Geometry {
        /// The name of the number.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The largest possible value (for offsets: the only one).
        limit: u64,
    },
    /// The file of the segment was removed while it has members, which go on without it. A new segment would be a second one beside
    /// theirs.
    #[error(
        "the file {place} was removed by somebody (RemoveIPC=, tmpfiles, rm), but the segment has members, which go on; \
         end them, or remove the segment with force to make room for another one"
    )]
    Removed {
        /// The file.
        place: String,
    },
    /// Members of a segment of this name live in this kernel, which shows them another boot id: a container with a boot id of its own.
    #[error(
        "{place} has members in this very kernel (lease {lease} is held), made under another boot id; give containers \
         that share the folder one /proc/sys/kernel/random/boot_id, or a folder each"
    )]
    OtherBootId {
        /// The file of the other boot id.
        place: String,
        /// One lease that is held.
        lease: u8,
    },
    /// No segment of that name exists on this boot.
    #[error("no segment at {place}; create it first")]
    NotFound {
        /// The name or path.
        place: String,
    },
    /// This kind of segment has no name: it reaches others by inheritance or as a file descriptor.
    #[error("a segment of the backend {backend} cannot be opened by name; hand on the one that exists")]
    Nameless {
        /// The backend.
        backend: Backend,
    },
    /// The file does not begin with the magic number of a segment.
    #[error("{place} is not a segment: magic is {found:#018x}, expected {expected:#018x}")]
    NotASegment {
        /// The file.
        place: String,
        /// The magic.
        expected: u64,
        /// The first word found.
        found: u64,
    },
    /// The segment has another version of the layout.
    #[error(
        "{place} has layout version {found}, this program speaks {expected}; let the other program remove it"
    )]
    Version {
        /// The file.
        place: String,
        /// This program's value.
        expected: u64,
        /// The value found.
        found: u64,
    },
    /// The segment was made by a program with another layout.
    #[error(
        "{place} has layout hash {found:#018x}, this program expects {expected:#018x}: it was made by another version of tenure; \
         use that version, or let it remove the segment"
    )]
    LayoutHash {
        /// The file.
        place: String,
        /// This program's hash, mixed with the caller's.
        expected: u64,
        /// The value found.
        found: u64,
    },
    /// The segment was made on a machine of another byte order.
    #[error("{place} has byte order {found:#018x}, expected {expected:#018x}")]
    ByteOrder {
        /// The file.
        place: String,
        /// The mark of this machine's byte order.
        expected: u64,
        /// The mark found.
        found: u64,
    },
    /// The segment was made for another page size.
    #[error("{place} was made for pages of {found} bytes, this kernel has {expected}")]
    PageBytes {
        /// The file.
        place: String,
        /// This program's value.
        expected: u64,
        /// The value found.
        found: u64,
    },
    /// The segment was made on another boot or another host.
    #[error("{place} was made on boot {found}, this is boot {expected}; its members are gone: remove it")]
    Boot {
        /// The file.
        place: String,
        /// This boot.
        expected: String,
        /// The boot found in the header.
        found: String,
    },
    /// The segment does not let us in, or is not what was asked for.
    #[error(
        "{place} belongs to uid {found}, gid {group}, with mode {mode:03o}; we are uid {expected} and asked for {asked}. \
         To share it, its creator and all others ask for the same group and a mode such as 0660"
    )]
    Owner {
        /// The file.
        place: String,
        /// Our effective user id.
        expected: u64,
        /// What was asked for.
        asked: Permissions,
        /// The owner found.
        found: u64,
        /// The group found.
        group: u32,
        /// The mode found.
        mode: u32,
    },
    /// The file is shorter than its header says.
    #[error("{place} is truncated: {found} bytes, expected {expected}")]
    Truncated {
        /// The file.
        place: String,
        /// Bytes according to the header; at least the header itself.
        expected: u64,
        /// The bytes found.
        found: u64,
    },
    /// The segment was made by another backend than the requested one.
    #[error("{place} was made by the backend {found}, asked for {expected}")]
    OtherBackend {
        /// The file.
        place: String,
        /// The requested backend.
        expected: Backend,
        /// The number of the backend in the header.
        found: u64,
    },
    /// The memfd could still shrink, so that accesses would fault.
    #[error("the memfd lacks seals: found {found:#x}, expected at least {expected:#x}")]
    NotSealed {
        /// F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW.
        expected: u32,
        /// The result of F_GET_SEALS; zero also if the descriptor is no memfd.
        found: u32,
    },
    /// The file system does not reliably support the lock that proves life, or shared mappings.
    #[error("{place} lies on {found}; use a directory on tmpfs, ext4, xfs or btrfs")]
    FileSystem {
        /// The file.
        place: String,
        /// The name of the file system, if known, and its number.
        found: String,
    },
    /// The memory could not be reserved.
    #[error("no space for {wanted} bytes at {place}")]
    NoSpace {
        /// The bytes that were to be reserved.
        wanted: u64,
        /// The name or path.
        place: String,
    },
    /// The memory of a SysV segment cannot be attached from here (another IPC namespace), although the segment has members.
    #[error("{place} names SysV memory {shmid} that cannot be attached from here although members hold it")]
    Unreachable {
        /// The lock file.
        place: String,
        /// The identifier in it.
        shmid: i32,
    },
    /// Other processes created and removed the segment during every attempt.
    #[error("{place} appeared and vanished {attempts} times; somebody is removing it in a loop")]
    Contended {
        /// The file.
        place: String,
        /// The number of attempts.
        attempts: u32,
    },
    /// Another error of the system.
    #[error("cannot {what} ({place})")]
    Os {
        /// The operation.
        what: &'static str,
        /// The name or path.
        place: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Why a process could not become a member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Every slot has an owner, or a dead owner that is still being recovered.
    #[error("all {members} leases are taken")]
    Full {
        /// The size of the lease table.
        members: u16,
    },
    /// The lock vanished with the file descriptor, although the mapping should have kept it.
    #[error(
        "{place} does not keep a lock that only a mapping holds (overlayfs does not); use another file system"
    )]
    LockNotPinned {
        /// The file.
        place: String,
    },
    /// The segment was removed after it was opened, so that no other process would find it.
    #[error(
        "{place} was removed (by RemoveIPC=, tmpfiles, rm or tenure rm): no other process would find the new member; open it again"
    )]
    Removed {
        /// The file.
        place: String,
    },
    /// This process may not open the file any more: it has given up rights since it opened the segment.
    #[error(
        "{place} belongs to uid {owner}, gid {group}, with mode {mode:03o}, and we are uid {uid} by now: join before giving up rights, \
         or create it with a group, an owner or a mode that lets us in"
    )]
    Denied {
        /// The file.
        place: String,
        /// Its owner.
        owner: u32,
        /// Its group.
        group: u32,
        /// Its mode.
        mode: u32,
        /// Our effective user id.
        uid: u64,
    },
    /// The file was truncated after it was opened.
    #[error("{place} is truncated: {found} bytes, expected {expected}")]
    Truncated {
        /// The file.
        place: String,
        /// Bytes according to the header.
        expected: u64,
        /// The bytes found.
        found: u64,
    },
    /// Other code of this process closed or replaced our file descriptor, and no path leads to the file.
    #[error("the descriptor of {place} was closed or replaced by somebody in this process")]
    LostDescriptor {
        /// The file.
        place: String,
    },
    /// Another error of the system.
    #[error("cannot {what}")]
    Os {
        /// The operation.
        what: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Why this process is not, or no longer, the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMember {
    /// This is a forked child of the member. It may join on its own.
    #[error("a forked child is not a member until it joins")]
    ForkedChild,
    /// The member has left.
    #[error("the member has left")]
    Left,
}

/// Why dead members were not recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// Not a member.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// There are other members, and the kernel cannot be asked which of them are dead.
    #[error("cannot tell which members are dead: {0}")]
    Unable(#[from] Absence),
}

/// Why bytes of the data area could not be reserved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Not a member.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The range ends behind the data area.
    #[error("bytes {start}..{end} are not within the data area of {data_area_bytes}")]
    OutOfDataArea {
        /// First byte asked for.
        start: u64,
        /// First byte not asked for.
        end: u64,
        /// The length of the data area.
        data_area_bytes: u64,
    },
    /// The file system (or the machine) has no room. Nothing was reserved.
    #[error("no space for {wanted} bytes")]
    NoSpace {
        /// The bytes that were to be reserved.
        wanted: u64,
    },
    /// The file was truncated: touching the segment beyond its end faults.
    #[error("the segment is truncated: {found} bytes, expected {expected}")]
    Truncated {
        /// Bytes according to the header.
        expected: u64,
        /// The bytes found.
        found: u64,
    },
    /// Another error of the system.
    #[error("cannot {what}")]
    Os {
        /// The operation.
        what: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Why bytes of the data area could not be decommitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecommitError {
    /// Not a member.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The range ends behind the data area.
    #[error("bytes {start}..{end} are not within the data area of {data_area_bytes}")]
    OutOfDataArea {
        /// First byte named.
        start: u64,
        /// First byte not named.
        end: u64,
        /// The length of the data area.
        data_area_bytes: u64,
    },
    /// The system refused.
    #[error("cannot give memory back")]
    Os(#[source] io::Error),
}

/// Why a segment was not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// The name cannot be part of a file name.
    #[error("{name:?} cannot name a segment: {why}")]
    InvalidName {
        /// The name as it was given.
        name: String,
        /// The rule that the name breaks.
        why: &'static str,
    },
    /// Nothing of that name exists.
    #[error("no segment at {place}")]
    NotFound {
        /// The name or path.
        place: String,
    },
    /// The file was removed already, but the segment has members. With force, another one of the name may be created.
    #[error("{place} is removed already, but the segment has members; force permits to create another one")]
    Unnamed {
        /// The file.
        place: String,
    },
    /// The segment has a member, or one that is being recovered.
    #[error("{place} has members (lease {lease} is held)")]
    Held {
        /// The file.
        place: String,
        /// One lease that is held.
        lease: u8,
    },
    /// This kind of segment has no name to remove; it goes with its last user.
    #[error("a segment of the backend {backend} goes with its last user")]
    Nameless {
        /// The backend.
        backend: Backend,
    },
    /// The system refused.
    #[error("cannot {what} ({place})")]
    Os {
        /// The operation.
        what: &'static str,
        /// The name or path.
        place: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Why the directory of segments could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {directory}")]
pub struct ListError {
    /// Which directory.
    pub directory: PathBuf,
    /// The system's error.
    #[source]
    pub source: io::Error,
}
