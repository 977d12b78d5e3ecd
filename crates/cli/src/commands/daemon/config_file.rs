// SPDX-License-Identifier: Apache-2.0
//! The daemon's configuration file: JSON whose keys are the daemon's flags, as in Docker's `daemon.json`. What stands there
//! are defaults: a flag that is given wins. What no flag is called is refused by name.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Command};
use errors::{Kind, kind_of_io};
use serde_json::{Map, Value};

use super::foreign::FLAGS;
use crate::failure::Failure;

/// Read where nobody names a file, if it is there.
const DEFAULT_FILE: &str = "/etc/corten/daemon.json";
/// Keys of Docker's that mean a flag of another name.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("authorization-plugins", "authorization-plugin"),
    ("cdi-spec-dirs", "cdi-spec-dir"),
    ("default-address-pools", "default-address-pool"),
    ("default-network-opts", "default-network-opt"),
    ("default-ulimits", "default-ulimit"),
    ("dns-opts", "dns-opt"),
    ("exec-opts", "exec-opt"),
    ("features", "feature"),
    ("hosts", "host"),
    ("insecure-registries", "insecure-registry"),
    ("labels", "label"),
    ("log-opts", "log-opt"),
    ("node-generic-resources", "node-generic-resource"),
    ("registry-mirrors", "registry-mirror"),
    ("runtimes", "add-runtime"),
    ("storage-opts", "storage-opt"),
];
/// Keys of Docker's that have no flag here, and what takes their place.
const ELSEWHERE: &[(&str, &str)] = &[
    ("builder", "images are not built yet"),
    ("proxies", "proxies are those of the daemon's environment: HTTP_PROXY, HTTPS_PROXY, NO_PROXY"),
];

/// The file that counts: `named`, or else the default one if it is there.
pub(crate) fn place(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.is_file()))
}

/// The definition of the daemon's flags, with what the file at `path` says as their defaults.
pub(crate) fn apply(daemon: Command, path: &Path) -> Result<Command, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(kind_of_io(&error), format!("cannot read {}: {error}", path.display())))?;
    with_defaults(daemon, &text).map_err(|problem| {
        Failure::new(Kind::InvalidArgument, format!("{}: {problem}", path.display()))
            .with_hint("its keys are the flags of `corten daemon --help`")
    })
}

fn with_defaults(mut daemon: Command, text: &str) -> Result<Command, String> {
    let settings: Map<String, Value> = if text.trim().is_empty() {
        Map::new()
    } else {
        serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))?
    };
    for (key, value) in settings {
        if let Some((_, instead)) = ELSEWHERE.iter().find(|(name, _)| *name == key) {
            return Err(format!("\"{key}\" is not supported: {instead}"));
        }
        let long = OTHER_NAMES.iter().find(|(name, _)| *name == key).map_or(key.as_str(), |(_, flag)| flag);
        let flag = daemon.get_arguments().find(|arg| arg.get_long() == Some(long) && long != "config-file");
        let flag = flag.ok_or_else(|| format!("\"{key}\" is no setting of the daemon"))?;
        let (id, many) = (flag.get_id().to_string(), matches!(flag.get_action(), ArgAction::Append));
        // One that needs no value says yes or no.
        let needs_none = flag.get_num_args().is_some_and(|range| range.min_values() == 0);
        let is_switch = matches!(flag.get_action(), ArgAction::SetTrue) || needs_none;
        let values = if FLAGS.iter().any(|foreign| foreign.name == long) {
            foreign_values(&value)
        } else {
            values(&key, &value, many, is_switch)?
        };
        daemon = with_default(daemon, &id, &key, values);
    }
    Ok(daemon)
}

fn with_default(daemon: Command, id: &str, key: &str, values: Vec<String>) -> Command {
    if values.is_empty() {
        return daemon;
    }
    tracing::debug!(key, "a setting of the configuration file");
    daemon.mut_arg(id, |arg| arg.default_values(values))
}

/// The values of a flag that is known only to be refused, or to pass: whatever they are, they are told.
fn foreign_values(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(list) => list.iter().map(text).collect(),
        Value::Object(map) if map.is_empty() => Vec::new(),
        Value::Null => Vec::new(),
        other => vec![text(other)],
    }
}

/// What Docker writes as an object where the flag has a text: a limit, a range of addresses.
fn object(value: &Map<String, Value>) -> Option<String> {
    if let (Some(soft), Some(hard)) = (value.get("Soft"), value.get("Hard")) {
        return Some(format!("{soft}:{hard}"));
    }
    Some(format!("base={},size={}", value.get("base")?.as_str()?, value.get("size")?))
}

