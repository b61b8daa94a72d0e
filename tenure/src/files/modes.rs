//! The access of a member to a file, and the access that it permits to others: three bits each.

use std::fmt;
use std::ops::BitOr;

use tenure_slab::Modes;

const NAMES: [&str; 3] = ["read", "write", "delete"];
const ALL: u8 = 7;

fn list(bits: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let has: Vec<_> = (0..3).filter(|bit| bits >> bit & 1 != 0).map(|bit| NAMES[bit as usize]).collect();
    f.write_str(if has.is_empty() { "nothing" } else { "" })?;
    f.write_str(&has.join("+"))
}

macro_rules! modes {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(u8);

        impl $name {
            /// No mode.
            pub const NONE: Self = Self(0);
            /// Reading.
            pub const READ: Self = Self(1);
            /// Writing.
            pub const WRITE: Self = Self(2);
            /// Deleting and renaming.
            pub const DELETE: Self = Self(4);
            /// All three modes.
            pub const ALL: Self = Self(ALL);

            /// Whether this set contains all modes of `other`.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }
        }

        impl BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                list(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                list(self.0, f)
            }
        }
    };
}

modes! {
    /// The access of a member to a file: the desired access of Windows' `CreateFile`.
    ///
    /// ```
    /// # use tenure::file::Access;
    /// let access = Access::READ | Access::WRITE;
    /// assert!(access.contains(Access::READ) && !access.contains(Access::DELETE));
    /// assert_eq!(access.to_string(), "read+write");
    /// ```
    Access
}
modes! {
    /// The access to a file that a member permits to others: the share mode of Windows' `CreateFile`.
    ///
    /// ```
    /// # use tenure::file::Sharing;
    /// assert!(Sharing::ALL.contains(Sharing::READ | Sharing::WRITE));
    /// assert_eq!(Sharing::NONE.to_string(), "nothing");
    /// ```
    Sharing
}

/// The access and the sharing in the form of the table. An entry without access denies nothing, as on Windows.
pub(super) fn modes(access: Access, sharing: Sharing) -> Modes {
    let denied = if access == Access::NONE { 0 } else { !sharing.0 & ALL };
    Modes { access: access.0, denied }
}

pub(super) fn parts(modes: Modes) -> (Access, Sharing) {
    (Access(modes.access), Sharing(!modes.denied & ALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_shown_as_words_and_translated_both_ways() {
        assert_eq!((Access::READ | Access::DELETE).to_string(), "read+delete");
        assert_eq!(Sharing::NONE.to_string(), "nothing");
        for access in 1..=ALL {
            for sharing in 0..=ALL {
                let (access, sharing) = (Access(access), Sharing(sharing));
                assert_eq!(parts(modes(access, sharing)), (access, sharing));
            }
        }
        assert_eq!(modes(Access::NONE, Sharing::NONE), Modes::NONE);
    }
}
