// SPDX-License-Identifier: Apache-2.0
//! Where each member's data is in an archive that lies on a disk: headers are read, data is passed over by seeking. For
//! whoever wants single files of a large archive, and does not want to read it twice.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::reader::{Archive, Entry, Kind};
use crate::stream::BLOCK;
use crate::{FormatError, Limits, UnpackError, name};

/// A member, and where its data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Its name: relative, without `.`, double and trailing slashes; empty for the root.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// What a link leads to.
    pub link: Vec<u8>,
    /// Where its data begins, in bytes from the archive's front.
    pub offset: u64,
    /// Bytes of it.
    pub size: u64,
}

/// The members of the uncompressed archive `file`, in their order. Files with holes are refused: their data is not what
/// lies in the archive.
///
/// # Errors
/// As those of [`crate::Members::advance`]; [`FormatError::Truncated`] where data is announced that is not there.
pub fn locate(file: &File, limits: &Limits) -> Result<Vec<Located>, UnpackError> {
    let length = file.metadata().map_err(UnpackError::Read)?.len();
    let (mut members, mut entry, mut normal) = (Vec::new(), Entry::default(), Vec::new());
    let mut base = 0;
    loop {
        // A reader for each member: what one leaves unread the next need not pass over.
        let mut archive = Archive::new(Tail { file, offset: base }, limits);
        if !archive.next(&mut entry)? {
            return Ok(members);
        }
        if members.len() as u64 >= limits.max_entries {
            return Err(UnpackError::Limit { what: "entries", limit: limits.max_entries });
        }
        name::normalise(&entry.name, &mut normal, limits)
            .map_err(|refusal| UnpackError::refused(&entry.name, refusal))?;
        let offset = base + archive.position();
        if entry.sparse.is_some() {
            return Err(UnpackError::Format { offset, source: FormatError::Sparse });
        }
        let end = offset.checked_add(entry.size).filter(|end| *end <= length);
        let end = end.ok_or(UnpackError::Format { offset, source: FormatError::Truncated })?;
        // No file is so long that this overflows: it fits into `length`, but for the padding.
        base = end.next_multiple_of(BLOCK as u64);
        let (kind, link, size) = (entry.kind, entry.link.clone(), entry.size);
        members.push(Located { name: normal.clone(), kind, link, offset, size });
    }
}

/// The file from a place on, without moving the position that its other users may have.
struct Tail<'f> {
    file: &'f File,
    offset: u64,
}

impl std::io::Read for Tail<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::Writer;

    fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (name, content) in files {
            let mut entry = Entry::new(Kind::File, name.as_str(), 0o644);
            entry.size = content.len() as u64;
            writer.file(&entry, content).unwrap();
        }
        writer.finish().unwrap()
    }

    fn on_disk(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn members_are_found_where_they_are() {
        // A long name takes a PAX header, and data of more than the reader's buffer is passed over.
        let files =
            [("a".to_owned(), b"first".to_vec()), ("l/".repeat(90) + "x", vec![7; 300_000]), ("z".into(), vec![])];
        let file = on_disk(&archive(&files));
        let found = locate(&file, &Limits::default()).unwrap();
        assert_eq!(found.len(), 3);
        for (located, (name, content)) in found.iter().zip(&files) {
            let mut bytes = vec![0; usize::try_from(located.size).unwrap()];
            file.read_exact_at(&mut bytes, located.offset).unwrap();
            assert!(located.name == name.as_bytes() && bytes == *content, "{name}");
        }
    }

    #[test]
    fn what_is_cut_off_or_leads_out_is_refused() {
        let whole = archive(&[("a".into(), vec![1; 5000])]);
        for cut in [600, 3000, whole.len() - 1024] {
            assert!(locate(&on_disk(&whole[..cut]), &Limits::default()).is_err(), "{cut}");
        }
        assert!(locate(&on_disk(&archive(&[("../a".into(), vec![])])), &Limits::default()).is_err());
        let few = Limits { max_entries: 1, ..Limits::default() };
        let two = on_disk(&archive(&[("a".into(), vec![]), ("b".into(), vec![])]));
        assert!(matches!(locate(&two, &few), Err(UnpackError::Limit { .. })));
    }

    proptest! {
        #[test]
        fn any_damage_is_an_error_or_other_members_within_the_file(
            at in 0_usize..2048, byte in any::<u8>(), length in 0_usize..2600,
        ) {
            let mut bytes = archive(&[("a".into(), vec![1; 10]), ("b".into(), vec![2; 600])]);
            if let Some(there) = bytes.get_mut(at) {
                *there = byte;
            }
            bytes.truncate(length);
            if let Ok(found) = locate(&on_disk(&bytes), &Limits::default()) {
                prop_assert!(found.iter().all(|member| member.offset + member.size <= bytes.len() as u64));
            }
        }
    }
}
