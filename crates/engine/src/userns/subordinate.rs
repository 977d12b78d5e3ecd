// SPDX-License-Identifier: Apache-2.0
//! The ids that an administrator lets a user give to namespaces: `/etc/subuid` and `/etc/subgid` (subuid(5)), and which of
//! them a container gets.
//!
//! The first of a user's ids are those of all containers that say `remap`; containers that say `auto` get one block each of
//! those that follow.

use std::fs;
use std::io::ErrorKind;

use super::{COUNT, IdRange, UsernsError};
use crate::error::EngineError;

const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// Whose ids are used unless somebody is named.
pub(super) const OWNER: &str = "corten";
/// The same, or the user that Docker has made for itself.
const USUAL: [&str; 2] = [OWNER, "dockremap"];
const FLAG: &str = "--userns-remap";

/// Whose subordinate ids containers have: what `--userns-remap` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remap {
    /// The user's name or id; `None` for the usual one.
    user: Option<String>,
    /// A group's, if the group ids are not the user's.
    group: Option<String>,
}

impl Remap {
    /// Reads `default`, `USER`, `USER:GROUP`, with names or numbers.
    ///
    /// # Errors
    /// Empty names.
    pub fn parse(text: &str) -> Result<Remap, EngineError> {
        if text == "default" {
            return Ok(Remap::default());
        }
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let is_name = |name: &str| !name.is_empty() && !name.contains([':', '\n']);
        if !is_name(user) || !group.is_none_or(is_name) {
            return Err(EngineError::invalid(FLAG, format!("{text:?} is not default, USER or USER:GROUP")));
        }
        Ok(Remap { user: Some(user.to_owned()), group: group.map(str::to_owned) })
    }

    /// Sees whether there are ids, if somebody's are meant: the usual ones may be chosen.
    ///
    /// # Errors
    /// The files cannot be read, or give this user none.
    pub fn verify(&self) -> Result<(), EngineError> {
        if self.is_usual() { Ok(()) } else { Subordinate::of(self, None)?.shared().map(drop) }
    }

    /// Whether nobody is named.
    pub(super) fn is_usual(&self) -> bool {
        self.user.is_none()
    }
}

/// The first id of a run, and how many there are.
pub(crate) type Run = (u32, u32);

/// What the host says of its users and of their subordinate ids.
pub(super) struct Files {
    uids: String,
    gids: String,
    passwd: String,
}

impl Files {
    pub(super) fn read() -> Result<Files, EngineError> {
        Ok(Files { uids: read(SUBUID)?, gids: read(SUBGID)?, passwd: read(PASSWD)? })
    }

    /// The ids of the first of the usual users that has some.
    pub(super) fn of_usual(&self) -> Option<Subordinate> {
        let all = USUAL.map(|user| Subordinate::among(user, None, [&self.uids, &self.gids, &self.passwd, ""]));
        all.into_iter().find(|one| !one.uids.is_empty() && !one.gids.is_empty())
    }

    /// All ids that somebody has: users, and those that they may give to namespaces; of groups as well.
    ///
    /// # Errors
    /// The groups cannot be read.
    pub(super) fn taken(&self) -> Result<Vec<Run>, EngineError> {
        let groups = read(GROUP)?;
        let subordinate = [&self.uids, &self.gids].into_iter().flat_map(|text| text.lines().filter_map(entry));
        let accounts = [&self.passwd, &groups].into_iter().flat_map(|text| text.lines());
        let accounts = accounts.filter_map(|line| Some((line.split(':').nth(2)?.parse().ok()?, 1)));
        Ok(subordinate.map(|(_, run)| run).chain(accounts).collect())
    }
}

/// A user's subordinate ids, in the order of the files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Subordinate {
    user: String,
    uids: Vec<Run>,
    gids: Vec<Run>,
}

