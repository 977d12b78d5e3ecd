// SPDX-License-Identifier: Apache-2.0
//! What the engine itself puts into a container before its command starts: the generated files of `/etc`, and a working
//! directory that the image does not have.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt};
use std::path::Path;

use network::{Endpoint, NetworkId};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat, openat2};
use rustix::io::Errno;

use crate::container::Record;
use crate::error::EngineError;
use crate::request::NetworkMode;
use crate::spec;
use crate::user::Identity;
use crate::userns::{self, IdRange};

/// Where a host that runs its own resolver on a loopback address keeps the real name servers.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// Where a container's own resolver answers, inside.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// A larger file of the container's is not read: it must not make the daemon hold it.
const MAX_FILE: u64 = 1 << 20;

/// What is generated for a container's `/etc`, by its names there and in the container's directory.
pub(crate) const NETWORK_FILES: [&str; 3] = ["resolv.conf", "hostname", "hosts"];

/// Writes `hostname`, `hosts` and `resolv.conf` into the container's directory, from where they are bind-mounted.
pub(crate) fn write_network_files(
    dir: &Path,
    hostname: &str,
    record: &Record,
    endpoints: &[Endpoint],
) -> Result<(), EngineError> {
    write(dir, "hostname", format!("{hostname}\n"))?;
    let is_hosts = record.spec.network == NetworkMode::Host;
    let names = full_and_short(hostname, record);
    let naming = &record.spec.naming;
    // Who has the host's network reaches the host by its loopback.
    let gateway = if is_hosts { Some(Ipv4Addr::LOCALHOST) } else { endpoints.iter().find_map(|end| end.gateway) };
    let hosts = if is_hosts { read_host("/etc/hosts")? } else { hosts(&names, endpoints) };
    write(dir, "hosts", hosts + &naming.hosts(gateway)?)?;
    let own = read_host("/etc/resolv.conf")?;
    let resolv = match is_hosts {
        true => own,
        false if has_resolver(endpoints) => resolver_conf(&own),
        false => reachable_resolv_conf(&own, || read_host(RESOLVED))?,
    };
    write(dir, "resolv.conf", naming.resolv_conf(&resolv, has_resolver(endpoints)))
}

/// A running container has a place more: what its files in `/etc` say of it. The user's own changes of them stay.
pub(crate) fn say_connected(dir: &Path, record: &Record, endpoints: &[Endpoint]) -> Result<(), EngineError> {
    let Some((new, before)) = endpoints.split_last() else { return Ok(()) };
    append(dir, "hosts", &host_lines(new, &full_and_short(&spec::hostname(record), record)))?;
    if has_resolver(endpoints) && !has_resolver(before) {
        let text = resolver_conf(&read_host("/etc/resolv.conf")?);
        write(dir, "resolv.conf", record.spec.naming.resolv_conf(&text, true))?;
    }
    Ok(())
}

/// A running container has a place less.
pub(crate) fn say_disconnected(dir: &Path, record: &Record, left: &Endpoint) -> Result<(), EngineError> {
    let lines = host_lines(left, &full_and_short(&spec::hostname(record), record));
    let Some(text) = read(dir, "hosts")? else {
        tracing::warn!(container = %record.id, "its /etc/hosts is too long for a line to be taken out of it");
        return Ok(());
    };
    let is_kept = |known: &&[u8]| !lines.split_inclusive('\n').any(|line| line.as_bytes() == *known);
    let kept: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').filter(is_kept).collect();
    write(dir, "hosts", kept.concat())
}

/// Containers in user-defined networks ask the resolver that knows their neighbours' names.
pub(crate) fn has_resolver(endpoints: &[Endpoint]) -> bool {
    endpoints.iter().any(|endpoint| endpoint.network != NetworkId::bridge())
}

/// The host's resolver configuration with the container's own resolver in place of the name servers. A name without a dot
/// may be a neighbour's: it is asked as it is first, unless the host says otherwise.
fn resolver_conf(host: &str) -> String {
    let mut text = format!("nameserver {RESOLVER}\n");
    let mut says_dots = false;
    for line in host.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("search" | "domain") => text.push_str(&format!("{line}\n")),
            Some("options") => {
                says_dots |= words.any(|word| word.starts_with("ndots:"));
                text.push_str(&format!("{line}\n"));
            }
            _ => {}
        }
    }
    if !says_dots {
        text.push_str("options ndots:0\n");
    }
    text
}

