// SPDX-License-Identifier: Apache-2.0
//! Extended attributes, all of them kept beside their inode (`struct erofs_xattr_ibody_header`, `erofs_xattr_entry`).

use crate::Problem;

/// The header in front of the first one.
const HEADER: usize = 12;
/// Namespaces, and the number that stands for each in front of a name.
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];

/// The attributes of one inode: empty for none.
pub(crate) fn bytes(xattrs: &[(&[u8], &[u8])]) -> Result<Vec<u8>, Problem> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; HEADER];
    for (name, value) in xattrs {
        let stripped = PREFIXES.iter().find_map(|(prefix, index)| Some((name.strip_prefix(*prefix)?, *index)));
        let (name, index) = stripped.filter(|(name, _)| !name.is_empty()).ok_or(Problem::Xattr)?;
        bytes.push(u8::try_from(name.len()).map_err(|_| Problem::Xattr)?);
        bytes.push(index);
        bytes.extend_from_slice(&u16::try_from(value.len()).map_err(|_| Problem::Xattr)?.to_le_bytes());
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    count(bytes.len()).map(|_| bytes)
}

/// What an inode says of `length` bytes of attributes.
pub(crate) fn count(length: usize) -> Result<u16, Problem> {
    match length {
        0 => Ok(0),
        _ => u16::try_from((length - HEADER) / 4 + 1).map_err(|_| Problem::Xattr),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_namespace_and_entries_are_aligned() {
        let found = bytes(&[(b"user.a", b"xyz"), (b"trusted.overlay.opaque", b"y")]).unwrap();
        assert_eq!(&found[12..20], b"\x01\x01\x03\x00axyz");
        assert_eq!(&found[20..], b"\x0e\x04\x01\x00overlay.opaquey\0");
        assert_eq!(count(found.len()), Ok(8));
        assert_eq!(bytes(&[]), Ok(Vec::new()));
    }

    #[test]
    fn what_has_no_place_is_refused() {
        for name in [&b"system.posix_acl_access"[..], b"user.", b"nothing", &[b"user.", &[b'n'; 256][..]].concat()] {
            assert_eq!(bytes(&[(name, b"")]), Err(Problem::Xattr), "{:?}", String::from_utf8_lossy(name));
        }
        assert_eq!(bytes(&[(b"user.a", &[0; 65_536])]), Err(Problem::Xattr));
        assert_eq!(bytes(&[(&b"user.a"[..], &[0; 65_535][..]); 5]), Err(Problem::Xattr));
    }
}
