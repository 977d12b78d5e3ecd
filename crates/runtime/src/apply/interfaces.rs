// SPDX-License-Identifier: Apache-2.0
//! Where mounts are, the kernel's own interfaces above all, read from mountinfo (proc_pid_mountinfo(5)). Pure.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

struct Line<'a> {
    id: u64,
    parent: u64,
    root: &'a [u8],
    place: &'a [u8],
    kind: &'a [u8],
}

/// The places of whole procfs and sysfs mounts that are not in the tree of the mount `container`, nor below one another.
pub(super) fn outside(mountinfo: &[u8], container: u64) -> Vec<PathBuf> {
    let lines: Vec<Line<'_>> = mountinfo.split(|byte| *byte == b'\n').filter_map(line).collect();
    let parents: HashMap<u64, u64> = lines.iter().map(|line| (line.id, line.parent)).collect();
    let whole = |line: &&Line<'_>| line.root == b"/" && matches!(line.kind, b"proc" | b"sysfs");
    let ids: Vec<u64> = lines.iter().filter(whole).map(|line| line.id).collect();
    // The topmost mount is its own parent, or that of none that is listed.
    let within = |line: &Line<'_>, wanted: &dyn Fn(u64) -> bool| {
        let mut id = line.id;
        for _ in 0..parents.len() {
            let Some(parent) = parents.get(&id).copied().filter(|parent| *parent != id) else { return false };
            if wanted(parent) {
                return true;
            }
            id = parent;
        }
        false
    };
    let outside = |line: &&Line<'_>| line.id != container && !within(line, &|id| id == container || ids.contains(&id));
    lines.iter().filter(whole).filter(outside).map(|line| path(line.place)).collect()
}

/// Where the mount of this number is.
pub(crate) fn place_of(mountinfo: &[u8], id: u64) -> Option<PathBuf> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(line).find(|line| line.id == id).map(|line| path(line.place))
}

fn line(text: &[u8]) -> Option<Line<'_>> {
    let mut words = text.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let (root, place) = (words.nth(1)?, words.next()?);
    let kind = words.skip_while(|word| *word != b"-").nth(1)?;
    Some(Line { id, parent, root, place, kind })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn path(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => (bytes.push(byte), rest = &others[3..]),
            None => (bytes.push(*first), rest = others),
        };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_interfaces_of_the_host_are_found() {
        let text = b"21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                     22 21 0:5 / /proc rw - proc proc rw\n\
                     23 22 0:9 / /proc/sys/fs/binfmt_misc rw - autofs systemd rw\n\
                     24 21 0:6 / /sys rw shared:7 - sysfs sysfs rw\n\
                     25 21 0:5 /sys /part rw - proc proc rw\n\
                     26 21 0:5 / /a\\040b\\134c rw - proc proc rw\n\
                     27 26 0:6 / /a\\040b\\134c/x rw - sysfs sysfs rw\n\
                     40 21 0:40 / / rw - overlay overlay rw\n\
                     41 40 0:50 / /proc rw - proc proc rw\n\
                     42 40 0:6 / /sys ro - sysfs sysfs ro\n\
                     nonsense\n43 x\n";
        let found: Vec<String> = outside(text, 40).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(found, ["/proc", "/sys", "/a b\\c"]);
        assert_eq!(place_of(text, 27), Some(PathBuf::from("/a b\\c/x")));
        assert_eq!(place_of(text, 43), None);
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let text = b"1 2 0:5 / /proc rw - proc proc rw\n2 1 0:5 /x /y rw - ext4 proc rw\n";
        assert_eq!(outside(text, 9), [] as [PathBuf; 0]);
    }
}
