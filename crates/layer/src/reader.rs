// SPDX-License-Identifier: Apache-2.0
//! From a stream of blocks to entries: extended headers gathered and applied, data handed out in pieces.
//!
//! Where readers differ, this one does what Go's `archive/tar` does, because that is what builders and registries have
//! tested their layers with: GNU long names win over PAX ones, global PAX headers are read and have no effect, entries
//! that are not files have no data whatever their size field says.

use std::io::Read;

use oci::Digest;

use crate::error::{FormatError, Refusal};
use crate::header::Header;
use crate::pax::{self, Time};
use crate::sparse::{Map, Region};
use crate::stream::{BLOCK, Keep, Stream};
use crate::{Limits, UnpackError};

/// What an entry is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    #[default]
    File,
    /// A further name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device; with the number 0:0, what overlayfs takes for a whiteout.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry, as the archive has it: nothing in it is to be trusted. Reused for the next one.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its name, below the archive's root.
    pub name: Vec<u8>,
    /// What a link leads to: a symbolic link's text, or a hard link's other name.
    pub link: Vec<u8>,
    /// Permission and set-id bits.
    pub mode: u32,
    /// The owner's user id.
    pub uid: u64,
    /// The owner's group id.
    pub gid: u64,
    /// When it was last modified.
    pub mtime: Time,
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Where the data belongs, when the file has holes.
    pub(crate) sparse: Option<Vec<Region>>,
    /// Extended attributes: name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An archive being read.
pub(crate) struct Archive<'l, R> {
    stream: Stream<'l, R>,
    limits: &'l Limits,
    /// Bytes of the current entry's data still to come.
    data: u64,
    /// Bytes behind them up to the next block.
    padding: u64,
    headers: u64,
    entries: u64,
    bytes: u64,
    extended: Extended,
}

/// The extended headers in front of an entry.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Vec<u8>>,
}

/// What PAX records say about a sparse file.
#[derive(Default)]
struct PaxSparse {
    map: Map,
    offset: Option<u64>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    major: Option<u64>,
    minor: Option<u64>,
    listed: bool,
}

impl<'l, R: Read> Archive<'l, R> {
    pub(crate) fn new(source: R, limits: &'l Limits) -> Archive<'l, R> {
        Archive::over(Stream::new(source, None, limits), limits)
    }

    /// The same; `keep` takes the bytes of the whole stream.
    pub(crate) fn kept(source: R, keep: Keep<'l>, limits: &'l Limits) -> Archive<'l, R> {
        Archive::over(Stream::new(source, Some(keep), limits), limits)
    }

