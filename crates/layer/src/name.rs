// SPDX-License-Identifier: Apache-2.0
//! Names in archives: normalised, or refused before the kernel sees them. Pure.

use crate::error::Refusal;
use crate::reader::{Entry, Kind};
use crate::{Limits, UnpackError};

/// What every file system under a data root allows for one component.
const MAX_COMPONENT: usize = 255;
/// image-spec, `layer.md`, "Whiteouts".
pub(crate) const WHITEOUT: &[u8] = b".wh.";
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the last component of a name means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'n> {
    /// Itself.
    Plain,
    /// The name it carries is gone.
    Whiteout(&'n [u8]),
    /// The directory it is in hides what is below.
    Opaque,
}

/// Writes `raw` to `into` without leading, double and trailing slashes and without `.`: empty for the root itself.
pub(crate) fn normalise(raw: &[u8], into: &mut Vec<u8>, limits: &Limits) -> Result<(), Refusal> {
    into.clear();
    if raw.len() > limits.max_path {
        return Err(Refusal::TooLong);
    }
    if raw.is_empty() || raw.contains(&0) {
        return Err(Refusal::Nul);
    }
    if raw[0] == b'/' && !limits.absolute_names {
        return Err(Refusal::Absolute);
    }
    for component in raw.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(Refusal::DotDot),
            _ if component.len() > MAX_COMPONENT => return Err(Refusal::TooLong),
            _ => {}
        }
        if !into.is_empty() {
            into.push(b'/');
        }
        into.extend_from_slice(component);
    }
    Ok(())
}

/// Replaces the first part of the normalised `path`, if it is `old`, by `new`, which may be `.` or `/` for none.
pub(crate) fn rename(path: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    let none = |name: &[u8]| matches!(name, b"" | b"." | b"/");
    let rest = match path.strip_prefix(if none(old) { &b""[..] } else { old }) {
        Some(rest) if none(old) || rest.is_empty() => rest.to_vec(),
        Some(rest) if rest[0] == b'/' => rest[1..].to_vec(),
        _ => return,
    };
    path.clear();
    if !none(new) {
        path.extend_from_slice(new);
        if !rest.is_empty() {
            path.push(b'/');
        }
    }
    path.extend_from_slice(&rest);
}

/// The directory part (empty for the root) and the last component of a normalised name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Where the link `target` in `directory` leads, both below the archive's root. `None` for what is not below it.
pub fn link_target(directory: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in directory.split(|&byte| byte == b'/').chain(target.split(|&byte| byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join(&b'/'))
}

/// What a normalised name of an entry of kind `kind` means.
pub(crate) fn meaning(path: &[u8], kind: Kind) -> Result<Meaning<'_>, Refusal> {
    let (parent, name) = split(path);
    if parent.split(|&byte| byte == b'/').any(|component| component.starts_with(WHITEOUT)) {
        return Err(Refusal::Whiteout);
    }
    let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(Meaning::Plain) };
    // Whiteouts are empty files; layers made on aufs have them as hard links to one file.
    if !matches!(kind, Kind::File | Kind::HardLink) {
        return Err(Refusal::Whiteout);
    }
    match hidden {
        _ if name == OPAQUE => Ok(Meaning::Opaque),
        b"" | b"." | b".." => Err(Refusal::Whiteout),
        _ if hidden.starts_with(WHITEOUT) => Err(Refusal::Whiteout),
        _ => Ok(Meaning::Whiteout(hidden)),
    }
}

/// The checks of an entry's names that need no file system.
pub(crate) fn check(entry: &Entry, limits: &Limits) -> Result<(), UnpackError> {
    let refuse = |refusal| UnpackError::refused(&entry.name, refusal);
    let mut path = Vec::new();
    normalise(&entry.name, &mut path, limits).map_err(refuse)?;
    if path.is_empty() && entry.kind != Kind::Directory {
        return Err(refuse(Refusal::Root));
    }
    if meaning(&path, entry.kind).map_err(refuse)? != Meaning::Plain {
        return Ok(());
    }
    match entry.kind {
        Kind::HardLink => normalise(&entry.link, &mut path, limits).map_err(refuse),
        Kind::Symlink => symlink_target(&entry.link, limits).map_err(refuse),
        _ => Ok(()),
    }
}

