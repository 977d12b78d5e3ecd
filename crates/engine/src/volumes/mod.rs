// SPDX-License-Identifier: Apache-2.0
//! Volumes: directories that outlive containers, of the one driver there is, `local`.
//!
//! A volume is a record in the metadata store and a directory `volumes/<name>/_data` below the data root. A new one's
//! directory is called `.new-<name>` until all that it begins with is in it; then it gets its name, and the record is
//! written. One that goes is called `.gone-<number>-<name>` before its record is deleted. So a daemon that starts sees
//! what was half done (`adopt.rs`).
//!
//! Who uses a volume is no count but a question: the containers that there are know what they mount. Only a container in
//! the making, which nobody sees yet, holds its volumes ([`Held`]).

mod adopt;
mod fill;
mod name;
mod options;
mod resolve;
mod select;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use metadata::{Durability, MetadataError, Store, Table, Write};
use rustix::fs::{Mode, OFlags, fchmod, mkdirat, openat, renameat};
use serde::{Deserialize, Serialize};

pub use select::{PrunedVolumes, VolumeFilters};
pub(crate) use usage::InUse;
pub use usage::VolumeUsage;

use crate::error::EngineError;
use crate::events::{Bus, EventKind};

/// Nobody but root gets to the volumes: what a container's root has made set-uid in one is root's, and would be root's for
/// every user of the host who reaches it.
const MODE: Mode = Mode::RWXU.union(Mode::XGRP);
/// Volumes by name.
pub(crate) const VOLUMES: Table = Table::new("volumes");
/// What Docker marks a volume by that nobody has named.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";
/// The one driver.
pub const DRIVER: &str = "local";
/// The directory with a volume's files, in its own.
const DATA: &str = "_data";
/// A volume in the making.
const NEW: &str = ".new-";
/// A volume that goes.
const GONE: &str = ".gone-";

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Everything the daemon remembers of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The driver's options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The container that it was made for and goes with, which is removed when it ends.
    #[serde(default)]
    pub goes_with: Option<oci::ContainerId>,
}

/// The wish for a volume.
#[derive(Debug, Clone, Default)]
pub struct VolumeSpec {
    /// Its name; one is made up when absent.
    pub name: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// The volumes there are.
pub(crate) struct Volumes {
    root: PathBuf,
    dir: OwnedFd,
    store: Arc<Store>,
    events: Arc<Bus>,
    entries: Mutex<BTreeMap<String, Entry>>,
    gone: AtomicU64,
}

/// A volume as it is held.
struct Entry {
    volume: Volume,
    /// Containers in the making that will use it.
    holds: usize,
    /// Whether it has its name and its record: nobody sees it before.
    durable: bool,
    /// Held while its files or its mount are changed.
    turn: Arc<Mutex<Use>>,
}

impl Entry {
    fn new(volume: Volume, durable: bool) -> Entry {
        Entry { volume, holds: 0, durable, turn: Arc::default() }
    }
}

/// By how many runs of containers a volume is used.
#[derive(Debug, Default)]
pub(crate) struct Use {
    runs: usize,
}

/// Volumes that do not go as long as this lives; those that were made for it and got no record go with it.
pub(crate) struct Held {
    volumes: Arc<Volumes>,
    names: Vec<String>,
    /// Images that stay for as long, too.
    pub(crate) images: Vec<image::Held>,
}

impl Held {
    pub(crate) fn none(volumes: &Arc<Volumes>) -> Held {
        Held { volumes: Arc::clone(volumes), names: Vec::new(), images: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for name in &self.names {
            self.volumes.let_go(name);
        }
    }
}

impl Volumes {
    /// Opens the directory `volumes` of the data root, and reads the records.
    pub(crate) fn open(data_root: &Path, store: Arc<Store>, events: Arc<Bus>) -> Result<Volumes, EngineError> {
        let root = data_root.join("volumes");
        crate::make_dir(&root, MODE.bits())?;
        let dir = openat(rustix::fs::CWD, &root, DIRECTORY, Mode::empty())
            .map_err(|errno| EngineError::io("open", &root)(errno.into()))?;
        // It may have been made by another version.
        fchmod(&dir, MODE).map_err(|errno| EngineError::io("close to others", &root)(errno.into()))?;
        let stored: Vec<(String, Volume)> = store.read(|tx| tx.list(VOLUMES)).map_err(|error: MetadataError| error)?;
        let entries = stored.into_iter().map(|(name, volume)| (name, Entry::new(volume, true))).collect();
        Ok(Volumes { root, dir, store, events, entries: Mutex::new(entries), gone: AtomicU64::new(0) })
    }

    /// Where the host has a volume's files. The name must be one.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.root.join(name).join(DATA)
    }

