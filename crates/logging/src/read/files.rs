// SPDX-License-Identifier: Apache-2.0
//! The files of one log as a reader sees them: `LOG`, then `LOG.1`, `LOG.2` and so on, the older ones perhaps compressed
//! (`LOG.1.gz`). The shim may rotate at any moment; a file that was opened can be read to its end all the same.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::waiting::{Place, Waiting};

/// How much is read at once, in bytes. Every container whose log is sent elsewhere has such a buffer.
const BUFFER: usize = 16 << 10;

/// One file of a log, read line by line while it may grow.
pub(crate) struct LogFile {
    source: Source,
    inode: u64,
    /// How many files were newer when it was opened; by now there may be more.
    age: u32,
    /// The time of its first line, by which it is known again under another name or compressed: no two files begin with
    /// the same nanosecond.
    began: Option<String>,
    /// How many bytes of whole lines were read, of what is in it uncompressed.
    offset: u64,
    /// Where to stop, however much it grows.
    limit: Option<u64>,
}

enum Source {
    Plain(BufReader<File>),
    Compressed(Box<BufReader<MultiGzDecoder<File>>>),
}

impl Source {
    fn reader(&mut self) -> &mut dyn BufRead {
        match self {
            Source::Plain(reader) => reader,
            Source::Compressed(reader) => reader,
        }
    }
}

#[derive(Deserialize)]
struct Moment {
    time: String,
}

impl LogFile {
    /// Opens a file; `None` where there is none.
    fn open(path: &Path, age: u32, compressed: bool) -> io::Result<Option<LogFile>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        let source = match compressed {
            false => Source::Plain(BufReader::with_capacity(BUFFER, file)),
            true => Source::Compressed(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))),
        };
        let mut opened = LogFile { source, inode, age, began: None, offset: 0, limit: None };
        let mut first = Vec::new();
        if opened.next_line(&mut first)? {
            opened.rewind()?;
        }
        Ok(Some(opened))
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.offset = 0;
        match &mut self.source {
            Source::Plain(reader) => reader.seek(SeekFrom::Start(0)).map(|_| ()),
            Source::Compressed(reader) => {
                let mut file = reader.get_ref().get_ref().try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                **reader = BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file));
                Ok(())
            }
        }
    }

    /// Reads the next whole line into `line`. `false` at the end of what is there.
    pub(crate) fn next_line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        if self.limit.is_some_and(|limit| self.offset >= limit) {
            return Ok(false);
        }
        self.source.reader().read_until(b'\n', line)?;
        if !line.ends_with(b"\n") {
            if let (Source::Plain(reader), false) = (&mut self.source, line.is_empty()) {
                // It is being written, or the disk is full and the shim takes it back: it is read anew.
                reader.seek(SeekFrom::Start(self.offset))?;
            }
            return Ok(false);
        }
        if self.offset == 0 {
            self.began = serde_json::from_slice::<Moment>(line).ok().map(|moment| moment.time);
        }
        self.offset += line.len() as u64;
        Ok(true)
    }

    /// Where it is read next, and by what it is known again; `None` before its first line.
    pub(crate) fn position(&self) -> Option<(&str, u64)> {
        Some((self.began.as_deref()?, self.offset))
    }

    /// Goes on behind its first `offset` bytes.
    pub(crate) fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        match &mut self.source {
            Source::Plain(reader) => reader.seek(SeekFrom::Start(offset)).map(|_| ())?,
            Source::Compressed(reader) => {
                io::copy(&mut reader.take(offset - self.offset), &mut io::sink())?;
            }
        }
        self.offset = offset;
        Ok(())
    }

    /// How many lines there are by now that are `wanted`, from here on. Goes on where it was.
    pub(crate) fn count(&mut self, wanted: impl Fn(&[u8]) -> bool) -> io::Result<usize> {
        let (start, limit) = (self.offset, self.limit);
        if limit.is_none() {
            // Of a container that writes as fast as we read we would not see the end.
            self.end_here()?;
        }
        let (mut count, mut line) = (0, Vec::new());
        while self.next_line(&mut line)? {
            count += usize::from(wanted(&line));
        }
        self.limit = limit;
        self.rewind()?;
        self.skip_to(start)?;
        Ok(count)
    }

    /// Ends where it ends now.
    pub(crate) fn end_here(&mut self) -> io::Result<()> {
        self.limit = self.length()?;
        Ok(())
    }

    /// How long it is; `None` of a compressed file.
    pub(crate) fn length(&self) -> io::Result<Option<u64>> {
        match &self.source {
            Source::Plain(reader) => Ok(Some(reader.get_ref().metadata()?.len())),
            Source::Compressed(_) => Ok(None),
        }
    }

    /// Goes on with the first line of which no more than `keep` bytes are behind its beginning, if there are more. Whether
    /// it did.
    pub(crate) fn skip_to_near_end(&mut self, keep: u64) -> io::Result<bool> {
        let Some(length) = self.length()? else { return Ok(false) };
        let near = length.saturating_sub(keep);
        if near <= self.offset {
            return Ok(false);
        }
        // One byte before: where a line begins just there, it is not left out.
        self.skip_to(near - 1)?;
        let mut half = Vec::new();
        self.next_line(&mut half)?;
        Ok(true)
    }

    /// Goes on at the last `count` lines, if it can be read backwards.
    pub(crate) fn skip_to_last(&mut self, count: usize) -> io::Result<()> {
        let Source::Plain(reader) = &self.source else { return Ok(()) };
        let file = reader.get_ref();
        let mut end = self.limit.unwrap_or(file.metadata()?.len());
        let mut block = vec![0; BUFFER];
        // The newline at the end of the last line is one more.
        let mut newlines = 0;
        while end > 0 {
            let start = end.saturating_sub(BUFFER as u64);
            let part = &mut block[..(end - start) as usize];
            file.read_exact_at(part, start)?;
            for at in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at) {
                newlines += 1;
                if newlines > count {
                    return self.skip_to(start + at as u64 + 1);
                }
            }
            end = start;
        }
        Ok(())
    }

    /// Takes back the room that it has on the disk, under whatever name it is by now. For a file that nobody writes to.
    pub(crate) fn empty(&self) -> io::Result<()> {
        let Source::Plain(reader) = &self.source else { return Ok(()) };
        let descriptor = format!("/proc/self/fd/{}", reader.get_ref().as_raw_fd());
        File::options().write(true).open(descriptor)?.set_len(0)
    }

    pub(crate) fn began_at(&self, time: &str) -> bool {
        self.began.as_deref() == Some(time)
    }

    pub(crate) fn is_same(&self, other: &LogFile) -> bool {
        match (&self.began, &other.began) {
            (Some(one), Some(two)) => one == two,
            _ => self.inode == other.inode,
        }
    }

    /// Closes it, to be opened again when it is read. Not the newest, which may be the only one that grows; nor one without a first
    /// line, by which it could be known again.
    pub(crate) fn set_aside(self) -> io::Result<Waiting> {
        let (age, offset, limit, length) = (self.age, self.offset, self.limit, self.length()?);
        match self.began.clone() {
            Some(began) if age > 0 => Ok(Waiting::Closed(Place { began, age, offset, limit, length })),
            _ => Ok(Waiting::Open(self)),
        }
    }

    /// Goes on where it was when it was set aside.
    pub(crate) fn go_on(&mut self, place: &Place) -> io::Result<()> {
        self.limit = place.limit;
        self.skip_to(place.offset)
    }

    /// Whether it is still the one at `path`.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let compressed = matches!(self.source, Source::Compressed(_));
        // Its number is nobody else's while it is open.
        !compressed && std::fs::metadata(path).is_ok_and(|there| there.ino() == self.inode)
    }
}

