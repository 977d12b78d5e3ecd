// SPDX-License-Identifier: Apache-2.0
//! What the user has set in Docker's client configuration, `config.json` in `$DOCKER_CONFIG` or `~/.docker`: formats of
//! listings, keys that leave a session, proxies for containers. Logins and contexts are read elsewhere.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use api_types::detach_keys::DetachKeys;
use errors::Kind;
use serde_json::{Map, Value};

use crate::environment;
use crate::failure::Failure;
use crate::printer;

/// The proxies that can be set, and the variables that tell a program of them.
const PROXIES: [(&str, &str); 5] = [
    ("httpProxy", "HTTP_PROXY"),
    ("httpsProxy", "HTTPS_PROXY"),
    ("ftpProxy", "FTP_PROXY"),
    ("noProxy", "NO_PROXY"),
    ("allProxy", "ALL_PROXY"),
];

fn path() -> Option<PathBuf> {
    let set = |name: &str| environment::variable_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")));
    directory.map(|directory| directory.join("config.json"))
}

/// The settings. A file that cannot be read sets nothing, of which the user is told, as Docker's command line does.
fn settings() -> &'static Map<String, Value> {
    static SETTINGS: OnceLock<Map<String, Value>> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let Some(path) = path() else { return Map::new() };
        let read = std::fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?));
        read.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                printer::warning(&format!("{} counts for nothing: {error}", path.display()));
            }
            Map::new()
        })
    })
}

/// The text that `key` is set to.
fn text(key: &str) -> Result<Option<&'static str>, Failure> {
    match settings().get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty()).map(String::as_str)),
        Some(other) => Err(wrong(key, &format!("must be a text, not {other}"))),
    }
}

fn wrong(key: &str, problem: &str) -> Failure {
    let place = path().unwrap_or_default();
    Failure::new(Kind::InvalidArgument, format!("\"{key}\" {problem}"))
        .with_hint(format!("it is set in {}", place.display()))
}

/// How to print a listing: as `given`, else as `key` says, else as a table.
pub(crate) fn format(given: Option<String>, key: &str) -> Result<String, Failure> {
    match given {
        Some(format) => Ok(format),
        None => Ok(text(key)?.unwrap_or("table").to_owned()),
    }
}

/// The keys that leave a session: those `given`, else those of `detachKeys`, else the usual ones.
pub(crate) fn detach_keys(given: Option<&DetachKeys>) -> Result<DetachKeys, Failure> {
    match (given, text("detachKeys")?) {
        (Some(keys), _) => Ok(keys.clone()),
        (None, Some(keys)) => keys.parse().map_err(|error| wrong("detachKeys", &format!("cannot be: {error}"))),
        (None, None) => Ok(DetachKeys::default()),
    }
}

/// The variables that tell a new container of the proxies that are set for the daemon at `host`, or for all.
pub(crate) fn proxies(host: &str) -> Result<Vec<String>, Failure> {
    let Some(all) = settings().get("proxies") else { return Ok(Vec::new()) };
    let of_host = all.get(host).or_else(|| all.get("default"));
    proxy_variables(of_host.unwrap_or(&Value::Null)).map_err(|problem| wrong("proxies", &problem))
}

/// Programs look for them in either case.
fn proxy_variables(proxies: &Value) -> Result<Vec<String>, String> {
    let mut variables = Vec::new();
    for (key, variable) in PROXIES {
        match &proxies[key] {
            Value::Null => {}
            Value::String(proxy) if proxy.is_empty() => {}
            Value::String(proxy) => {
                variables.extend([format!("{variable}={proxy}"), format!("{}={proxy}", variable.to_lowercase())]);
            }
            other => return Err(format!("has a {key} that is no text but {other}")),
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn proxies_are_told_in_either_case() {
        let set = json!({"httpProxy": "http://p:3128", "noProxy": "", "other": 1});
        assert_eq!(proxy_variables(&set).unwrap(), ["HTTP_PROXY=http://p:3128", "http_proxy=http://p:3128"]);
        assert!(proxy_variables(&json!({"noProxy": ["a"]})).unwrap_err().contains("noProxy"));
        assert!(proxy_variables(&Value::Null).unwrap().is_empty());
    }
}
