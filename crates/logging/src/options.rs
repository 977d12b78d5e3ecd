// SPDX-License-Identifier: Apache-2.0
//! The options of a log driver, taken one by one; what is left then is not known.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::LoggingError;
use crate::tag::Tag;

/// A log may fill this much before it is rotated, and this many files are kept: 50 MiB a container, so that logs never
/// fill the disk by default.
const MAX_SIZE: u64 = 10 << 20;
/// The same where the older files are compressed; Docker's figure.
const MAX_SIZE_COMPRESSED: u64 = 20_000_000;
const MAX_FILES: u32 = 5;

/// Options that Docker has and this engine does not, and why.
const UNSUPPORTED: [(&str, &str); 3] = [
    ("labels-regex", "regular expressions are not supported: name the labels with labels"),
    ("env-regex", "regular expressions are not supported: name the variables with env"),
    ("cache-disabled", "the log that is kept here is what is sent"),
];

/// The options that have not been looked at yet.
pub(super) struct Options<'a> {
    driver: &'static str,
    left: BTreeMap<&'a str, &'a str>,
}

pub(super) fn invalid(option: &str, reason: impl std::fmt::Display) -> LoggingError {
    LoggingError::invalid("--log-opt", format!("{option}: {reason}"))
}

impl<'a> Options<'a> {
    pub(super) fn new(driver: &'static str, options: &'a BTreeMap<String, String>) -> Options<'a> {
        Options { driver, left: options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect() }
    }

    /// The value of an option, if it is given.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a str> {
        self.left.remove(name)
    }

    /// A comma-separated list.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        let text = self.take(name).unwrap_or_default();
        text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, LoggingError> {
        match self.take(name) {
            None => Ok(None),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => Err(invalid(name, format!("{other:?} is neither true nor false"))),
        }
    }

    pub(super) fn tag(&mut self) -> Result<Option<Tag>, LoggingError> {
        let text = self.take("tag").filter(|text| !text.is_empty());
        text.map(|text| text.parse::<Tag>().map_err(|reason| invalid("tag", reason))).transpose()
    }

    /// How much a driver may keep for a server that is slow or dead, in bytes. `None`: all that the log on this host has.
    pub(super) fn mode(&mut self) -> Result<Option<u64>, LoggingError> {
        let non_blocking = match self.take("mode") {
            None | Some("" | "blocking") => false,
            Some("non-blocking") => true,
            Some(other) => return Err(invalid("mode", format!("{other:?} is neither blocking nor non-blocking"))),
        };
        match (non_blocking, self.take("max-buffer-size")) {
            (true, size) => size.map_or(Ok(1 << 20), |text| bytes("max-buffer-size", text, 1024)).map(Some),
            (false, Some(_)) => Err(invalid("max-buffer-size", "needs mode=non-blocking")),
            (false, None) => Ok(None),
        }
    }

    /// A span of time: `500ms`, `2s`, `1m`, or a number of seconds.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<Duration>, LoggingError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let scale = match unit {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            _ => 0,
        };
        let span = number.parse::<u32>().ok().map(|number| u64::from(number) * scale).filter(|span| *span > 0);
        let span = span.ok_or_else(|| invalid(name, format!("{text:?} is no time, as 500ms or 1s is")))?;
        Ok(Some(Duration::from_millis(span)))
    }

    /// The size of a file (0: any), how many there are, and whether the older ones are compressed. `prefix`: what the names
    /// of these options begin with.
    pub(super) fn files(&mut self, prefix: &str, compressed: bool) -> Result<(u64, u32, bool), LoggingError> {
        let [size, number, compress] = ["max-size", "max-file", "compress"].map(|name| format!("{prefix}{name}"));
        let max_size = match self.take(&size) {
            None if compressed => MAX_SIZE_COMPRESSED,
            None => MAX_SIZE,
            Some("-1") => 0,
            Some(text) => bytes(&size, text, 1000)?,
        };
        let positive = |text: &str| text.parse().ok().filter(|files| *files > 0);
        let max_files = match self.take(&number) {
            None if max_size == 0 => 1,
            None => MAX_FILES,
            Some(text) => positive(text).ok_or_else(|| invalid(&number, format!("{text:?} is no number of files")))?,
        };
        let several = max_files > 1 && max_size > 0;
        match self.flag(&compress)? {
            Some(true) if !several => Err(invalid(&compress, "needs max-file of 2 or more, and a max-size")),
            wanted => Ok((max_size, max_files, wanted.unwrap_or(compressed && several))),
        }
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), LoggingError> {
        let Some((name, _)) = self.left.first_key_value() else { return Ok(()) };
        Err(match UNSUPPORTED.iter().find(|(known, _)| known == name) {
            Some((_, why)) => invalid(name, why),
            None => {
                let reason = format!("unknown log opt {name:?} for the {} log driver", self.driver);
                LoggingError::invalid("--log-opt", reason)
            }
        })
    }
}

/// A size: a number, perhaps with a fraction, and k, m, g or t, each `base` times the one before; `b` and `ib` may follow.
pub(super) fn bytes(option: &str, text: &str, base: u64) -> Result<u64, LoggingError> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let exponent = match unit.trim_start().trim_end_matches('b').trim_end_matches('i') {
        "" => Some(0),
        "k" => Some(1),
        "m" => Some(2),
        "g" => Some(3),
        "t" => Some(4),
        _ => None,
    };
    let number = number.parse::<f64>().ok().zip(exponent);
    let size = number.map(|(number, exponent)| number * (base as f64).powi(exponent));
    // Beyond that no disk reaches.
    let size = size.filter(|size| (1.0..1e15).contains(size));
    size.map(|size| size as u64).ok_or_else(|| invalid(option, format!("{text:?} is no size, as 10m is")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_docker_reads_them() {
        for (text, base, size) in [
            ("10m", 1000, Some(10_000_000)),
            ("10m", 1024, Some(10 << 20)),
            ("1.5kB", 1000, Some(1500)),
            ("2 GiB", 1024, Some(2 << 30)),
            ("512", 1000, Some(512)),
            ("512b", 1000, Some(512)),
            ("0", 1000, None),
            ("-5m", 1000, None),
            ("m", 1000, None),
            ("1.2.3k", 1000, None),
            ("9999999999t", 1000, None),
            ("", 1000, None),
        ] {
            assert_eq!(bytes("max-size", text, base).ok(), size, "{text}");
        }
    }
}
