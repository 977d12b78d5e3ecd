// SPDX-License-Identifier: Apache-2.0
//! `--cidfile FILE`: where a new container's id is written.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::FlagError;

/// The file. It is made before the container, so that a place that cannot be written makes none; and goes again unless an
/// id was written.
#[derive(Debug)]
pub(crate) struct IdFile {
    path: PathBuf,
    file: File,
    is_written: bool,
}

impl IdFile {
    /// Makes the file.
    ///
    /// # Errors
    /// It is there already: then another container may have its id in it.
    pub(crate) fn create(path: &Path) -> Result<IdFile, FlagError> {
        let file = File::create_new(path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => FlagError::invalid(
                path.display().to_string(),
                "is there already: see to it that its container is gone, remove the file, or give --cidfile another",
            ),
            _ => FlagError::Write { what: "container's id", path: path.to_owned(), source },
        })?;
        Ok(IdFile { path: path.to_owned(), file, is_written: false })
    }

    /// Writes the container's id.
    pub(crate) fn write(mut self, id: &str) -> Result<(), FlagError> {
        let written = self.file.write_all(id.as_bytes());
        self.is_written = written.is_ok();
        written.map_err(|source| FlagError::Write { what: "container's id", path: self.path.clone(), source })
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.is_written {
            // It is empty. Who wants the place again is told that it is there.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_there_with_an_id_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        drop(IdFile::create(&path).unwrap());
        assert!(!path.exists());
        IdFile::create(&path).unwrap().write("abc").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "abc");
        assert!(IdFile::create(&path).unwrap_err().to_string().contains("already"));
        assert!(matches!(IdFile::create(&directory.path().join("no/id")), Err(FlagError::Write { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "abc");
    }
}
