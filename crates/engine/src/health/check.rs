// SPDX-License-Identifier: Apache-2.0
//! What a health check is: the wish, Docker's words for it, and how the user's stands over the image's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CheckKind;
use super::network::HttpRequest;
use crate::error::EngineError;

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// No time may be shorter, 0 aside, which is none at all; Docker's limit.
const SHORTEST: Duration = Duration::from_millis(1);

/// How it is found out whether a container is well. What is absent is the image's, then Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// What is tried.
    pub test: Option<HealthTest>,
    /// Between the end of a probe and the next one; 30 s when absent.
    pub interval: Option<Duration>,
    /// How long a probe may take; 30 s when absent.
    pub timeout: Option<Duration>,
    /// How long after its start failures do not count; not at all when absent.
    pub start_period: Option<Duration>,
    /// Between probes within that period, until one succeeds; 5 s when absent.
    pub start_interval: Option<Duration>,
    /// So many failures in a row make it unhealthy; 3 when absent.
    pub retries: Option<u32>,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthTest {
    /// Nothing: there is no check, whatever the image says.
    None,
    /// Executes a command in the container.
    Command(Vec<String>),
    /// Executes a line in the container, by the image's shell; what comes after the line are the shell's further arguments.
    Shell(Vec<String>),
    /// Asks over HTTP: `[METHOD ]:PORT/PATH` or `[METHOD ]http://ADDRESS:PORT/PATH`. An answer of 200 to 399 is a success.
    Http(String),
    /// Connects to a port.
    Tcp(u16),
    /// Looks for a file, by its absolute path.
    File(String),
}

impl HealthTest {
    /// Docker's words, `NONE`, `CMD` and a command, `CMD-SHELL` and a line; and ours, `CORTEN-HTTP` and a request,
    /// `CORTEN-TCP` and a port, `CORTEN-FILE` and a path. `None` for no words: the image's test.
    ///
    /// # Errors
    /// Other words, or too few.
    pub fn from_words(words: &[String]) -> Result<Option<HealthTest>, EngineError> {
        let refuse = |problem: String| Err(EngineError::invalid("Healthcheck.Test", problem));
        let Some((kind, rest)) = words.split_first() else { return Ok(None) };
        match (kind.as_str(), rest) {
            ("NONE", _) => Ok(Some(HealthTest::None)),
            ("CMD", []) | ("CMD-SHELL", []) => refuse(format!("{kind} needs a command after it")),
            ("CMD", command) if command[0].is_empty() => refuse("CMD needs a command after it".to_owned()),
            ("CMD", command) => Ok(Some(HealthTest::Command(command.to_vec()))),
            ("CMD-SHELL", line) => Ok(Some(HealthTest::Shell(line.to_vec()))),
            ("CORTEN-HTTP", [request]) => match HttpRequest::parse(request) {
                Ok(_) => Ok(Some(HealthTest::Http(request.clone()))),
                Err(problem) => refuse(problem),
            },
            ("CORTEN-TCP", [port]) => match port.parse() {
                Ok(port @ 1..) => Ok(Some(HealthTest::Tcp(port))),
                _ => refuse(format!("{port:?} is no port")),
            },
            ("CORTEN-FILE", [path]) if path.starts_with('/') && !path.contains('\0') => {
                Ok(Some(HealthTest::File(path.clone())))
            }
            ("CORTEN-FILE", [path]) => refuse(format!("{path:?} is not an absolute path")),
            ("CORTEN-HTTP" | "CORTEN-TCP" | "CORTEN-FILE", _) => refuse(format!("{kind} takes one argument")),
            _ => refuse(format!(
                "{kind:?} is no kind of test: there are NONE, CMD, CMD-SHELL, CORTEN-HTTP, CORTEN-TCP and CORTEN-FILE"
            )),
        }
    }

    /// The words that [`HealthTest::from_words`] reads.
    pub fn words(&self) -> Vec<String> {
        match self {
            HealthTest::None => vec!["NONE".to_owned()],
            HealthTest::Command(command) => [&["CMD".to_owned()], command.as_slice()].concat(),
            HealthTest::Shell(line) => [&["CMD-SHELL".to_owned()], line.as_slice()].concat(),
            HealthTest::Http(request) => vec!["CORTEN-HTTP".to_owned(), request.clone()],
            HealthTest::Tcp(port) => vec!["CORTEN-TCP".to_owned(), port.to_string()],
            HealthTest::File(path) => vec!["CORTEN-FILE".to_owned(), path.clone()],
        }
    }
}

