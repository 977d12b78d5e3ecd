// SPDX-License-Identifier: Apache-2.0
//! Archives on the command line's side: where they come from and where they go to. A terminal is neither.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use errors::{Kind, kind_of_io};

use crate::failure::Failure;

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
    /// A file that is being written, under another name.
    File {
        /// It.
        file: File,
        /// Its name until then.
        temporary: PathBuf,
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
        let Some(path) = path else {
            if io::stdout().is_terminal() {
                return Err(Failure::new(Kind::InvalidArgument, "an archive is not written to a terminal")
                    .with_hint("name a file (-o FILE), or pipe it on"));
            }
            return Ok(Output::Stream(Box::new(io::stdout())));
        };
        let failed =
            |error: io::Error| Failure::new(kind_of_io(&error), format!("cannot write {}: {error}", path.display()));
        // A device or a pipe must not be replaced.
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            return Ok(Output::Stream(Box::new(File::options().write(true).open(path).map_err(failed)?)));
        }
        let mut name = path.file_name().ok_or_else(|| failed(io::ErrorKind::IsADirectory.into()))?.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::create(&temporary).map_err(failed)?;
        Ok(Output::File { file, temporary, path: path.to_owned() })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// It cannot be renamed; then it is removed.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let Output::File { temporary, path, .. } = &mut self else { return Ok(()) };
        let renamed = std::fs::rename(&*temporary, &*path);
        if renamed.is_ok() {
            // There is nothing for `drop` to remove.
            temporary.clear();
        }
        renamed.map_err(|error| Failure::new(kind_of_io(&error), format!("cannot write {}: {error}", path.display())))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stream(stream) => stream.write(bytes),
            Output::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Stream(stream) => stream.flush(),
            Output::File { file, .. } => file.flush(),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Output::File { temporary, .. } = self
            && !temporary.as_os_str().is_empty()
        {
            // The failure that led here is told; half an archive is of no use to anybody.
            let _ = std::fs::remove_file(temporary);
        }
    }
}
