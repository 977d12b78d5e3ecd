// SPDX-License-Identifier: Apache-2.0
//! What a template can call: Go's own functions as far as JSON has a use for them, and those of the docker CLI.

use std::cmp::Ordering;

use serde_json::Value;

use super::TemplateError;
use super::eval::Item;
use super::printf::sprintf;

/// The functions.
pub(super) const NAMES: &[&str] = &[
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "index", "slice", "len", "print", "printf", "println",
    "json", "split", "join", "title", "lower", "upper", "pad", "truncate",
];
/// The label of a row, which is asked for like a method: `.Label "NAME"`.
pub(super) const LABEL: &str = "Label";

/// Whether there is a function of this name.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// What a value is printed as.
pub(super) fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        other => plain(other),
    }
}

/// A value as Go writes it with `%v`.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{key}:{}", plain(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
    }
}

/// A call.
pub(super) struct Arguments<'a, 'v> {
    /// The function's name.
    pub(super) function: &'a str,
    /// What it is given.
    pub(super) items: Vec<Item<'v>>,
    /// It is given headings, which stay as they are.
    pub(super) is_heading: bool,
}

impl<'v> Arguments<'_, 'v> {
    /// What the function yields.
    pub(super) fn call(self) -> Result<Item<'v>, TemplateError> {
        if self.is_heading
            && matches!(self.function, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate")
        {
            return self.items.into_iter().next().ok_or_else(|| wrong("json", "needs an argument"));
        }
        let made = match self.function {
            "eq" | "ne" | "lt" | "le" | "gt" | "ge" => Value::Bool(self.compare()?),
            "index" => return self.index(),
            "slice" => self.slice()?,
            "len" => self.length()?.into(),
            "print" => print(self.values()).into(),
            "println" => (self.values().map(plain).collect::<Vec<_>>().join(" ") + "\n").into(),
            "printf" => {
                let mut values = self.values();
                let format = values.next().and_then(Value::as_str).ok_or_else(|| self.wrong("needs a format"))?;
                sprintf(format, &values.collect::<Vec<_>>()).map_err(|problem| self.wrong(problem))?.into()
            }
            "json" => self.only()?.to_string().into(),
            "split" => {
                let (text, separator) = (self.text(0)?, self.text(1)?);
                // As Go's: without a separator, into its characters.
                if separator.is_empty() {
                    text.chars().map(|character| character.to_string()).collect::<Vec<_>>().into()
                } else {
                    text.split(separator).collect::<Vec<_>>().into()
                }
            }
            "join" => self.join()?.into(),
            "title" => title(self.text(0)?).into(),
            "lower" => self.text(0)?.to_lowercase().into(),
            "upper" => self.text(0)?.to_uppercase().into(),
            "pad" => self.pad()?.into(),
            "truncate" => self.text(0)?.chars().take(self.size(1)?).collect::<String>().into(),
            _ => return Err(self.wrong("is not known")),
        };
        Ok(Item::made(made))
    }

    /// The label of this name; of headings, the last part of the name.
    pub(super) fn label(&self, labels: Option<&'v Value>) -> Result<Item<'v>, TemplateError> {
        let name = self.text(0)?;
        if self.is_heading {
            let last = name.rsplit('.').next().unwrap_or(name);
            return Ok(Item::made(last.replace(['-', '_'], " ")));
        }
        Ok(Item::made(labels.and_then(|labels| labels[name].as_str()).unwrap_or_default()))
    }

    fn values(&self) -> impl Iterator<Item = &Value> {
        self.items.iter().map(|item| &*item.value)
    }

    fn wrong(&self, problem: impl Into<String>) -> TemplateError {
        wrong(self.function, problem)
    }

    fn value(&self, index: usize) -> Result<&Value, TemplateError> {
        self.values().nth(index).ok_or_else(|| self.wrong(format!("needs {} arguments", index + 1)))
    }

    fn only(&self) -> Result<&Value, TemplateError> {
        if self.items.len() > 1 { Err(self.wrong("takes one argument")) } else { self.value(0) }
    }

    fn text(&self, index: usize) -> Result<&str, TemplateError> {
        let value = self.value(index)?;
        value.as_str().ok_or_else(|| self.wrong(format!("needs a text, not {}", plain(value))))
    }

    fn size(&self, index: usize) -> Result<usize, TemplateError> {
        // No terminal and no file name is that wide: more would only fill the memory.
        const MOST: u64 = 1 << 16;
        let value = self.value(index)?;
        let size = value.as_u64().filter(|size| *size <= MOST).and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| self.wrong(format!("cannot do with {} as a number of characters", plain(value))))
    }

    fn compare(&self) -> Result<bool, TemplateError> {
        let (first, second) = (self.value(0)?, self.value(1)?);
        if self.function == "eq" {
            let others = (1..self.items.len()).map(|index| self.value(index));
            return others.map(|other| self.equal(first, other?)).try_fold(false, |any, equal| Ok(any | equal?));
        }
        if self.items.len() > 2 {
            return Err(self.wrong("takes two arguments"));
        }
        let order = match (first, second) {
            _ if self.function == "ne" => return Ok(!self.equal(first, second)?),
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            _ => None,
        };
        let order =
            order.ok_or_else(|| self.wrong(format!("cannot compare {} with {}", plain(first), plain(second))))?;
        Ok(match self.function {
            "lt" => order == Ordering::Less,
            "le" => order != Ordering::Greater,
            "gt" => order == Ordering::Greater,
            _ => order != Ordering::Less,
        })
    }

    fn equal(&self, a: &Value, b: &Value) -> Result<bool, TemplateError> {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => Ok(a == b || a.as_f64() == b.as_f64()),
            (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => Ok(a == b),
            (Value::Null, other) | (other, Value::Null) => Ok(other.is_null()),
            _ => Err(self.wrong(format!("cannot compare {} with {}", plain(a), plain(b)))),
        }
    }

    /// The element behind each of the arguments. Of a map of texts, what is missing is an empty one.
    fn index(self) -> Result<Item<'v>, TemplateError> {
        let mut item = self.items.first().cloned().ok_or_else(|| self.wrong("needs an argument"))?;
        for by in &self.items[1..] {
            let found = match (&*item.value, &*by.value) {
                (Value::Object(map), Value::String(key)) => {
                    let texts = map.values().all(Value::is_string);
                    let nothing = if texts { Value::from("") } else { Value::Null };
                    map.get(key).cloned().unwrap_or(nothing)
                }
                (Value::Null, Value::String(_)) if item.is_map => Value::from(""),
                (Value::Array(list), Value::Number(number)) => {
                    let index = number.as_u64().and_then(|index| usize::try_from(index).ok());
                    let found = index.and_then(|index| list.get(index)).cloned();
                    found.ok_or_else(|| self.wrong(format!("finds no element {number} in a list of {}", list.len())))?
                }
                (whole, by) => {
                    return Err(self.wrong(format!("cannot look {} up in {}", plain(by), plain(whole))));
                }
            };
            item = Item::made(found);
        }
        Ok(item)
    }

    fn slice(&self) -> Result<Value, TemplateError> {
        let length = match self.value(0)? {
            Value::String(text) => text.len(),
            Value::Array(list) => list.len(),
            other => return Err(self.wrong(format!("takes a part of a text or a list, and {} is none", plain(other)))),
        };
        let bound = |index: usize, default| if self.items.len() > index { self.size(index) } else { Ok(default) };
        let (from, to) = (bound(1, 0)?, bound(2, length)?);
        let outside = || self.wrong(format!("finds no part {from} to {to} in a length of {length}"));
        match self.value(0)? {
            Value::String(text) => Ok(text.get(from..to).ok_or_else(outside)?.into()),
            Value::Array(list) => Ok(list.get(from..to).ok_or_else(outside)?.to_vec().into()),
            _ => Err(outside()),
        }
    }

    fn length(&self) -> Result<usize, TemplateError> {
        match self.only()? {
            Value::String(text) => Ok(text.len()),
            Value::Array(list) => Ok(list.len()),
            Value::Object(map) => Ok(map.len()),
            // What a list or a map is when there is none.
            Value::Null => Ok(0),
            other => Err(self.wrong(format!("cannot tell the length of {}", plain(other)))),
        }
    }

    fn join(&self) -> Result<String, TemplateError> {
        let separator = self.text(1)?;
        let list = match self.value(0)? {
            Value::Array(list) => &list[..],
            Value::Null => &[],
            other => return Err(self.wrong(format!("needs a list of texts, not {}", plain(other)))),
        };
        let texts = list.iter().map(|value| {
            value.as_str().ok_or_else(|| self.wrong(format!("needs a list of texts, and {} is none", plain(value))))
        });
        Ok(texts.collect::<Result<Vec<_>, _>>()?.join(separator))
    }

    fn pad(&self) -> Result<String, TemplateError> {
        let (text, before, behind) = (self.text(0)?, self.size(1)?, self.size(2)?);
        if text.is_empty() {
            return Ok(String::new());
        }
        Ok(format!("{}{text}{}", " ".repeat(before), " ".repeat(behind)))
    }
}

fn wrong(function: &str, problem: impl Into<String>) -> TemplateError {
    TemplateError::Call { function: function.to_owned(), problem: problem.into() }
}

/// As Go's: a blank stands between two of which neither is a text.
fn print<'a>(values: impl Iterator<Item = &'a Value>) -> String {
    let mut text = String::new();
    let mut before: Option<&Value> = None;
    for value in values {
        if before.is_some_and(|before| !before.is_string() && !value.is_string()) {
            text.push(' ');
        }
        text.push_str(&plain(value));
        before = Some(value);
    }
    text
}

/// The first letter of each word as a capital.
fn title(text: &str) -> String {
    let (mut titled, mut begins) = (String::new(), true);
    for character in text.chars() {
        if begins {
            titled.extend(character.to_uppercase());
        } else {
            titled.push(character);
        }
        begins = !character.is_alphanumeric() && !matches!(character, '_' | '\'');
    }
    titled
}