impl HealthCheck {
    /// A check in Docker's words, its times in nanoseconds; 0 is what was not said.
    ///
    /// # Errors
    /// Times that are negative or shorter than Docker allows, a negative number, words that are no test.
    pub fn from_docker(test: &[String], times: [i64; 4], retries: i64) -> Result<HealthCheck, EngineError> {
        const FIELDS: [&str; 4] =
            ["Healthcheck.Interval", "Healthcheck.Timeout", "Healthcheck.StartPeriod", "Healthcheck.StartInterval"];
        let mut read = [None; 4];
        for ((field, nanos), time) in FIELDS.into_iter().zip(times).zip(&mut read) {
            let found = u64::try_from(nanos).map(Duration::from_nanos).ok();
            match found.filter(|found| found.is_zero() || *found >= SHORTEST) {
                Some(found) => *time = Some(found).filter(|found| !found.is_zero()),
                None => return Err(EngineError::invalid(field, "cannot be less than 1 ms")),
            }
        }
        let Ok(retries) = u32::try_from(retries) else {
            return Err(EngineError::invalid("Healthcheck.Retries", "must be a number of failures, 0 or more"));
        };
        let [interval, timeout, start_period, start_interval] = read;
        let retries = Some(retries).filter(|retries| *retries != 0);
        let test = HealthTest::from_words(test)?;
        Ok(HealthCheck { test, interval, timeout, start_period, start_interval, retries })
    }

    /// This wish over what the image, or somebody else who counts less, says, field by field.
    pub fn over(self, image: Option<HealthCheck>) -> HealthCheck {
        let image = image.unwrap_or_default();
        HealthCheck {
            test: self.test.or(image.test),
            interval: self.interval.or(image.interval),
            timeout: self.timeout.or(image.timeout),
            start_period: self.start_period.or(image.start_period),
            start_interval: self.start_interval.or(image.start_interval),
            retries: self.retries.or(image.retries),
        }
    }

    /// This check, as it stands in an image's configuration.
    pub fn of_new_image(&self) -> image::Healthcheck {
        // No time is longer than 292 years: they all came from such numbers.
        let nanos = |time: Option<Duration>| time.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        image::Healthcheck {
            test: self.test.as_ref().map(HealthTest::words).unwrap_or_default(),
            interval: nanos(self.interval),
            timeout: nanos(self.timeout),
            start_period: nanos(self.start_period),
            start_interval: nanos(self.start_interval),
            retries: self.retries.unwrap_or(0).into(),
        }
    }

    /// What is tried, if anything is.
    pub(crate) fn probe(&self) -> Option<&HealthTest> {
        self.test.as_ref().filter(|test| **test != HealthTest::None)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    pub(crate) fn retries(&self) -> u32 {
        self.retries.unwrap_or(RETRIES)
    }

    /// Whether failures count `since_start`, of a container that has never been well.
    pub(crate) fn counts_failures(&self, since_start: Duration) -> bool {
        since_start >= self.start_period.unwrap_or_default()
    }

    /// How long the first probe of a series waits: whether it has started or is ready is found out as soon as it can be.
    pub(crate) fn first_wait(&self, kind: CheckKind, starting: bool, since_start: Duration) -> Duration {
        match kind {
            CheckKind::Startup | CheckKind::Readiness if starting => Duration::ZERO,
            _ => self.wait(starting, since_start),
        }
    }

    /// How long the next probe waits; `starting` as long as none has succeeded or failed too often.
    pub(crate) fn wait(&self, starting: bool, since_start: Duration) -> Duration {
        match starting && !self.counts_failures(since_start) {
            true => self.start_interval.unwrap_or(START_INTERVAL),
            false => self.interval.unwrap_or(INTERVAL),
        }
    }
}

/// An image's check, as it stands in the image's configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ImageCheck {
    test: Option<Vec<String>>,
    interval: i64,
    timeout: i64,
    start_period: i64,
    start_interval: i64,
    retries: i64,
}

/// What an image's configuration says beyond the OCI specification.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ImageSays {
    healthcheck: Option<ImageCheck>,
    shell: Option<Vec<String>>,
}

