// SPDX-License-Identifier: Apache-2.0
//! Archives as places: one that is read at any of its members, and one that is written from front to back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layer::{Compression, Entry, Kind, Limits, Located, Writer};

use crate::blob::{Reader as _, Stretch, Verified};
use crate::error::{At as _, TransferError, system};
use crate::spool;
use crate::staged::StagedFile;

/// Files and links that an archive may have: of each of 500 layers the oldest form has three files.
const MAX_MEMBERS: u64 = 16 << 10;
/// Links that lead to links are followed so often.
const MAX_LINKS: usize = 8;
const BUFFER: usize = 256 << 10;

/// An archive to be read.
pub(crate) struct Packed {
    file: Arc<File>,
    path: PathBuf,
    members: BTreeMap<Vec<u8>, Located>,
}

impl Packed {
    /// Opens the archive `path`. One that is compressed as a whole is uncompressed first.
    pub(crate) fn open(path: &Path) -> Result<Packed, TransferError> {
        let mut file = File::open(path).at("open", path)?;
        let metadata = file.metadata().at("stat", path)?;
        if metadata.is_dir() {
            return Err(system("read", path, io::ErrorKind::IsADirectory));
        }
        if !metadata.is_file() {
            return Err(system("read", path, io::Error::other("it is no plain file, and is read in any order")));
        }
        let mut start = Vec::with_capacity(4);
        file.by_ref().take(4).read_to_end(&mut start).at("read", path)?;
        if layer::detect(&start) != Compression::None {
            let whole = Stretch { file: Arc::new(file), path: path.to_owned(), offset: 0, size: metadata.len() };
            file = spool::unpacked(&whole)?;
        }
        let limits = Limits { max_entries: MAX_MEMBERS, ..Limits::default() };
        let archive = |source| TransferError::Archive { path: path.to_owned(), source };
        let located = layer::locate(&file, &limits).map_err(archive)?;
        let mut members = BTreeMap::new();
        for member in located.into_iter().filter(|member| member.kind != Kind::Directory) {
            // Of two files with one name, readers differ in which they take.
            if let Some(twice) = members.insert(member.name.clone(), member) {
                let name = String::from_utf8_lossy(&twice.name).into_owned();
                return Err(system("read", path, io::Error::other(format!("its member {name:?} is there twice"))));
            }
        }
        Ok(Packed { file: Arc::new(file), path: path.to_owned(), members })
    }

    /// The file `name`, also through links; `None` where there is none.
    pub(crate) fn stretch(&self, name: &str) -> Option<Stretch> {
        let mut path = layer::link_target(b"", name.as_bytes())?;
        for _ in 0..MAX_LINKS {
            let member = self.members.get(&path)?;
            let directory = match member.kind {
                Kind::File => {
                    let (file, path) = (Arc::clone(&self.file), self.path.clone());
                    return Some(Stretch { file, path, offset: member.offset, size: member.size });
                }
                Kind::Symlink => path.iter().rposition(|&byte| byte == b'/').map_or(&b""[..], |slash| &path[..slash]),
                Kind::HardLink => b"",
                _ => return None,
            };
            path = layer::link_target(directory, &member.link)?;
        }
        None
    }

    /// The text of the document `name`, of at most `limit` bytes.
    pub(crate) fn document(
        &self,
        place: &str,
        name: &str,
        document: &'static str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, TransferError> {
        let Some(stretch) = self.stretch(name) else { return Ok(None) };
        if stretch.size > limit {
            return Err(TransferError::TooLarge { place: place.to_owned(), document, limit });
        }
        let mut text = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            match stretch.read_at(&mut buffer, text.len() as u64)? {
                0 => return Ok(Some(text)),
                count => text.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

/// An archive to be written. It has its name when it is whole.
pub(crate) struct Packing {
    staged: StagedFile,
    writer: Writer<BufWriter<File>>,
}

impl Packing {
    pub(crate) fn create(path: &Path) -> Result<Packing, TransferError> {
        let (staged, file) = StagedFile::create(path)?;
        Ok(Packing { staged, writer: Writer::new(BufWriter::with_capacity(BUFFER, file)) })
    }

    /// A directory.
    pub(crate) fn directory(&mut self, name: &str) -> Result<(), TransferError> {
        self.writer.entry(&Entry::new(Kind::Directory, name, 0o755)).at("write", self.staged.path())
    }

    /// A file of the epoch: what is copied twice is the same twice.
    pub(crate) fn file(&mut self, name: &str, content: &[u8]) -> Result<(), TransferError> {
        self.writer.file(&entry(name, content.len() as u64), content).at("write", self.staged.path())
    }

    /// A blob, as it comes.
    pub(crate) fn blob(&mut self, name: &str, blob: &Verified) -> Result<(), TransferError> {
        self.writer.entry(&entry(name, blob.size())).at("write", self.staged.path())?;
        blob.for_each(|piece| self.writer.data(piece).at("write", self.staged.path()))
    }

    pub(crate) fn finish(self) -> Result<(), TransferError> {
        let path = self.staged.path().to_owned();
        let out = self.writer.finish().at("write", &path)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error).at("write", &path)?;
        self.staged.finish(&file)
    }
}

fn entry(name: &str, size: u64) -> Entry {
    let mut entry = Entry::new(Kind::File, name, 0o644);
    entry.size = size;
    entry
}
