// SPDX-License-Identifier: Apache-2.0
//! What is kept of an exec beside its container's shim, for as long as it runs: a new daemon then knows it, and hears of its
//! end, even of one that came while there was no daemon.
//!
//! A daemon that is killed in the moment between a process's start and this word of it leaves an exec that nobody knows,
//! as one that is killed before the start was answered does.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use oci::ContainerId;
use serde::{Deserialize, Serialize};
use shim::ProcessRef;

use super::state::ExecState;
use crate::Engine;
use crate::container::Container;
use crate::error::EngineError;
use crate::request::ExecSpec;

/// A running exec, as its file has it.
#[derive(Serialize, Deserialize)]
struct Kept {
    spec: ExecSpec,
    process: ProcessRef,
    started: Timestamp,
}

/// The file of an exec.
fn file(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("started-{id}.json"))
}

/// The exec that a file is of.
fn id_of<'n>(name: &'n OsStr, beginning: &str) -> Option<&'n str> {
    name.to_str()?.strip_prefix(beginning)?.strip_suffix(".json")
}

/// Removes what is kept of an exec, if anything is.
pub(super) fn forget(dir: &Path, id: &str) -> io::Result<()> {
    match fs::remove_file(file(dir, id)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Engine {
    /// Keeps an exec that was started.
    pub(super) fn keep_exec(&self, container: &ContainerId, id: &str, spec: &ExecSpec, process: ProcessRef) {
        let dir = self.shim_dir(container);
        let kept = Kept { spec: spec.clone(), process, started: Timestamp::now() };
        // Half of it, after a kill, is none.
        let written =
            serde_json::to_vec(&kept).map_err(io::Error::from).and_then(|text| fs::write(file(&dir, id), text));
        match written {
            Ok(()) => {}
            // The container has ended already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(exec = id, %error, "a new daemon would not know of this exec"),
        }
    }

    /// A daemon begins and has found a container that runs: its execs are known again. Of those that have ended meanwhile
    /// the end is told now.
    pub(crate) fn adopt_execs(self: &Arc<Self>, container: &Arc<Container>) {
        let dir = self.shim_dir(&container.id);
        let found = match look(&dir) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(container = %container.id, error = errors::chain(&error), "its execs are not known");
                return;
            }
        };
        for id in &found.unknown {
            self.forget_exec_record(&container.id, id);
        }
        for (id, Kept { spec, process, .. }) in found.kept {
            let state = ExecState::running(container.id.clone(), spec, process.pid);
            self.execs.lock().unwrap_or_else(PoisonError::into_inner).remember(id.clone(), state);
            self.tell_of_exec_end(Arc::clone(container), id, process);
        }
    }
}

/// What a shim's directory says of execs.
#[derive(Default)]
struct Found {
    /// Those that are known, in the order of their starts.
    kept: Vec<(String, Kept)>,
    /// Those of which a file is there that says nothing: of a health check, or of a daemon that was killed.
    unknown: Vec<String>,
}

fn look(dir: &Path) -> Result<Found, EngineError> {
    let mut found = Found::default();
    let mut ended = Vec::new();
    for entry in fs::read_dir(dir).map_err(EngineError::io("read", dir))? {
        let name = entry.map_err(EngineError::io("read", dir))?.file_name();
        ended.extend(id_of(&name, "exec-").map(str::to_owned));
        let Some(id) = id_of(&name, "started-") else { continue };
        let path = dir.join(&name);
        let text = fs::read(&path).map_err(EngineError::io("read", &path))?;
        match serde_json::from_slice(&text) {
            Ok(kept) => found.kept.push((id.to_owned(), kept)),
            Err(_) => found.unknown.push(id.to_owned()),
        }
    }
    found.kept.sort_by_key(|(_, kept)| kept.started);
    found.unknown.extend(ended.into_iter().filter(|id| !found.kept.iter().any(|(known, _)| known == id)));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_in_order_and_what_says_nothing_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let keep = |id: &str, at: &str| {
            let spec = ExecSpec { command: vec![id.to_owned()], ..ExecSpec::default() };
            let kept = Kept { spec, process: ProcessRef { pid: 7, start_time: 1 }, started: at.parse().unwrap() };
            fs::write(file(dir.path(), id), serde_json::to_vec(&kept).unwrap()).unwrap();
        };
        keep("a", "2026-01-01T00:00:02Z");
        keep("b", "2026-01-01T00:00:01Z");
        for (name, text) in [("exec-a.json", "{}"), ("exec-probe.json", "{}"), ("started-half.json", "{\"spec")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::write(dir.path().join("state.json"), "{}").unwrap();
        let mut found = look(dir.path()).unwrap();
        found.unknown.sort();
        let kept: Vec<&str> = found.kept.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!((kept, found.unknown), (vec!["b", "a"], vec!["half".to_owned(), "probe".to_owned()]));
        forget(dir.path(), "a").unwrap();
        forget(dir.path(), "a").unwrap();
        assert_eq!(look(dir.path()).unwrap().kept.len(), 1);
    }
}
