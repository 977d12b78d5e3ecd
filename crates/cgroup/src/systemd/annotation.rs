// SPDX-License-Identifier: Apache-2.0
//! Properties that a container's annotations ask for, as runc takes them: `org.systemd.property.TimeoutStopUSec` with the
//! value `uint64 5000000`, in GVariant's text format (GLib's documentation, "GVariant Text Format"). Pure.

use super::SystemdError;
use super::dbus::Value;

const PREFIX: &str = "org.systemd.property.";

/// How deep lists may be nested. No property of a unit has more than one in another.
const DEEPEST: usize = 4;

/// The properties among a container's annotations, by name.
pub(super) fn properties<'a>(
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<(String, Value)>, SystemdError> {
    let mut found = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let invalid = || SystemdError::Annotation { name: key.to_owned(), value: text.to_owned() };
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(invalid());
        }
        let value = parse(text, 0).ok_or_else(invalid)?;
        // What people write in seconds is a property in microseconds.
        let seconds = name.strip_suffix("Sec").filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase()));
        found.push(match seconds {
            Some(stem) => (format!("{stem}USec"), microseconds(&value).ok_or_else(invalid)?),
            None => (name.to_owned(), value),
        });
    }
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(found)
}

fn microseconds(value: &Value) -> Option<Value> {
    const MICRO: u64 = 1_000_000;
    let whole = match value {
        Value::Byte(v) => u64::from(*v),
        Value::Int16(v) => u64::try_from(*v).ok()?,
        Value::Uint16(v) => u64::from(*v),
        Value::Int32(v) => u64::try_from(*v).ok()?,
        Value::Uint32(v) => u64::from(*v),
        Value::Int64(v) => u64::try_from(*v).ok()?,
        Value::Uint64(v) => *v,
        Value::Double(v) => {
            let duration = std::time::Duration::try_from_secs_f64(*v).ok()?;
            return u64::try_from(duration.as_micros()).ok().map(Value::Uint64);
        }
        _ => return None,
    };
    whole.checked_mul(MICRO).map(Value::Uint64)
}

/// One value: `true`, `5`, `0.5`, `'text'`, `uint64 5`, `@t 5`, `['a', 'b']`.
fn parse(text: &str, depth: usize) -> Option<Value> {
    if depth > DEEPEST {
        return None;
    }
    let text = text.trim();
    if let Some((kind, rest)) = text.split_once(' ') {
        let signature = match kind {
            "boolean" => "b",
            "byte" => "y",
            "int16" => "n",
            "uint16" => "q",
            "int32" => "i",
            "uint32" => "u",
            "int64" => "x",
            "uint64" => "t",
            "double" => "d",
            "string" => "s",
            "objectpath" => "o",
            "signature" => "g",
            other => other.strip_prefix('@').unwrap_or_default(),
        };
        if !signature.is_empty() {
            return typed(signature, rest.trim(), depth);
        }
    }
    match text.chars().next()? {
        '\'' | '"' => typed("s", text, depth),
        '[' => {
            let first = parse(items(text)?.first()?, depth + 1)?;
            typed(&format!("a{}", first.signature()), text, depth)
        }
        _ if matches!(text, "true" | "false") => typed("b", text, depth),
        _ if text.contains('.') => typed("d", text, depth),
        _ => typed("i", text, depth),
    }
}

/// The text as a value of this type.
fn typed(signature: &str, text: &str, depth: usize) -> Option<Value> {
    if depth > DEEPEST {
        return None;
    }
    Some(match signature {
        "b" => Value::Bool(text.parse().ok()?),
        "y" => Value::Byte(number(text)?),
        "n" => Value::Int16(number(text)?),
        "q" => Value::Uint16(number(text)?),
        "i" => Value::Int32(number(text)?),
        "u" => Value::Uint32(number(text)?),
        "x" => Value::Int64(number(text)?),
        "t" => Value::Uint64(number(text)?),
        "d" => Value::Double(text.parse().ok().filter(|v: &f64| v.is_finite())?),
        "s" => Value::Text(quoted(text)?),
        "o" => Value::Path(quoted(text).filter(|path| path.starts_with('/'))?),
        "g" => Value::Signature(quoted(text)?),
        "v" => parse(text.strip_prefix('<')?.strip_suffix('>')?, depth + 1)?.in_variant(),
        _ => {
            let element = signature.strip_prefix('a')?;
            // An element may say its type again.
            let said = |item: &&str| parse(item, depth + 1).filter(|value| value.signature() == element);
            let one = |item: &&str| typed(element, item, depth + 1).or_else(|| said(item));
            let values = items(text)?.iter().map(one).collect::<Option<Vec<_>>>()?;
            Value::Array(element.to_owned(), values)
        }
    })
}

