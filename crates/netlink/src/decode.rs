// SPDX-License-Identifier: Apache-2.0
//! Bytes from the kernel as messages and attributes. Nothing is believed: every length is checked.

use crate::encode::HEADER;

const TYPE_MASK: u16 = 0x3fff;

/// What is wrong with bytes that should be netlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A message's length field and the bytes that are there disagree.
    #[error("a message says it is {claimed} bytes long, and {available} are there")]
    Message {
        /// What the length field says.
        claimed: usize,
        /// How many bytes are left.
        available: usize,
    },
    /// The same, of an attribute.
    #[error("an attribute says it is {claimed} bytes long, and {available} are there")]
    Attribute {
        /// What the length field says.
        claimed: usize,
        /// How many bytes are left.
        available: usize,
    },
    /// A value shorter than its type.
    #[error("a value of {needed} bytes has only {available}")]
    Short {
        /// How many bytes the type has.
        needed: usize,
        /// How many there are.
        available: usize,
    },
}

/// One message, borrowed from the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The message type.
    pub kind: u16,
    /// `NLM_F_…`.
    pub flags: u16,
    /// The number of the request that this answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its number, without the flag bits.
    pub kind: u16,
    /// Its value.
    pub payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The value's first four bytes, in this machine's byte order.
    pub fn u32(&self) -> Result<u32, Malformed> {
        array(self.payload).map(u32::from_ne_bytes)
    }

    /// The value as text, up to the first NUL.
    pub fn text(&self) -> String {
        let end = self.payload.iter().position(|&b| b == 0).unwrap_or(self.payload.len());
        String::from_utf8_lossy(&self.payload[..end]).into_owned()
    }

    /// The attributes that this one is made of.
    pub fn nested(&self) -> impl Iterator<Item = Result<Attribute<'a>, Malformed>> + use<'a> {
        attributes(self.payload)
    }
}

/// The first `N` bytes.
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    bytes.first_chunk().copied().ok_or(Malformed::Short { needed: N, available: bytes.len() })
}

/// The messages in a datagram; ends after the first malformed one.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let all = std::mem::take(&mut rest);
        let Some(&[a, b, c, d, k0, k1, f0, f1, s0, s1, s2, s3, ..]) = all.first_chunk::<HEADER>() else {
            return Some(Err(Malformed::Message { claimed: HEADER, available: all.len() }));
        };
        let claimed = u32::from_ne_bytes([a, b, c, d]) as usize;
        if claimed < HEADER || claimed > all.len() {
            return Some(Err(Malformed::Message { claimed, available: all.len() }));
        }
        rest = all.get(claimed.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload: &all[HEADER..claimed],
        }))
    })
}

/// The attributes in `bytes`; ends after the first malformed one.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<Attribute<'_>, Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let all = std::mem::take(&mut rest);
        let Some(&[l0, l1, k0, k1]) = all.first_chunk::<4>() else {
            return Some(Err(Malformed::Attribute { claimed: 4, available: all.len() }));
        };
        let claimed = usize::from(u16::from_ne_bytes([l0, l1]));
        if claimed < 4 || claimed > all.len() {
            return Some(Err(Malformed::Attribute { claimed, available: all.len() }));
        }
        rest = all.get(claimed.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(Attribute { kind: u16::from_ne_bytes([k0, k1]) & TYPE_MASK, payload: &all[4..claimed] }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Batch;
    use proptest::prelude::*;

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(messages(&[0; 3]).next(), Some(Err(Malformed::Message { claimed: 16, available: 3 })));
        assert_eq!(messages(&[0; 16]).next(), Some(Err(Malformed::Message { claimed: 0, available: 16 })));
        assert_eq!(messages(&[0xff; 16]).next(), Some(Err(Malformed::Message { claimed: 0xffff_ffff, available: 16 })));
        assert_eq!(attributes(&[3, 0, 0, 0]).next(), Some(Err(Malformed::Attribute { claimed: 3, available: 4 })));
        assert_eq!(attributes(&[5, 0, 0, 0]).next(), Some(Err(Malformed::Attribute { claimed: 5, available: 4 })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic_or_loop(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
            for message in messages(&bytes).flatten() {
                for attribute in attributes(message.payload).flatten() {
                    let _ = (attribute.u32(), attribute.text(), attribute.nested().count());
                }
            }
        }

        #[test]
        fn what_is_encoded_is_what_is_decoded(
            parts in proptest::collection::vec((0u16..0x3fff, proptest::collection::vec(any::<u8>(), 0..50)), 0..8),
        ) {
            let mut batch = Batch::new();
            batch.push(42, 0, "test", |body| {
                body.nested(9, |inner| for (kind, value) in &parts { inner.bytes(*kind, value) });
            });
            let message = messages(batch.bytes()).next().unwrap().unwrap();
            prop_assert_eq!(message.kind, 42);
            let outer = attributes(message.payload).next().unwrap().unwrap();
            let back: Vec<(u16, Vec<u8>)> = outer.nested().map(|a| a.unwrap()).map(|a| (a.kind, a.payload.to_vec())).collect();
            prop_assert_eq!(back, parts);
        }
    }
}