/// The name servers of the host's resolver configuration, those on loopback addresses included.
pub(crate) fn name_servers() -> Result<Vec<IpAddr>, EngineError> {
    let text = read_host("/etc/resolv.conf")?;
    let server = |line: &str| {
        let address = line.trim().strip_prefix("nameserver")?.split_whitespace().next()?;
        address.split('%').next()?.parse().ok()
    };
    Ok(text.lines().filter_map(server).collect())
}

/// Has a file say this. It is not emptied first: ext4 writes a file to the disk when it is closed that was (`auto_da_alloc`,
/// ext4(5)), and the start of a container would wait for that.
fn write(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> Result<(), EngineError> {
    let (path, text) = (dir.join(name), text.as_ref());
    let open = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(&path);
    let written = open.and_then(|mut file| {
        file.write_all(text)?;
        let length = text.len() as u64;
        if file.metadata()?.len() > length { file.set_len(length) } else { Ok(()) }
    });
    written.map_err(EngineError::io("write", path))
}

/// Adds a line to a file, which the container may have left without an end of its last one.
fn append(dir: &Path, name: &str, line: &str) -> Result<(), EngineError> {
    let path = dir.join(name);
    let appended = fs::OpenOptions::new().read(true).append(true).open(&path).and_then(|mut file| {
        let mut last = [b'\n'];
        if let Some(at) = file.metadata()?.len().checked_sub(1) {
            // The container may cut it off meanwhile.
            let _ = file.read_at(&mut last, at)?;
        }
        let text = if last == [b'\n'] { line.to_owned() } else { format!("\n{line}") };
        file.write_all(text.as_bytes())
    });
    appended.map_err(EngineError::io("write", path))
}

/// What is in a file that the container writes to as well; nothing if that is too long.
fn read(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, EngineError> {
    let path = dir.join(name);
    let mut text = Vec::new();
    let read = fs::File::open(&path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut text));
    read.map_err(EngineError::io("read", path))?;
    Ok((text.len() as u64 <= MAX_FILE).then_some(text))
}

/// A file of the host; nothing when it does not exist.
fn read_host(path: &str) -> Result<String, EngineError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(EngineError::io("read", path)(error)),
    }
}

fn hosts(hostname: &str, endpoints: &[Endpoint]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        .to_owned();
    text.extend(endpoints.iter().map(|endpoint| host_lines(endpoint, hostname)));
    text
}

/// The name with its domain, if it has one, and the name.
fn full_and_short(hostname: &str, record: &Record) -> String {
    match &record.spec.isolation.domainname {
        Some(domain) => format!("{hostname}.{domain} {hostname}"),
        None => hostname.to_owned(),
    }
}

/// One for each of its addresses.
fn host_lines(endpoint: &Endpoint, hostname: &str) -> String {
    endpoint.addresses().map(|address| format!("{address}\t{hostname}\n")).collect()
}

/// The host's resolver configuration without name servers that only the host itself can reach.
fn reachable_resolv_conf(
    host: &str,
    resolved: impl FnOnce() -> Result<String, EngineError>,
) -> Result<String, EngineError> {
    let (kept, servers) = without_loopback(host);
    if servers > 0 {
        return Ok(kept);
    }
    let (real, servers) = without_loopback(&resolved()?);
    Ok(if servers > 0 { real } else { kept })
}

fn without_loopback(text: &str) -> (String, usize) {
    let mut kept = String::with_capacity(text.len());
    let mut servers = 0;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver") {
            let address = words.next().unwrap_or_default();
            let address = address.split('%').next().unwrap_or_default();
            match address.parse::<IpAddr>() {
                Ok(address) if !address.is_loopback() => servers += 1,
                _ => continue,
            }
        }
        kept.push_str(line);
        kept.push('\n');
    }
    (kept, servers)
}

