// SPDX-License-Identifier: Apache-2.0
//! The root that is mounted ahead: at most one, in the directory of a container that is yet to come. And whose turn it is
//! in a container's directory: what is mounted, let go of or removed there is so by one thread at a time, and who wants
//! another directory waits for none of it.
//!
//! ```text
//!            offer                 take
//!   (turn) ─────────▶ waiting ─────────────▶ the container's
//!                        │ outdated, reclaim, another's turn
//!                        ▼
//!                     (turn) ── clear ──▶ nothing is left
//! ```

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use oci::Digest;

use crate::mounts::Mounts;
use crate::{MountOptions, SnapshotError, writable};

/// What is mounted ahead, and who works where.
#[derive(Default)]
pub(crate) struct Ready {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Option<Prepared>,
    turns: Vec<Place>,
    /// Layers that are being removed, each as often as somebody does it. None of them is mounted ahead.
    going: Vec<Digest>,
    /// Directories in which a writable directory that was let go of could not be removed: it is tried again before
    /// anything is mounted there.
    unclean: HashSet<PathBuf>,
    /// How often something was to be mounted ahead: only the last of it waits.
    asked: u64,
}

/// A directory that somebody works in.
struct Place {
    dir: PathBuf,
    /// The layers that are held by what is mounted ahead there, is about to be, or is being let go of.
    layers: Vec<Digest>,
}

/// A mount, and what it was made with.
struct Prepared {
    dir: PathBuf,
    layers: Vec<Digest>,
    options: MountOptions,
    mount: OwnedFd,
}

impl Prepared {
    fn is(&self, dir: &Path, layers: &[Digest], options: MountOptions) -> bool {
        self.dir == dir && self.layers == layers && self.options == options
    }
}

/// The sole right to mount and to remove in a container's directory.
pub(crate) struct Turn<'r> {
    ready: &'r Ready,
    dir: PathBuf,
    /// What waited there, to be let go of.
    outdated: Option<OwnedFd>,
    /// There is a writable directory that belongs to no container.
    unclean: bool,
}

/// What there is for a container that wants its root.
pub(crate) enum Taken<'r> {
    /// The mount that waited for it.
    Mount(OwnedFd),
    /// None: it is the caller's turn to make one.
    Turn(Turn<'r>),
}

/// What is to be mounted ahead.
pub(crate) struct Begun<'r> {
    pub(crate) turn: Turn<'r>,
    /// What waited in another directory, to be let go of.
    pub(crate) outdated: Option<Turn<'r>>,
    asked: u64,
}

/// A layer is being removed: while this is held, nothing with it is mounted ahead.
pub(crate) struct Removal<'r> {
    ready: &'r Ready,
    diff_id: Digest,
    /// What waited and had the layer, to be let go of.
    pub(crate) outdated: Option<Turn<'r>>,
}

