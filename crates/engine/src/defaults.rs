// SPDX-License-Identifier: Apache-2.0
//! What whoever runs the daemon decides for all containers, images and the default bridge.

use std::net::{IpAddr, Ipv4Addr};

use network::{AddressPool, Subnet, Traits};

use crate::error::EngineError;
use crate::request::{ContainerSpec, Naming, NetworkMode, SeccompChoice, Ulimit};

/// What containers have that do not say otherwise. It is theirs from their creation on: a daemon that is started with other
/// defaults changes no container that is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    /// Limits of their processes.
    pub ulimits: Vec<Ulimit>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<i64>,
    /// An init is their first process.
    pub init: bool,
    /// Set-uid programs gain nothing.
    pub no_new_privileges: bool,
    /// The system-call filter of those that are not privileged.
    pub seccomp: SeccompChoice,
    /// Name servers, domains to look in, and options of the resolver.
    pub naming: Naming,
    /// The host's address on which ports are published.
    pub publish_on: Option<IpAddr>,
}

impl Defaults {
    /// Refuses what no container could have.
    pub(crate) fn validate(&self) -> Result<(), EngineError> {
        let mut spec = ContainerSpec { image: "any".to_owned(), ..ContainerSpec::default() };
        self.apply(&mut spec);
        crate::create::validate(&spec)
    }

    /// Fills in what `spec` leaves open.
    pub(crate) fn apply(&self, spec: &mut ContainerSpec) {
        for limit in &self.ulimits {
            if !spec.isolation.ulimits.iter().any(|own| own.name == limit.name) {
                spec.isolation.ulimits.push(limit.clone());
            }
        }
        spec.isolation.shm_size = spec.isolation.shm_size.or(self.shm_size);
        spec.init = spec.init.or(self.init.then_some(true));
        let says = |option: &str| spec.security.given.iter().any(|given| given.starts_with(option));
        if self.no_new_privileges && !says("no-new-privileges") {
            spec.security.no_new_privileges = true;
        }
        if spec.security.seccomp == SeccompChoice::Default && !spec.security.privileged {
            spec.security.seccomp = self.seccomp.clone();
        }
        // Whose names are another container's has nothing to say of them.
        if !matches!(spec.network, NetworkMode::Container(_)) {
            let open = |own: &mut Vec<String>, default: &Vec<String>| {
                if own.is_empty() {
                    own.clone_from(default);
                }
            };
            open(&mut spec.naming.search, &self.naming.search);
            open(&mut spec.naming.options, &self.naming.options);
            if spec.naming.servers.is_empty() {
                spec.naming.servers.clone_from(&self.naming.servers);
            }
        }
        for port in &mut spec.ports {
            port.host_ip = port.host_ip.or(self.publish_on);
        }
    }
}

/// How the default bridge is laid out, and where all networks' subnets come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BridgeLayout {
    /// Its subnet, by any address in it and its length; one that is free when absent.
    pub subnet: Option<(Ipv4Addr, u8)>,
    /// The part of it from which addresses are chosen.
    pub range: Option<Subnet>,
    /// How it behaves.
    pub traits: Traits,
    /// Where subnets may be taken from; Docker's ranges when empty.
    pub address_pools: Vec<AddressPool>,
}

impl BridgeLayout {
    /// The same for the crate that makes it.
    pub(crate) fn network(&self) -> network::Config {
        let mut config = network::Config {
            subnet: self.subnet,
            range: self.range,
            traits: self.traits.clone(),
            ..network::Config::default()
        };
        if !self.address_pools.is_empty() {
            config.address_pools.clone_from(&self.address_pools);
        }
        config
    }
}

/// How registries are reached, and how much is carried at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registries {
    /// Those (`HOST` or `HOST:PORT`) that may be spoken to without TLS.
    pub insecure: Vec<String>,
    /// Mirrors of Docker Hub, which are asked before it.
    pub mirrors: Vec<String>,
    /// So many layers are fetched at a time.
    pub downloads: Option<usize>,
    /// So many layers are sent at a time.
    pub uploads: Option<usize>,
}

impl Registries {
    pub(crate) fn apply(&self, options: &mut image::Options) {
        options.registry.insecure_registries.extend(self.insecure.iter().cloned());
        options.registry.hub_mirrors.clone_from(&self.mirrors);
        options.downloads = self.downloads.unwrap_or(options.downloads);
        options.uploads = self.uploads.unwrap_or(options.uploads);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_says_goes_first() {
        let limit = |name: &str, soft| Ulimit { name: name.into(), soft, hard: soft };
        let defaults = Defaults {
            ulimits: vec![limit("nofile", 10), limit("core", 0)],
            shm_size: Some(1 << 20),
            init: true,
            no_new_privileges: true,
            seccomp: SeccompChoice::Unconfined,
            naming: Naming { search: vec!["a.org".into()], options: vec!["ndots:1".into()], ..Naming::default() },
            publish_on: Some(Ipv4Addr::LOCALHOST.into()),
        };
        let mut open = ContainerSpec::default();
        defaults.apply(&mut open);
        assert_eq!((open.init, open.isolation.shm_size, open.isolation.ulimits.len()), (Some(true), Some(1 << 20), 2));
        assert!(open.security.no_new_privileges && open.security.seccomp == SeccompChoice::Unconfined);
        let mut says = ContainerSpec { init: Some(false), ..ContainerSpec::default() };
        says.isolation.ulimits = vec![limit("nofile", 99)];
        says.isolation.shm_size = Some(7);
        says.security.given = vec!["no-new-privileges=false".into()];
        says.security.seccomp = SeccompChoice::Builtin;
        says.naming.search = vec!["b.org".into()];
        defaults.apply(&mut says);
        assert_eq!(says.isolation.ulimits, [limit("nofile", 99), limit("core", 0)]);
        assert_eq!((says.init, says.isolation.shm_size), (Some(false), Some(7)));
        assert!(!says.security.no_new_privileges && says.security.seccomp == SeccompChoice::Builtin);
        assert_eq!((says.naming.search, says.naming.options), (vec!["b.org".to_owned()], vec!["ndots:1".to_owned()]));
        let mut privileged = ContainerSpec::default();
        privileged.security.privileged = true;
        defaults.apply(&mut privileged);
        assert_eq!(privileged.security.seccomp, SeccompChoice::Default);
        let wrong = Defaults { ulimits: vec![limit("nonsense", 1)], ..Defaults::default() };
        assert!(wrong.validate().is_err() && defaults.validate().is_ok());
    }
}