/// The check that `config` has, the field of that name in an image's configuration, and the shell for its lines, if it has
/// one of its own.
///
/// # Errors
/// A check that Docker would not have made.
pub(crate) fn of_image(config: &serde_json::Value) -> Result<(Option<HealthCheck>, Option<Vec<String>>), EngineError> {
    let unreadable = |error: serde_json::Error| EngineError::invalid("the image's Healthcheck", error.to_string());
    let says: Option<ImageSays> = Option::deserialize(config).map_err(unreadable)?;
    let ImageSays { healthcheck, shell } = says.unwrap_or_default();
    let check = healthcheck.map(|check| {
        let times = [check.interval, check.timeout, check.start_period, check.start_interval];
        HealthCheck::from_docker(check.test.as_deref().unwrap_or_default(), times, check.retries)
    });
    Ok((check.transpose()?, shell.filter(|shell| !shell.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn tests_are_written_as_docker_writes_them() {
        for good in [
            &["NONE"][..],
            &["CORTEN-HTTP", "HEAD :80/x"],
            &["CORTEN-TCP", "5432"],
            &["CORTEN-FILE", "/run/ready"],
            &["CMD", "/probe", "-x"],
            &["CMD-SHELL", "exit 0 # fine"],
            &["CMD-SHELL", "a", "b"],
        ] {
            let test = HealthTest::from_words(&words(good)).unwrap().unwrap();
            assert_eq!(test.words(), good);
        }
        assert_eq!(HealthTest::from_words(&[]).unwrap(), None);
        for bad in [
            &["CMD"][..],
            &["CMD", ""],
            &["CMD-SHELL"],
            &["CORTEN-TCP", "0"],
            &["CORTEN-TCP"],
            &["CORTEN-FILE", "x"],
            &["CORTEN-HTTP", "x y z"],
            &["true"],
            &[""],
        ] {
            assert!(HealthTest::from_words(&words(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_are_dockers() {
        let read = |times, retries| HealthCheck::from_docker(&[], times, retries);
        assert_eq!(read([0; 4], 0).unwrap(), HealthCheck::default());
        let found = read([1_000_000, 2_000_000_000, 0, 0], 7).unwrap();
        let expected = HealthCheck {
            interval: Some(SHORTEST),
            timeout: Some(Duration::from_secs(2)),
            retries: Some(7),
            ..HealthCheck::default()
        };
        assert_eq!(found, expected);
        for (times, retries, field) in [
            ([999_999, 0, 0, 0], 0, "Interval"),
            ([0, -1, 0, 0], 0, "Timeout"),
            ([0, 0, 1, 0], 0, "StartPeriod"),
            ([0, 0, 0, 5], 0, "StartInterval"),
            ([0; 4], -1, "Retries"),
        ] {
            assert!(read(times, retries).unwrap_err().to_string().contains(field), "{field}");
        }
    }

    #[test]
    fn the_users_fields_stand_over_the_images() {
        let config = serde_json::json!({"Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000_i64,
            "Retries": 9}, "Shell": ["/bin/ash", "-c"]});
        let (image, shell) = of_image(&config).unwrap();
        assert_eq!(shell.unwrap(), ["/bin/ash", "-c"]);
        let wish = HealthCheck { retries: Some(1), ..HealthCheck::default() };
        let both = wish.clone().over(image.clone());
        assert_eq!(both.test, Some(HealthTest::Shell(vec!["true".into()])));
        assert_eq!((both.interval, both.retries()), (Some(Duration::from_secs(5)), 1));
        let none = HealthCheck { test: Some(HealthTest::None), ..HealthCheck::default() };
        assert_eq!(none.over(image).probe(), None);
        assert_eq!(of_image(&serde_json::Value::Null).unwrap(), (None, None));
        assert_eq!(of_image(&serde_json::json!({"Healthcheck": null, "Shell": null})).unwrap(), (None, None));
        assert!(of_image(&serde_json::json!({"Healthcheck": {"Test": ["PERHAPS"]}})).is_err());
    }

    #[test]
    fn within_the_start_period_probes_come_sooner_until_one_succeeds() {
        let check = HealthCheck { start_period: Some(Duration::from_secs(60)), ..HealthCheck::default() };
        let second = Duration::from_secs(1);
        assert_eq!(check.wait(true, second), START_INTERVAL);
        assert_eq!(check.wait(false, second), INTERVAL);
        assert_eq!(check.wait(true, Duration::from_secs(60)), INTERVAL);
        assert_eq!(HealthCheck::default().wait(true, Duration::ZERO), INTERVAL);
    }
}
