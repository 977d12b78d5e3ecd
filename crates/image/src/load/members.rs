// SPDX-License-Identifier: Apache-2.0
//! The first reading of an image archive: files into the content store, documents into memory, links into a table.

use std::collections::BTreeMap;
use std::io::Read;

use ::oci::{Algorithm, Digest, DigestError};
use layer::{Kind, Limits};

use super::error::{LoadError, MemberName};
use crate::error::ImageError;
use crate::import::commit_pinned;
use crate::references::Session;
use crate::room;

/// Files and links that an archive may have. An image has at most 500 layers; of each the oldest form has three files.
const MAX_MEMBERS: usize = 16 << 10;
/// Bytes of a member's name, and of a link's target.
const MAX_NAME: usize = 1024;
/// Bytes of `manifest.json` and the like.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Links that lead to links are followed so often.
const MAX_LINKS: usize = 8;
const BLOBS: &str = "blobs/";
/// The documents, by their names in the archive's root.
const DOCUMENTS: [&str; 4] = ["manifest.json", "index.json", "oci-layout", "repositories"];

/// What an archive holds, now that it is read.
#[derive(Debug, Default)]
pub(super) struct Members {
    documents: BTreeMap<&'static str, Vec<u8>>,
    /// Where each file is now.
    files: BTreeMap<Vec<u8>, Stored>,
    /// Where each link leads, from the archive's root.
    links: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A file that is in the content store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) digest: Digest,
    /// Bytes.
    pub(super) size: u64,
}

impl Members {
    /// The text of a document.
    pub(super) fn document(&self, name: &str) -> Option<&[u8]> {
        self.documents.get(name).map(Vec::as_slice)
    }

    /// The file called `name`, also through links.
    pub(super) fn file(&self, name: &str) -> Option<Stored> {
        let mut path = layer::link_target(b"", name.as_bytes())?;
        for _ in 0..MAX_LINKS {
            if let Some(stored) = self.files.get(&path) {
                return Some(*stored);
            }
            path = self.links.get(&path)?.clone();
        }
        None
    }

    /// Whether the blob came with the archive.
    pub(super) fn has_blob(&self, digest: &Digest) -> bool {
        self.files.contains_key([BLOBS, &digest.blob_name()].concat().as_bytes())
    }

    fn contains(&self, name: &[u8]) -> bool {
        let is_document = |document: &&str| document.as_bytes() == name;
        self.files.contains_key(name) || self.links.contains_key(name) || self.documents.keys().any(is_document)
    }
}

/// Reads the uncompressed archive `tar` to its end.
pub(super) fn store(session: &Session, tar: impl Read) -> Result<Members, ImageError> {
    let limits = Limits::default();
    let mut archive = layer::Members::new(tar, &limits);
    let mut members = Members::default();
    while let Some(entry) = archive.advance().map_err(LoadError::Archive)? {
        let (name, kind, size, link) = (entry.name.clone(), entry.kind, entry.size, entry.link.clone());
        let refuse = |why| LoadError::Member { member: MemberName::new(&name), why };
        if name.len() > MAX_NAME || link.len() > MAX_NAME {
            return Err(refuse("its name is longer than any in an image archive").into());
        }
        if kind == Kind::Directory {
            continue;
        }
        if name.is_empty() {
            return Err(refuse("it would be the archive's root").into());
        }
        if members.contains(&name) {
            return Err(refuse("it is in the archive twice").into());
        }
        if members.files.len() + members.links.len() >= MAX_MEMBERS {
            return Err(LoadError::Limit { what: "files", limit: MAX_MEMBERS as u64 }.into());
        }
        match kind {
            Kind::File if archive.has_holes() => return Err(refuse("it is a file with holes").into()),
            Kind::File => {
                let document = DOCUMENTS.iter().copied().find(|document| document.as_bytes() == name);
                if let Some(document) = document {
                    members.documents.insert(document, text(&mut archive, size)?);
                } else if !is_of_no_use(&name) {
                    let stored = file(session, &mut archive, &name, size)?;
                    members.files.insert(name, stored);
                }
            }
            Kind::Symlink | Kind::HardLink => {
                let directory = if kind == Kind::Symlink { parent(&name) } else { b"" };
                let target = layer::link_target(directory, &link)
                    .ok_or_else(|| refuse("it is a link that leads out of the archive"))?;
                members.links.insert(name, target);
            }
            _ => return Err(refuse("it is neither a file nor a link").into()),
        }
    }
    archive.finish().map_err(LoadError::Archive)?;
    Ok(members)
}

