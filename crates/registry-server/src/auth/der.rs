// SPDX-License-Identifier: Apache-2.0
//! As much of DER (X.690) as it takes to find a public key in its envelope, a `SubjectPublicKeyInfo` (RFC 5280, section
//! 4.1): a sequence of an algorithm and a bit string.

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;

/// The algorithm's object identifier, its parameters, and the key itself; all as they are encoded.
pub(super) fn public_key(spki: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (outer, rest) = element(spki, SEQUENCE)?;
    let (algorithm, bits) = element(outer, SEQUENCE)?;
    let (id, parameters) = element(algorithm, OBJECT_ID)?;
    let (bits, nothing) = element(bits, BIT_STRING)?;
    // The first byte is the number of unused bits: a key is whole bytes.
    let (0, key) = bits.split_first().map(|(unused, key)| (*unused, key))? else { return None };
    (rest.is_empty() && nothing.is_empty()).then_some((id, parameters, key))
}

/// The content of the element at the front, which must have this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_and_nonsense_is_not() {
        let spki = [&[0x30, 12, 0x30, 4, 0x06, 2, 0x2a, 0x03][..], &[0x03, 4, 0, 7, 8, 9]].concat();
        assert_eq!(public_key(&spki), Some((&[0x2a, 0x03][..], &[][..], &[7, 8, 9][..])));
        for cut in 0..spki.len() {
            assert_eq!(public_key(&spki[..cut]), None);
        }
        assert_eq!(public_key(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