    fn over(stream: Stream<'l, R>, limits: &'l Limits) -> Archive<'l, R> {
        Archive { stream, limits, data: 0, padding: 0, headers: 0, entries: 0, bytes: 0, extended: Extended::default() }
    }

    /// Bytes of the current entry's data still to come.
    pub(crate) fn data_left(&self) -> u64 {
        self.data
    }

    /// Bytes of all files so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How far the stream was read, in bytes: after [`Archive::next`], where the entry's data begins.
    pub(crate) fn position(&self) -> u64 {
        self.stream.position()
    }

    /// Entries so far.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Reads the stream to its end: its digest and its length in bytes.
    pub(crate) fn finish(&mut self) -> Result<(Digest, u64), UnpackError> {
        self.stream.finish()
    }

    /// Reads the next entry into `entry`. False at the end of the archive.
    pub(crate) fn next(&mut self, entry: &mut Entry) -> Result<bool, UnpackError> {
        self.stream.skip(self.data)?;
        self.stream.skip(self.padding)?;
        (self.data, self.padding) = (0, 0);
        let mut block = [0; BLOCK];
        loop {
            let ended = !self.stream.block(&mut block)?;
            if ended || block.iter().all(|&byte| byte == 0) {
                return self.end(ended);
            }
            self.headers += 1;
            if self.headers > self.limits.max_entries {
                return Err(UnpackError::Limit { what: "entries", limit: self.limits.max_entries });
            }
            let header = Header::parse(&block).map_err(|e| self.stream.format(e))?;
            match header.kind() {
                b'L' => self.extension(&header, |extended| &mut extended.name)?,
                b'K' => self.extension(&header, |extended| &mut extended.link)?,
                b'x' | b'X' => self.extension(&header, |extended| &mut extended.pax)?,
                b'g' => drop(self.extended_header(&header)?),
                _ => {
                    self.entry(&header, entry)?;
                    return Ok(true);
                }
            }
        }
    }

    fn end(&self, without_marker: bool) -> Result<bool, UnpackError> {
        if self.extended.name.is_some() || self.extended.link.is_some() || self.extended.pax.is_some() {
            return Err(self.stream.format(FormatError::Extension));
        }
        if without_marker && self.limits.end_marker {
            return Err(self.stream.format(FormatError::NoEndMarker));
        }
        Ok(false)
    }

    fn extension(
        &mut self,
        header: &Header<'_>,
        slot: impl Fn(&mut Extended) -> &mut Option<Vec<u8>>,
    ) -> Result<(), UnpackError> {
        let content = self.extended_header(header)?;
        match slot(&mut self.extended).replace(content) {
            None => Ok(()),
            Some(_) => Err(self.stream.format(FormatError::Extension)),
        }
    }

    /// The data of an extended header. Nothing is reserved for more than what the limits allow.
    fn extended_header(&mut self, header: &Header<'_>) -> Result<Vec<u8>, UnpackError> {
        let size = header.size().map_err(|e| self.stream.format(e))?;
        let limit = self.limits.max_extended_header;
        if size > limit {
            return Err(UnpackError::Limit { what: "bytes in an extended header", limit });
        }
        let mut content = Vec::new();
        while (content.len() as u64) < size {
            let bytes = self.stream.take(size - content.len() as u64)?;
            if bytes.is_empty() {
                return Err(self.stream.format(FormatError::Truncated));
            }
            content.extend_from_slice(bytes);
        }
        self.stream.skip(padding(size))?;
        Ok(content)
    }

    fn entry(&mut self, header: &Header<'_>, entry: &mut Entry) -> Result<(), UnpackError> {
        let extended = std::mem::take(&mut self.extended);
        entry.clear();
        let sparse = entry.fill(header, &extended).map_err(|e| self.stream.format(e))?;
        entry.kind = kind(header.kind(), &entry.name)
            .ok_or_else(|| UnpackError::refused(&entry.name, Refusal::Type(header.kind())))?;
        self.entries += 1;
        if entry.kind != Kind::File {
            entry.size = 0;
            return Ok(());
        }
        self.data = entry.size;
        self.padding = padding(entry.size);
        self.within_limit(entry.size)?;
        if header.kind() == b'S' {
            self.gnu_sparse(header, entry)?;
        } else if let Some(sparse) = sparse {
            self.pax_sparse(sparse, entry)?;
        }
        self.within_limit(entry.size)?;
        self.bytes += entry.size;
        Ok(())
    }

    fn within_limit(&self, more: u64) -> Result<(), UnpackError> {
        let limit = self.limits.max_bytes;
        match self.bytes.checked_add(more) {
            Some(total) if total <= limit => Ok(()),
            _ => Err(UnpackError::Limit { what: "bytes in its files", limit }),
        }
    }

    /// The old GNU form: four regions in the header, more in the blocks behind it.
    fn gnu_sparse(&mut self, header: &Header<'_>, entry: &mut Entry) -> Result<(), UnpackError> {
        let mut map = Map::default();
        let (first, mut more, size) = header.gnu_sparse().map_err(|e| self.stream.format(e))?;
        map.push_gnu(first).map_err(|e| self.stream.format(e))?;
        let mut block = [0; BLOCK];
        while more {
            if !self.stream.block(&mut block)? {
                return Err(self.stream.format(FormatError::Truncated));
            }
            map.push_gnu(&block[..504]).map_err(|e| self.stream.format(e))?;
            more = block[504] != 0;
            self.headers += 1;
            if self.headers > self.limits.max_entries {
                return Err(UnpackError::Limit { what: "entries", limit: self.limits.max_entries });
            }
        }
        entry.sparse = Some(map.finish(size, entry.size).map_err(|e| self.stream.format(e))?);
        entry.size = size;
        Ok(())
    }

    /// The PAX forms: 0.0 and 0.1 have the map in the records, 1.0 in front of the data.
    fn pax_sparse(&mut self, sparse: PaxSparse, entry: &mut Entry) -> Result<(), UnpackError> {
        let malformed = |archive: &Self| archive.stream.format(FormatError::Sparse);
        let size = sparse.size.ok_or_else(|| malformed(self))?;
        let mut map = sparse.map;
        match (sparse.major, sparse.minor) {
            (Some(1), Some(0)) => self.leading_map(&mut map)?,
            (None | Some(0), _) if sparse.listed && sparse.offset.is_none() => {}
            _ => return Err(malformed(self)),
        }
        entry.sparse = Some(map.finish(size, self.data).map_err(|e| self.stream.format(e))?);
        entry.size = size;
        if let Some(name) = sparse.name {
            entry.name = name;
        }
        Ok(())
    }

    /// The map of form 1.0: decimal numbers, one per line, the count of regions first, filled up to a block.
    fn leading_map(&mut self, map: &mut Map) -> Result<(), UnpackError> {
        let (mut left, mut offset) = (None, None);
        let mut digits = Vec::new();
        let mut block = [0; BLOCK];
        while left != Some(0) {
            if self.data < BLOCK as u64 || !self.stream.block(&mut block)? {
                return Err(self.stream.format(FormatError::Sparse));
            }
            self.data -= BLOCK as u64;
            for &byte in &block {
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(self.stream.format(FormatError::Sparse));
                    }
                    continue;
                }
                let number = pax::decimal(&digits).ok_or_else(|| self.stream.format(FormatError::Sparse))?;
                digits.clear();
                match (left, offset.take()) {
                    (None, _) => left = Some(number),
                    (Some(_), None) => offset = Some(number),
                    (Some(count), Some(offset)) => {
                        map.push(offset, number).map_err(|e| self.stream.format(e))?;
                        left = Some(count - 1);
                    }
                }
                if left == Some(0) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next piece of the entry's data: at least one byte, at most `max`.
    pub(crate) fn more_data(&mut self, max: u64) -> Result<&[u8], UnpackError> {
        let truncated = self.stream.format(FormatError::Truncated);
        let bytes = self.stream.take(self.data.min(max))?;
        if bytes.is_empty() {
            return Err(truncated);
        }
        self.data -= bytes.len() as u64;
        Ok(bytes)
    }
}

