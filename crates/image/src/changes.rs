// SPDX-License-Identifier: Apache-2.0
//! Changes of an image's configuration, as `import --change` and `commit --change` take them: a few instructions of the Dockerfile language.

mod healthcheck;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use healthcheck::Healthcheck;

use crate::error::ImageError;

/// The part of a configuration that changes can set (image-spec, `config.md`, "config"). Its maps are sorted, so that
/// the same changes give the same digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RunConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) exposed_ports: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) volumes: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) working_dir: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) healthcheck: Option<Healthcheck>,
    /// Whether a change has set `cmd`: an entrypoint discards one that it finds.
    #[serde(skip)]
    pub(crate) cmd_changed: bool,
}

/// The fields of [`RunConfig`], as they stand in a configuration.
const FIELDS: [&str; 10] = [
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "Healthcheck",
];

/// What a container has instead of its image's configuration. `None`: the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `user[:group]`.
    pub user: Option<String>,
    /// All of the environment, `NAME=value`.
    pub env: Option<Vec<String>>,
    /// The entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// The command.
    pub cmd: Option<Vec<String>>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// The signal that ends it.
    pub stop_signal: Option<String>,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Further ports, `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Further places of volumes.
    pub volumes: Vec<String>,
    /// How it is found out whether it is well.
    pub healthcheck: Option<Healthcheck>,
}

/// `{}`: the value of Go's sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Empty {}

/// The configuration that `changes`, applied in order to nothing, make.
pub(crate) fn apply(changes: &[String]) -> Result<RunConfig, ImageError> {
    let mut config = RunConfig::default();
    config.apply(changes)?;
    Ok(config)
}

/// The configuration `base` of `image` with a container's overrides and then `changes`. What neither can set stays as
/// it is.
pub(crate) fn over(
    image: &str,
    base: Option<&Value>,
    overrides: &Overrides,
    changes: &[String],
) -> Result<Value, ImageError> {
    let invalid = |source| ImageError::Document { image: image.to_owned(), document: "configuration", source };
    let mut all: Map<String, Value> = match base {
        Some(Value::Object(fields)) => fields.clone(),
        _ => Map::new(),
    };
    // Docker writes null for nothing.
    let known = all.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone()));
    let mut config: RunConfig = serde_json::from_value(Value::Object(known.collect())).map_err(invalid)?;
    config.override_by(overrides);
    config.apply(changes)?;
    for field in FIELDS {
        all.remove(field);
    }
    if let Value::Object(changed) = serde_json::to_value(&config).map_err(invalid)? {
        all.extend(changed);
    }
    Ok(Value::Object(all))
}

impl RunConfig {
    fn apply(&mut self, changes: &[String]) -> Result<(), ImageError> {
        for change in changes {
            self.change(change)
                .map_err(|why| ImageError::Change { change: change.chars().take(200).collect(), why })?;
        }
        Ok(())
    }

    fn override_by(&mut self, overrides: &Overrides) {
        let Overrides { user, env, entrypoint, cmd, working_dir, stop_signal, labels, healthcheck, .. } =
            overrides.clone();
        self.user = user.or(self.user.take());
        self.env = env.unwrap_or(std::mem::take(&mut self.env));
        self.entrypoint = entrypoint.or(self.entrypoint.take());
        self.cmd = cmd.or(self.cmd.take());
        self.working_dir = working_dir.or(self.working_dir.take());
        self.stop_signal = stop_signal.or(self.stop_signal.take());
        self.healthcheck = healthcheck.or(self.healthcheck.take());
        self.labels.extend(labels);
        self.exposed_ports.extend(overrides.exposed_ports.iter().map(|port| (port.clone(), Empty {})));
        self.volumes.extend(overrides.volumes.iter().map(|path| (path.clone(), Empty {})));
    }

    fn change(&mut self, change: &str) -> Result<(), &'static str> {
        let change = change.trim();
        let (instruction, rest) = change.split_once(|c: char| c.is_whitespace() || c == '=').unwrap_or((change, ""));
        let rest = rest.trim();
        if rest.is_empty() {
            return Err("an instruction and its value are needed, for example `CMD [\"/bin/sh\"]`");
        }
        match instruction.to_ascii_uppercase().as_str() {
            "CMD" => {
                self.cmd = Some(command(rest)?);
                self.cmd_changed = true;
            }
            "ENTRYPOINT" => {
                self.entrypoint = Some(command(rest)?);
                if !self.cmd_changed {
                    self.cmd = None;
                }
            }
            "ENV" => {
                for (key, value) in pairs(rest)? {
                    self.env.retain(|entry| entry.split_once('=').map(|(name, _)| name) != Some(key.as_str()));
                    self.env.push(format!("{key}={value}"));
                }
            }
            "LABEL" => self.labels.extend(pairs(rest)?),
            "EXPOSE" => {
                for word in words(rest)? {
                    self.exposed_ports.insert(port(&word)?, Empty {});
                }
            }
            "VOLUME" => {
                let paths = if rest.starts_with('[') { json_list(rest)? } else { words(rest)? };
                if paths.iter().any(|path| !path.starts_with('/')) {
                    return Err("a volume is an absolute path");
                }
                self.volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
            }
            "USER" => self.user = Some(rest.to_owned()),
            "WORKDIR" if rest.starts_with('/') => self.working_dir = Some(rest.to_owned()),
            "WORKDIR" => return Err("the working directory is an absolute path"),
            "STOPSIGNAL" => self.stop_signal = Some(rest.to_owned()),
            "HEALTHCHECK" => self.healthcheck = Some(healthcheck::parse(rest)?),
            _ => {
                return Err(
                    "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR can be changed",
                );
            }
        }
        Ok(())
    }
}