/// What Docker wrote beside each layer for versions before 1.10; nothing refers to it.
fn is_of_no_use(name: &[u8]) -> bool {
    name.ends_with(b"/VERSION") || name.ends_with(b"/json")
}

fn text(archive: &mut layer::Members<'_, impl Read>, size: u64) -> Result<Vec<u8>, ImageError> {
    if size > MAX_DOCUMENT {
        return Err(LoadError::Limit { what: "bytes in a document", limit: MAX_DOCUMENT }.into());
    }
    let mut text = Vec::new();
    while let Some(piece) = archive.piece().map_err(LoadError::Archive)? {
        text.extend_from_slice(piece);
    }
    Ok(text)
}

/// Stores a file as a blob. Where its name is a digest, it must have that digest.
fn file(
    session: &Session,
    archive: &mut layer::Members<'_, impl Read>,
    name: &[u8],
    size: u64,
) -> Result<Stored, ImageError> {
    let refuse = |why| LoadError::Member { member: MemberName::new(name), why };
    let expected = digest_in(name).map_err(|_| refuse("a blob's name must be a digest"))?;
    if let Some(digest) = expected {
        session.pin(digest);
    }
    let store = session.store();
    let mut writer = store.with_room(0, || store.content.writer(expected, Some(size)))?;
    while let Some(piece) = archive.piece().map_err(LoadError::Archive)? {
        room::append(store, &mut writer, piece)?;
    }
    let (digest, size) = commit_pinned(session, writer)?;
    Ok(Stored { digest, size })
}

/// The digest that a member's name says it has: `blobs/<algorithm>/<hex>`.
fn digest_in(name: &[u8]) -> Result<Option<Digest>, DigestError> {
    let blob = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix(BLOBS)?.split_once('/'));
    match blob {
        Some((algorithm, hex)) if algorithm.parse::<Algorithm>().is_ok() => {
            format!("{algorithm}:{hex}").parse().map(Some)
        }
        _ => Ok(None),
    }
}

fn parent(name: &[u8]) -> &[u8] {
    name.iter().rposition(|&byte| byte == b'/').map_or(b"", |slash| &name[..slash])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blobs_name_says_its_digest() {
        for algorithm in Algorithm::ALL {
            let digest = algorithm.digest("x");
            let name = format!("blobs/{}", digest.blob_name());
            assert_eq!(digest_in(name.as_bytes()), Ok(Some(digest)));
            assert!(digest_in(&name.as_bytes()[..name.len() - 1]).is_err());
            let mut members = Members::default();
            assert!(!members.has_blob(&digest));
            members.files.insert(name.into_bytes(), Stored { digest, size: 1 });
            assert!(members.has_blob(&digest));
        }
        for other in [&b"blobs/md5/x"[..], b"a/layer.tar", b"blobs/\xff/x"] {
            assert_eq!(digest_in(other), Ok(None));
        }
    }

    #[test]
    fn links_to_links_end() {
        let mut members = Members::default();
        members.links.insert(b"a".to_vec(), b"b".to_vec());
        members.links.insert(b"b".to_vec(), b"a".to_vec());
        assert_eq!(members.file("a"), None);
        let stored = Stored { digest: Digest::of("x"), size: 1 };
        members.files.insert(b"c".to_vec(), stored);
        members.links.insert(b"b".to_vec(), b"c".to_vec());
        assert_eq!(members.file("./a"), Some(stored));
        assert!(members.contains(b"a") && members.contains(b"c") && !members.contains(b"d"));
    }
}