/// Decimal, or hexadecimal after `0x`.
fn number<T: TryFrom<i128>>(text: &str) -> Option<T> {
    let value = match text.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16).ok()?,
        None => text.parse().ok()?,
    };
    T::try_from(value).ok()
}

/// A text in single or double quotes, with the backslash escapes that ordinary values need.
fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut characters = text[1..].chars();
    let mut content = String::new();
    loop {
        match characters.next()? {
            '\\' => content.push(match characters.next()? {
                'n' => '\n',
                't' => '\t',
                other @ ('\\' | '\'' | '"') => other,
                _ => return None,
            }),
            // A zero byte cannot be written in D-Bus.
            '\0' => return None,
            c if c == quote => break,
            c => content.push(c),
        }
    }
    characters.next().is_none().then_some(content)
}

/// The items of `[a, b]`; commas inside quotes or brackets divide nothing.
fn items(text: &str) -> Option<Vec<&str>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let (mut items, mut begin, mut depth, mut quote) = (Vec::new(), 0, 0_i32, None);
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[' | '(' | '<') => depth += 1,
            (None, ']' | ')' | '>') => depth -= 1,
            (None, ',') if depth == 0 => {
                items.push(inner[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    let last = inner[begin..].trim();
    if !last.is_empty() {
        items.push(last);
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, text: &str) -> Result<(String, Value), SystemdError> {
        let key = format!("{PREFIX}{name}");
        properties([(key.as_str(), text), ("other", "x")].into_iter()).map(|mut found| found.remove(0))
    }

    #[test]
    fn annotations_become_properties() {
        let texts = Value::Array("s".into(), vec![Value::text("a,b"), Value::text("c\"")]);
        let cases = [
            ("CollectMode", "'inactive-or-failed'", "CollectMode", Value::text("inactive-or-failed")),
            ("TimeoutStopUSec", "uint64 5000000", "TimeoutStopUSec", Value::Uint64(5_000_000)),
            ("TimeoutStopSec", "uint64 5", "TimeoutStopUSec", Value::Uint64(5_000_000)),
            ("RuntimeMaxSec", "0.5", "RuntimeMaxUSec", Value::Uint64(500_000)),
            ("SendSIGHUP", "true", "SendSIGHUP", Value::Bool(true)),
            (
                "IPAddress",
                "@ay [1, 0x10]",
                "IPAddress",
                Value::Array("y".into(), vec![Value::Byte(1), Value::Byte(16)]),
            ),
            ("After", r#"['a,b', "c\""]"#, "After", texts),
            ("Wants", "@as []", "Wants", Value::Array("s".into(), vec![])),
            ("Nice", "-5", "Nice", Value::Int32(-5)),
        ];
        for (name, text, property, value) in cases {
            assert_eq!(one(name, text).unwrap(), (property.to_owned(), value), "{name}={text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused_and_named() {
        let long = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        let texts = [
            "",
            "'open",
            "'a' b",
            "uint64 -5",
            "@t x",
            "[1, 'a']",
            "[]",
            "nothing",
            "@a(ss) []x",
            "byte 256",
            "'a\0b'",
            &long,
        ];
        for text in texts {
            let error = one("Property", text).unwrap_err();
            assert!(error.to_string().contains("org.systemd.property.Property"), "{error}");
        }
        assert!(one("No-Name", "5").is_err() && one("ab", "5").is_err());
        assert!(one("SomeSec", "'text'").is_err());
    }
}