impl Subordinate {
    /// Reads the files; `chosen` are the ids where the usual users have none.
    pub(super) fn of(remap: &Remap, chosen: Option<Run>) -> Result<Subordinate, EngineError> {
        let files = Files::read()?;
        let Some(user) = &remap.user else {
            let chosen = || chosen.map(|run| Subordinate { user: OWNER.to_owned(), uids: vec![run], gids: vec![run] });
            return files.of_usual().or_else(chosen).ok_or_else(|| none(OWNER));
        };
        let Files { uids, gids, passwd } = files;
        let groups = if remap.group.is_some() { read(GROUP)? } else { String::new() };
        let found = Subordinate::among(user, remap.group.as_deref(), [&uids, &gids, &passwd, &groups]);
        if found.uids.is_empty() || found.gids.is_empty() { Err(none(user)) } else { Ok(found) }
    }

    /// The pure part: the texts of subuid, subgid, passwd and group. Lines name a user, or say its number.
    fn among(user: &str, group: Option<&str>, [uids, gids, passwd, groups]: [&str; 4]) -> Subordinate {
        let users = names(user, passwd);
        let of_group = group.map(|group| runs(gids, &names(group, groups))).unwrap_or_default();
        let gids = if of_group.is_empty() { runs(gids, &users) } else { of_group };
        Subordinate { user: user.to_owned(), uids: runs(uids, &users), gids }
    }

    /// Its user ids, for people.
    pub(super) fn told(&self) -> String {
        let run = |(first, count): &Run| format!("{first} to {}", u64::from(*first) + u64::from(*count) - 1);
        self.uids.iter().map(run).collect::<Vec<_>>().join(", ")
    }

    /// The ids of all containers that share some.
    pub(super) fn shared(&self) -> Result<IdRange, EngineError> {
        match (self.uids.first(), self.gids.first()) {
            (Some((uid, users)), Some((gid, groups))) => {
                Ok(IdRange { uid: *uid, gid: *gid, count: COUNT.min(*users).min(*groups) })
            }
            _ => Err(none(&self.user)),
        }
    }

    /// Ids that none of `used` has.
    pub(super) fn own(&self, used: &[IdRange]) -> Result<IdRange, EngineError> {
        let taken: Vec<IdRange> = used.iter().copied().chain(self.shared()).collect();
        let uid = free(&self.uids, taken.iter().map(|range| (range.uid, range.count)));
        let gid = free(&self.gids, taken.iter().map(|range| (range.gid, range.count)));
        match (uid, gid) {
            (Some(uid), Some(gid)) => Ok(IdRange { uid, gid, count: COUNT }),
            _ => Err(UsernsError::NoIdsLeft { user: self.user.clone(), count: COUNT }.into()),
        }
    }
}

/// The first id of the first block that has none of `taken`.
fn free(runs: &[Run], taken: impl Iterator<Item = Run> + Clone) -> Option<u32> {
    let mut blocks = runs.iter().flat_map(|(first, count)| (0..count / COUNT).map(move |block| first + block * COUNT));
    blocks.find(|block| !taken.clone().any(|other| overlap((*block, COUNT), other)))
}

/// Whether two runs have an id in common.
pub(super) fn overlap(a: Run, b: Run) -> bool {
    let end = |(first, count): Run| u64::from(first) + u64::from(count);
    u64::from(a.0) < end(b) && u64::from(b.0) < end(a)
}

fn none(user: &str) -> EngineError {
    UsernsError::NoSubordinateIds { user: user.to_owned() }.into()
}

/// What a user or group may be called in the files: its name and its number.
fn names(of: &str, accounts: &str) -> Vec<String> {
    let mut names = vec![of.to_owned()];
    for line in accounts.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else { continue };
        if name == of {
            names.push(number.to_owned());
        } else if number == of {
            names.push(name.to_owned());
        }
    }
    names
}

