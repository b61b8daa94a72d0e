//! The interface that a language implements to take part.

use std::fmt;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

pub use tenure::Backend;

use crate::order::{Answer, Fault, Order};
use crate::{c, rust};

/// All backends.
pub(crate) const BACKENDS: [Backend; 6] =
    [Backend::Shm, Backend::File, Backend::Memfd, Backend::Anonymous, Backend::SysV, Backend::Private];

/// The place of a space.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its backend.
    pub backend: Backend,
    /// Its name, for backends that have names.
    pub name: String,
    /// Its path, for files.
    pub path: PathBuf,
}

/// The size of a space.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The most members.
    pub members: u16,
    /// Handles.
    pub handles: u32,
    /// Bits of a generation.
    pub generation_bits: u8,
    /// Bytes of scratch.
    pub scratch: u64,
    /// Slots.
    pub slots: u32,
    /// Container slots.
    pub container_slots: u32,
}

impl Sizes {
    /// Enough for most scenarios.
    pub const USUAL: Self = Self {
        members: 8,
        handles: 128,
        generation_bits: 36,
        scratch: 2 << 20,
        slots: 0,
        container_slots: 0,
    };
    /// With slots.
    pub const SLOTS: Self = Self { slots: 4, ..Self::USUAL };
    /// With container slots.
    pub const CONTAINERS: Self = Self { container_slots: 128, ..Self::USUAL };
}

/// A space as one language has it open. Programs of the same process, or forked from it, make drivers from it.
pub trait OpenSpace: Send + Sync {
    /// The descriptor to attach by, for memfds.
    fn fd(&self) -> Option<RawFd>;
    /// A program's access, which is no member yet.
    fn driver(self: Arc<Self>) -> Box<dyn Driver>;
}

/// One program: it obeys orders, in its language.
pub trait Driver {
    /// Obeys one order.
    ///
    /// # Errors
    ///
    /// [`Fault`]; [`Fault::NotInThisLanguage`] for a call that the language does not offer.
    fn obey(&mut self, order: &Order) -> Result<Answer, Fault>;
}

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The crate `tenure`.
    Rust,
    /// The functions of `tenure.h`.
    C,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Rust, Self::C];

    /// Creates a space.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn create(self, place: &Place, sizes: &Sizes) -> Result<Arc<dyn OpenSpace>, Fault> {
        match self {
            Self::Rust => rust::create(place, sizes),
            Self::C => c::create(place, sizes),
        }
    }

    /// Attaches to a space that exists, for backends where a name, a path or a descriptor is enough.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn attach(self, place: &Place, fd: Option<RawFd>) -> Result<Arc<dyn OpenSpace>, Fault> {
        match self {
            Self::Rust => rust::attach(place, fd),
            Self::C => c::attach(place, fd),
        }
    }

    /// Removes a space with a name or a path.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn remove(self, place: &Place) -> Result<(), Fault> {
        match self {
            Self::Rust => rust::remove(place),
            Self::C => c::remove(place),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::C => "C",
        })
    }
}