/// A symbolic link's target is kept as it is: it is resolved inside the container. It must only be one.
pub(crate) fn symlink_target(target: &[u8], limits: &Limits) -> Result<(), Refusal> {
    match target {
        [] => Err(Refusal::Nul),
        _ if target.contains(&0) => Err(Refusal::Nul),
        _ if target.len() > limits.max_path => Err(Refusal::TooLong),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(raw: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut path = Vec::new();
        normalise(raw, &mut path, &Limits::default()).map(|()| path)
    }

    #[test]
    fn names_are_relative_and_plain() {
        assert_eq!(normal(b"./a//b/./c/").unwrap(), b"a/b/c");
        assert_eq!(normal(b"./").unwrap(), b"");
        assert_eq!(normal(b"...").unwrap(), b"...");
        for (bad, why) in [
            (&b"/etc/passwd"[..], Refusal::Absolute),
            (b"a/../b", Refusal::DotDot),
            (b"..", Refusal::DotDot),
            (b"a/..", Refusal::DotDot),
            (b"a\0b", Refusal::Nul),
            (b"", Refusal::Nul),
            (&[b'a'; 256], Refusal::TooLong),
            (&b"a/".repeat(2048), Refusal::TooLong),
        ] {
            assert_eq!(normal(bad), Err(why));
        }
        let limits = Limits { absolute_names: true, ..Limits::default() };
        let mut path = Vec::new();
        normalise(b"//etc/passwd", &mut path, &limits).unwrap();
        assert_eq!(path, b"etc/passwd");
    }

    #[test]
    fn the_first_part_of_a_name_becomes_another() {
        for (path, old, new, expected) in [
            ("a/b", "a", "x", "x/b"),
            ("a", "a", "x", "x"),
            ("ab/c", "a", "x", "ab/c"),
            ("a/b", ".", "x", "x/a/b"),
            ("", ".", "x", "x"),
            ("a/b", "a", ".", "b"),
        ] {
            let mut renamed = path.as_bytes().to_vec();
            rename(&mut renamed, old.as_bytes(), new.as_bytes());
            assert_eq!(String::from_utf8_lossy(&renamed), expected, "{path} {old} {new}");
        }
    }

    #[test]
    fn whiteouts_hide_one_plain_name() {
        let file = |path| meaning(path, Kind::File);
        assert_eq!(file(b"a/.wh.b"), Ok(Meaning::Whiteout(b"b")));
        assert_eq!(file(b"a/.wh..b"), Ok(Meaning::Whiteout(b".b")));
        assert_eq!(file(b"a/.wh..wh..opq"), Ok(Meaning::Opaque));
        assert_eq!(file(b"a/.whx"), Ok(Meaning::Plain));
        assert_eq!(meaning(b".wh.b", Kind::HardLink), Ok(Meaning::Whiteout(b"b")));
        for bad in [&b".wh."[..], b".wh..", b".wh...", b".wh..wh.x", b".wh..wh..opq/x", b".wh.a/b"] {
            assert_eq!(file(bad), Err(Refusal::Whiteout), "{:?}", String::from_utf8_lossy(bad));
        }
        for kind in [Kind::Directory, Kind::Symlink, Kind::CharDevice, Kind::Fifo] {
            assert_eq!(meaning(b".wh.a", kind), Err(Refusal::Whiteout));
        }
    }

    proptest! {
        #[test]
        fn a_normal_name_stays_below_its_root(raw in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..40)) {
            if let Ok(path) = normal(&raw) {
                prop_assert!(!path.starts_with(b"/") && !path.contains(&0));
                prop_assert!(path.is_empty() || path.split(|&b| b == b'/').all(|c| !matches!(c, b"" | b"." | b"..")));
                prop_assert_eq!(normal(&[b"./", &path[..]].concat()).unwrap(), path);
            }
        }
    }
}
