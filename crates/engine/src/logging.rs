// SPDX-License-Identifier: Apache-2.0
//! Log drivers: where a container's output goes, with which options.
//!
//! Every driver but `none` has a log on this host, which the shim writes and `logs` reads. `json-file` and `local` are
//! nothing else. What is wished is checked when a container is created, and kept in its record with the daemon's defaults
//! filled in: a later default changes no container.

mod attributes;
mod options;
mod tag;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci::ContainerId;
use serde::{Deserialize, Serialize};
use shim::LogConfig;

pub(crate) use self::attributes::Subject;
use self::options::Options;
use self::tag::Tag;
use crate::container::Record;
use crate::error::EngineError;

/// A driver and its options, as the user wrote them. An empty driver stands for the daemon's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogChoice {
    /// The driver's name.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// Where output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// Docker's files of JSON lines.
    JsonFile,
    /// Files of the same lines, the older ones compressed.
    Local,
    /// Nowhere.
    None,
}

/// All drivers, in the order in which they are listed.
const DRIVERS: [(Driver, &str); 3] =
    [(Driver::JsonFile, "json-file"), (Driver::Local, "local"), (Driver::None, "none")];

impl Driver {
    /// The names of all drivers.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        DRIVERS.iter().map(|(_, name)| *name)
    }

    fn parse(name: &str) -> Result<Driver, EngineError> {
        let found = DRIVERS.iter().find(|(_, known)| *known == name);
        found.map(|(driver, _)| *driver).ok_or_else(|| {
            let known: Vec<&str> = Driver::names().collect();
            let reason = format!("there is no log driver {name:?}; there are {}", known.join(", "));
            EngineError::invalid("--log-driver", reason)
        })
    }

    fn name(self) -> &'static str {
        DRIVERS.iter().find(|(driver, _)| *driver == self).map_or("", |(_, name)| *name)
    }
}

/// A choice that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    max_size: u64,
    max_files: u32,
    compress: bool,
    labels: Vec<String>,
    env: Vec<String>,
    tag: Option<Tag>,
}

impl LogChoice {
    /// The choice with what it leaves open taken from `default`: the driver, and the options if the driver is the same.
    #[must_use]
    pub(crate) fn or(mut self, default: &LogChoice) -> LogChoice {
        let fallback = if default.driver.is_empty() { Driver::JsonFile.name() } else { &default.driver };
        if self.driver.is_empty() {
            fallback.clone_into(&mut self.driver);
        }
        if self.driver == fallback {
            for (name, value) in &default.options {
                self.options.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self
    }

    /// Understands a choice.
    ///
    /// # Errors
    /// No such driver; an option that it does not have, or whose value cannot be.
    pub(crate) fn settings(&self) -> Result<Settings, EngineError> {
        let driver = if self.driver.is_empty() { Driver::JsonFile } else { Driver::parse(&self.driver)? };
        let mut options = Options::new(driver.name(), &self.options);
        if driver == Driver::None {
            options.finish()?;
            return Ok(Settings { max_size: 0, max_files: 1, compress: false, labels: vec![], env: vec![], tag: None });
        }
        options.check_mode()?;
        let (labels, env, tag) = (options.list("labels"), options.list("env"), options.tag()?);
        let (max_size, max_files, compress) = options.files(driver == Driver::Local)?;
        options.finish()?;
        Ok(Settings { max_size, max_files, compress, labels, env, tag })
    }

    /// The file of a container's log, in the container's directory. `None`: there is none.
    pub(crate) fn path(&self, dir: &Path, id: &ContainerId) -> Option<PathBuf> {
        match self.driver.as_str() {
            "" | "json-file" => Some(dir.join(format!("{id}-json.log"))),
            "none" => None,
            _ => Some(dir.join("container.log")),
        }
    }
}

impl Settings {
    /// What the shim is told of the log of a container in `dir`.
    pub(crate) fn file(&self, dir: &Path, record: &Record) -> Option<LogConfig> {
        let path = record.spec.log.path(dir, &record.id)?;
        let mut attributes = Subject::of(record).attributes(&self.labels, &self.env);
        if let Some(tag) = &self.tag {
            attributes.insert("tag".to_owned(), tag.render(&Subject::of(record)));
        }
        let attrs = if attributes.is_empty() { String::new() } else { serde_json::json!(attributes).to_string() };
        Some(LogConfig { path, max_size: self.max_size, max_files: self.max_files, compress: self.compress, attrs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(driver: &str, options: &[(&str, &str)]) -> LogChoice {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogChoice { driver: driver.to_owned(), options }
    }

    fn refused(driver: &str, options: &[(&str, &str)]) -> String {
        choice(driver, options).settings().unwrap_err().to_string()
    }

    #[test]
    fn every_container_has_a_bound_unless_it_is_taken_away() {
        let bound = |driver, options| {
            let settings = choice(driver, options).settings().unwrap();
            (settings.max_size, settings.max_files, settings.compress)
        };
        assert_eq!(bound("", &[]), (10 << 20, 5, false));
        assert_eq!(bound("json-file", &[("max-file", "3")]), (10 << 20, 3, false));
        assert_eq!(bound("json-file", &[("max-size", "10m"), ("compress", "true")]), (10_000_000, 5, true));
        assert_eq!(bound("json-file", &[("max-size", "-1")]), (0, 1, false));
        assert_eq!(bound("local", &[]), (20_000_000, 5, true));
        assert_eq!(bound("local", &[("compress", "false"), ("max-size", "1.5k")]), (1500, 5, false));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        assert!(refused("syslogd", &[]).contains("\"syslogd\"") && refused("splunk", &[]).contains("json-file"));
        assert!(
            refused("json-file", &[("max-sise", "1m")])
                .contains("unknown log opt \"max-sise\" for the json-file log driver")
        );
        assert!(refused("none", &[("max-size", "1m")]).contains("max-size"));
        for (option, value) in [
            ("max-size", "0"),
            ("max-size", "lots"),
            ("max-size", "1x"),
            ("max-file", "0"),
            ("max-file", "-1"),
            ("compress", "perhaps"),
            ("mode", "sometimes"),
            ("max-buffer-size", "4m"),
            ("tag", "{{.Nope}}"),
            ("tag", "{{.ID"),
            ("labels-regex", "^a"),
        ] {
            assert!(refused("json-file", &[(option, value)]).contains(option), "{option}={value}");
        }
        assert!(refused("json-file", &[("compress", "true"), ("max-file", "1")]).contains("compress"));
        assert!(choice("json-file", &[("mode", "non-blocking"), ("max-buffer-size", "4m")]).settings().is_ok());
    }

    #[test]
    fn options_of_the_default_are_for_the_same_driver_only() {
        let default = choice("local", &[("max-size", "1m"), ("max-file", "2")]);
        assert_eq!(LogChoice::default().or(&default), default);
        let own = choice("local", &[("max-size", "7m")]).or(&default);
        assert_eq!(own, choice("local", &[("max-size", "7m"), ("max-file", "2")]));
        assert_eq!(choice("json-file", &[]).or(&default), choice("json-file", &[]));
        let plain = LogChoice { driver: String::new(), ..default };
        assert_eq!(choice("", &[]).or(&plain).driver, "json-file");
    }
}
