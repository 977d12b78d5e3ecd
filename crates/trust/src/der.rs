// SPDX-License-Identifier: Apache-2.0
//! As much of DER (X.690) as it takes to open and to close the envelope of a public key, a `SubjectPublicKeyInfo`
//! (RFC 5280, section 4.1).

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OBJECT_ID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

/// What is in the envelope; all as it is encoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    /// The algorithm's object identifier.
    pub(crate) algorithm: &'a [u8],
    /// The algorithm's parameters, with their tag and length.
    pub(crate) parameters: &'a [u8],
    pub(crate) key: &'a [u8],
}

/// Opens a `SubjectPublicKeyInfo`; `None` when it is none.
pub(crate) fn open(spki: &[u8]) -> Option<Envelope<'_>> {
    let (outer, rest) = element(spki, SEQUENCE)?;
    let (identifier, bits) = element(outer, SEQUENCE)?;
    let (algorithm, parameters) = element(identifier, OBJECT_ID)?;
    let (bits, nothing) = element(bits, BIT_STRING)?;
    // The first byte is the number of unused bits: a key is whole bytes.
    let (0, key) = bits.split_first().map(|(unused, key)| (*unused, key))? else { return None };
    (rest.is_empty() && nothing.is_empty()).then_some(Envelope { algorithm, parameters, key })
}

/// Makes a `SubjectPublicKeyInfo`.
pub(crate) fn close(envelope: &Envelope<'_>) -> Vec<u8> {
    let identifier = [written(OBJECT_ID, envelope.algorithm), envelope.parameters.to_vec()].concat();
    let bits = [&[0], envelope.key].concat();
    written(SEQUENCE, &[written(SEQUENCE, &identifier), written(BIT_STRING, &bits)].concat())
}

/// The content of the element at the front, which must have this tag, and what follows it.
pub(crate) fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
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
pub(crate) fn written(tag: u8, content: &[u8]) -> Vec<u8> {
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
