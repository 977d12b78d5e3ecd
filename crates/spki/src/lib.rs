// SPDX-License-Identifier: Apache-2.0
//! Public keys in their envelope, a `SubjectPublicKeyInfo` (RFC 5280, section 4.1), and as much of DER (X.690) as it takes
//! to open and to close one.
//!
//! **Architecture Invariant:** bytes in, bytes out: no keys are checked or used here, and nothing is read or written.

pub mod id;

/// The tag of an `INTEGER`.
pub const INTEGER: u8 = 0x02;
/// The tag of a `SEQUENCE`.
pub const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;

/// What is in the envelope; all as it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The algorithm's object identifier, without its tag and length. Those of [`id`] are so.
    pub algorithm: &'a [u8],
    /// The algorithm's parameters, with their tag and length.
    pub parameters: &'a [u8],
    /// The key, as its algorithm has it.
    pub key: &'a [u8],
}

/// Opens a `SubjectPublicKeyInfo`; `None` when it is none.
pub fn open(spki: &[u8]) -> Option<Envelope<'_>> {
    let (outer, rest) = element(spki, SEQUENCE)?;
    let (identifier, bits) = element(outer, SEQUENCE)?;
    let (algorithm, parameters) = element(identifier, OBJECT_ID)?;
    let (bits, nothing) = element(bits, BIT_STRING)?;
    // The first byte is the number of unused bits: a key is whole bytes.
    let (0, key) = bits.split_first().map(|(unused, key)| (*unused, key))? else { return None };
    (rest.is_empty() && nothing.is_empty()).then_some(Envelope { algorithm, parameters, key })
}

/// Makes a `SubjectPublicKeyInfo`.
pub fn close(envelope: &Envelope<'_>) -> Vec<u8> {
    let identifier = [written(OBJECT_ID, envelope.algorithm), envelope.parameters.to_vec()].concat();
    let bits = [&[0], envelope.key].concat();
    written(SEQUENCE, &[written(SEQUENCE, &identifier), written(BIT_STRING, &bits)].concat())
}

/// The content of the element at the front, which must have this tag, and what follows it.
pub fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// An element of this tag.
fn written(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match significant {
        [] => bytes.push(0),
        [short @ 0..=0x7f] => bytes.push(*short),
        // A length has at most eight bytes.
        long => {
            bytes.push(0x80 | long.len() as u8);
            bytes.extend_from_slice(long);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_closed_opens_and_a_part_of_it_does_not() {
        for length in [0, 3, 127, 128, 255, 256, 70_000] {
            let key = vec![7; length];
            let envelope = Envelope { algorithm: &[0x2a, 3], parameters: &[5, 0], key: &key };
            let spki = close(&envelope);
            assert_eq!(open(&spki), Some(envelope));
            for cut in (0..spki.len()).take(40) {
                assert_eq!(open(&spki[..cut]), None);
            }
        }
        assert_eq!(open(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_open_or_not_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            open(&bytes);
        }
    }
}
