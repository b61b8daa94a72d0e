//! Requests of 40 bytes and replies of 20, as the daemons of 2002 and 2005 had them.

/// Bytes of a request.
pub(super) const REQUEST: usize = 40;
/// Bytes of a reply.
pub(super) const REPLY: usize = 20;

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Verb {
    /// A handle with a payload.
    New = 1,
    /// One more hold of a token.
    Open = 2,
    /// One less.
    Close = 3,
    /// A block of so many bytes.
    Scratch = 4,
    /// Free it.
    ScratchFree = 5,
    /// The numbers of holds and of blocks.
    InUse = 6,
    /// Requests come through the client's ring from now on.
    Ring = 7,
}

impl Verb {
    pub(super) fn of(number: u64) -> Option<Self> {
        [Self::New, Self::Open, Self::Close, Self::Scratch, Self::ScratchFree, Self::InUse, Self::Ring]
            .into_iter()
            .find(|verb| *verb as u64 == number)
    }
}

/// A request: a verb and its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The kind of the request.
    pub verb: Verb,
    /// Payload, token, bytes or offset.
    pub argument: u64,
}

/// A reply: an answer, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Whether the request failed.
    pub failed: bool,
    /// Token, payload or offset.
    pub value: u64,
    /// A second value, for the few that have one.
    pub more: u64,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes)
}

impl Request {
    pub(super) fn to_bytes(self) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        bytes[..8].copy_from_slice(&(self.verb as u64).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.argument.to_le_bytes());
        bytes
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self { verb: Verb::of(number(bytes, 0))?, argument: number(bytes, 8) })
    }
}

impl Reply {
    pub(super) fn to_bytes(self) -> [u8; REPLY] {
        let mut bytes = [0; REPLY];
        bytes[..4].copy_from_slice(&u32::from(self.failed).to_le_bytes());
        bytes[4..12].copy_from_slice(&self.value.to_le_bytes());
        bytes[12..].copy_from_slice(&self.more.to_le_bytes());
        bytes
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self { failed: bytes[..4] != [0; 4], value: number(bytes, 4), more: number(bytes, 12) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let request = Request { verb: Verb::Scratch, argument: u64::MAX - 1 };
        assert_eq!(Request::of_bytes(&request.to_bytes()), Some(request));
        assert_eq!(Request::of_bytes(&[0; REQUEST]), None);
        let reply = Reply { failed: true, value: 5, more: u64::MAX };
        assert_eq!(Reply::of_bytes(&reply.to_bytes()), reply);
    }
}