    /// A volume.
    pub(crate) fn get(&self, name: &str) -> Result<Volume, EngineError> {
        let entries = self.entries();
        let entry = entries.get(name).filter(|entry| entry.durable);
        entry.map(|entry| entry.volume.clone()).ok_or_else(|| EngineError::NoSuchVolume(name.to_owned()))
    }

    /// All volumes, by name.
    pub(crate) fn list(&self) -> Vec<Volume> {
        let entries = self.entries();
        entries.values().filter(|entry| entry.durable).map(|entry| entry.volume.clone()).collect()
    }

    /// Makes a volume, durably; the one that has the name already, if one has, whatever its options.
    pub(crate) fn create(self: &Arc<Self>, spec: VolumeSpec) -> Result<Volume, EngineError> {
        let mut held = Held::none(self);
        let name = self.claim(spec, &mut held)?;
        self.make_durable(&held, None, |_| Ok(()))?;
        self.get(&name)
    }

    /// Holds a volume, which is made if there is none; its name.
    pub(crate) fn claim(&self, mut spec: VolumeSpec, held: &mut Held) -> Result<String, EngineError> {
        options::check(&spec.options)?;
        let name = match spec.name.take().filter(|name| !name.is_empty()) {
            Some(name) => name,
            None => {
                spec.labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
                name::invent()?
            }
        };
        name::check(&name)?;
        let mut entries = self.entries();
        if !entries.contains_key(&name) {
            self.make_directory(&name)?;
            let (created, labels, options) = (Timestamp::now(), spec.labels, spec.options);
            let volume = Volume { name: name.clone(), created, labels, options, goes_with: None };
            entries.insert(name.clone(), Entry::new(volume, false));
        }
        if let Some(entry) = entries.get_mut(&name) {
            entry.holds += 1;
        }
        held.names.push(name.clone());
        Ok(name)
    }

    /// Holds a volume that must be there.
    pub(crate) fn hold(&self, name: &str, held: &mut Held) -> Result<(), EngineError> {
        let mut entries = self.entries();
        let entry = entries.get_mut(name).ok_or_else(|| EngineError::NoSuchVolume(name.to_owned()))?;
        entry.holds += 1;
        held.names.push(name.to_owned());
        Ok(())
    }

    fn let_go(&self, name: &str) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(name) else { return };
        entry.holds -= 1;
        if entry.durable || entry.holds > 0 {
            return;
        }
        entries.remove(name);
        match self.set_aside(name, &format!("{NEW}{name}")) {
            Ok(aside) => {
                drop(entries);
                self.remove_aside(&aside);
            }
            Err(error) => tracing::error!(volume = name, error = errors::chain(&error), "half a volume stays"),
        }
    }

    /// The directory of a new volume, under the name that it has before it is one.
    fn make_directory(&self, name: &str) -> Result<(), EngineError> {
        let new = format!("{NEW}{name}");
        let failed = |errno: rustix::io::Errno| EngineError::io("make", self.root.join(&new))(errno.into());
        mkdirat(&self.dir, &new, Mode::from_raw_mode(0o701)).map_err(failed)?;
        let made = openat(&self.dir, &new, DIRECTORY, Mode::empty()).and_then(|own| self.make_data(&own));
        made.map_err(|errno| {
            // A leftover is removed at the next start.
            if let Err(error) = layer::remove_tree(&self.dir, new.as_str()) {
                tracing::error!(volume = name, %error, "half a volume stays until the next start");
            }
            failed(errno)
        })
    }

    /// The directory with a volume's files in its own directory, as Docker has it.
    fn make_data(&self, own: impl AsFd) -> Result<(), rustix::io::Errno> {
        mkdirat(&own, DATA, Mode::from_raw_mode(0o755))?;
        // Not by mkdirat: the process's umask has no say in it.
        fchmod(openat(&own, DATA, DIRECTORY, Mode::empty())?, Mode::from_raw_mode(0o755))
    }

