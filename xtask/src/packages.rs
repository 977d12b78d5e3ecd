// SPDX-License-Identifier: Apache-2.0
//! What the tests need from the distribution, installed with apt-get when it is missing.
//!
//! A package that brings a service (docker.io, containerd, docker-registry) must not start it: the tests start their
//! own, with their own directories. On a systemd host those units are masked for the duration of the installation.

use std::path::Path;
use std::process::Stdio;

use crate::Outcome;

/// A Debian or Ubuntu package, and a file that shows it is there.
struct Package {
    name: &'static str,
    proof: &'static str,
    services: &'static [&'static str],
}

const fn package(name: &'static str, proof: &'static str) -> Package {
    Package { name, proof, services: &[] }
}

const PACKAGES: &[Package] = &[
    Package { name: "docker.io", proof: "/usr/sbin/dockerd", services: &["docker.service", "docker.socket"] },
    Package { name: "containerd", proof: "/usr/bin/containerd", services: &["containerd.service"] },
    package("docker-compose", "/usr/bin/docker-compose"),
    Package { name: "docker-registry", proof: "/usr/bin/docker-registry", services: &["docker-registry.service"] },
    package("runc", "/usr/sbin/runc"),
    package("criu", "/usr/sbin/criu"),
    package("protobuf-compiler", "/usr/bin/protoc"),
    package("skopeo", "/usr/bin/skopeo"),
    package("podman", "/usr/bin/podman"),
    package("conmon", "/usr/bin/conmon"),
    package("crun", "/usr/bin/crun"),
    package("umoci", "/usr/bin/umoci"),
    package("buildah", "/usr/bin/buildah"),
    package("libcap2-bin", "/usr/sbin/setcap"),
    package("mmdebstrap", "/usr/bin/mmdebstrap"),
    package("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    package("busybox-static", "/bin/busybox"),
    package("nftables", "/usr/sbin/nft"),
    package("iproute2", "/usr/sbin/ip"),
    package("iptables", "/usr/sbin/iptables"),
    package("curl", "/usr/bin/curl"),
    package("uidmap", "/usr/bin/newuidmap"),
    package("xz-utils", "/usr/bin/xz"),
    package("zstd", "/usr/bin/zstd"),
    package("dbus-daemon", "/usr/bin/dbus-daemon"),
    package("dbus-bin", "/usr/bin/dbus-monitor"),
    package("openssl", "/usr/bin/openssl"),
    package("procps", "/usr/bin/ps"),
    package("systemd", "/lib/systemd/systemd-journald"),
    package("util-linux", "/usr/bin/setsid"),
    package("python3-docker", "/usr/lib/python3/dist-packages/docker/__init__.py"),
    package("python3-websocket", "/usr/lib/python3/dist-packages/websocket/__init__.py"),
    package("python3-pip", "/usr/lib/python3/dist-packages/pip/__init__.py"),
    package("nodejs", "/usr/bin/node"),
    package("npm", "/usr/bin/npm"),
    package("ca-certificates", "/usr/sbin/update-ca-certificates"),
];

/// Installs what is missing. Touches nothing when nothing is.
pub(crate) fn ensure() -> Outcome {
    let missing = missing(|path| Path::new(path).exists());
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    println!("installing {}", names.join(" "));
    if !rustix::process::geteuid().is_root() {
        return Err(format!("installing {} needs root", names.join(" ")).into());
    }
    apt(&["update", "-qq"])?;
    let services: Vec<&str> = missing.iter().flat_map(|package| package.services.iter().copied()).collect();
    let systemd = Path::new("/run/systemd/system").exists() && !services.is_empty();
    if systemd {
        systemctl("mask", &services)?;
    }
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&names);
    let installed = apt(&install);
    if systemd {
        systemctl("unmask", &services)?;
    }
    installed?;
    match self::missing(|path| Path::new(path).exists()).first() {
        None => Ok(()),
        Some(package) => Err(format!("{} was installed but {} is not there", package.name, package.proof).into()),
    }
}

fn missing(exists: impl Fn(&str) -> bool) -> Vec<&'static Package> {
    PACKAGES.iter().filter(|package| !exists(package.proof)).collect()
}

fn apt(arguments: &[&str]) -> Outcome {
    let status = testkit::process::command("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("apt-get {} failed: {status}", arguments.join(" ")).into()) }
}

fn systemctl(verb: &str, units: &[&str]) -> Outcome {
    let status =
        testkit::process::command("systemctl").args([verb, "--runtime"]).args(units).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("systemctl {verb} failed: {status}").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_missing() {
        assert!(missing(|_| true).is_empty());
        let without_skopeo = missing(|path| path != "/usr/bin/skopeo");
        assert_eq!(without_skopeo.iter().map(|p| p.name).collect::<Vec<_>>(), ["skopeo"]);
    }
}