/// A JSON list of words, or a line for the shell.
fn command(text: &str) -> Result<Vec<String>, &'static str> {
    if text.starts_with('[') {
        return json_list(text);
    }
    Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

fn json_list(text: &str) -> Result<Vec<String>, &'static str> {
    serde_json::from_str(text).map_err(|_| "what begins with [ must be a JSON list of strings")
}

/// `KEY=value KEY2="other value"`, or the older `KEY value`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let words = words(text)?;
    match words.first() {
        Some(first) if !first.contains('=') => {
            let (key, value) = text.split_once(char::is_whitespace).ok_or("KEY=VALUE is needed")?;
            Ok(vec![(key.to_owned(), value.trim().to_owned())])
        }
        _ => words
            .iter()
            .map(|word| match word.split_once('=') {
                Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
                _ => Err("KEY=VALUE is needed"),
            })
            .collect(),
    }
}

/// Words as a shell separates them: quotes keep spaces, a backslash keeps the next character.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.get_or_insert_default().push(chars.next().ok_or("a backslash ends the line")?);
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// `8080` or `8080/udp`, with the protocol written out.
fn port(text: &str) -> Result<String, &'static str> {
    let protocols: BTreeSet<&str> = ["tcp", "udp", "sctp"].into();
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let valid = number.parse::<u16>().is_ok_and(|number| number > 0) && protocols.contains(protocol);
    if valid { Ok(format!("{number}/{protocol}")) } else { Err("a port is NUMBER[/tcp|/udp|/sctp]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(changes: &[&str]) -> String {
        let changes: Vec<String> = changes.iter().map(|change| change.to_string()).collect();
        serde_json::to_string(&apply(&changes).unwrap()).unwrap()
    }

    #[test]
    fn each_instruction_sets_its_field() {
        assert_eq!(json(&[]), "{}");
        assert_eq!(json(&["CMD [\"/bin/sh\", \"-l\"]"]), r#"{"Cmd":["/bin/sh","-l"]}"#);
        assert_eq!(json(&["cmd echo hi"]), r#"{"Cmd":["/bin/sh","-c","echo hi"]}"#);
        assert_eq!(json(&["ENTRYPOINT=[\"/x\"]"]), r#"{"Entrypoint":["/x"]}"#);
        assert_eq!(json(&["ENV A=1 B=\"two words\"", "ENV A 3 4"]), r#"{"Env":["B=two words","A=3 4"]}"#);
        assert_eq!(json(&["EXPOSE 80 53/udp"]), r#"{"ExposedPorts":{"53/udp":{},"80/tcp":{}}}"#);
        assert_eq!(json(&["LABEL b=2", "LABEL a='x y'"]), r#"{"Labels":{"a":"x y","b":"2"}}"#);
        assert_eq!(
            json(&["USER 1:2", "WORKDIR /w", "VOLUME /v", "VOLUME [\"/u\"]", "STOPSIGNAL SIGINT"]),
            r#"{"User":"1:2","Volumes":{"/u":{},"/v":{}},"WorkingDir":"/w","StopSignal":"SIGINT"}"#
        );
    }

    #[test]
    fn a_containers_configuration_is_changed_where_it_is_asked_for() {
        let base = serde_json::json!({"Env": ["A=1"], "Cmd": ["old"], "Volumes": null, "Healthcheck": {"Test": ["x"]}});
        let overrides = Overrides { env: Some(vec!["A=2".into()]), user: Some("me".into()), ..Overrides::default() };
        let changed = over("a", Some(&base), &overrides, &["ENV B=3".into(), "ENTRYPOINT [\"e\"]".into()]).unwrap();
        let expected = serde_json::json!({"Env": ["A=2", "B=3"], "Entrypoint": ["e"], "User": "me",
            "Healthcheck": {"Test": ["x"]}});
        assert_eq!(changed, expected);
        assert!(over("a", None, &overrides, &["RUN x".into()]).is_err());
        assert!(over("a", Some(&serde_json::json!({"Env": 7})), &overrides, &[]).is_err());
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for bad in [
            "",
            "CMD",
            "RUN x",
            "CMD [1]",
            "CMD [\"a\"",
            "EXPOSE 0",
            "EXPOSE 80/x",
            "ENV =x",
            "ENV A=\"x",
            "WORKDIR w",
            "VOLUME v",
            "LABEL a\\",
        ] {
            assert!(apply(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_change_is_applied_or_refused(change in "(CMD|ENV|LABEL|EXPOSE|VOLUME|USER)?[ =]?.{0,60}") {
            let _ = apply(&[change]);
        }
    }
}
