// SPDX-License-Identifier: Apache-2.0
//! `corten hello`: what the embedded image `corten/hello` runs. As a container's first process it says who it is
//! inside; `corten hello serve` says the same over HTTP.
//!
//! Small and without the command line's parts: it starts in a container that holds nothing but this executable.

mod addresses;
mod cgroup;
mod counter;
mod http;
mod identity;
mod render;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use errors::{Kind, Report};

use crate::printer;
use identity::Identity;

const HELP: &str = "\
Say who this process is inside its container

Usage: corten hello [serve [--port N] [--data DIRECTORY]]

Commands:
  serve               Serve the same as JSON over HTTP/1.1:
                        GET /              who this process is; counts one more visit in DIRECTORY/count
                        GET /count         the visits so far
                        POST /count        count one more visit
                        GET /health/live   200 while the process lives
                        GET /health/ready  200 while it takes requests

Options of serve:
  --port N            The TCP port to listen on [default: 8080]
  --data DIRECTORY    Where the counter is kept, durably [default: /data]
";

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Say,
    Help,
    Serve { port: u16, data: PathBuf },
}

/// Run `corten hello`; `start_ns` is when `main` began, on the monotonic clock.
pub(crate) fn main(arguments: impl Iterator<Item = String>, start_ns: u64) -> ExitCode {
    let outcome = match parse(arguments) {
        Ok(Wish::Help) => {
            printer::data(HELP.as_bytes());
            Ok(())
        }
        Ok(Wish::Say) => {
            printer::data(render::text(&Identity::gather(start_ns)).as_bytes());
            Ok(())
        }
        Ok(Wish::Serve { port, data }) => serve::run(port, data, start_ns),
        Err(report) => Err(report),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            printer::failure(&report);
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wish, Report> {
    let wrong = |what: String| Report::new(Kind::InvalidArgument, what).with_hint("see: corten hello --help");
    match arguments.next().as_deref() {
        None => return Ok(Wish::Say),
        Some("--help" | "-h" | "help") => return Ok(Wish::Help),
        Some("serve") => {}
        Some(other) => return Err(wrong(format!("hello does not know \"{other}\""))),
    }
    let (mut port, mut data) = (8080, PathBuf::from("/data"));
    while let Some(argument) = arguments.next() {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (argument.clone(), None),
        };
        let mut value =
            || value.clone().or_else(|| arguments.next()).ok_or_else(|| wrong(format!("{flag} needs a value")));
        match flag.as_str() {
            "--help" | "-h" => return Ok(Wish::Help),
            "--port" => {
                let text = value()?;
                port = text.parse().map_err(|_| wrong(format!("\"{text}\" is no port")))?;
            }
            "--data" => data = value()?.into(),
            _ => return Err(wrong(format!("hello serve does not know \"{argument}\""))),
        }
    }
    Ok(Wish::Serve { port, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wish, Report> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_few() {
        assert_eq!(parsed("").unwrap(), Wish::Say);
        assert_eq!(parsed("serve").unwrap(), Wish::Serve { port: 8080, data: "/data".into() });
        let both = Wish::Serve { port: 80, data: "/d".into() };
        assert_eq!(parsed("serve --port 80 --data=/d").unwrap(), both);
        assert_eq!(parsed("serve --help").unwrap(), Wish::Help);
        for line in ["greet", "serve --port", "serve --port many", "serve --port 70000", "serve now"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
