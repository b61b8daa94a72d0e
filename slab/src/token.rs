//! A handle as 64 bits, to be passed by any means.

use std::{fmt, num::NonZeroU64, str::FromStr};

use crate::geometry::HANDLES_MAX;
use crate::word::GENERATION_BITS;

const INDEX_BITS: u32 = HANDLES_MAX.trailing_zeros();
const TAG_SHIFT: u32 = INDEX_BITS + GENERATION_BITS;

const _: () = assert!(TAG_SHIFT + 8 == 64);

/// A handle as 64 bits: `{space tag:8 | generation:36 | index:20}`.
///
/// A token does not hold the handle: opening it may return stale. Printed and parsed as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(NonZeroU64);

/// Bits or text that are no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The space tag is 0, which no space has.
    #[error("expected a token with a space tag, found {found:016x}")]
    NoSpace {
        /// The bits given.
        found: u64,
    },
    /// Not 16 hexadecimal digits.
    #[error("expected 16 hexadecimal digits, found something else in {found} bytes")]
    NotHex {
        /// Bytes of the text given.
        found: usize,
    },
}

impl Token {
    /// Packs a token; `None` if a part does not fit or the tag is 0.
    #[must_use]
    pub const fn new(space_tag: u8, generation: u64, index: u32) -> Option<Self> {
        if space_tag == 0 || generation >> GENERATION_BITS != 0 || index >= HANDLES_MAX {
            return None;
        }
        match NonZeroU64::new((space_tag as u64) << TAG_SHIFT | generation << INDEX_BITS | index as u64) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// The handle without the space: `{generation:36 | index:20}`.
    pub(crate) const fn handle_bits(self) -> u64 {
        self.0.get() & ((1 << TAG_SHIFT) - 1)
    }

    /// The inverse of `handle_bits`, in a space; `None` for a tag of 0.
    pub(crate) const fn from_handle_bits(space_tag: u8, bits: u64) -> Option<Self> {
        Self::new(space_tag, bits >> INDEX_BITS, (bits & (HANDLES_MAX as u64 - 1)) as u32)
    }

    /// The tag of the token's space; never 0.
    #[must_use]
    pub const fn space_tag(self) -> u8 {
        (self.0.get() >> TAG_SHIFT) as u8
    }

    /// The generation of the handle.
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.0.get() >> INDEX_BITS & ((1 << GENERATION_BITS) - 1)
    }

    /// The index of the handle.
    #[must_use]
    pub const fn index(self) -> u32 {
        (self.0.get() & (HANDLES_MAX as u64 - 1)) as u32
    }
}

impl From<Token> for u64 {
    fn from(token: Token) -> Self {
        token.0.get()
    }
}

impl TryFrom<u64> for Token {
    type Error = TokenError;

    fn try_from(found: u64) -> Result<Self, TokenError> {
        match NonZeroU64::new(found) {
            Some(bits) if found >> TAG_SHIFT != 0 => Ok(Self(bits)),
            _ => Err(TokenError::NoSpace { found }),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "token {self} (handle {}#{} of space {})",
            self.index(),
            self.generation(),
            self.space_tag()
        )
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let not_hex = TokenError::NotHex { found: text.len() };
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(not_hex);
        }
        u64::from_str_radix(text, 16).map_err(|_| not_hex)?.try_into()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 8 } else { 1024 }, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn tokens_round_trip(tag in 1u8.., generation in 0..1u64 << GENERATION_BITS, index in 0..HANDLES_MAX) {
            let token = Token::new(tag, generation, index).unwrap();
            prop_assert_eq!((token.space_tag(), token.generation(), token.index()), (tag, generation, index));
            prop_assert_eq!(Token::try_from(u64::from(token)), Ok(token));
            prop_assert_eq!(token.to_string().parse(), Ok(token));
            prop_assert_eq!(token.to_string().len(), 16);
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        assert_eq!(Token::new(0, 1, 1), None);
        assert_eq!(Token::new(1, 1 << GENERATION_BITS, 1), None);
        assert_eq!(Token::new(1, 1, HANDLES_MAX), None);
        assert_eq!(Token::try_from(5), Err(TokenError::NoSpace { found: 5 }));
        for text in ["", "1", "+100000000000001", "g100000000000000", "01000000000000001"] {
            assert_eq!(text.parse::<Token>(), Err(TokenError::NotHex { found: text.len() }), "{text}");
        }
    }
}