    /// Gives those of `held` that are new their names and records, in one synced transaction with what else `body` writes.
    /// With a container that is removed when it ends (`goes_with`) those go that nobody has named.
    pub(crate) fn make_durable(
        &self,
        held: &Held,
        goes_with: Option<&oci::ContainerId>,
        body: impl FnOnce(&Write<'_>) -> Result<(), MetadataError>,
    ) -> Result<(), EngineError> {
        // In the order of the names, so that nobody waits for somebody who waits for him.
        let names: BTreeSet<&String> = held.names.iter().collect();
        let turns: Vec<_> = names.iter().filter_map(|name| self.turn(name).ok()).collect();
        let _turns: Vec<_> = turns.iter().map(|turn| lock(turn)).collect();
        let mut entries = self.entries();
        let mut new: Vec<Volume> = Vec::new();
        for name in names {
            let Some(entry) = entries.get_mut(name).filter(|entry| !entry.durable) else { continue };
            if entry.volume.labels.contains_key(ANONYMOUS_LABEL) {
                entry.volume.goes_with = goes_with.cloned();
            }
            new.push(entry.volume.clone());
        }
        if new.is_empty() {
            drop(entries);
            let written: Result<(), MetadataError> = self.store.write(Durability::Synced, body);
            return Ok(written?);
        }
        let mut named = Vec::new();
        let written = (|| {
            for volume in &new {
                let from = format!("{NEW}{}", volume.name);
                renameat(&self.dir, &from, &self.dir, &volume.name)
                    .map_err(|errno| EngineError::io("rename", self.root.join(&from))(errno.into()))?;
                named.push(&volume.name);
            }
            let written: Result<(), MetadataError> = self.store.write(Durability::Synced, |tx| {
                new.iter().try_for_each(|volume| tx.put(VOLUMES, &volume.name, volume))?;
                body(tx)
            });
            Ok(written?)
        })();
        if written.is_err() {
            for name in named {
                if let Err(errno) = renameat(&self.dir, name, &self.dir, format!("{NEW}{name}")) {
                    tracing::error!(volume = name, %errno, "half a volume stays");
                }
            }
            return written;
        }
        for volume in &new {
            if let Some(entry) = entries.get_mut(&volume.name) {
                entry.durable = true;
            }
            self.tell("create", &volume.name, []);
        }
        Ok(())
    }

    /// Removes a volume that no container needs.
    pub(crate) fn remove(&self, name: &str, users: &dyn Fn(&str) -> Vec<String>) -> Result<(), EngineError> {
        let turn = self.turn(name)?;
        let _turn = lock(&turn);
        let mut entries = self.entries();
        let Some(entry) = entries.get(name).filter(|entry| entry.durable) else {
            return Err(EngineError::NoSuchVolume(name.to_owned()));
        };
        let mut containers = users(name);
        if entry.holds > 0 && containers.is_empty() {
            containers.push("one that is being created".to_owned());
        }
        if !containers.is_empty() {
            return Err(EngineError::VolumeInUse { name: name.to_owned(), containers });
        }
        self.unmount_if_mounted(name)?;
        let aside = self.set_aside(name, name)?;
        let deleted: Result<bool, MetadataError> = self.store.write(Durability::Synced, |tx| tx.delete(VOLUMES, name));
        if let Err(error) = deleted {
            if let Err(errno) = renameat(&self.dir, &aside, &self.dir, name) {
                tracing::error!(volume = name, %errno, "a volume that was not removed has its name at the next start");
            }
            return Err(error.into());
        }
        entries.remove(name);
        drop(entries);
        self.tell("destroy", name, []);
        self.remove_aside(&aside);
        Ok(())
    }

    /// Takes a volume's directory, now called `from`, out of the way; its name there.
    fn set_aside(&self, name: &str, from: &str) -> Result<String, EngineError> {
        let aside = format!("{GONE}{}-{name}", self.gone.fetch_add(1, Ordering::Relaxed));
        renameat(&self.dir, from, &self.dir, &aside)
            .map_err(|errno| EngineError::io("rename", self.root.join(from))(errno.into()))?;
        Ok(aside)
    }

    fn remove_aside(&self, aside: &str) {
        if let Err(error) = layer::remove_tree(&self.dir, aside) {
            tracing::error!(directory = aside, %error, "a volume's files stay until the next start");
        }
    }

    fn turn(&self, name: &str) -> Result<Arc<Mutex<Use>>, EngineError> {
        let entries = self.entries();
        let entry = entries.get(name).ok_or_else(|| EngineError::NoSuchVolume(name.to_owned()))?;
        Ok(Arc::clone(&entry.turn))
    }

    /// Tells that something happened to a volume, with Docker's attributes.
    fn tell<const N: usize>(&self, action: &'static str, name: &str, own: [(&str, String); N]) {
        let mut attributes = BTreeMap::from([("driver".to_owned(), DRIVER.to_owned())]);
        attributes.extend(own.map(|(name, value)| (name.to_owned(), value)));
        self.events.tell(EventKind::Volume, action, name.to_owned(), attributes);
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Every change is one insertion, removal or assignment.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a volume's turn. What it counts is changed by single assignments.
fn lock(turn: &Mutex<Use>) -> MutexGuard<'_, Use> {
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the directory is the root of a mount of its own. Who serves that is not asked, and cannot hold up who asks.
fn is_mounted(path: &Path) -> Result<bool, EngineError> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    match statx(CWD, path, flags, StatxFlags::TYPE) {
        Ok(found) => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(EngineError::io("look at", path)(errno.into())),
    }
}

/// Bytes on disk of a directory.
fn bytes_of(path: &Path) -> Result<u64, EngineError> {
    let open = fs::File::open(path).map_err(EngineError::io("open", path))?;
    layer::disk_usage(open.as_fd()).map_err(EngineError::io("measure", path))
}