/// Bytes from the end of `size` bytes of data to the next block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn kind(flag: u8, name: &[u8]) -> Option<Kind> {
    Some(match flag {
        // The v7 form has no directories: a slash at the end makes one.
        0 if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        _ => return None,
    })
}

impl Entry {
    /// An entry to be written: root's, of the epoch, empty.
    pub fn new(kind: Kind, name: impl Into<Vec<u8>>, mode: u32) -> Entry {
        Entry { kind, name: name.into(), mode, ..Entry::default() }
    }

    fn clear(&mut self) {
        let (mut name, mut link) = (std::mem::take(&mut self.name), std::mem::take(&mut self.link));
        name.clear();
        link.clear();
        *self = Entry { name, link, ..Entry::default() };
    }

    /// Takes everything but the kind from the header and its extensions.
    fn fill(&mut self, header: &Header<'_>, extended: &Extended) -> Result<Option<PaxSparse>, FormatError> {
        header.name(&mut self.name);
        self.link.extend_from_slice(header.link());
        self.mode = header.mode()?;
        self.uid = header.uid()?;
        self.gid = header.gid()?;
        self.size = header.size()?;
        self.mtime = Time { seconds: header.mtime()?, nanoseconds: 0 };
        self.device = if matches!(header.kind(), b'3' | b'4') { header.device()? } else { (0, 0) };
        let mut sparse = None;
        for record in pax::records(extended.pax.as_deref().unwrap_or_default()) {
            let (key, value) = record?;
            self.apply(key, value, &mut sparse)?;
        }
        for (long, own) in [(&extended.name, &mut self.name), (&extended.link, &mut self.link)] {
            if let Some(long) = long {
                own.clear();
                own.extend_from_slice(crate::header::text(long));
            }
        }
        Ok(sparse)
    }

    fn apply(&mut self, key: &[u8], value: &[u8], sparse: &mut Option<PaxSparse>) -> Result<(), FormatError> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return sparse.get_or_insert_default().apply(key, value);
        }
        // An empty value takes the record back: the header's own field counts.
        if value.is_empty() {
            return Ok(());
        }
        let number = || pax::decimal(value).ok_or(FormatError::Pax);
        match key {
            b"path" => self.name = value.to_vec(),
            b"linkpath" => self.link = value.to_vec(),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" => self.mtime = pax::time(value).ok_or(FormatError::Pax)?,
            _ => {}
        }
        Ok(())
    }
}

impl PaxSparse {
    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        let number = || pax::decimal(value).ok_or(FormatError::Pax);
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"major" => self.major = Some(number()?),
            b"minor" => self.minor = Some(number()?),
            b"numblocks" => self.listed = true,
            b"map" => {
                self.listed = true;
                self.map = Map::default();
                if !value.is_empty() {
                    self.map.push_list(value)?;
                }
            }
            b"offset" => match self.offset.replace(number()?) {
                None => {}
                Some(_) => return Err(FormatError::Sparse),
            },
            b"numbytes" => {
                let offset = self.offset.take().ok_or(FormatError::Sparse)?;
                self.map.push(offset, number()?)?;
            }
            _ => {}
        }
        Ok(())
    }
}
