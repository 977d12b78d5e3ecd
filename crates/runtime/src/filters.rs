// SPDX-License-Identifier: Apache-2.0
//! Compiled system call filters, kept in a directory: reading one is cheaper than compiling it.
//!
//! A file is taken only if it is a regular one of ours that nobody else can write to, and if it holds, word for word,
//! what it was made from: the profile, and which build of this program compiled it. Its name is a hash, which decides
//! nothing. Whatever is not as it must be is compiled anew; a cache that cannot be used is no reason to fail.
//!
//! ```text
//! magic, length of the key, length of the program in instructions, flags   four 32-bit words
//! key                                                                       the build, then the profile as JSON
//! program                                                                   eight bytes an instruction
//! ```

use std::hash::{DefaultHasher, Hasher};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use oci::runtime_spec::LinuxSeccomp;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use sys::seccomp::SockFilter;

use crate::apply::Filter;

const MAGIC: u32 = 0x4346_4c31;
const HEADER: usize = 16;
const INSTRUCTION: usize = 8;
/// More profiles than one host has in use; what is too much is all removed.
const MOST: usize = 64;
/// A profile larger than this is compiled each time.
const LARGEST: usize = 256 * 1024;

/// A directory of compiled filters.
pub(crate) struct Filters {
    directory: OwnedFd,
}

impl Filters {
    /// Opens it, or makes it, for its owner only. `None` when it is somebody else's or cannot be had.
    pub(crate) fn open(path: &Path) -> Option<Filters> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || openat(CWD, path, flags, Mode::empty());
        let directory = match open() {
            Err(Errno::NOENT) => {
                mkdirat(CWD, path, Mode::RWXU).ok()?;
                open().ok()?
            }
            other => other.ok()?,
        };
        is_ours(&directory, FileType::Directory)?;
        Some(Filters { directory })
    }

    /// The filter that was compiled from `profile` by this build, if it is there and whole.
    pub(crate) fn get(&self, key: &Key) -> Option<Filter> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.directory, key.name.as_str(), flags, Mode::empty()).ok()?;
        let size = is_ours(&file, FileType::RegularFile)?;
        let longest = HEADER + key.bytes.len() + seccomp::MAX_INSTRUCTIONS * INSTRUCTION;
        let mut bytes = Vec::with_capacity(size.min(longest) + 1);
        while bytes.len() <= longest
            && rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes)).ok()? > 0
            && bytes.len() < bytes.capacity()
        {}
        decode(&bytes, &key.bytes)
    }

    /// Keeps a filter for the next time.
    pub(crate) fn put(&self, key: &Key, filter: &Filter) {
        if self.make_room().is_err() {
            return;
        }
        let temporary = format!(".{}.{}", key.name, std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = openat(&self.directory, temporary.as_str(), flags, Mode::RUSR | Mode::WUSR) else { return };
        let bytes = encode(&key.bytes, filter);
        let written = rustix::io::write(&file, &bytes);
        let whole = written.is_ok_and(|length| length == bytes.len());
        let kept = whole && renameat(&self.directory, temporary.as_str(), &self.directory, key.name.as_str()).is_ok();
        if !kept {
            // Or it stays until room is made.
            unlinkat(&self.directory, temporary.as_str(), AtFlags::empty()).unwrap_or_default();
        }
    }

    fn make_room(&self) -> Result<(), Errno> {
        let names: Vec<_> = Dir::read_from(&self.directory)?
            .filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_owned()))
            .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
            .collect();
        if names.len() >= MOST {
            names.iter().try_for_each(|name| unlinkat(&self.directory, name.as_c_str(), AtFlags::empty()))?;
        }
        Ok(())
    }
}

/// What a filter is found by.
pub(crate) struct Key {
    name: String,
    bytes: Vec<u8>,
}

impl Key {
    /// `None` for a profile that is not worth it, or where this program does not know itself.
    pub(crate) fn of(profile: &LinuxSeccomp) -> Option<Key> {
        let mut bytes = Vec::with_capacity(8 * 1024);
        bytes.extend(build()?);
        serde_json::to_writer(&mut bytes, profile).ok()?;
        Key::of_bytes(bytes)
    }

    /// That of a profile which is given as text. Another than that of the same profile in a spec: what is found by this one
    /// was found to ask nobody.
    pub(crate) fn of_text(text: &str) -> Option<Key> {
        Key::of_bytes([&build()?[..], b"apart", text.as_bytes()].concat())
    }

    fn of_bytes(bytes: Vec<u8>) -> Option<Key> {
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        (bytes.len() <= LARGEST).then(|| Key { name: format!("{:016x}", hasher.finish()), bytes })
    }
}

