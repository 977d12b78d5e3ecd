// SPDX-License-Identifier: Apache-2.0
//! `--health-*`: how it is found out whether a container is well; `--startup`, `--liveness` and `--readiness`: whether it has
//! started, is alive, is ready.

use api_types::docker::HealthConfig;
use api_types::{CheckRequest, notation};
use clap::Args;

use super::FlagError;

#[derive(Debug, Default, Args)]
pub(crate) struct HealthFlags {
    /// Check the container's health by this line for its shell
    #[arg(long, value_name = "COMMAND", group = "health_test")]
    health_cmd: Option<String>,
    /// Check it by whether it has this file; no program of the image's is needed
    #[arg(long, value_name = "PATH", group = "health_test")]
    health_file: Option<String>,
    /// Check it by an HTTP request: [METHOD ]:PORT[/PATH]; 200 to 399 is well
    #[arg(long, value_name = "REQUEST", group = "health_test")]
    health_http: Option<String>,
    /// Time between checks, as in 30s, 1m30s or 500ms (default 30s)
    #[arg(long, value_name = "TIME", value_parser = notation::nanos)]
    health_interval: Option<i64>,
    /// Consecutive failures that make it unhealthy (default 3)
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// Time between checks within the start period (default 5s)
    #[arg(long, value_name = "TIME", value_parser = notation::nanos)]
    health_start_interval: Option<i64>,
    /// Time after the start in which failures do not count (default 0s)
    #[arg(long, value_name = "TIME", value_parser = notation::nanos)]
    health_start_period: Option<i64>,
    /// Check it by connecting to this port
    #[arg(long, value_name = "PORT", group = "health_test")]
    health_tcp: Option<u16>,
    /// Time that one check may take (default 30s)
    #[arg(long, value_name = "TIME", value_parser = notation::nanos)]
    health_timeout: Option<i64>,
    /// Whether it is alive, or else started again: http=:PORT/PATH, tcp=PORT, file=PATH or cmd=LINE; interval=, timeout=, retries=
    #[arg(long, value_name = "CHECK", value_parser = notation::check)]
    liveness: Option<HealthConfig>,
    /// No check, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
    /// Whether it is ready, in the form of --liveness: only then its published ports lead to it
    #[arg(long, value_name = "CHECK", value_parser = notation::check)]
    readiness: Option<HealthConfig>,
    /// Whether it has started, in the form of --liveness: the other checks wait for that
    #[arg(long, value_name = "CHECK", value_parser = notation::check)]
    startup: Option<HealthConfig>,
}

impl HealthFlags {
    /// The checks that answer one question each.
    pub(crate) fn questions(&self) -> CheckRequest {
        CheckRequest {
            startup: self.startup.clone(),
            liveness: self.liveness.clone(),
            readiness: self.readiness.clone(),
        }
    }

    /// The Engine API's check, if one was asked for.
    pub(crate) fn check(&self) -> Result<Option<HealthConfig>, FlagError> {
        // An empty line is none, as in Docker's command line.
        let line = self.health_cmd.clone().filter(|line| !line.is_empty());
        let tests = [
            ("CMD-SHELL", line),
            ("CORTEN-FILE", self.health_file.clone()),
            ("CORTEN-HTTP", self.health_http.clone()),
            ("CORTEN-TCP", self.health_tcp.map(|port| port.to_string())),
        ];
        let test = tests.into_iter().find_map(|(kind, argument)| Some(vec![kind.to_owned(), argument?]));
        let check = HealthConfig {
            test,
            interval: self.health_interval,
            timeout: self.health_timeout,
            retries: self.health_retries.map(i64::from),
            start_period: self.health_start_period,
            start_interval: self.health_start_interval,
        };
        match (self.no_healthcheck, check == HealthConfig::default()) {
            (true, false) => Err(FlagError::invalid("--no-healthcheck", "cannot stand beside --health flags")),
            (true, true) => Ok(Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() })),
            (false, is_none) => Ok(Some(check).filter(|_| !is_none)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: HealthFlags,
    }

    fn check(line: &str) -> Result<serde_json::Value, String> {
        let line = std::iter::once("run").chain(line.split_whitespace());
        let parsed = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        let check = parsed.flags.check().map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(check).unwrap())
    }

    #[test]
    fn the_flags_are_the_apis_check() {
        assert_eq!(check("").unwrap(), serde_json::Value::Null);
        assert_eq!(check("--no-healthcheck").unwrap(), serde_json::json!({"Test": ["NONE"]}));
        let all = "--health-cmd=/probe --health-interval 1m30s --health-timeout 500ms --health-retries 4 \
                   --health-start-period 2h --health-start-interval 1.5s";
        let expected = serde_json::json!({"Test": ["CMD-SHELL", "/probe"], "Interval": 90_000_000_000_i64,
            "Timeout": 500_000_000, "Retries": 4, "StartPeriod": 7_200_000_000_000_i64, "StartInterval": 1_500_000_000});
        assert_eq!(check(all).unwrap(), expected);
        assert_eq!(check("--health-retries 2").unwrap(), serde_json::json!({"Retries": 2}));
        for (flag, test) in [
            ("--health-file /ready", ["CORTEN-FILE", "/ready"]),
            ("--health-http :80/", ["CORTEN-HTTP", ":80/"]),
            ("--health-tcp 80", ["CORTEN-TCP", "80"]),
        ] {
            assert_eq!(check(flag).unwrap(), serde_json::json!({ "Test": test }));
        }
        for bad in [
            "--health-tcp 80 --health-file /x",
            "--health-tcp x",
            "--no-healthcheck --health-retries 1",
            "--health-interval soon",
            "--health-interval=-1s",
            "--health-interval 10",
            "--health-retries=-1",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
