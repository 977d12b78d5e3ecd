// SPDX-License-Identifier: Apache-2.0
//! Flags of dockerd's that mean nothing here. They are known, so that the answer says why; and where one asks for what is
//! so anyway, it passes.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};

/// A flag of dockerd's.
pub(super) struct Flag {
    /// Its name without dashes.
    pub(super) name: &'static str,
    /// Values that ask for what is so anyway. A flag without a value says `true`.
    pub(super) passes: &'static [&'static str],
    /// Why no other value can be served.
    pub(super) reason: &'static str,
}

const fn flag(name: &'static str, passes: &'static [&'static str], reason: &'static str) -> Flag {
    Flag { name, passes, reason }
}

/// Passes whatever it says.
const ANY: &[&str] = &["*"];
const ONE_RUNTIME: &str = "there is one runtime, which answers to corten and runc";
const PROXY: &str = "proxies are those of the daemon's environment: HTTP_PROXY, HTTPS_PROXY, NO_PROXY";
const REAL_TIME: &str = "containers' own --cpu-rt-period and --cpu-rt-runtime are there";
const SWARM: &str = "there is no swarm";
const IPV6: &str = "the default bridge has IPv4 addresses; networks that are made with --ipv6 have both";
const CONTAINERD: &str = "there is no containerd: the daemon is its own";
const NF_TABLES: &str = "rules are nf_tables', in a table of Corten's own that touches nobody else's";

/// All of them.
pub(super) const FLAGS: &[Flag] = &[
    flag("add-runtime", &[], ONE_RUNTIME),
    flag("allow-nondistributable-artifacts", &[], "all of an image's layers are pushed"),
    flag("api-cors-header", &[], "no page of another site may ask the daemon"),
    flag(
        "authorization-plugin",
        &[],
        "there are no plugins: --authorization-hook names the socket of a program that runs by itself",
    ),
    flag("bip6", &[], IPV6),
    flag("bridge-accept-fwmark", &[], "marks of packets are not looked at"),
    flag("containerd", &[], CONTAINERD),
    flag("containerd-namespace", &[], CONTAINERD),
    flag("containerd-plugins-namespace", &[], CONTAINERD),
    flag("cpu-rt-period", &[], REAL_TIME),
    flag("cpu-rt-runtime", &[], REAL_TIME),
    flag("cri-containerd", &["false"], CONTAINERD),
    flag(
        "default-cgroupns-mode",
        &["private"],
        "containers see their own control groups; --cgroupns host is there for each",
    ),
    flag("default-gateway", &[], "the default route leads to the bridge"),
    flag("default-gateway-v6", &[], IPV6),
    flag("default-ipc-mode", &["private"], "shared memory is a container's own; --ipc shareable is there for each"),
    flag("default-network-opt", &[], "options are each network's own: corten network create --opt"),
    flag("default-runtime", &["corten", "runc", "io.containerd.runc.v2"], ONE_RUNTIME),
    flag("exec-opt", &["native.cgroupdriver=cgroupfs"], "the daemon makes control groups itself"),
    flag("experimental", &["false"], "there are no experiments"),
    flag("feature", &[], "there are no features to choose"),
    flag("firewall-backend", &["nftables"], NF_TABLES),
    flag("fixed-cidr-v6", &[], IPV6),
    flag("host-gateway-ip", &[], "host-gateway is where a container's own network reaches the host"),
    flag("http-proxy", &[], PROXY),
    flag("https-proxy", &[], PROXY),
    flag("init-path", &[], "the init is this program itself"),
    flag(
        "ip-forward",
        &["true"],
        "without it no container would reach the world; it is switched on with the first network",
    ),
    flag("ip-forward-no-drop", ANY, "the host's own rules for what is forwarded are never changed"),
    flag("ip6tables", &["true"], NF_TABLES),
    flag("iptables", &["true"], NF_TABLES),
    flag("ipv6", &["false"], IPV6),
    flag("live-restore", &["true"], "containers always outlive the daemon"),
    flag("log-format", &["text"], "the daemon's log is text"),
    flag("max-download-attempts", &[], "how often is decided by what went wrong"),
    flag("network-control-plane-mtu", &[], SWARM),
    flag("no-proxy", &[], PROXY),
    flag("node-generic-resource", &[], SWARM),
    flag("oom-score-adjust", &["0"], "it is the service manager's to set: OOMScoreAdjust= in its unit"),
    flag("raw-logs", ANY, "the log has colours in a terminal alone"),
    flag("rootless", &["false"], "the daemon runs as root"),
    flag("selinux-enabled", &["false"], "SELinux labels are not set for containers"),
    flag("shutdown-timeout", ANY, "containers outlive the daemon, which has not to wait for their end"),
    flag("storage-driver", &[], "--snapshotter says how layers are kept"),
    flag("storage-opt", &[], "writable layers have no quotas of their own"),
    flag("swarm-default-advertise-addr", &[], SWARM),
    flag("userland-proxy", &["false"], "there is no such proxy: ports are published by the kernel alone"),
    flag("userland-proxy-path", &[], "there is no such proxy: ports are published by the kernel alone"),
];

/// That none of them was given with a value that cannot be served.
#[derive(Debug)]
pub(crate) struct Foreign;

impl Flag {
    fn passes(&self, value: &str) -> bool {
        self.passes == ANY || self.passes.contains(&value)
    }
}

impl FromArgMatches for Foreign {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Foreign, clap::Error> {
        for flag in FLAGS {
            let refused = matches.get_many::<String>(flag.name).into_iter().flatten().find(|value| !flag.passes(value));
            if let Some(value) = refused {
                let asked = if value == "true" { String::new() } else { format!("={value}") };
                let text = format!("--{}{asked} is not supported: {}", flag.name, flag.reason);
                return Err(clap::Error::raw(ErrorKind::ValueValidation, text));
            }
        }
        Ok(Foreign)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        Foreign::from_arg_matches(matches).map(drop)
    }
}

impl clap::Args for Foreign {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.iter().map(|flag| {
            let arg = Arg::new(flag.name).long(flag.name).hide(true).num_args(0..=1).action(ArgAction::Append);
            let arg = arg.default_missing_value("true");
            if flag.name == "storage-driver" { arg.short('s') } else { arg }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Foreign::augment_args(command)
    }
}