impl Ready {
    /// Takes the mount that waits, if it is this one; otherwise waits for the turn in the directory.
    pub(crate) fn take(&self, dir: &Path, layers: &[Digest], options: MountOptions) -> Taken<'_> {
        let mut state = self.when(|state| !state.is_somebodys(dir));
        if let Some(prepared) = state.waiting.take_if(|waiting| waiting.is(dir, layers, options)) {
            return Taken::Mount(prepared.mount);
        }
        Taken::Turn(self.turn_in(&mut state, dir, Vec::new()))
    }

    /// Waits for the turn in the directory.
    pub(crate) fn turn(&self, dir: &Path) -> Turn<'_> {
        let mut state = self.when(|state| !state.is_somebodys(dir));
        self.turn_in(&mut state, dir, Vec::new())
    }

    /// Waits for the turn to mount this ahead; `None` if it waits already.
    ///
    /// # Errors
    /// [`SnapshotError::NoLayer`] while one of the layers is being removed.
    pub(crate) fn begin(
        &self,
        dir: &Path,
        layers: &[Digest],
        options: MountOptions,
    ) -> Result<Option<Begun<'_>>, SnapshotError> {
        let mut state = self.when(|state| !state.is_somebodys(dir));
        if let Some(diff_id) = layers.iter().find(|diff_id| state.going.contains(diff_id)) {
            return Err(SnapshotError::NoLayer { diff_id: *diff_id });
        }
        if state.waiting.as_ref().is_some_and(|waiting| waiting.is(dir, layers, options)) {
            return Ok(None);
        }
        state.asked += 1;
        let elsewhere = state.waiting.as_ref().map(|waiting| waiting.dir.clone()).filter(|other| other != dir);
        // Nobody works where something waits: it would have been taken out first.
        let outdated = elsewhere.map(|other| self.turn_in(&mut state, &other, Vec::new()));
        let turn = self.turn_in(&mut state, dir, layers.to_vec());
        Ok(Some(Begun { turn, outdated, asked: state.asked }))
    }

    /// Lets what was mounted wait, unless something else was to be mounted ahead meanwhile: then its turn is given back,
    /// to let go of it.
    pub(crate) fn offer<'r>(
        &'r self,
        begun: Begun<'r>,
        layers: &[Digest],
        options: MountOptions,
        mount: OwnedFd,
    ) -> Option<Turn<'r>> {
        let Begun { mut turn, asked, .. } = begun;
        let mut state = self.lock();
        if state.asked != asked {
            turn.outdated = Some(mount);
            return Some(turn);
        }
        turn.unclean = false;
        state.waiting = Some(Prepared { dir: turn.dir.clone(), layers: layers.to_vec(), options, mount });
        drop(state);
        None
    }

    /// Begins the removal of a layer: waits until nobody mounts it ahead or lets go of it.
    pub(crate) fn reclaim(&self, diff_id: &Digest) -> Removal<'_> {
        self.lock().going.push(*diff_id);
        let mut removal = Removal { ready: self, diff_id: *diff_id, outdated: None };
        let mut state = self.when(|state| !state.turns.iter().any(|place| place.layers.contains(diff_id)));
        let place = state.waiting.as_ref().filter(|waiting| waiting.layers.contains(diff_id));
        if let Some(dir) = place.map(|waiting| waiting.dir.clone()) {
            removal.outdated = Some(self.turn_in(&mut state, &dir, Vec::new()));
        }
        drop(state);
        removal
    }

    /// The turn in a directory where nobody has it, with what waits there. `layers` are to be mounted ahead in it.
    fn turn_in<'r>(&'r self, state: &mut State, dir: &Path, mut layers: Vec<Digest>) -> Turn<'r> {
        let mut unclean = state.unclean.remove(dir);
        let outdated = state.waiting.take_if(|waiting| waiting.dir == dir).map(|prepared| {
            unclean |= !prepared.options.read_only;
            layers.extend(prepared.layers);
            prepared.mount
        });
        state.turns.push(Place { dir: dir.to_owned(), layers });
        Turn { ready: self, dir: dir.to_owned(), outdated, unclean }
    }

    fn when(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !condition(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// What is known is whole whatever panicked while it was locked: each change is of one field, or of those that nothing
    /// can fail between.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_somebodys(&self, dir: &Path) -> bool {
        self.turns.iter().any(|place| place.dir == dir)
    }
}

impl Turn<'_> {
    /// From now on a writable directory of no container may be there.
    pub(crate) fn makes_writable(&mut self) {
        self.unclean = true;
    }

    /// Lets go of what waited in the directory, and leaves nothing of it there.
    ///
    /// # Errors
    /// What is there cannot be removed; whoever has the next turn tries it again.
    pub(crate) fn clear(&mut self, mounts: &Mounts) -> Result<(), SnapshotError> {
        if let Some(mount) = self.outdated.take() {
            drop(mount);
            mounts.release(&self.dir);
        }
        if self.unclean {
            writable::remove(&self.dir)?;
            self.unclean = false;
        }
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Whoever waits for the turn finds it unmounted.
        drop(self.outdated.take());
        let mut state = self.ready.lock();
        if self.unclean {
            state.unclean.insert(self.dir.clone());
        }
        state.turns.retain(|place| place.dir != self.dir);
        drop(state);
        self.ready.changed.notify_all();
    }
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        let mut state = self.ready.lock();
        if let Some(at) = state.going.iter().position(|going| *going == self.diff_id) {
            state.going.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests;