/// Makes the working directory inside `root`, component by component and never outside it, owned by the container's
/// user where it had to be made. What exists is left alone; a symbolic link is followed inside the root. `ids`: those with
/// which the root is mounted.
pub(crate) fn make_working_directory(
    root: BorrowedFd<'_>,
    path: &str,
    owner: &Identity,
    ids: Option<IdRange>,
) -> Result<(), EngineError> {
    let mut current: Option<OwnedFd> = None;
    let mut sofar = String::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        sofar.push('/');
        sofar.push_str(part);
        let failed = |errno: Errno| EngineError::io("make the working directory", sofar.clone())(errno.into());
        let next = match open_directory(root, &sofar) {
            Err(Errno::NOENT) => {
                let parent = current.as_ref().map_or(root, AsFd::as_fd);
                let _acting = userns::act_as_root(ids)?;
                mkdirat(parent, part, Mode::from_raw_mode(0o755)).map_err(failed)?;
                let outside = match ids {
                    Some(ids) => ids.outside(owner.uid, owner.gid).ok_or_else(|| failed(Errno::OVERFLOW))?,
                    None => (owner.uid, owner.gid),
                };
                let (uid, gid) = (Uid::from_raw(outside.0), Gid::from_raw(outside.1));
                chownat(parent, part, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                open_directory(root, &sofar).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        current = Some(next);
    }
    Ok(())
}

fn open_directory(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_identity() -> Identity {
        // The test's own user, so that it needs no privilege.
        Identity {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            groups: vec![],
            home: "/".into(),
        }
    }

    #[test]
    fn the_working_directory_is_made_inside_and_never_outside() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("escape")).unwrap();
        std::os::unix::fs::symlink("/real", root.path().join("inside")).unwrap();
        fs::create_dir(root.path().join("real")).unwrap();
        let dir = fs::File::open(root.path()).unwrap();
        make_working_directory(dir.as_fd(), "/a/b//c/.", &root_identity(), None).unwrap();
        assert!(root.path().join("a/b/c").is_dir());
        make_working_directory(dir.as_fd(), "/inside/x", &root_identity(), None).unwrap();
        assert!(root.path().join("real/x").is_dir());
        // The link's target does not exist inside the root, so this fails; above all nothing appears outside.
        assert!(make_working_directory(dir.as_fd(), "/escape/x", &root_identity(), None).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_container_wrote_into_a_file_stays_and_cannot_fill_memory() {
        let dir = tempfile::tempdir().unwrap();
        let text = |dir: &Path| fs::read(dir.join("hosts")).unwrap();
        fs::write(dir.path().join("hosts"), b"\xff no end").unwrap();
        append(dir.path(), "hosts", "10.0.0.2\tbox\n").unwrap();
        append(dir.path(), "hosts", "10.0.1.2\tbox\n").unwrap();
        assert_eq!(text(dir.path()), b"\xff no end\n10.0.0.2\tbox\n10.0.1.2\tbox\n");
        assert_eq!(read(dir.path(), "hosts").unwrap(), Some(text(dir.path())));
        fs::File::create(dir.path().join("hosts")).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert_eq!(read(dir.path(), "hosts").unwrap(), None);
        fs::write(dir.path().join("hosts"), b"").unwrap();
        append(dir.path(), "hosts", "x\n").unwrap();
        assert_eq!(text(dir.path()), b"x\n");
    }

    #[test]
    fn the_resolver_takes_the_place_of_the_name_servers() {
        let text = resolver_conf("search lan\nnameserver 192.0.2.1\noptions edns0\n# x\n");
        assert_eq!(text, "nameserver 127.0.0.11\nsearch lan\noptions edns0\noptions ndots:0\n");
        assert_eq!(resolver_conf("options ndots:2\n"), "nameserver 127.0.0.11\noptions ndots:2\n");
        assert_eq!(resolver_conf(""), "nameserver 127.0.0.11\noptions ndots:0\n");
    }

    #[test]
    fn name_servers_on_loopback_are_not_handed_in() {
        let host = "search lan\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n";
        let text = reachable_resolv_conf(host, || unreachable!("a reachable server is there")).unwrap();
        assert_eq!(text, "search lan\nnameserver 192.0.2.1\n");
        let text = reachable_resolv_conf("nameserver ::1\n", || Ok("nameserver 192.0.2.9\n".into())).unwrap();
        assert_eq!(text, "nameserver 192.0.2.9\n");
    }
}
