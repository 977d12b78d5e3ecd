// SPDX-License-Identifier: Apache-2.0
//! Directories as overlayfs leaves them, compared. Whiteouts and its marks want root, as all of Corten's tests do.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, XattrFlags, mknodat, setxattr};

use super::*;

/// An image's directory, and a container's beside it.
struct Pair {
    directory: tempfile::TempDir,
}

impl Pair {
    fn new() -> Pair {
        let directory = tempfile::tempdir().unwrap();
        for name in ["upper", "lower"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Pair { directory }
    }

    fn lower(&self, path: &str) -> PathBuf {
        self.directory.path().join("lower").join(path)
    }

    fn upper(&self, path: &str) -> PathBuf {
        self.directory.path().join("upper").join(path)
    }

    /// A file in both, the same to the nanosecond.
    fn copied_up(&self, path: &str) {
        fs::create_dir_all(self.upper(path).parent().unwrap()).unwrap();
        fs::copy(self.lower(path), self.upper(path)).unwrap();
        let time = fs::metadata(self.lower(path)).unwrap().modified().unwrap();
        fs::File::options().write(true).open(self.upper(path)).unwrap().set_modified(time).unwrap();
    }

    fn whiteout(&self, path: &str) {
        mknodat(CWD, self.upper(path), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }

    fn opaque(&self, path: &str) {
        setxattr(self.upper(path), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    }

    #[track_caller]
    fn check(&self, expected: &[&str]) {
        let open = |path: PathBuf| fs::File::open(path).unwrap();
        let changes = compare(open(self.upper("")).as_fd(), open(self.lower("")).as_fd()).unwrap();
        let line = |change: &Change| {
            let letter = match change.kind {
                ChangeKind::Modified => 'C',
                ChangeKind::Added => 'A',
                ChangeKind::Deleted => 'D',
            };
            format!("{letter} {}", change.path)
        };
        assert_eq!(changes.iter().map(line).collect::<Vec<_>>(), expected);
    }
}

fn file(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn files_are_added_changed_and_deleted_and_directories_with_them() {
    let pair = Pair::new();
    for path in ["bin/sh", "bin/old", "usr/share/doc/x", "usr/share/y"] {
        file(&pair.lower(path), path);
    }
    file(&pair.upper("bin/sh"), "another");
    pair.whiteout("bin/old");
    file(&pair.upper("new/deep"), "");
    file(&pair.upper("usr/share/doc/added"), "");
    symlink("/nowhere", pair.upper("link")).unwrap();
    pair.check(&[
        "C /bin",
        "D /bin/old",
        "C /bin/sh",
        "A /link",
        "A /new",
        "A /new/deep",
        "C /usr",
        "C /usr/share",
        "C /usr/share/doc",
        "A /usr/share/doc/added",
    ]);
}

#[test]
fn what_was_only_copied_up_has_not_changed() {
    let pair = Pair::new();
    file(&pair.lower("etc/passwd"), "root");
    pair.copied_up("etc/passwd");
    pair.check(&[]);
    fs::set_permissions(pair.upper("etc/passwd"), fs::Permissions::from_mode(0o600)).unwrap();
    pair.check(&["C /etc", "C /etc/passwd"]);
    fs::set_permissions(pair.upper("etc"), fs::Permissions::from_mode(0o700)).unwrap();
    pair.check(&["C /etc", "C /etc/passwd"]);
}

#[test]
fn other_capabilities_are_a_change() {
    let pair = Pair::new();
    file(&pair.lower("ping"), "");
    pair.copied_up("ping");
    // CAP_NET_RAW, permitted and effective (revision 2).
    let capability = [&[1, 0, 0, 2][..], &[0, 0x20, 0, 0], &[0; 12]].concat();
    setxattr(pair.upper("ping"), "security.capability", &capability, XattrFlags::empty()).unwrap();
    pair.check(&["C /ping"]);
}

#[test]
fn a_directory_made_anew_has_lost_what_was_in_it() {
    let pair = Pair::new();
    for path in ["home/old", "home/both/kept", "home/both/gone", "home/under/x"] {
        file(&pair.lower(path), path);
    }
    file(&pair.upper("home/new"), "");
    file(&pair.upper("home/both/kept"), "other");
    pair.opaque("home");
    pair.check(&[
        "C /home",
        "C /home/both",
        "D /home/both/gone",
        "C /home/both/kept",
        "A /home/new",
        "D /home/old",
        "D /home/under",
    ]);
}

#[test]
fn a_file_in_the_place_of_a_directory_and_the_other_way_round_are_changes() {
    let pair = Pair::new();
    file(&pair.lower("was/directory"), "");
    file(&pair.lower("file"), "");
    file(&pair.upper("was"), "");
    file(&pair.upper("file/inside"), "");
    pair.check(&["C /file", "A /file/inside", "C /was"]);
}

#[test]
fn what_is_made_to_mount_on_is_no_change() {
    let pair = Pair::new();
    for path in ["etc/hosts", "etc/hostname", "etc/resolv.conf"] {
        file(&pair.upper(path), "");
    }
    fs::create_dir(pair.upper("proc")).unwrap();
    // Removed before the image ever had it.
    pair.whiteout("nothing");
    pair.check(&[]);
    file(&pair.upper("etc/issue"), "");
    pair.check(&["A /etc", "A /etc/issue"]);
}
