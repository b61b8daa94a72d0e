//! The crate's errors in the words of the suite.

use tenure::{
    error::{
        AllocError, BlockError, CreateError, DescriptorError, FreeError, JoinError, LeaveError, MapError,
        NamedError, NotMember, OpenError, OpenHandleError, PidError, ProcessError, PutError, QueueError,
        RecoverError, RemoveError, ScratchError, SegmentError, ShareError, SlotError, UseError, WaitError,
    },
    file::{Access, Sharing},
};

use crate::order::{Fault, Modes};

fn other(error: impl std::fmt::Display) -> Fault {
    Fault::Other(error.to_string())
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        other(error)
    }
}

impl From<NotMember> for Fault {
    fn from(error: NotMember) -> Self {
        match error {
            NotMember::ForkedChild => Self::Forked,
            NotMember::Left => Self::NotMember,
        }
    }
}

impl From<RecoverError> for Fault {
    fn from(error: RecoverError) -> Self {
        match error {
            RecoverError::NotMember(error) => error.into(),
            error => other(error),
        }
    }
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Segment(SegmentError::FileSystem { .. }) => Self::NotHere(error.to_string()),
            other_error => other(other_error),
        }
    }
}

impl From<RemoveError> for Fault {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Held { .. } => Self::InUse,
            error => other(error),
        }
    }
}

impl From<JoinError> for Fault {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Full { .. } => Self::Full,
            error => other(error),
        }
    }
}

impl From<LeaveError> for Fault {
    fn from(error: LeaveError) -> Self {
        match error {
            LeaveError::NotMember(error) => error.into(),
            LeaveError::InUse => Self::InUse,
            error => other(error),
        }
    }
}

impl From<ScratchError> for Fault {
    fn from(error: ScratchError) -> Self {
        match error {
            ScratchError::TooLarge { .. } => Self::TooLarge,
            ScratchError::Empty | ScratchError::Align { .. } => Self::Argument,
            ScratchError::Exhausted { .. } => Self::Exhausted,
            ScratchError::NoMemory { .. } => other(error),
        }
    }
}

impl From<BlockError> for Fault {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::OutOfRange { .. } | BlockError::NotABlock { .. } => Self::NotABlock,
            BlockError::AlreadyFree { .. } => Self::AlreadyFree,
            BlockError::WrongOwner { .. } => Self::WrongOwner,
        }
    }
}

impl From<AllocError> for Fault {
    fn from(error: AllocError) -> Self {
        match error {
            AllocError::NotMember(error) => error.into(),
            AllocError::Scratch(error) => error.into(),
            AllocError::Block(error) => error.into(),
            error => other(error),
        }
    }
}

impl From<FreeError> for Fault {
    fn from(error: FreeError) -> Self {
        match error {
            FreeError::NotMember(error) => error.into(),
            FreeError::Block(error) => error.into(),
            error => other(error),
        }
    }
}

impl From<CreateError> for Fault {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::NotMember(error) => error.into(),
            CreateError::Exhausted { .. } => Self::Exhausted,
            CreateError::Scratch(error) => error.into(),
            CreateError::Block(error) => error.into(),
            CreateError::Semaphore { .. } | CreateError::Permits { .. } | CreateError::Capacity { .. } => {
                Self::Argument
            }
            CreateError::ContainerSlots { .. } => Self::ContainerSlots,
            CreateError::SystemKind { .. } => Self::SystemKind,
            CreateError::NameTaken { .. } => Self::NameTaken,
            CreateError::BadName { .. } => Self::BadName,
            error => other(error),
        }
    }
}

impl From<OpenHandleError> for Fault {
    fn from(error: OpenHandleError) -> Self {
        match error {
            OpenHandleError::NotMember(error) => error.into(),
            OpenHandleError::Stale { .. } => Self::Stale,
            OpenHandleError::NoSuchName => Self::NoSuchName,
            OpenHandleError::Forged { .. } => Self::Forged,
            OpenHandleError::ForeignSpace { .. } => Self::ForeignSpace,
            OpenHandleError::ForeignKind { .. } => Self::ForeignKind,
            OpenHandleError::SystemKind { .. } => Self::SystemKind,
            error => other(error),
        }
    }
}