/// Looks at the files of the log at `path`, from that of this age on to the oldest, until `see` has seen enough: what moves on
/// meanwhile is then seen twice, and never missed.
pub(crate) fn look(
    path: &Path,
    mut age: u32,
    mut see: impl FnMut(LogFile) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let with = |suffix: String| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    };
    let mut missing = 0;
    // A rotation leaves a gap of one number for a moment.
    while missing < 2 {
        let plain = if age == 0 { path.to_owned() } else { with(format!(".{age}")) };
        let mut file = LogFile::open(&plain, age, false)?;
        if file.is_none() && age > 0 {
            file = LogFile::open(&with(format!(".{age}.gz")), age, true)?;
        }
        match file {
            None => missing += 1,
            Some(file) => {
                missing = 0;
                if see(file)?.is_break() {
                    break;
                }
            }
        }
        age += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn line(number: u32) -> String {
        format!("{{\"log\":\"{number}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00.{number:09}Z\"}}\n")
    }

    fn lines(numbers: std::ops::Range<u32>) -> String {
        numbers.map(line).collect()
    }

    fn write_gz(path: &Path, text: &str) {
        let mut encoder = flate2::write::GzEncoder::new(File::create(path).unwrap(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
    }

    fn rest(file: &mut LogFile) -> String {
        let (mut text, mut line) = (String::new(), Vec::new());
        while file.next_line(&mut line).unwrap() {
            text.push_str(std::str::from_utf8(&line).unwrap());
        }
        text
    }

    fn opened(path: &Path, ending: bool) -> Vec<LogFile> {
        let all = crate::read::waiting::scan(path, ending).unwrap();
        all.into_iter().map(|file| file.open(path).unwrap().unwrap()).collect()
    }

    #[test]
    fn plain_and_compressed_files_are_read_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, lines(20..25)).unwrap();
        write_gz(&dir.path().join("log.2.gz"), &lines(0..10));
        // The number 1 is missing, as it is for a moment during a rotation; and one file is seen in both its forms.
        std::fs::write(dir.path().join("log.3"), lines(0..10)).unwrap();
        let mut files = opened(&path, true);
        assert_eq!(files.len(), 2);
        assert_eq!(files.iter_mut().map(rest).collect::<String>(), lines(0..10) + &lines(20..25));
        assert!(opened(&dir.path().join("none"), true).is_empty());
    }

    #[test]
    fn reading_goes_on_anywhere_and_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, lines(0..5000)).unwrap();
        write_gz(&dir.path().join("log.1.gz"), &lines(9000..9010));
        let mut files = opened(&path, true);
        let offset = lines(9000..9007).len() as u64;
        files[0].skip_to(offset).unwrap();
        assert_eq!(rest(&mut files[0]), lines(9007..9010));
        let newest = &mut files[1];
        newest.skip_to_last(3).unwrap();
        assert_eq!(rest(newest), lines(4997..5000));
        assert_eq!(newest.position(), Some(("2026-01-01T00:00:00.000000000Z", lines(0..5000).len() as u64)));
        newest.rewind().unwrap();
        newest.skip_to_last(6000).unwrap();
        assert_eq!(rest(newest).len(), lines(0..5000).len());
    }

    #[test]
    fn half_a_line_that_is_taken_back_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, line(1) + "{\"log\":\"half of a line that the disk had no room for").unwrap();
        let mut file = opened(&path, false).remove(0);
        assert_eq!(rest(&mut file), line(1));
        std::fs::write(&path, line(1)).unwrap();
        File::options().append(true).open(&path).unwrap().write_all(line(2).as_bytes()).unwrap();
        assert_eq!(rest(&mut file), line(2));
    }
}
