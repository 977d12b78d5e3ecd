// SPDX-License-Identifier: Apache-2.0
//! Ids for `--userns-remap default` where neither of the usual users has any. Nobody's files are changed for that: ids that
//! nobody on this host has are chosen once and kept in the data root, in the notation of `/etc/subuid`.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::subordinate::{Files, OWNER, Run, overlap, runs};
use super::{COUNT, Remap, UsernsError};
use crate::error::EngineError;

/// Where they are kept, in the data root.
const FILE: &str = "subordinate-ids";
/// So many are chosen: a block for all containers that share one, and fifteen for those that want one of their own.
const CHOSEN: u32 = 16 * COUNT;
/// Where ids are looked for first, and how often: beyond those that useradd and directory services give out, and before those
/// that systemd keeps for itself (2^31 - 2^17).
const FIRST: u32 = 2_100_000_000;
const TRIES: u32 = 44;
/// And where after that.
const THEN: u32 = 1_000_000_000;
const TRIES_THEN: u32 = 1000;

/// The ids that are used where the usual users have none: those that are kept in `data_root`, or new ones. `None` where they are not
/// needed. The caller has the data root for itself.
///
/// # Errors
/// The host's files or that in the data root cannot be read or written; all ids are somebody's.
pub(crate) fn settle(remap: &Remap, data_root: &Path) -> Result<Option<Run>, EngineError> {
    let files = Files::read()?;
    if !remap.is_usual() || files.of_usual().is_some() {
        return Ok(None);
    }
    let path = data_root.join(FILE);
    let kept = read(&path)?;
    let taken = files.taken()?;
    let (first, count) = match kept {
        Some(run) if !taken.iter().any(|other| overlap(run, *other)) => run,
        _ => {
            let run = choose(&taken).ok_or(UsernsError::NobodysIds)?;
            write(data_root, run).map_err(EngineError::io("write", &path))?;
            run
        }
    };
    let (last, file) = (first + (count - 1), path.display());
    match kept {
        Some(old) if old != (first, count) => tracing::warn!(
            first, last, %file, was = old.0,
            "other ids were chosen for containers in user namespaces: the host gives the former ones to somebody else now. \
             Containers that have them keep them until they are made anew"
        ),
        Some(_) => tracing::info!(first, last, %file, "containers have the ids that were chosen for user namespaces"),
        None => tracing::info!(
            first, last, %file,
            "ids were chosen for containers in user namespaces: /etc/subuid and /etc/subgid give none to corten or dockremap"
        ),
    }
    Ok(Some((first, count)))
}

/// Ids that none of `taken` has.
fn choose(taken: &[Run]) -> Option<Run> {
    let tries = |from: u32, times: u32| (0..times).map(move |nth| (from + nth * CHOSEN, CHOSEN));
    let mut candidates = tries(FIRST, TRIES).chain(tries(THEN, TRIES_THEN));
    candidates.find(|run| !taken.iter().any(|other| overlap(*run, *other)))
}

fn read(path: &Path) -> Result<Option<Run>, EngineError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EngineError::io("read", path)(error)),
        Ok(text) => match runs(&text, &[OWNER.to_owned()])[..] {
            [(first, count)] if count >= COUNT => Ok(Some((first, count))),
            _ => Err(UsernsError::KeptIds { path: path.to_owned() }.into()),
        },
    }
}

/// Whoever reads it finds all of it, or what was there before; after a power cut, too: containers that have these ids must
/// not meet others when they are started again.
fn write(data_root: &Path, (first, count): Run) -> std::io::Result<()> {
    let path = data_root.join(FILE);
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(format!("{OWNER}:{first}:{count}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(data_root)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_chosen_that_nobody_has() {
        assert_eq!(choose(&[]), Some((FIRST, CHOSEN)));
        assert_eq!(choose(&[(FIRST, 1)]), Some((FIRST + CHOSEN, CHOSEN)));
        assert_eq!(choose(&[(FIRST - 9, 10), (FIRST + 2 * CHOSEN - 1, 1)]), Some((FIRST + 2 * CHOSEN, CHOSEN)));
        assert_eq!(choose(&[(FIRST, u32::MAX - FIRST)]), Some((THEN, CHOSEN)));
        assert_eq!(choose(&[(1, u32::MAX - 1)]), None);
        // All of them exist, and none is systemd's.
        const { assert!(FIRST + TRIES * CHOSEN <= 0x7ffe_0000 && THEN + TRIES_THEN * CHOSEN <= FIRST) };
    }

    #[test]
    fn what_is_kept_is_read_again_and_nothing_else_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        assert_eq!(read(&path).unwrap(), None);
        write(directory.path(), (7_000_000, CHOSEN)).unwrap();
        assert_eq!(read(&path).unwrap(), Some((7_000_000, CHOSEN)));
        for bad in [
            "",
            "corten:0:1048576\n",
            "corten:1:9\n",
            "other:1:1048576\n",
            "corten:1:1048576\ncorten:9000000:1048576\n",
        ] {
            fs::write(&path, bad).unwrap();
            assert!(read(&path).unwrap_err().to_string().contains(FILE), "{bad:?}");
        }
    }
}
