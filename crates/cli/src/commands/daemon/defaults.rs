// SPDX-License-Identifier: Apache-2.0
//! The daemon's flags that decide for all containers, for the default bridge and for all images.

use std::net::{IpAddr, Ipv4Addr};

use api_types::docker::ResourcesUlimits;
use engine::{AddressPool, BridgeLayout, Defaults, Naming, Registries, SeccompChoice, Subnet, Traits, Ulimit};

use crate::flags::{FlagError, security, size, ulimit};

/// What containers have that do not say otherwise.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What containers have that do not say otherwise")]
#[group(skip)]
pub(crate) struct ContainerArgs {
    /// A limit of their processes: NAME=SOFT[:HARD], as in nofile=1024:2048
    #[arg(long, value_name = "LIMIT", value_parser = ulimit::parse)]
    default_ulimit: Vec<ResourcesUlimits>,
    /// Size of /dev/shm, as in 64m
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    default_shm_size: Option<i64>,
    /// A name server, instead of the host's
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// An option of the resolver, instead of the host's
    #[arg(long, value_name = "OPTION")]
    dns_opt: Vec<String>,
    /// A domain to look for names in, instead of the host's
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// An init as the first process
    #[arg(long)]
    init: bool,
    /// The host's address on which ports are published
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Set-uid programs gain nothing
    #[arg(long)]
    no_new_privileges: bool,
    /// The system-call filter of those that are not privileged: a file, builtin, or unconfined
    #[arg(long, value_name = "FILE")]
    seccomp_profile: Option<String>,
}

impl ContainerArgs {
    /// In the engine's words.
    pub(super) fn defaults(self) -> Result<Defaults, FlagError> {
        let limit = |limit: &ResourcesUlimits| Ulimit {
            name: limit.name.clone().unwrap_or_default(),
            soft: limit.soft.unwrap_or(0),
            hard: limit.hard.unwrap_or(0),
        };
        Ok(Defaults {
            ulimits: ulimit::last_of_each(&self.default_ulimit).iter().map(limit).collect(),
            shm_size: self.default_shm_size,
            init: self.init,
            no_new_privileges: self.no_new_privileges,
            seccomp: self.seccomp_profile.as_deref().map_or(Ok(SeccompChoice::Default), seccomp)?,
            naming: Naming { servers: self.dns, search: self.dns_search, options: self.dns_opt, ..Naming::default() },
            publish_on: self.ip.filter(|address| !address.is_unspecified()).map(IpAddr::from),
        })
    }
}

fn seccomp(profile: &str) -> Result<SeccompChoice, FlagError> {
    Ok(match profile {
        "" | "builtin" => SeccompChoice::Default,
        "unconfined" => SeccompChoice::Unconfined,
        file => {
            let option = security::option(&format!("seccomp={file}"))?;
            SeccompChoice::Profile(option.trim_start_matches("seccomp=").to_owned())
        }
    })
}

/// How networks are laid out.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Networks")]
#[group(skip)]
pub(crate) struct NetworkArgs {
    /// The default bridge's subnet, by the bridge's own address in it, which is the first: 10.9.0.1/16
    #[arg(long, value_name = "ADDRESS/BITS", value_parser = bridge_address)]
    bip: Option<(Ipv4Addr, u8)>,
    /// A range of addresses that networks' subnets are cut from: base=10.64.0.0/12,size=20
    #[arg(long, value_name = "POOL", value_parser = pool)]
    default_address_pool: Vec<AddressPool>,
    /// The part of --bip from which containers' addresses are chosen
    #[arg(long, value_name = "SUBNET", requires = "bip")]
    fixed_cidr: Option<Subnet>,
    /// Whether containers on the default bridge reach each other
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", action = clap::ArgAction::Set)]
    icc: bool,
    /// Whether containers on the default bridge reach the world as the host
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", action = clap::ArgAction::Set)]
    ip_masq: bool,
    /// The longest packet on the default bridge, in bytes [default: 1500]
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
}

impl NetworkArgs {
    /// In the engine's words.
    pub(super) fn layout(self) -> BridgeLayout {
        let NetworkArgs { bip, default_address_pool, fixed_cidr, icc, ip_masq, mtu } = self;
        let traits =
            Traits { masquerade: ip_masq, inter_container: icc, mtu: mtu.filter(|mtu| *mtu != 0), ..Traits::default() };
        BridgeLayout { subnet: bip, range: fixed_cidr, traits, address_pools: default_address_pool }
    }
}

