// SPDX-License-Identifier: Apache-2.0
//! The options of a log driver, taken one by one; what is left then is not known.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::LoggingError;
use crate::pick::Pick;
use crate::tag::Tag;

/// The option by which nothing stays of what was sent.
pub(super) const CACHE_DISABLED: &str = "cache-disabled";

/// The files of a log, where the options do not say it.
pub(super) struct Usual {
    /// What the names of the options begin with.
    prefix: &'static str,
    max_size: u64,
    max_files: u32,
    /// Whether the older ones are compressed; `None`: they cannot be.
    compressed: Option<bool>,
}

/// 50 MiB a container, so that logs never fill the disk by default.
pub(super) const JSON_FILE: Usual = Usual { prefix: "", max_size: 10 << 20, max_files: 5, compressed: Some(false) };
/// Docker's figures.
pub(super) const LOCAL: Usual = Usual { prefix: "", max_size: 20_000_000, max_files: 5, compressed: Some(true) };
/// Of the copy that is kept here of what is sent, whose options have names of their own in Docker.
pub(super) const CACHE: Usual = Usual { prefix: "cache-", ..LOCAL };
/// Of what waits to be sent, where nothing else shall be kept. As much as of the others may wait, in small files: the
/// newest one stays until it is rotated.
pub(super) const SPOOL: Usual = Usual { prefix: "cache-", max_size: 5_000_000, max_files: 20, compressed: None };

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

    /// The names in the option `names`, and those that match the one in `pattern`.
    pub(super) fn pick(&mut self, names: &str, pattern: &str) -> Result<Pick, LoggingError> {
        let (named, matching) = (self.take(names).unwrap_or_default(), self.take(pattern).unwrap_or_default());
        Pick::new(named, matching).map_err(|reason| invalid(pattern, reason))
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

    /// A span of time: `500ms`, `2s`, `1m30s`, or a number of seconds. `None` for zero, too.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<Duration>, LoggingError> {
        let Some(text) = self.take(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let span = span(text).ok_or_else(|| invalid(name, format!("{text:?} is no time, as 500ms or 1s is")))?;
        Ok(Some(span).filter(|span| !span.is_zero()))
    }

    /// The size of a file (0: any), how many there are, and whether the older ones are compressed.
    pub(super) fn files(&mut self, usual: &Usual) -> Result<(u64, u32, bool), LoggingError> {
        let Usual { prefix, compressed, .. } = usual;
        let [size, number, compress] = ["max-size", "max-file", "compress"].map(|name| format!("{prefix}{name}"));
        let max_size = match self.take(&size) {
            None => usual.max_size,
            Some("-1") => 0,
            Some(text) => bytes(&size, text, 1000)?,
        };
        let positive = |text: &str| text.parse().ok().filter(|files| *files > 0);
        let max_files = match self.take(&number) {
            None if max_size == 0 => 1,
            None => usual.max_files,
            Some(text) => positive(text).ok_or_else(|| invalid(&number, format!("{text:?} is no number of files")))?,
        };
        let several = max_files > 1 && max_size > 0;
        match self.flag(&compress)? {
            Some(true) if compressed.is_none() => Err(invalid(&compress, "with cache-disabled nothing old is kept")),
            Some(true) if !several => Err(invalid(&compress, "needs max-file of 2 or more, and a max-size")),
            wanted => Ok((max_size, max_files, wanted.unwrap_or(*compressed == Some(true) && several))),
        }
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), LoggingError> {
        let Some((name, _)) = self.left.first_key_value() else { return Ok(()) };
        let reason = format!("unknown log opt {name:?} for the {} log driver", self.driver);
        Err(LoggingError::invalid("--log-opt", reason))
    }
}

/// A span of time as Go writes it, numbers with their units; or a number of seconds.
fn span(text: &str) -> Option<Duration> {
    let mut left = text;
    let mut seconds = 0.0;
    while !left.is_empty() {
        let digits = left.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(left.len());
        let (number, rest) = left.split_at(digits);
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(letters);
        let scale = match unit {
            "" if number == text => 1.0,
            "us" | "\u{b5}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        left = rest;
    }
    // Nobody waits for a year.
    (0.0..3e7).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
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
    fn times_are_as_go_writes_them() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("1s", Some(1000)),
            ("2", Some(2000)),
            ("1m30.5s", Some(90_500)),
            ("0", Some(0)),
            ("-1s", None),
            ("1s5", None),
            ("soon", None),
            ("1e3s", None),
            ("99999h", None),
            (".s", None),
        ] {
            assert_eq!(span(text), millis.map(Duration::from_millis), "{text}");
        }
    }

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
