// SPDX-License-Identifier: Apache-2.0
//! Writing archives: ustar headers (IEEE Std 1003.1, `pax`), with a PAX header in front where a field does not fit:
//! long names, large ids and sizes, times with fractions, extended attributes (`SCHILY.xattr.`, as GNU tar and Go have
//! them). Nothing else is in what is written: the same entries give the same bytes.

use std::io::{self, Write};

use crate::ids::Ids;
use crate::pax::Time;
use crate::reader::{Entry, Kind};
use crate::stream::BLOCK;

/// Bytes of zeros, for padding.
const ZEROS: [u8; BLOCK] = [0; BLOCK];
/// The largest number in a field of seven octal digits.
const MAX_SHORT: u64 = 0o7_777_777;
/// The largest number in a field of eleven octal digits.
const MAX_LONG: u64 = 0o77_777_777_777;
/// Bytes of a name or link target in the header itself.
const MAX_NAME: usize = 100;

/// An archive being written. Every file's data must follow its entry, whole.
#[derive(Debug)]
#[must_use = "an archive ends with its marker, which `finish` writes"]
pub struct Writer<W> {
    out: W,
    /// Bytes of the current file still to come.
    missing: u64,
    /// Bytes behind them up to the next block.
    padding: usize,
    ids: Option<Ids>,
}

impl<W: Write> Writer<W> {
    /// An archive that goes to `out`.
    pub fn new(out: W) -> Writer<W> {
        Writer { out, missing: 0, padding: 0, ids: None }
    }

    /// The entries are of a tree with these ids.
    pub fn of_ids(self, ids: Option<Ids>) -> Writer<W> {
        Writer { ids, ..self }
    }

    /// Begins an entry. `size` bytes of data must follow if it is a file; otherwise `size` is not looked at.
    ///
    /// # Errors
    /// Of `out`; [`io::ErrorKind::InvalidInput`] when the file before is not whole.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let archived = self.ids.map(|ids| ids.archived(entry));
        let entry = archived.as_ref().unwrap_or(entry);
        self.close()?;
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
        let name = full_name(entry);
        let records = records(entry, &name, size);
        if !records.is_empty() {
            self.extended(&name, &records)?;
        }
        let mut header = Header::new(&name, type_flag(entry.kind));
        header.text(157..257, &entry.link);
        header.octal(100..108, u64::from(entry.mode & 0o7777));
        header.octal(108..116, if entry.uid <= MAX_SHORT { entry.uid } else { 0 });
        header.octal(116..124, if entry.gid <= MAX_SHORT { entry.gid } else { 0 });
        header.octal(124..136, if size <= MAX_LONG { size } else { 0 });
        // A time that does not fit is in the PAX header as well.
        header.octal(136..148, u64::try_from(entry.mtime.seconds).unwrap_or(0).min(MAX_LONG));
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
            header.octal(329..337, u64::from(entry.device.0));
            header.octal(337..345, u64::from(entry.device.1));
        }
        self.out.write_all(&header.finish())?;
        (self.missing, self.padding) = (size, padding(size));
        Ok(())
    }

    /// More of the current file's data.
    ///
    /// # Errors
    /// Of `out`; [`io::ErrorKind::InvalidInput`] for more than the entry announced.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let rest = self.missing.checked_sub(bytes.len() as u64);
        self.missing =
            rest.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file is longer than announced"))?;
        self.out.write_all(bytes)
    }

    /// A whole file at once.
    ///
    /// # Errors
    /// As those of [`Writer::entry`].
    pub fn file(&mut self, entry: &Entry, content: &[u8]) -> io::Result<()> {
        self.entry(entry)?;
        self.data(content)
    }

    /// Writes the end-of-archive marker, and gives `out` back.
    ///
    /// # Errors
    /// As those of [`Writer::entry`].
    pub fn finish(mut self) -> io::Result<W> {
        self.close()?;
        self.out.write_all(&ZEROS)?;
        self.out.write_all(&ZEROS)?;
        Ok(self.out)
    }

    /// Ends the current file.
    fn close(&mut self) -> io::Result<()> {
        if self.missing > 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file is shorter than announced"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.out.write_all(&ZEROS[..padding])
    }

    /// The PAX header in front of the entry `name`.
    fn extended(&mut self, name: &[u8], records: &[u8]) -> io::Result<()> {
        let trimmed = name.strip_suffix(b"/").unwrap_or(name);
        let base = trimmed.rsplit(|&byte| byte == b'/').next().unwrap_or(trimmed);
        // Only what cannot read PAX headers ever shows this name.
        let shown = [b"PaxHeaders/", &base[..base.len().min(80)]].concat();
        let mut header = Header::new(&shown, b'x');
        header.octal(100..108, 0o644);
        header.octal(124..136, records.len() as u64);
        self.out.write_all(&header.finish())?;
        self.out.write_all(records)?;
        self.out.write_all(&ZEROS[..padding(records.len() as u64)])
    }
}

/// Bytes from the end of `size` bytes of data to the next block.
fn padding(size: u64) -> usize {
    // Less than a block.
    (size.wrapping_neg() % BLOCK as u64) as usize
}

/// The name as archives have it: directories with a slash at the end, the root as `./`.
fn full_name(entry: &Entry) -> Vec<u8> {
    let mut name = entry.name.clone();
    if entry.kind == Kind::Directory && !name.ends_with(b"/") {
        if name.is_empty() {
            name.push(b'.');
        }
        name.push(b'/');
    }
    name
}