fn bridge_address(text: &str) -> Result<(Ipv4Addr, u8), FlagError> {
    let invalid = |problem| FlagError::invalid(text, problem);
    let parts = text.split_once('/').and_then(|(address, bits)| Some((address.parse().ok()?, bits.parse().ok()?)));
    let (address, bits): (Ipv4Addr, u8) = parts
        .filter(|(_, bits)| *bits <= 30)
        .ok_or_else(|| invalid("is no address with its bits, as in 10.9.0.1/16"))?;
    if Subnet::of(address, bits).gateway() != address {
        return Err(invalid("is not the first address of its subnet, which is the bridge's own"));
    }
    Ok((address, bits))
}

fn pool(text: &str) -> Result<AddressPool, FlagError> {
    let invalid =
        || FlagError::invalid(text, "is no range: write base=SUBNET,size=BITS, as in base=10.64.0.0/12,size=20");
    let (mut base, mut size) = (None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("base", subnet)) => base = Some(subnet.parse::<Subnet>().map_err(|_| invalid())?),
            Some(("size", bits)) => size = bits.parse::<u8>().ok(),
            _ => return Err(invalid()),
        }
    }
    let (base, size) = base.zip(size).ok_or_else(invalid)?;
    if (base.prefix()..=30).contains(&size) { Ok(AddressPool { base, size }) } else { Err(invalid()) }
}

/// How registries are reached.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Registries")]
#[group(skip)]
pub(crate) struct RegistryArgs {
    /// A registry (HOST[:PORT]) that may be spoken to without TLS
    #[arg(long, value_name = "REGISTRY")]
    insecure_registry: Vec<String>,
    /// So many layers are fetched at a time [default: 6]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    max_concurrent_downloads: Option<u16>,
    /// So many layers are sent at a time [default: 5]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    max_concurrent_uploads: Option<u16>,
    /// A mirror of Docker Hub, which is asked before it: https://HOST[:PORT]
    #[arg(long, value_name = "ADDRESS", value_parser = mirror)]
    registry_mirror: Vec<Mirror>,
}

/// Where a mirror is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    /// Host, port and path.
    place: String,
    /// Without TLS.
    insecure: bool,
}

fn mirror(text: &str) -> Result<Mirror, FlagError> {
    let (insecure, place) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(place), _) => (false, place),
        (_, Some(place)) => (true, place),
        _ => return Err(FlagError::invalid(text, "is no mirror: write https://HOST[:PORT], or http://")),
    };
    let place = place.trim_end_matches('/');
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:/[]".contains(c);
    if place.is_empty() || place.starts_with('/') || !place.chars().all(allowed) {
        return Err(FlagError::invalid(text, "names no host: write https://HOST[:PORT]"));
    }
    Ok(Mirror { place: place.to_owned(), insecure })
}

impl RegistryArgs {
    /// In the engine's words.
    pub(super) fn registries(self) -> Registries {
        let host = |mirror: &Mirror| mirror.place.split('/').next().unwrap_or_default().to_owned();
        let mut insecure = self.insecure_registry;
        insecure.extend(self.registry_mirror.iter().filter(|mirror| mirror.insecure).map(host));
        Registries {
            insecure,
            mirrors: self.registry_mirror.into_iter().map(|mirror| mirror.place).collect(),
            downloads: self.max_concurrent_downloads.map(usize::from),
            uploads: self.max_concurrent_uploads.map(usize::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_or_refused() {
        assert_eq!(bridge_address("10.9.0.1/16").unwrap(), (Ipv4Addr::new(10, 9, 0, 1), 16));
        for bad in ["10.9.0.2/16", "10.9.0.0/16", "10.9.0.1", "10.9.0.1/31", "x/16", "fd00::1/64"] {
            assert!(bridge_address(bad).is_err(), "{bad}");
        }
        let read = pool("base=10.64.0.0/12,size=20").unwrap();
        assert_eq!((read.base.prefix(), read.size), (12, 20));
        for bad in [
            "",
            "base=10.64.0.0/12",
            "size=20",
            "base=10.64.0.0/12,size=8",
            "base=x,size=20",
            "base=10.0.0.0/8,size=31",
        ] {
            assert!(pool(bad).is_err(), "{bad}");
        }
        assert_eq!(
            mirror("http://127.0.0.1:5000/").unwrap(),
            Mirror { place: "127.0.0.1:5000".into(), insecure: true }
        );
        for bad in ["", "mirror.example", "https://", "https:///x", "https://a b", "ftp://x"] {
            assert!(mirror(bad).is_err(), "{bad}");
        }
        assert!(matches!(seccomp("unconfined"), Ok(SeccompChoice::Unconfined)));
        assert!(seccomp("/no/such/file").is_err());
    }
}
