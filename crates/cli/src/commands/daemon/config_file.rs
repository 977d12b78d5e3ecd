// SPDX-License-Identifier: Apache-2.0
//! The daemon's configuration file: JSON whose keys are the daemon's flags, as in Docker's `daemon.json`. What stands there
//! are defaults: a flag that is given wins. What no flag is called is refused by name.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Command};
use errors::{Kind, kind_of_io};
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Read where nobody names a file, if it is there.
const DEFAULT_FILE: &str = "/etc/corten/daemon.json";
/// Keys of Docker's that mean a flag of another name.
const OTHER_NAMES: &[(&str, &str)] =
    &[("hosts", "host"), ("log-opts", "log-opt"), ("dns-opts", "dns-opt"), ("cdi-spec-dirs", "cdi-spec-dir")];
/// Keys of Docker's that have no flag here, and what takes their place.
const ELSEWHERE: &[(&str, &str)] = &[
    ("insecure-registries", "registries without TLS are named in /etc/containers/registries.conf (insecure = true)"),
    ("registry-mirrors", "mirrors are named in /etc/containers/registries.conf"),
    ("authorization-plugins", "there are no plugins: authorization-hook names the socket of one that runs by itself"),
    ("live-restore", "containers always outlive the daemon"),
    ("storage-driver", "snapshotter says how layers are kept"),
    ("iptables", "rules are nf_tables', in a table of Corten's own"),
    ("userland-proxy", "there is no such proxy: ports are published by the kernel alone"),
    ("exec-opts", "whether systemd or Corten makes cgroups is no setting yet"),
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
        if key == "debug" {
            daemon = with_default(daemon, "log_level", &key, debug(&value)?);
            continue;
        }
        let long = OTHER_NAMES.iter().find(|(name, _)| *name == key).map_or(key.as_str(), |(_, flag)| flag);
        let flag = daemon.get_arguments().find(|arg| arg.get_long() == Some(long) && long != "config-file");
        let flag = flag.ok_or_else(|| format!("\"{key}\" is no setting of the daemon"))?;
        let (id, many) = (flag.get_id().to_string(), matches!(flag.get_action(), ArgAction::Append));
        let is_switch = matches!(flag.get_action(), ArgAction::SetTrue);
        daemon = with_default(daemon, &id, &key, values(&key, &value, many, is_switch)?);
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

fn debug(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Bool(true) => Ok(vec!["debug".to_owned()]),
        Value::Bool(false) => Ok(Vec::new()),
        other => Err(format!("\"debug\" is true or false, not {other}")),
    }
}

/// The values that a flag would be given on the command line.
fn values(key: &str, value: &Value, many: bool, is_switch: bool) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
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
        assert_eq!((args.log_level, args.registry_timeout), (super::super::LogLevel::Debug, Some(7)));
        assert_eq!(parse(file, &["-H", "unix:///b"]).unwrap().listeners.host, ["unix:///b"]);
        assert!(parse("", &[]).is_ok() && parse("{\"debug\": false}", &[]).is_ok());
    }

    #[test]
    fn what_is_no_setting_is_refused_by_name() {
        for (file, part) in [
            ("[]", "JSON"),
            (r#"{"storage-opts": []}"#, "storage-opts"),
            (r#"{"insecure-registries": []}"#, "registries.conf"),
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
