// SPDX-License-Identifier: Apache-2.0
//! Changes of an image's configuration, as `import --change` takes them: a few instructions of the Dockerfile language.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::error::ImageError;

/// The part of a configuration that changes can set (image-spec, `config.md`, "config"). Its maps are sorted, so that
/// the same changes give the same digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
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
}

/// `{}`: the value of Go's sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Empty {}

/// The configuration that `changes`, applied in order to nothing, make.
pub(crate) fn apply(changes: &[String]) -> Result<RunConfig, ImageError> {
    let mut config = RunConfig::default();
    for change in changes {
        config.change(change).map_err(|why| ImageError::Change { change: change.chars().take(200).collect(), why })?;
    }
    Ok(config)
}

impl RunConfig {
    fn change(&mut self, change: &str) -> Result<(), &'static str> {
        let change = change.trim();
        let (instruction, rest) = change.split_once(|c: char| c.is_whitespace() || c == '=').unwrap_or((change, ""));
        let rest = rest.trim();
        if rest.is_empty() {
            return Err("an instruction and its value are needed, for example `CMD [\"/bin/sh\"]`");
        }
        match instruction.to_ascii_uppercase().as_str() {
            "CMD" => self.cmd = Some(command(rest)?),
            "ENTRYPOINT" => self.entrypoint = Some(command(rest)?),
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
            _ => {
                return Err("CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR can be changed");
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