impl From<NamedError> for Fault {
    fn from(error: NamedError) -> Self {
        match error {
            NamedError::NotMember(error) => error.into(),
            NamedError::Create(error) => error.into(),
            NamedError::Open(error) => error.into(),
            #[allow(unreachable_patterns, reason = "the enum may grow")]
            error => other(error),
        }
    }
}

impl From<UseError> for Fault {
    fn from(error: UseError) -> Self {
        match error {
            UseError::NotMember(error) => error.into(),
            UseError::Stale => Self::Stale,
            error => other(error),
        }
    }
}

impl From<WaitError> for Fault {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::NotMember(error) => error.into(),
            WaitError::TimedOut => Self::TimedOut,
            WaitError::Deadlock | WaitError::LockedAgain { .. } => Self::Deadlock,
            WaitError::NotOwner => Self::NotOwner,
            WaitError::Maximum { .. } => Self::Maximum,
            WaitError::Number { .. }
            | WaitError::Twice { .. }
            | WaitError::SeveralMembers { .. }
            | WaitError::NotTaken { .. } => Self::Argument,
            WaitError::Of { error, .. } => (*error).into(),
            WaitError::Unwatched(error) => (*error).into(),
            error => other(error),
        }
    }
}

impl From<PutError> for Fault {
    fn from(error: PutError) -> Self {
        match error {
            PutError::NotMember(error) => error.into(),
            PutError::Full { .. } | PutError::AllFull { .. } => Self::SlotFull,
            PutError::Already { .. } => Self::Kept,
            PutError::NoSlot { .. } => Self::NoSlot,
            error => other(error),
        }
    }
}

impl From<SlotError> for Fault {
    fn from(error: SlotError) -> Self {
        match error {
            SlotError::NotMember(error) => error.into(),
            SlotError::Empty { .. } => Self::SlotEmpty,
            SlotError::Claimed { .. } => Self::Claimed,
            SlotError::NoSlot { .. } => Self::NoSlot,
            SlotError::NotOpened(error) => error.into(),
            error => other(error),
        }
    }
}

impl From<QueueError> for Fault {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::NotMember(error) => error.into(),
            QueueError::Full { .. } => Self::QueueFull,
            QueueError::Wait(error) => error.into(),
            QueueError::NotCreated(error) => error.into(),
            QueueError::NotPut(error) => error.into(),
            QueueError::NotOpened(error) => error.into(),
            error => other(error),
        }
    }
}

impl From<MapError> for Fault {
    fn from(error: MapError) -> Self {
        match error {
            MapError::NotMember(error) => error.into(),
            MapError::Create(error) => error.into(),
            MapError::Full { .. } => Self::MapFull,
            MapError::TooLarge { .. } => Self::TooLarge,
            error => other(error),
        }
    }
}

impl From<PidError> for Fault {
    fn from(error: PidError) -> Self {
        match error {
            PidError::Gone => Self::Gone,
            PidError::Unsupported { .. } => Self::NotHere(error.to_string()),
            error => other(error),
        }
    }
}

impl From<ProcessError> for Fault {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::NotMember(error) => error.into(),
            ProcessError::Create(error) => error.into(),
            ProcessError::Open(error) => error.into(),
            ProcessError::Pid(error) => error.into(),
            ProcessError::NotItself => Self::NotOwner,
            ProcessError::AlreadyAnnounced => Self::Announced,
            error => other(error),
        }
    }
}

impl From<DescriptorError> for Fault {
    fn from(error: DescriptorError) -> Self {
        match error {
            DescriptorError::NotMember(error) => error.into(),
            DescriptorError::Create(error) => error.into(),
            DescriptorError::Open(error) => error.into(),
            DescriptorError::NoHolder => Self::Nobody,
            error => other(error),
        }
    }
}

impl From<ShareError> for Fault {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::NotMember(error) => error.into(),
            ShareError::Named(error) => error.into(),
            ShareError::Open(error) => error.into(),
            ShareError::Conflict(who) => {
                let (access, sharing) = (who.access, who.sharing);
                let access = Modes {
                    read: access.contains(Access::READ),
                    write: access.contains(Access::WRITE),
                    delete: access.contains(Access::DELETE),
                };
                let sharing = Modes {
                    read: sharing.contains(Sharing::READ),
                    write: sharing.contains(Sharing::WRITE),
                    delete: sharing.contains(Sharing::DELETE),
                };
                Self::Conflict { pid: who.pid, access, sharing }
            }
            error => other(error),
        }
    }
}
