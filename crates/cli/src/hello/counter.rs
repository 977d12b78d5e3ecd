// SPDX-License-Identifier: Apache-2.0
//! A number that survives: in a file, replaced whole, on the disk before anybody is told.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A counter in a directory.
#[derive(Debug)]
pub(crate) struct Counter {
    directory: PathBuf,
    turn: Mutex<()>,
}

impl Counter {
    /// The counter in `directory`, which is made when it is first needed.
    pub(crate) fn new(directory: PathBuf) -> Counter {
        Counter { directory, turn: Mutex::new(()) }
    }

    /// The number so far; zero when nothing was counted yet.
    pub(crate) fn read(&self) -> io::Result<u64> {
        match fs::read_to_string(self.directory.join("count")) {
            Ok(text) => text.trim().parse().map_err(|_| io::Error::other("the counter's file holds no number")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Count one more; the new number, which is on the disk by then.
    pub(crate) fn increment(&self) -> io::Result<u64> {
        // The file is whole whatever happened to another thread.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.read()?.checked_add(1).ok_or_else(|| io::Error::other("the counter is at its end"))?;
        fs::create_dir_all(&self.directory)?;
        replace(&self.directory, next)?;
        Ok(next)
    }
}

fn replace(directory: &Path, number: u64) -> io::Result<()> {
    let new = directory.join(".count.new");
    let mut file = File::create(&new)?;
    file.write_all(format!("{number}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, directory.join("count"))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_where_another_left_off_and_never_starts_anew_by_itself() {
        let directory = std::env::temp_dir().join(format!("corten-counter-{}", std::process::id()));
        let counter = Counter::new(directory.clone());
        assert_eq!(counter.read().unwrap(), 0);
        assert_eq!(counter.increment().unwrap(), 1);
        assert_eq!(Counter::new(directory.clone()).increment().unwrap(), 2);
        fs::write(directory.join("count"), "scribble").unwrap();
        let refused = counter.increment();
        fs::remove_dir_all(&directory).unwrap();
        assert!(refused.is_err());
    }
}
