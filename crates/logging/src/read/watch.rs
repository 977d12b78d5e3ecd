// SPDX-License-Identifier: Apache-2.0
//! Hearing that a log was written to. One inotify(7) instance for all readers: the kernel allows a user 128 of them, and
//! there may be more containers.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::error::LoggingError;

/// Watches directories for everybody who wants to hear of them.
pub struct Watch {
    fd: AsyncFd<OwnedFd>,
    directories: Mutex<HashMap<i32, Directory>>,
}

struct Directory {
    path: PathBuf,
    listeners: Vec<Arc<Notify>>,
}

/// Hears of one directory until it is dropped.
pub(crate) struct Listener {
    watch: Arc<Watch>,
    descriptor: i32,
    changed: Arc<Notify>,
}

impl Watch {
    /// Must be called within a runtime.
    ///
    /// # Errors
    /// What inotify(7) says.
    pub fn start() -> io::Result<Arc<Watch>> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "unsound only for what may give another descriptor each time; an OwnedFd keeps its own"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        let watch = Arc::new(Watch { fd, directories: Mutex::default() });
        // It ends with the runtime: the engine lives as long.
        tokio::spawn(Arc::clone(&watch).run());
        Ok(watch)
    }

    /// Hears of what is written to files in `directory`, of new ones and of renamed ones.
    pub(crate) fn listen(self: &Arc<Watch>, directory: &Path) -> io::Result<Listener> {
        let changed = Arc::new(Notify::new());
        let mut directories = self.locked();
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        let descriptor = inotify::add_watch(self.fd.get_ref(), directory, flags)?;
        let entry = directories.entry(descriptor);
        let known = entry.or_insert_with(|| Directory { path: directory.to_owned(), listeners: Vec::new() });
        known.listeners.push(Arc::clone(&changed));
        Ok(Listener { watch: Arc::clone(self), descriptor, changed })
    }

    /// Hears of what happens to the log at `path`.
    pub(crate) fn listen_beside(self: &Arc<Watch>, path: &Path) -> Result<Listener, LoggingError> {
        let directory = path.parent().unwrap_or(path);
        self.listen(directory).map_err(LoggingError::io("watch", directory))
    }

    async fn run(self: Arc<Watch>) {
        loop {
            let Ok(mut ready) = self.fd.readable().await else { return };
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(self.fd.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => self.tell(event.wd()),
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(errno) => {
                        tracing::error!(%errno, "cannot hear of changes of logs");
                        return;
                    }
                }
            }
            ready.clear_ready();
        }
    }

    fn tell(&self, descriptor: i32) {
        let directories = self.locked();
        match directories.get(&descriptor) {
            Some(directory) => directory.listeners.iter().for_each(|listener| listener.notify_one()),
            // The queue was full (-1): anything may have happened. A watch that was just removed tells nobody.
            None if descriptor < 0 => {
                directories
                    .values()
                    .flat_map(|directory| &directory.listeners)
                    .for_each(|listener| listener.notify_one());
            }
            None => {}
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<i32, Directory>> {
        // Every change is one insertion or removal: a panic cannot leave it half-changed.
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Waits until something has changed since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut directories = self.watch.locked();
        let Some(directory) = directories.get_mut(&self.descriptor) else { return };
        directory.listeners.retain(|listener| !Arc::ptr_eq(listener, &self.changed));
        if directory.listeners.is_empty() {
            let path = directory.path.clone();
            directories.remove(&self.descriptor);
            match inotify::remove_watch(self.watch.fd.get_ref(), self.descriptor) {
                // The directory is gone, and the watch with it.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(errno) => tracing::warn!(%errno, directory = %path.display(), "cannot end watching a log"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_listener_hears_and_the_last_one_ends_the_watch() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::start().unwrap();
        let (one, two) = (watch.listen(dir.path()).unwrap(), watch.listen(dir.path()).unwrap());
        std::fs::write(dir.path().join("log"), "x").unwrap();
        one.changed().await;
        two.changed().await;
        drop(one);
        std::fs::write(dir.path().join("log"), "y").unwrap();
        two.changed().await;
        drop(two);
        assert!(watch.locked().is_empty());
        assert!(watch.listen(&dir.path().join("none")).is_err());
    }
}
