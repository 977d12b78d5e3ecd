// SPDX-License-Identifier: Apache-2.0
//! `printf` as in Go: `%[flags][width][.precision]verb`.

use serde_json::Value;

use super::functions::plain;

/// The widest field. More would only fill the memory.
const WIDEST: usize = 1 << 12;

/// A verb and what stands before it.
#[derive(Default)]
struct Directive {
    left: bool,
    zeros: bool,
    plus: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

/// `format` with `values` in it.
pub(super) fn sprintf(format: &str, values: &[&Value]) -> Result<String, String> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let (directive, behind) = directive(after)?;
        let verb = behind.chars().next().ok_or("has a format that ends with %")?;
        rest = &behind[verb.len_utf8()..];
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| format!("has no value for %{verb}"))?;
        text.push_str(&directive.filled(&directive.written(verb, value)?, value));
    }
    text.push_str(rest);
    match values.next() {
        Some(value) => Err(format!("has no place for {} in its format", plain(value))),
        None => Ok(text),
    }
}

/// What stands between `%` and the verb.
fn directive(text: &str) -> Result<(Directive, &str), String> {
    let mut directive = Directive::default();
    let mut rest = text;
    while let Some(flag) = rest.chars().next() {
        match flag {
            '-' => directive.left = true,
            '0' => directive.zeros = true,
            '+' => directive.plus = true,
            '#' => directive.sharp = true,
            ' ' => {}
            _ => break,
        }
        rest = &rest[1..];
    }
    (directive.width, rest) = number(rest)?;
    if let Some(behind) = rest.strip_prefix('.') {
        let (precision, behind) = number(behind)?;
        (directive.precision, rest) = (Some(precision), behind);
    }
    Ok((directive, rest))
}

fn number(text: &str) -> Result<(usize, &str), String> {
    let length = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    if length == 0 {
        return Ok((0, text));
    }
    let number = text[..length].parse().ok().filter(|number| *number <= WIDEST);
    Ok((number.ok_or_else(|| format!("has a width above {WIDEST} in its format"))?, &text[length..]))
}

impl Directive {
    fn written(&self, verb: char, value: &Value) -> Result<String, String> {
        let unfit = || format!("cannot write {} as %{verb}", plain(value));
        let whole = || value.as_i64().ok_or_else(unfit);
        let cut = |text: String| match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text,
        };
        Ok(match verb {
            'v' if self.sharp => value.to_string(),
            'v' => plain(value),
            's' => cut(plain(value)),
            'q' => Value::from(cut(value.as_str().ok_or_else(unfit)?.to_owned())).to_string(),
            't' => value.as_bool().ok_or_else(unfit)?.to_string(),
            'd' if self.plus => format!("{:+}", whole()?),
            'd' => whole()?.to_string(),
            'x' => match value {
                Value::String(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                _ => format!("{:x}", whole()?),
            },
            'X' => format!("{:X}", whole()?),
            'o' => format!("{:o}", whole()?),
            'b' => format!("{:b}", whole()?),
            'f' => format!("{:.*}", self.precision.unwrap_or(6), value.as_f64().ok_or_else(unfit)?),
            'g' => value.as_f64().ok_or_else(unfit)?.to_string(),
            _ => return Err(format!("does not know %{verb}; there are v, s, q, t, d, x, X, o, b, f and g")),
        })
    }

    /// `text` in its field.
    fn filled(&self, text: &str, value: &Value) -> String {
        let width = self.width;
        match text.strip_prefix('-') {
            _ if self.left => format!("{text:<width$}"),
            Some(digits) if self.zeros && value.is_number() => format!("-{digits:0>0$}", width.saturating_sub(1)),
            None if self.zeros => format!("{text:0>width$}"),
            _ => format!("{text:>width$}"),
        }
    }
}
