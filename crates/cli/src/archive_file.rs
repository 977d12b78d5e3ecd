// SPDX-License-Identifier: Apache-2.0
//! Archives on the command line's side: where they come from and where they go to. A terminal is neither.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use errors::{Kind, kind_of_io};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;

use crate::failure::Failure;
use crate::printer;

/// Opens the archive `path`, or stdin.
///
/// # Errors
/// It cannot be opened, is a directory, or stdin is a terminal.
pub(crate) fn open(path: Option<&Path>, flag: &str) -> Result<Box<dyn Read + Send>, Failure> {
    let Some(path) = path else {
        if io::stdin().is_terminal() {
            return Err(Failure::new(Kind::InvalidArgument, "no archive comes from a terminal")
                .with_hint(format!("name its file ({flag} FILE), or pipe it in")));
        }
        return Ok(Box::new(io::stdin()));
    };
    let failed =
        |error: &io::Error| Failure::new(kind_of_io(error), format!("cannot open {}: {error}", path.display()));
    let file = File::open(path).map_err(|error| failed(&error))?;
    if file.metadata().map_err(|error| failed(&error))?.is_dir() {
        return Err(Failure::new(Kind::InvalidArgument, format!("{} is a directory", path.display())));
    }
    Ok(Box::new(file))
}

/// Where an archive goes. A file gets its name only when it is whole: what it had before stays until then, and for good
/// where writing fails.
#[derive(Debug)]
pub(crate) enum Output {
    /// Stdout, or what is no plain file.
    Stream(Box<dyn Sink>),
    /// A file that is being written.
    File {
        /// It.
        file: File,
        /// Its name until then, where the file system has no files without one: those go with this process, however it ends.
        temporary: Option<PathBuf>,
        /// Its name in the end.
        path: PathBuf,
    },
}

/// What can be written to.
pub(crate) trait Sink: Write + std::fmt::Debug {}

impl<T: Write + std::fmt::Debug> Sink for T {}

impl Output {
    /// Begins to write to `path`, or to stdout.
    ///
    /// # Errors
    /// It cannot be made, or stdout is a terminal.
    pub(crate) fn create(path: Option<&Path>) -> Result<Output, Failure> {
        Output::create_with(path, 0o666)
    }

    /// The same with what is for the user alone.
    ///
    /// # Errors
    /// It cannot be made, or stdout is a terminal.
    pub(crate) fn create_private(path: Option<&Path>) -> Result<Output, Failure> {
        Output::create_with(path, 0o600)
    }

    fn create_with(path: Option<&Path>, mode: u32) -> Result<Output, Failure> {
        let Some(path) = path else {
            if io::stdout().is_terminal() {
                return Err(Failure::new(Kind::InvalidArgument, "an archive is not written to a terminal")
                    .with_hint("name a file (-o FILE), or pipe it on"));
            }
            return Ok(Output::Stream(Box::new(io::stdout())));
        };
        let failed = |error: io::Error| unwritable(path, &error);
        // A device or a pipe must not be replaced.
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            return Ok(Output::Stream(Box::new(File::options().write(true).open(path).map_err(failed)?)));
        }
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::IsADirectory.into()))?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(directory, flags | OFlags::TMPFILE, Mode::from_raw_mode(mode)) {
            Ok(file) => Ok(Output::File { file: file.into(), temporary: None, path: path.to_owned() }),
            // What a file system without such files, or an older kernel, says (open(2)).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let temporary = temporary(path, name);
                let file = File::options().write(true).create_new(true).mode(mode).open(&temporary).map_err(failed)?;
                Ok(Output::File { file, temporary: Some(temporary), path: path.to_owned() })
            }
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// It cannot be renamed; then it is removed.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let Output::File { file, temporary: named, path } = &mut self else { return Ok(()) };
        if named.is_none() {
            let until = temporary(path, path.file_name().unwrap_or_default());
            let own = format!("/proc/self/fd/{}", file.as_raw_fd());
            // A name cannot be given in place of another one: that takes a second step.
            linkat(CWD, own, CWD, &until, AtFlags::SYMLINK_FOLLOW).map_err(|errno| unwritable(path, &errno.into()))?;
            *named = Some(until);
        }
        if let Some(until) = named {
            std::fs::rename(&*until, &*path).map_err(|error| unwritable(path, &error))?;
            // There is nothing for `drop` to remove.
            *named = None;
        }
        Ok(())
    }
}

/// What a file is called until it is whole.
fn temporary(path: &Path, name: &OsStr) -> PathBuf {
    let mut name = name.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(kind_of_io(error), format!("cannot write {}: {error}", path.display()))
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stream(stream) => stream.write(bytes).inspect_err(printer::end_if_nobody_reads),
            Output::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Stream(stream) => stream.flush().inspect_err(printer::end_if_nobody_reads),
            Output::File { file, .. } => file.flush(),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Output::File { temporary: Some(temporary), .. } = self {
            // The failure that led here is told; half an archive is of no use to anybody.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_is_nothing_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive");
        let there = || std::fs::read_dir(directory.path()).unwrap().count();
        let mut begun = Output::create_private(Some(&path)).unwrap();
        begun.write_all(b"half").unwrap();
        drop(begun);
        assert_eq!(there(), 0, "half an archive is left");
        for text in ["one", "two"] {
            let mut output = Output::create_private(Some(&path)).unwrap();
            output.write_all(text.as_bytes()).unwrap();
            output.finish().unwrap();
            assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), there()), (text, 1));
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "others can read it");
        assert!(Output::create(Some(Path::new("/nowhere/at/all"))).is_err());
        assert!(Output::create(Some(directory.path())).is_err() && Output::create(Some(Path::new("/"))).is_err());
    }
}