/// The values that a flag would be given on the command line.
fn values(key: &str, value: &Value, many: bool, is_switch: bool) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Object(map) if many => object(map).ok_or_else(|| format!("\"{key}\" cannot be {value}")),
        other => Err(format!("\"{key}\" cannot be {other}")),
    };
    match value {
        Value::Bool(on) if is_switch => Ok(vec![on.to_string()]),
        Value::Array(list) if many => list.iter().map(one).collect(),
        Value::Object(pairs) if many => {
            pairs.iter().map(|(name, value)| Ok(format!("{name}={}", one(value)?))).collect()
        }
        other if is_switch => Err(format!("\"{key}\" is true or false, not {other}")),
        other => Ok(vec![one(other)?]),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: super::super::Args,
    }

    fn parse(file: &str, flags: &[&str]) -> Result<super::super::Args, String> {
        let command = with_defaults(Line::command(), file)?;
        let matches = command.try_get_matches_from([&["daemon"], flags].concat()).map_err(|error| error.to_string())?;
        Ok(Line::from_arg_matches(&matches).map_err(|error| error.to_string())?.args)
    }

    #[test]
    fn settings_are_flags_and_flags_win() {
        let file = r#"{"hosts": ["unix:///a", "fd://"], "data-root": "/d", "debug": true, "tlsverify": true,
                      "registry-timeout": 7, "bridge": "b0"}"#;
        let args = parse(file, &["--bridge", "b1"]).unwrap();
        assert_eq!(args.listeners.host, ["unix:///a", "fd://"]);
        assert_eq!((args.data_root.as_deref(), args.bridge.as_str()), (Some(Path::new("/d")), "b1"));
        assert_eq!((args.debug, args.registry_timeout), (true, Some(7)));
        // As with dockerd, whatever level is named beside it.
        assert!(parse(r#"{"debug": true, "log-level": "warn"}"#, &[]).unwrap().debug);
        assert_eq!(parse(file, &["-H", "unix:///b"]).unwrap().listeners.host, ["unix:///b"]);
        assert!(parse("", &[]).is_ok() && parse("{\"debug\": false}", &[]).is_ok());
    }

    #[test]
    fn what_docker_writes_is_read() {
        let file = r#"{"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 64, "Hard": 128}}, "default-shm-size": "32m",
            "default-address-pools": [{"base": "10.64.0.0/12", "size": 20}], "insecure-registries": ["10.0.0.1:5000"],
            "registry-mirrors": ["https://mirror.example"], "bip": "10.9.0.1/16", "fixed-cidr": "10.9.1.0/24", "mtu": 1400,
            "icc": false, "init": true, "no-new-privileges": true, "dns": ["10.0.0.2"], "labels": ["rack=7"], "ip": "127.0.0.1",
            "max-concurrent-downloads": 3, "live-restore": true, "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "shutdown-timeout": 30, "features": {}, "storage-opts": [], "userland-proxy": false, "log-opts": {"max-size": "1m"}}"#;
        let args = parse(file, &[]).unwrap();
        let layout = args.networks.layout();
        assert_eq!(
            (layout.traits.mtu, layout.traits.inter_container, layout.address_pools.len()),
            (Some(1400), false, 1)
        );
        let registries = args.registries.registries();
        assert_eq!((&registries.mirrors[0][..], registries.downloads), ("mirror.example", Some(3)));
        let defaults = args.containers.defaults().unwrap();
        assert_eq!((defaults.ulimits[0].soft, defaults.ulimits[0].hard, defaults.shm_size), (64, 128, Some(32 << 20)));
        assert!(defaults.init && defaults.no_new_privileges && args.label == ["rack=7"]);
        // A flag wins.
        assert_eq!(parse(file, &["--mtu", "1300"]).unwrap().networks.layout().traits.mtu, Some(1300));
    }

    #[test]
    fn what_is_no_setting_is_refused_by_name() {
        for (file, part) in [
            ("[]", "JSON"),
            (r#"{"storage-opts": ["size=1g"]}"#, "storage-opt"),
            (r#"{"storage-colour": 1}"#, "storage-colour"),
            (r#"{"default-ulimits": {"nofile": {"Soft": 1}}}"#, "default-ulimits"),
            (r#"{"default-ulimits": {"nofile": {"Soft": 1, "Hard": "x"}}}"#, "nofile"),
            (r#"{"live-restore": false}"#, "outlive"),
            (r#"{"runtimes": {"kata": {"path": "/x"}}}"#, "add-runtime"),
            (r#"{"exec-opts": ["native.cgroupdriver=systemd"]}"#, "control groups"),
            (r#"{"bip": "10.9.0.2/16"}"#, "10.9.0.2/16"),
            (r#"{"builder": {}}"#, "not built"),
            (r#"{"config-file": "/x"}"#, "config-file"),
            (r#"{"data-root": ["/a"]}"#, "data-root"),
            (r#"{"tlsverify": "yes"}"#, "tlsverify"),
            (r#"{"debug": 1}"#, "debug"),
            (r#"{"log-level": "chatty"}"#, "chatty"),
            (r#"{"hosts": [1.5, {}]}"#, "hosts"),
        ] {
            let error = parse(file, &[]).unwrap_err();
            assert!(error.contains(part), "{file}: {error}");
        }
    }
}