/// The runs that lines give to one of these. A run that has the host's root in it, or ids that do not exist, is none.
pub(super) fn runs(text: &str, owners: &[String]) -> Vec<Run> {
    let exists = |(first, count): &Run| *first > 0 && *count > 0 && first.checked_add(*count).is_some();
    let owned = text.lines().filter_map(entry).filter(|(owner, _)| owners.iter().any(|known| known == owner));
    owned.map(|(_, run)| run).filter(exists).collect()
}

/// `OWNER:FIRST:COUNT`
fn entry(line: &str) -> Option<(&str, Run)> {
    let mut fields = line.trim().split(':');
    let (owner, first, count) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    fields.next().is_none().then_some((owner, (first, count)))
}

fn read(path: &str) -> Result<String, EngineError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(EngineError::io("read", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/:\nalice:x:1000:1000::/:\nbob:x:1001:1001::/:\n";
    const GROUPS: &str = "root:x:0:\nteam:x:2000:\n";
    const IDS: &str = "alice:100000:65536\n1001:300000:200000\nalice:500000:65536\nalice:0:10\nalice:7:x\n\
                       alice:4294967295:10\n# alice:1:1\nteam:900000:100\n";

    fn of(user: &str, group: Option<&str>) -> Subordinate {
        Subordinate::among(user, group, [IDS, IDS, PASSWD, GROUPS])
    }

    #[test]
    fn ids_are_found_by_name_and_by_number_and_roots_are_none() {
        assert_eq!(of("alice", None).uids, [(100_000, 65536), (500_000, 65536)]);
        assert_eq!(of("1000", None), Subordinate { user: "1000".into(), ..of("alice", None) });
        assert_eq!(of("bob", None).gids, [(300_000, 200_000)]);
        assert_eq!(of("alice", Some("team")).gids, [(900_000, 100)]);
        assert_eq!(of("alice", Some("team")).shared().unwrap(), IdRange { uid: 100_000, gid: 900_000, count: 100 });
        assert!(of("nobody", None).shared().is_err());
    }

    #[test]
    fn every_container_gets_a_block_of_its_own_until_there_is_none() {
        let bob = of("bob", None);
        let (one, two) = (bob.own(&[]).unwrap(), bob.own(&[bob.own(&[]).unwrap()]).unwrap());
        assert_eq!((one.uid, one.gid, one.count), (365_536, 365_536, 65536), "the first block is remap's");
        assert_eq!(two.uid, 431_072);
        assert!(bob.own(&[one, two]).is_err());
        assert_eq!(bob.own(&[two]).unwrap(), one, "what is free again is given again");
        let across = IdRange { uid: 431_071, gid: 9, count: 2 };
        assert!(bob.own(&[across]).is_err(), "a part of each block is somebody's");
        assert!(of("alice", Some("team")).own(&[]).is_err());
    }

    #[test]
    fn whose_ids_they_are_does_not_matter_to_who_chooses_others() {
        let files = |uids: &str, gids: &str| Files { uids: uids.into(), gids: gids.into(), passwd: PASSWD.into() };
        let taken = files(IDS, "dockremap:700000:65536\n").taken().unwrap();
        for run in [(100_000, 65536), (900_000, 100), (700_000, 65536), (1001, 1)] {
            assert!(taken.contains(&run), "{run:?}");
        }
        assert!(files(IDS, IDS).of_usual().is_none());
        let remap = "dockremap:700000:65536\n";
        assert_eq!(files(remap, remap).of_usual().unwrap().uids, [(700_000, 65536)]);
        assert!(files(remap, "").of_usual().is_none(), "of one kind alone nothing can be made");
    }

    #[test]
    fn the_flag_is_read() {
        assert_eq!(Remap::parse("default").unwrap(), Remap::default());
        assert_eq!(Remap::parse("a:b").unwrap(), Remap { user: Some("a".into()), group: Some("b".into()) });
        assert_eq!(Remap::parse("1000").unwrap().user.as_deref(), Some("1000"));
        for bad in ["", ":", "a:", ":b", "a:b:c", "a\nb"] {
            assert!(Remap::parse(bad).is_err(), "{bad:?}");
        }
    }
}
