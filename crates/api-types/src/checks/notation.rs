// SPDX-License-Identifier: Apache-2.0
//! How a check is written in one text, in flags (`--liveness`) and in labels (`corten.liveness`): fields with commas between
//! them, as in `http=:8080/live,interval=5s,retries=3`.

use crate::docker::HealthConfig;

/// Why a text is no check, or no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" {problem}")]
pub struct NotationError {
    /// What was written.
    text: String,
    /// What is wrong with it.
    problem: &'static str,
}

fn invalid(text: &str, problem: &'static str) -> NotationError {
    NotationError { text: text.to_owned(), problem }
}

/// A check that answers one question: whether a container has started, is alive, is ready.
///
/// # Errors
/// Fields that are not known or cannot be read; nothing to try, or more than one thing.
pub fn check(text: &str) -> Result<HealthConfig, NotationError> {
    let check = health(text)?;
    if check.start_period.is_some() || check.start_interval.is_some() {
        return Err(invalid(text, "has a start period: a startup check takes its place"));
    }
    match check.test {
        Some(_) => Ok(check),
        None => Err(invalid(text, "says nothing to try: http, tcp, file or cmd")),
    }
}

/// A health check, which beside that may have a start period, and may leave open what is tried: then that is the image's.
///
/// # Errors
/// Fields that are not known or cannot be read; more than one thing to try.
pub fn health(text: &str) -> Result<HealthConfig, NotationError> {
    let mut check = HealthConfig::default();
    let mut rest = Some(text);
    while let Some(fields) = rest {
        // A command takes the rest, with its commas.
        let (field, behind) = match fields.split_once(',') {
            Some((field, behind)) if !field.starts_with("cmd=") => (field, Some(behind)),
            _ => (fields, None),
        };
        rest = behind;
        // An address may stand for itself.
        let whole = field.starts_with("http://").then_some(("http", field));
        let (key, value) = whole.or_else(|| field.split_once('=')).unwrap_or((field, ""));
        if value.is_empty() {
            return Err(invalid(text, "needs fields as in http=:8080/live,interval=5s"));
        }
        let kind = match key {
            "cmd" => "CMD-SHELL",
            "file" => "CORTEN-FILE",
            "http" => "CORTEN-HTTP",
            "tcp" => "CORTEN-TCP",
            _ => {
                set(&mut check, key, value, text)?;
                continue;
            }
        };
        if check.test.replace(vec![kind.to_owned(), value.to_owned()]).is_some() {
            return Err(invalid(text, "says of more than one thing to try"));
        }
    }
    Ok(check)
}

/// Sets one of the fields that are no test.
fn set(check: &mut HealthConfig, key: &str, value: &str, text: &str) -> Result<(), NotationError> {
    let time = match key {
        "interval" => &mut check.interval,
        "timeout" => &mut check.timeout,
        "start-period" => &mut check.start_period,
        "start-interval" => &mut check.start_interval,
        "retries" => {
            let retries = value.parse::<u32>().map_err(|_| invalid(text, "has retries that are no number"))?;
            check.retries = Some(retries.into());
            return Ok(());
        }
        _ => {
            return Err(invalid(
                text,
                "has a field that is none of http, tcp, file, cmd, interval, timeout, retries, start-period and start-interval",
            ));
        }
    };
    *time = Some(nanos(value)?);
    Ok(())
}

/// The nanoseconds in `text`, written as Go and Docker write spans: numbers, perhaps with a fraction, with the units h, m, s,
/// ms, us and ns, added up; `0` needs none.
///
/// # Errors
/// It is not written so, or more than 292 years.
pub fn nanos(text: &str) -> Result<i64, NotationError> {
    let wrong = || invalid(text, "is no time: write numbers with h, m, s or ms, as in 1m30s or 500ms");
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() && text != "0" {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        nanos += number
            * match &rest[digits..digits + unit] {
                "ns" => 1.0,
                "us" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(wrong()),
            };
        rest = &rest[digits + unit..];
    }
    // As many as fit; a float that is smaller is converted exactly enough.
    if text.is_empty() || nanos >= i64::MAX as f64 { Err(wrong()) } else { Ok(nanos.round() as i64) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_question_is_asked_field_by_field() {
        let json = |text: &str| check(text).map(|check| serde_json::to_value(check).unwrap());
        let expected = json!({"Test": ["CORTEN-HTTP", "HEAD :80/x?a=b"], "Interval": 2_000_000_000_i64,
            "Timeout": 500_000_000, "Retries": 4});
        assert_eq!(json("http=HEAD :80/x?a=b,interval=2s,timeout=500ms,retries=4").unwrap(), expected);
        let expected = json!({"Test": ["CMD-SHELL", "test 1, = 1"], "Retries": 1});
        assert_eq!(json("retries=1,cmd=test 1, = 1").unwrap(), expected);
        assert_eq!(json("tcp=80").unwrap()["Test"], json!(["CORTEN-TCP", "80"]));
        assert_eq!(json("file=/x").unwrap()["Test"], json!(["CORTEN-FILE", "/x"]));
        let address = json("http://:8080/health?a=b,interval=5s,retries=3").unwrap();
        assert_eq!(
            (&address["Test"], &address["Retries"]),
            (&json!(["CORTEN-HTTP", "http://:8080/health?a=b"]), &json!(3))
        );
        for bad in [
            "",
            "80",
            "tcp=",
            "interval=1s",
            "tcp=80,file=/x",
            "tcp=80,every=1s",
            "tcp=80,retries=-1",
            "tcp=80,",
            "tcp=80,start-period=1s",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_health_check_may_leave_open_what_is_tried() {
        let read = health("start-period=1m,start-interval=250ms,retries=2").unwrap();
        let expected = json!({"StartPeriod": 60_000_000_000_i64, "StartInterval": 250_000_000, "Retries": 2});
        assert_eq!(serde_json::to_value(read).unwrap(), expected);
        assert!(health("interval=soon").unwrap_err().to_string().contains("soon"));
        assert!(health("http=:80/,tcp=80").is_err() && health("").is_err());
    }

    #[test]
    fn spans_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("30s", 30_000_000_000),
            ("1h2m3s4ms", 3_723_004_000_000),
            ("1.5s", 1_500_000_000),
            (".5ms", 500_000),
            ("250us", 250_000),
            ("7ns", 7),
        ] {
            assert_eq!(nanos(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "10", "s", "-1s", "1 s", "1d", "1.2.3s", "1e3s", "9999999999h", "1µ", "1s2", ".s", "é"] {
            assert!(nanos(bad).is_err(), "{bad}");
        }
    }
}
