// SPDX-License-Identifier: Apache-2.0
//! What the kernel says of a process, from its files below `/proc` (proc(5)). Text in, values out.

/// `status`, as far as it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) bounding: u64,
    pub(super) effective: u64,
    pub(super) no_new_privileges: bool,
    /// 2: there is a filter.
    pub(super) seccomp: u32,
}

pub(super) fn status(text: &str) -> Status {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("");
    let numbers =
        |name: &str| field(name).split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>();
    let mask = |name: &str| u64::from_str_radix(field(name).trim(), 16).unwrap_or(0);
    // Real, effective, saved, of the file system.
    let effective = |name: &str| numbers(name).get(1).copied().unwrap_or(0);
    Status {
        uid: effective("Uid"),
        gid: effective("Gid"),
        groups: numbers("Groups"),
        bounding: mask("CapBnd"),
        effective: mask("CapEff"),
        no_new_privileges: field("NoNewPrivs").trim() == "1",
        seccomp: field("Seccomp").trim().parse().unwrap_or(0),
    }
}

/// A line of `mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// What of its file system is shown.
    pub(super) root: String,
    pub(super) target: String,
    pub(super) options: String,
    pub(super) kind: String,
    pub(super) source: String,
    /// Of the file system, where those before are of this mount.
    pub(super) super_options: String,
}

impl Mount {
    pub(super) fn is_read_only(&self) -> bool {
        let ro = |options: &str| options.split(',').any(|option| option == "ro");
        ro(&self.options) || ro(&self.super_options)
    }
}

pub(super) fn mounts(text: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let mut file_system = file_system.splitn(3, ' ');
        Some(Mount {
            root: unescape(mount.get(3)?),
            target: unescape(mount.get(4)?),
            options: (*mount.get(5)?).to_owned(),
            kind: file_system.next()?.to_owned(),
            source: unescape(file_system.next()?),
            super_options: file_system.next().unwrap_or("").to_owned(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// Without the kernel's escapes: `\040` is a space.
fn unescape(text: &str) -> String {
    let mut pieces = text.split('\\');
    let mut plain = pieces.next().unwrap_or("").as_bytes().to_vec();
    for piece in pieces {
        match piece.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                plain.extend(&piece.as_bytes()[3..]);
            }
            None => {
                plain.push(b'\\');
                plain.extend(piece.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// `cgroup`: controllers and paths.
pub(super) fn cgroups(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// The number in a link such as `mnt:[4026531841]`.
pub(super) fn inode(link: &str) -> Option<u64> {
    link.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let text = "Name:\tsh\nUid:\t0\t7\t0\t0\nGid:\t0\t8\t0\t0\nGroups:\t1 2 \nNoNewPrivs:\t1\nCapEff:\t00000000a80425fb\n\
                    CapBnd:\t000001ffffffffff\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let expected = Status {
            uid: 7,
            gid: 8,
            groups: vec![1, 2],
            bounding: 0x1ff_ffff_ffff,
            effective: 0xa804_25fb,
            no_new_privileges: true,
            seccomp: 2,
        };
        assert_eq!(status(text), expected);
        assert_eq!(status("nonsense"), Status::default());
    }

    #[test]
    fn mounts_are_read_with_spaces_in_their_names() {
        let text =
            "36 35 98:0 /my\\040dir /mnt/a\\134b rw,noatime master:1 - ext4 /dev/root ro,errors=continue\nbroken\n";
        let found = mounts(text);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].root.as_str(), found[0].target.as_str()), ("/my dir", "/mnt/a\\b"));
        assert!(found[0].is_read_only() && found[0].kind == "ext4");
    }

    #[test]
    fn cgroups_and_namespaces_are_read() {
        assert_eq!(cgroups("4:cpu,cpuacct:/x\n0::/y:z\n")[0], ("cpu,cpuacct".into(), "/x".into()));
        assert_eq!(cgroups("0::/y:z\n")[0], (String::new(), "/y:z".into()));
        assert_eq!(inode("mnt:[4026531841]"), Some(4_026_531_841));
        assert_eq!(inode("anon_inode:x"), None);
    }
}
