// SPDX-License-Identifier: Apache-2.0
//! Sizes, times and names as people read them; the words are the docker CLI's.

pub(crate) use api_types::human_size as size;

/// How long ago `then` was (both in seconds since the epoch).
pub(crate) fn ago(then: i64, now: i64) -> String {
    format!("{} ago", api_types::human_duration(u64::try_from(now - then).unwrap_or(0)))
}

/// A time (in seconds since the epoch) as the docker CLI writes it, in UTC.
pub(crate) fn moment(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The first twelve digits of an id, without the algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}

/// `text` in `width` characters, the last one an ellipsis where it is longer.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

/// `text` between double quotes, as Go writes it: nothing in it ends the quotes, the line, or what the terminal shows.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            ascii if ascii.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(ascii))),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_come_is_now() {
        assert_eq!(ago(100, 40), "Less than a second ago");
        assert_eq!(ago(40, 100), "About a minute ago");
    }

    #[test]
    fn ids_and_commands_are_cut() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("ab"), "ab");
        assert_eq!(ellipsis("0123456789", 5), "0123…");
        assert_eq!(ellipsis("éé", 2), "éé");
    }
}
