// SPDX-License-Identifier: Apache-2.0
//! `corten logs`: what a container wrote.

use client::{LogOptions, Output};
use errors::Kind;

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;

/// Print what a container wrote
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Tell of each line what the log's options say of the container
    #[arg(long)]
    details: bool,
    /// Go on as the container writes
    #[arg(short, long)]
    follow: bool,
    /// Only what was written since then: a time (RFC 3339, or of the clock here), seconds since the epoch, or a span (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only so many of the last lines; all
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all", value_parser = tail)]
    tail: Tail,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// Only what was written until then: a time (RFC 3339, or of the clock here), seconds since the epoch, or a span (10m)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Name or id
    container: String,
}

/// How many of the last lines; all without a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tail(Option<u64>);

/// Less than none is all, as with docker.
fn tail(text: &str) -> Result<Tail, std::num::ParseIntError> {
    if text == "all" { Ok(Tail(None)) } else { text.parse::<i64>().map(|lines| Tail(u64::try_from(lines).ok())) }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let now = jiff::Timestamp::now();
    let time = |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose();
    let options = LogOptions {
        follow: args.follow,
        timestamps: args.timestamps,
        details: args.details,
        tail: args.tail.0,
        since: time(&args.since)?,
        until: time(&args.until)?,
    };
    let mut log = context.client.logs(&args.container, &options).await?;
    while let Some(output) = log.next().await? {
        match output {
            Output::Stdout(data) => printer::data(&data),
            Output::Stderr(data) => printer::error_data(&data),
        }
    }
    Ok(0)
}

/// `text` as seconds since the epoch with nine decimals: a time, seconds, or a span before `now`. A time that names no offset is
/// one of this machine's clock, as with docker.
pub(crate) fn moment(text: &str, now: jiff::Timestamp) -> Result<String, Failure> {
    moment_in(&jiff::tz::TimeZone::system(), text, now)
}

fn moment_in(zone: &jiff::tz::TimeZone, text: &str, now: jiff::Timestamp) -> Result<String, Failure> {
    let invalid = || {
        Failure::new(Kind::InvalidArgument, format!("\"{text}\" is no time"))
            .with_hint(
                "write it as 2026-01-31T12:00:00Z or 2026-01-31, as seconds since the epoch, or as a span like 10m or 1h30m",
            )
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if digits(whole) && digits(fraction) {
        return Ok(text.to_owned());
    }
    let moment = match (text.parse::<jiff::Timestamp>(), text.parse::<jiff::civil::DateTime>()) {
        (Ok(moment), _) => moment,
        (_, Ok(local)) => zone.to_timestamp(local).map_err(|_| invalid())?,
        _ => {
            let span: jiff::SignedDuration = text.parse().map_err(|_| invalid())?;
            now.checked_sub(span).map_err(|_| invalid())?
        }
    };
    let (seconds, nanoseconds) = (moment.as_second(), moment.subsec_nanosecond());
    if seconds < 0 || nanoseconds < 0 { Err(invalid()) } else { Ok(format!("{seconds}.{nanoseconds:09}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_before_now() {
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        assert_eq!(moment("2026-01-01T00:00:00Z", now).unwrap(), "1767225600.000000000");
        assert_eq!(moment("10m", now).unwrap(), "1767225600.000000000");
        assert_eq!(moment("1767225600.5", now).unwrap(), "1767225600.5");
        for text in ["", "yesterday", "-", "1.2.3", "2026-13-01", "2026-01-01T25"] {
            assert!(moment(text, now).is_err(), "{text}");
        }
        // What names no offset is one of the clock here.
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(1));
        for text in ["2026-01-01", "2026-01-01T00", "2026-01-01T00:00", "2026-01-01T00:00:00"] {
            assert_eq!(moment_in(&zone, text, now).unwrap(), "1767222000.000000000", "{text}");
        }
        assert_eq!(moment_in(&zone, "2026-01-01T00:00:00.25", now).unwrap(), "1767222000.250000000");
        assert_eq!(moment_in(&zone, "2026-01-01T00:00:00+00:00", now).unwrap(), "1767225600.000000000");
    }

    #[test]
    fn a_tail_is_a_number_or_all() {
        assert_eq!((tail("all"), tail("3")), (Ok(Tail(None)), Ok(Tail(Some(3)))));
        assert_eq!(tail("-1"), Ok(Tail(None)));
        assert!(tail("many").is_err());
    }
}
