// SPDX-License-Identifier: Apache-2.0
//! `HEALTHCHECK`: `NONE`, or options and the test. The form in the configuration is Docker's; the OCI specification reserves
//! its name.

use serde::{Deserialize, Serialize};

/// The check as it stands in a configuration; its times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// What is tried, in Docker's words or Corten's; the base image's when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between probes; 0 is what was not said, as for all that follow.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one probe.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// After the start, when failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between probes within that.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// So many failures in a row make it unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// `NONE`, or `[--interval=TIME] [--timeout=TIME] [--start-period=TIME] [--start-interval=TIME] [--retries=N] CMD COMMAND`.
pub(super) fn parse(text: &str) -> Result<Healthcheck, &'static str> {
    const USAGE: &str = "HEALTHCHECK takes NONE, or options and CMD COMMAND, for example `--interval=10s CMD /probe`";
    let mut check = Healthcheck::default();
    let mut rest = text.trim();
    while let Some(option) = rest.strip_prefix("--") {
        let (option, behind) = option.split_once(char::is_whitespace).ok_or(USAGE)?;
        let (name, value) = option.split_once('=').ok_or(USAGE)?;
        match name {
            "interval" => check.interval = nanos(value)?,
            "timeout" => check.timeout = nanos(value)?,
            "start-period" => check.start_period = nanos(value)?,
            "start-interval" => check.start_interval = nanos(value)?,
            "retries" => check.retries = value.parse::<u32>().map_err(|_| "retries are a number")?.into(),
            _ => return Err(USAGE),
        }
        rest = behind.trim_start();
    }
    let (word, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = behind.trim();
    check.test = match word.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() && check == Healthcheck::default() => vec!["NONE".to_owned()],
        "CMD" if command.starts_with('[') => [vec!["CMD".to_owned()], super::json_list(command)?].concat(),
        "CMD" if !command.is_empty() => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        _ => return Err(USAGE),
    };
    if check.test == ["CMD"] { Err(USAGE) } else { Ok(check) }
}

/// A span as Docker writes it, `1m30s` or `500ms`: 0, or 1 ms at least.
fn nanos(text: &str) -> Result<i64, &'static str> {
    const PROBLEM: &str = "a time is 0, or 1ms at least, and written as in 1m30s or 500ms";
    if text == "0" {
        return Ok(0);
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| PROBLEM)?;
    let nanos = i64::try_from(span.as_nanos()).map_err(|_| PROBLEM)?;
    if nanos == 0 || nanos >= 1_000_000 { Ok(nanos) } else { Err(PROBLEM) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        serde_json::to_string(&parse(text).unwrap()).unwrap()
    }

    #[test]
    fn checks_are_written_as_dockers_builder_writes_them() {
        assert_eq!(json("NONE"), r#"{"Test":["NONE"]}"#);
        assert_eq!(json("CMD curl -f x || exit 1"), r#"{"Test":["CMD-SHELL","curl -f x || exit 1"]}"#);
        assert_eq!(
            json("--interval=1m30s --timeout=500ms --retries=2  CMD [\"/probe\", \"-x\"]"),
            r#"{"Test":["CMD","/probe","-x"],"Interval":90000000000,"Timeout":500000000,"Retries":2}"#
        );
        for bad in [
            "",
            "CMD",
            "CMD []",
            "CMD [1]",
            "NONE x",
            "--retries=1 NONE",
            "--interval=10 CMD x",
            "--interval=1us CMD x",
            "--interval=-1s CMD x",
            "--retries=-1 CMD x",
            "--colour=red CMD x",
            "--interval=1s",
            "true",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
