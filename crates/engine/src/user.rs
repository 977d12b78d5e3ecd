// SPDX-License-Identifier: Apache-2.0
//! Who a command runs as: `user[:group]` looked up in the image's own `/etc/passwd` and `/etc/group`.

use std::io::Read;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use crate::error::EngineError;

/// A larger passwd or group file than this is not read: an image must not make the daemon hold it.
const MAX_FILE: u64 = 4 << 20;

/// Numeric ids, supplementary groups and home of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Looks `user` up inside `root`, the container's root directory. It is in the groups `others` as well.
///
/// # Errors
/// A name that the image does not know, a number out of range, or files that cannot be read.
pub(crate) fn look_up(root: BorrowedFd<'_>, user: &str, others: &[String]) -> Result<Identity, EngineError> {
    let passwd = read_inside(root, "etc/passwd")?;
    // Root in no group but its own is the usual case, and needs the group file only for its supplementary groups.
    let group = read_inside(root, "etc/group")?;
    let mut identity = resolve(user, &passwd, &group)?;
    add_groups(&mut identity, others, &group)?;
    Ok(identity)
}

fn add_groups(identity: &mut Identity, others: &[String], group: &str) -> Result<(), EngineError> {
    for other in others {
        let gid = find_group(other, group)?;
        if !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    Ok(())
}

fn read_inside(root: BorrowedFd<'_>, path: &'static str) -> Result<String, EngineError> {
    let failed = |errno: Errno| EngineError::io("read the image's", path)(errno.into());
    // Non-blocking, because an image may put a FIFO there; in-root, because it may put a symbolic link there.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(String::new()),
        Err(errno) => return Err(failed(errno)),
    };
    if !FileType::from_raw_mode(fstat(&file).map_err(failed)?.st_mode).is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(EngineError::io("read the image's", path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or_default();
        Some(Account { name, uid: numeric(uid)?, gid: numeric(gid)?, home })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Group { name, gid: numeric(gid)?, members: fields.next().unwrap_or_default() })
    })
}

/// The pure part: `user` is `name`, `uid`, `name:group`, `uid:gid`, or empty for root.
fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, EngineError> {
    let (name, wanted_group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    // A name goes before a number, as in Docker: an account may be called `1000`.
    let account = accounts(passwd)
        .find(|account| account.name == name)
        .or_else(|| accounts(passwd).find(|account| name.parse() == Ok(account.uid)));
    let (uid, default_gid, home) = match (&account, numeric(name)) {
        (Some(account), _) => (account.uid, account.gid, account.home),
        (None, Some(uid)) => (uid, 0, "/"),
        (None, None) => {
            return Err(EngineError::UnknownUser { what: "user", name: name.to_owned(), file: "/etc/passwd" });
        }
    };
    let (gid, mut supplementary) = match wanted_group {
        Some(wanted) => (find_group(wanted, group)?, Vec::new()),
        None => {
            let login = account.as_ref().map_or("", |account| account.name);
            let member = |of: &Group<'_>| !login.is_empty() && of.members.split(',').any(|one| one.trim() == login);
            (default_gid, groups(group).filter(member).map(|of| of.gid).collect())
        }
    };
    supplementary.sort_unstable();
    supplementary.dedup();
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity { uid, gid, groups: supplementary, home: home.to_owned() })
}

fn find_group(wanted: &str, group: &str) -> Result<u32, EngineError> {
    groups(group)
        .find(|of| of.name == wanted)
        .map(|of| of.gid)
        .or_else(|| numeric(wanted))
        .ok_or_else(|| EngineError::UnknownUser { what: "group", name: wanted.to_owned(), file: "/etc/group" })
}

/// Ids are below 2³¹, as Docker and runc have it. The highest number there is would leave a process the user that it is.
fn numeric(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&id: &u32| id <= i32::MAX as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:33::/var/www:/bin/sh\n1000:x:7:8::/h:\n\
                          same:x:4294967295:0::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\naudio:x:29:web,root\nvideo:x:44:web\nsame:x:4294967295:\n";

    fn identity(user: &str) -> (u32, u32, Vec<u32>, String) {
        let identity = resolve(user, PASSWD, GROUP).unwrap();
        (identity.uid, identity.gid, identity.groups, identity.home)
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        assert_eq!(identity(""), (0, 0, vec![29], "/root".into()));
        assert_eq!(identity("web"), (33, 33, vec![29, 44], "/var/www".into()));
        assert_eq!(identity("33"), (33, 33, vec![29, 44], "/var/www".into()));
        assert_eq!(identity("web:video"), (33, 44, vec![], "/var/www".into()));
        assert_eq!(identity("12345"), (12345, 0, vec![], "/".into()));
        assert_eq!(identity("12345:678"), (12345, 678, vec![], "/".into()));
        assert_eq!(identity("1000"), (7, 8, vec![], "/h".into()), "a name goes before a number");
    }

    #[test]
    fn further_groups_are_names_or_numbers() {
        let mut identity = resolve("web", PASSWD, GROUP).unwrap();
        let add = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        add_groups(&mut identity, &add(&["audio", "777", "video"]), GROUP).unwrap();
        assert_eq!(identity.groups, [29, 44, 777]);
        for bad in ["nogroup", "-1", "4294967295", "a\nb"] {
            assert!(add_groups(&mut identity, &add(&[bad]), GROUP).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_names_and_absurd_numbers_are_refused() {
        for bad in ["nobody", "same", "web:same", "web:nogroup", "4294967295", "-1", "2147483648"] {
            assert!(resolve(bad, PASSWD, GROUP).is_err(), "{bad}");
        }
    }
}