fn type_flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// The PAX records of what does not fit into the header.
fn records(entry: &Entry, name: &[u8], size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    if name.len() > MAX_NAME {
        record(&mut records, b"path", name);
    }
    if entry.link.len() > MAX_NAME {
        record(&mut records, b"linkpath", &entry.link);
    }
    let mut number = |key: &[u8], value: u64, max: u64| {
        if value > max {
            record(&mut records, key, value.to_string().as_bytes());
        }
    };
    number(b"uid", entry.uid, MAX_SHORT);
    number(b"gid", entry.gid, MAX_SHORT);
    number(b"size", size, MAX_LONG);
    let Time { seconds, nanoseconds } = entry.mtime;
    if nanoseconds > 0 || u64::try_from(seconds).map_or(true, |seconds| seconds > MAX_LONG) {
        record(&mut records, b"mtime", decimal(entry.mtime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    records
}

/// Seconds with their fraction: -1.75 s is written so, and held as -2 s and 250,000,000 ns.
fn decimal(time: Time) -> String {
    let (sign, seconds, nanoseconds) = match time.seconds {
        seconds if seconds >= 0 => ("", seconds.unsigned_abs(), time.nanoseconds),
        seconds if time.nanoseconds == 0 => ("-", seconds.unsigned_abs(), 0),
        seconds => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - time.nanoseconds),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Appends `length key=value\n`; the length counts its own digits.
fn record(into: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    into.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        into.extend_from_slice(part);
    }
}

/// A ustar header being filled.
struct Header([u8; BLOCK]);

impl Header {
    fn new(name: &[u8], type_flag: u8) -> Header {
        let mut header = Header([0; BLOCK]);
        header.text(0..MAX_NAME, name);
        header.0[156] = type_flag;
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        header.octal(108..116, 0);
        header.octal(116..124, 0);
        header.octal(136..148, 0);
        header
    }

    /// A text, cut off where it does not fit.
    fn text(&mut self, field: std::ops::Range<usize>, text: &[u8]) {
        let length = text.len().min(field.len());
        self.0[field.start..field.start + length].copy_from_slice(&text[..length]);
    }

    /// A number that fits, with leading zeros and a zero byte at the end.
    fn octal(&mut self, field: std::ops::Range<usize>, number: u64) {
        let digits = format!("{number:0width$o}", width = field.len() - 1);
        self.text(field, digits.as_bytes());
    }

    fn finish(mut self) -> [u8; BLOCK] {
        // The checksum counts its own field as spaces.
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|&byte| u64::from(byte)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Limits, Members};

    fn written(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, content) in entries {
            writer.file(entry, content).unwrap();
        }
        writer.finish().unwrap()
    }

    fn entry(name: &[u8], size: usize) -> Entry {
        Entry { name: name.to_vec(), size: size as u64, mode: 0o644, ..Entry::default() }
    }

    #[test]
    fn a_file_must_be_as_long_as_announced() {
        let mut writer = Writer::new(Vec::new());
        writer.entry(&entry(b"a", 3)).unwrap();
        assert!(writer.data(b"abcd").is_err());
        writer.data(b"ab").unwrap();
        assert!(writer.entry(&entry(b"b", 0)).is_err());
    }

    #[test]
    fn a_records_length_counts_its_own_digits() {
        for (value, expected) in [(&b"b"[..], "6 a=b\n"), (b"bbbb", "9 a=bbbb\n"), (b"bbbbb", "11 a=bbbbb\n")] {
            let mut into = Vec::new();
            record(&mut into, b"a", value);
            assert_eq!(into, expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            name in proptest::collection::vec(1..=255u8, 1..250), link in proptest::collection::vec(1..=255u8, 0..250),
            kind in prop_oneof![Just(Kind::File), Just(Kind::Symlink), Just(Kind::Directory), Just(Kind::CharDevice)],
            mode in 0..0o10000u32, uid in any::<u32>(), gid in any::<u32>(),
            seconds in -(1i64 << 36)..1 << 36, nanoseconds in 0..1_000_000_000u32, minor in 0..1u32 << 20,
            content in proptest::collection::vec(any::<u8>(), 0..1300),
            xattrs in proptest::collection::vec(("[a-z.]{1,20}", proptest::collection::vec(any::<u8>(), 0..600)), 0..3),
        ) {
            let mut name: Vec<u8> = name.into_iter().map(|byte| if byte == b'/' { b'_' } else { byte }).collect();
            name.insert(0, b'n');
            let is_file = kind == Kind::File;
            let is_device = kind == Kind::CharDevice;
            let entry = Entry {
                kind, name, mode, uid: uid.into(), gid: gid.into(),
                link: if kind == Kind::Symlink { link } else { Vec::new() },
                mtime: Time { seconds, nanoseconds },
                device: if is_device { (1, minor) } else { (0, 0) },
                size: if is_file { content.len() as u64 } else { 0 },
                xattrs: xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect(),
                ..Entry::default()
            };
            let content = if is_file { content } else { Vec::new() };
            let expected = format!("{entry:?}");
            let archive = written(&[(entry, content.clone())]);
            let limits = Limits::default();
            let mut members = Members::new(&archive[..], &limits);
            let found = format!("{:?}", members.advance().unwrap().unwrap());
            prop_assert_eq!(found, expected);
            let mut data = Vec::new();
            while let Some(piece) = members.piece().unwrap() {
                data.extend_from_slice(piece);
            }
            prop_assert_eq!(data, content);
            prop_assert!(members.advance().unwrap().is_none());
        }
    }
}
