// SPDX-License-Identifier: Apache-2.0
//! Which driver, with which options: what the user wrote, and what was understood of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci::ContainerId;
use serde::{Deserialize, Serialize};
use shim::LogConfig;

use crate::error::LoggingError;
use crate::options::{self, Options};
use crate::pick::Pick;
use crate::remote::Remote;
use crate::subject::Subject;
use crate::tag::Tag;

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
pub enum Driver {
    /// Docker's files of JSON lines.
    JsonFile,
    /// Files of the same lines, the older ones compressed.
    Local,
    /// Nowhere.
    None,
    /// A syslog daemon, here or elsewhere.
    Syslog,
    /// Graylog, or what understands its messages.
    Gelf,
    /// fluentd or Fluent Bit.
    Fluentd,
    /// This host's journal.
    Journald,
}

/// All drivers, in the order in which they are listed.
const DRIVERS: [(Driver, &str); 7] = [
    (Driver::JsonFile, "json-file"),
    (Driver::Local, "local"),
    (Driver::None, "none"),
    (Driver::Syslog, "syslog"),
    (Driver::Gelf, "gelf"),
    (Driver::Fluentd, "fluentd"),
    (Driver::Journald, "journald"),
];

impl Driver {
    /// The names of all drivers.
    pub fn names() -> impl Iterator<Item = &'static str> {
        DRIVERS.iter().map(|(_, name)| *name)
    }

    fn parse(name: &str) -> Result<Driver, LoggingError> {
        let found = DRIVERS.iter().find(|(_, known)| *known == name);
        found.map(|(driver, _)| *driver).ok_or_else(|| {
            let known: Vec<&str> = Driver::names().collect();
            let reason = format!("there is no log driver {name:?}; there are {}", known.join(", "));
            LoggingError::invalid("--log-driver", reason)
        })
    }

    fn name(self) -> &'static str {
        DRIVERS.iter().find(|(driver, _)| *driver == self).map_or("", |(_, name)| *name)
    }
}

/// A choice that was understood.
#[derive(Debug, Clone)]
pub struct Settings {
    max_size: u64,
    max_files: u32,
    compress: bool,
    pub(crate) labels: Pick,
    pub(crate) env: Pick,
    pub(crate) tag: Option<Tag>,
    pub(crate) remote: Option<Remote>,
}

impl LogChoice {
    /// The choice with what it leaves open taken from `default`: the driver, and the options if the driver is the same.
    #[must_use]
    pub fn or(mut self, default: &LogChoice) -> LogChoice {
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
    pub fn settings(&self) -> Result<Settings, LoggingError> {
        let driver = if self.driver.is_empty() { Driver::JsonFile } else { Driver::parse(&self.driver)? };
        let mut options = Options::new(driver.name(), &self.options);
        let mut settings = Settings {
            max_size: 0,
            max_files: 1,
            compress: false,
            labels: Pick::default(),
            env: Pick::default(),
            tag: None,
            remote: None,
        };
        if driver != Driver::None {
            settings.remote = Remote::parse(driver, &mut options)?;
            settings.labels = options.pick("labels", "labels-regex")?;
            settings.env = options.pick("env", "env-regex")?;
            settings.tag = options.tag()?;
            let usual = match driver {
                Driver::JsonFile => &options::JSON_FILE,
                Driver::Local => &options::LOCAL,
                _ if settings.remote.as_ref().is_some_and(|remote| remote.sent_goes) => &options::SPOOL,
                _ => &options::CACHE,
            };
            if settings.remote.is_none() {
                // Nothing but the disk is waited for: both modes are the same.
                options.mode()?;
            }
            (settings.max_size, settings.max_files, settings.compress) = options.files(usual)?;
        }
        options.finish()?;
        Ok(settings)
    }

    /// Whether lines go elsewhere.
    pub fn is_sent(&self) -> bool {
        !matches!(self.driver.as_str(), "" | "json-file" | "local" | "none")
    }

    /// Whether `logs` may read it: nothing is kept of `none`, and of what is sent with `cache-disabled` only what has not
    /// been sent.
    pub fn is_readable(&self) -> bool {
        let unkept = || matches!(Options::new("", &self.options).flag(options::CACHE_DISABLED), Ok(Some(true)));
        self.driver != Driver::None.name() && !(self.is_sent() && unkept())
    }

    /// The file of a container's log, in the container's directory. `None`: there is none.
    pub fn path(&self, dir: &Path, id: &ContainerId) -> Option<PathBuf> {
        match self.driver.as_str() {
            "" | "json-file" => Some(dir.join(format!("{id}-json.log"))),
            "none" => None,
            _ => Some(dir.join("container.log")),
        }
    }
}

impl Settings {
    /// What the shim is told of the log at `path`.
    pub fn file(&self, path: PathBuf, subject: &Subject<'_>) -> LogConfig {
        let mut attributes = subject.attributes(&self.labels, &self.env);
        if let Some(tag) = &self.tag {
            attributes.insert("tag".to_owned(), tag.render(subject));
        }
        let attrs = if attributes.is_empty() { String::new() } else { serde_json::json!(attributes).to_string() };
        LogConfig { path, max_size: self.max_size, max_files: self.max_files, compress: self.compress, attrs }
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
        for (driver, option, value) in [
            ("syslog", "syslog-address", "http://h"),
            ("syslog", "syslog-facility", "locals"),
            ("syslog", "syslog-format", "rfc1"),
            ("syslog", "syslog-tls-ca-cert", "/x"),
            ("syslog", "labels-regex", "a("),
            ("syslog", "max-size", "1m"),
            ("gelf", "tag", "x"),
            ("fluentd", "fluentd-address", "udp://h"),
            ("fluentd", "fluentd-retry-wait", "soon"),
            ("fluentd", "fluentd-max-retries", "-1"),
            ("fluentd", "fluentd-request-ack", "maybe"),
            ("journald", "syslog-address", "udp://h"),
            ("fluentd", "fluentd-async-reconnect-interval", "50ms"),
            ("fluentd", "fluentd-async-reconnect-interval", "11s"),
            ("fluentd", "fluentd-read-timeout", "-1s"),
            ("journald", "cache-disabled", "perhaps"),
            ("journald", "max-buffer-size", "1m"),
        ] {
            let said = refused(driver, &[(option, value)]);
            assert!(
                said.contains(option) || (driver == "gelf" && said.contains("gelf-address")),
                "{driver} {option}: {said}"
            );
        }
        let wait = [("fluentd-retry-wait", "500ms"), ("fluentd-max-retries", "3"), ("cache-max-size", "1m")];
        let settings = choice("fluentd", &wait).settings().unwrap();
        let remote = settings.remote.unwrap();
        assert_eq!((remote.retry_wait.as_millis(), remote.max_retries, settings.max_size), (500, Some(3), 1_000_000));
        let kept = [("mode", "non-blocking"), ("max-buffer-size", "2m")];
        assert_eq!(choice("journald", &kept).settings().unwrap().remote.unwrap().keep, Some(2 << 20));
        let gone = choice("syslog", &[("cache-disabled", "true"), ("labels", "a")]);
        assert_eq!((gone.settings().unwrap().max_size, gone.is_readable()), (5_000_000, false));
        assert!(choice("syslog", &[("cache-disabled", "false")]).is_readable());
        assert!(refused("syslog", &[("cache-disabled", "1"), ("cache-compress", "true")]).contains("cache-compress"));
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
            ("labels-regex", "^a("),
            ("env-regex", "["),
            ("cache-disabled", "true"),
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
