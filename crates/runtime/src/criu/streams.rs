// SPDX-License-Identifier: Apache-2.0
//! A container's standard streams: what they were is written down beside the images, and whoever restores puts its own
//! in their place.
//!
//! The file is runc's (`descriptors.json`, three names). Beside pipes, which CRIU knows by their names, it may name a
//! file of the host, which the container has open and cannot see: its log, or `/dev/null`.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags, major};

use super::CriuError;

/// The file's name in the images' directory.
const FILE: &str = "descriptors.json";

/// Majors of terminals: the kernel's virtual ones and serial lines, `/dev/tty`, and pseudoterminals (the kernel's
/// devices.txt).
const TERMINALS: [std::ops::RangeInclusive<u32>; 2] = [4..=5, 136..=143];

/// What standard input, output and error of a process are, as CRIU names them.
pub(crate) fn names(pid: i32) -> Result<[String; 3], CriuError> {
    let path = format!("/proc/{pid}/mountinfo");
    let mounts = std::fs::read_to_string(&path).map_err(CriuError::file("read", path))?;
    let mut names = [const { String::new() }; 3];
    for (number, name) in names.iter_mut().enumerate() {
        *name = self::name(pid, number, &mounts)?;
    }
    Ok(names)
}

fn name(pid: i32, number: usize, mounts: &str) -> Result<String, CriuError> {
    let path = format!("/proc/{pid}/fd/{number}");
    let link = match std::fs::read_link(&path) {
        Ok(link) => link.to_string_lossy().into_owned(),
        // It is closed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(CriuError::file("read", path)(error)),
    };
    // Only what has a name in a file system; a pipe's is no path.
    if !Path::new(&link).is_absolute() {
        return Ok(link);
    }
    let opened = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| sys::Error::new(format!("open({path:?}, O_PATH)"), errno))?;
    let metadata =
        rustix::fs::fstat(opened.as_fd()).map_err(|errno| sys::Error::new(format!("fstat({path:?})"), errno))?;
    let is_file = match FileType::from_raw_mode(metadata.st_mode) {
        FileType::RegularFile => true,
        FileType::CharacterDevice => !TERMINALS.iter().any(|range| range.contains(&major(metadata.st_rdev))),
        _ => false,
    };
    let path = format!("/proc/{pid}/fdinfo/{number}");
    let information = std::fs::read_to_string(&path).map_err(CriuError::file("read", path))?;
    match mount_id(&information) {
        Some(mount) if is_file && !has_mount(mounts, mount) => Ok(format!("file[{mount:x}:{:x}]", metadata.st_ino)),
        _ => Ok(link),
    }
}

/// Those that CRIU must be told to leave alone.
pub(crate) fn external(names: &[String; 3]) -> Vec<String> {
    let mut external: Vec<String> = names.iter().filter(|name| name.starts_with("file[")).cloned().collect();
    external.sort();
    external.dedup();
    external
}

pub(crate) fn write(images: &Path, names: &[String; 3]) -> Result<(), CriuError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let path = images.join(FILE);
    let text = serde_json::json!(names).to_string();
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(CriuError::file("write", path))
}

/// Which of our standard streams take the place of the checkpoint's: CRIU's names, and the numbers.
pub(crate) fn replaced(images: &Path) -> Result<Vec<(String, i32)>, CriuError> {
    let path = images.join(FILE);
    let text = std::fs::read(&path).map_err(CriuError::file("read", &path))?;
    let names: Vec<String> = serde_json::from_slice(&text).map_err(|source| CriuError::Descriptors { path, source })?;
    let ours = |name: &String| name.starts_with("pipe:") || name.starts_with("file[");
    let mut replaced: Vec<(String, i32)> = names.into_iter().zip(0..3).filter(|(name, _)| ours(name)).collect();
    // One file may be several streams; CRIU wants each name once.
    replaced.sort();
    replaced.dedup_by(|later, earlier| later.0 == earlier.0);
    Ok(replaced)
}

/// `mnt_id:` of `/proc/<pid>/fdinfo/<n>` (proc_pid_fdinfo(5)).
fn mount_id(information: &str) -> Option<u64> {
    information.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// Whether the mount is among those of `/proc/<pid>/mountinfo`, whose first field is its number.
fn has_mount(mounts: &str, id: u64) -> bool {
    mounts.lines().any(|line| line.split(' ').next().and_then(|field| field.parse().ok()) == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_number() {
        assert_eq!(mount_id("pos:\t0\nflags:\t0100002\nmnt_id:\t27\nino:\t5\n"), Some(27));
        assert_eq!(mount_id("pos:\t0\n"), None);
        let mounts = "27 1 0:5 / / rw - ext4 /dev/x rw\n31 27 0:6 / /proc rw - proc proc rw\n";
        assert!(has_mount(mounts, 31) && !has_mount(mounts, 3) && !has_mount(mounts, 1));
    }

    #[test]
    fn pipes_and_files_of_the_host_are_replaced_once_each() {
        let images = tempfile::tempdir().unwrap();
        let names = ["/dev/pts/0", "pipe:[12]", "pipe:[12]"].map(String::from);
        write(images.path(), &names).unwrap();
        assert_eq!(replaced(images.path()).unwrap(), [("pipe:[12]".into(), 1)]);
        let names = ["file[1b:5]", "pipe:[12]", ""].map(String::from);
        write(images.path(), &names).unwrap();
        assert_eq!(replaced(images.path()).unwrap(), [("file[1b:5]".into(), 0), ("pipe:[12]".into(), 1)]);
        assert_eq!(external(&["file[1b:5]", "file[1b:5]", "pipe:[12]"].map(String::from)), ["file[1b:5]"]);
    }

    #[test]
    fn what_is_no_list_of_names_is_refused() {
        let images = tempfile::tempdir().unwrap();
        assert!(matches!(replaced(images.path()), Err(CriuError::File { .. })));
        std::fs::write(images.path().join(FILE), "{}").unwrap();
        assert!(matches!(replaced(images.path()), Err(CriuError::Descriptors { .. })));
    }

    #[test]
    fn our_own_streams_have_names() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(names(own).unwrap().iter().all(|name| !name.starts_with("file[")), "we see our own files");
    }
}