/// Which build this program is: another may compile in another way. Its file is another, or was written at another time.
pub(crate) fn build() -> Option<[u8; 40]> {
    static BUILD: OnceLock<[u8; 40]> = OnceLock::new();
    if let Some(build) = BUILD.get() {
        return Some(*build);
    }
    let program = rustix::fs::stat("/proc/self/exe").ok()?;
    let words = [
        program.st_dev,
        program.st_ino,
        program.st_size.cast_unsigned(),
        program.st_mtime.cast_unsigned(),
        program.st_mtime_nsec,
    ];
    let mut bytes = [0; 40];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    Some(*BUILD.get_or_init(|| bytes))
}

/// Its size, if it is of this type, ours, and nobody else may change it.
fn is_ours(file: &OwnedFd, kind: FileType) -> Option<usize> {
    let metadata = fstat(file).ok()?;
    let ours = FileType::from_raw_mode(metadata.st_mode) == kind
        && metadata.st_uid == geteuid().as_raw()
        && metadata.st_mode & 0o077 == 0;
    ours.then(|| usize::try_from(metadata.st_size).ok()).flatten()
}

fn encode(key: &[u8], filter: &Filter) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + key.len() + filter.instructions.len() * INSTRUCTION);
    for word in [MAGIC, key.len() as u32, filter.instructions.len() as u32, filter.flags] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(key);
    for instruction in &filter.instructions {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    bytes
}

fn decode(bytes: &[u8], key: &[u8]) -> Option<Filter> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let words: Vec<u32> = header.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_ne_bytes)).collect();
    let [magic, length, count, flags] = words[..] else { return None };
    let (found, program) = rest.split_at_checked(key.len())?;
    let count = count as usize;
    let whole = magic == MAGIC
        && length as usize == key.len()
        && found == key
        && (1..=seccomp::MAX_INSTRUCTIONS).contains(&count)
        && program.len() == count * INSTRUCTION;
    let instruction = |bytes: &[u8]| {
        let [c0, c1, jt, jf, k @ ..] = bytes else { return None };
        Some(SockFilter {
            code: u16::from_ne_bytes([*c0, *c1]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes(k.try_into().ok()?),
        })
    };
    let instructions = || program.chunks_exact(INSTRUCTION).map(instruction).collect::<Option<Vec<_>>>();
    whole.then(instructions).flatten().map(|instructions| Filter { instructions, flags })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn filter() -> Filter {
        let ret = SockFilter { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 };
        Filter { instructions: vec![SockFilter { code: 0x20, jt: 1, jf: 2, k: 4 }, ret], flags: 4 }
    }

    fn key(action: &str) -> Key {
        let profile = serde_json::from_value(serde_json::json!({ "defaultAction": action })).unwrap();
        Key::of(&profile).unwrap()
    }

    fn is_filter(found: Option<Filter>) -> bool {
        found.is_some_and(|found| (found.instructions, found.flags) == (filter().instructions, filter().flags))
    }

    #[test]
    fn what_was_kept_is_found_by_its_own_profile_only() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("filters");
        let filters = Filters::open(&path).unwrap();
        let (allow, log) = (key("SCMP_ACT_ALLOW"), key("SCMP_ACT_LOG"));
        assert!(filters.get(&allow).is_none());
        filters.put(&allow, &filter());
        assert!(is_filter(Filters::open(&path).unwrap().get(&allow)));
        assert!(filters.get(&log).is_none());
        // Under the name of another, as if the hashes were the same.
        fs::copy(path.join(&allow.name), path.join(&log.name)).unwrap();
        fs::set_permissions(path.join(&log.name), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(filters.get(&log).is_none());
        assert_eq!(fs::metadata(path.join(&allow.name)).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn what_is_not_whole_or_not_ours_is_not_taken() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("filters");
        let filters = Filters::open(&path).unwrap();
        let key = key("SCMP_ACT_ALLOW");
        filters.put(&key, &filter());
        let file = path.join(&key.name);
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            assert!(filters.get(&key).is_none(), "{length}");
        }
        fs::write(&file, [&whole[..], b"more"].concat()).unwrap();
        assert!(filters.get(&key).is_none());
        fs::write(&file, &whole).unwrap();
        assert!(is_filter(filters.get(&key)));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(filters.get(&key).is_none(), "others may write to it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&file, path.join("moved")).unwrap();
        symlink("moved", &file).unwrap();
        assert!(filters.get(&key).is_none(), "a link");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(Filters::open(&path).is_none(), "others may write into it");
    }

    #[test]
    fn there_are_never_many() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("filters");
        let filters = Filters::open(&path).unwrap();
        for number in 0..3 * MOST {
            let profile = serde_json::json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": number });
            let key = Key::of(&serde_json::from_value(profile).unwrap()).unwrap();
            filters.put(&key, &filter());
            assert!(is_filter(filters.get(&key)));
        }
        assert!(fs::read_dir(&path).unwrap().count() <= MOST);
    }
}
