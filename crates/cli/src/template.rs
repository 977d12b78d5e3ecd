// SPDX-License-Identifier: Apache-2.0
//! `--format`: `{{.Path.To.Value}}` and `{{json .Path}}` in plain text. The rest of Go's template language is refused
//! with an error, never misread.

use std::str::FromStr;

use errors::{Classify, Kind};
use serde_json::Value;

/// A template that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value { path: Vec<String>, json: bool },
}

/// A template that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// `{{` without `}}`.
    #[error("the format \"{0}\" has a {{{{ without its }}}}")]
    Open(String),
    /// More than a path.
    #[error("the format {{{{{0}}}}} is not understood: there are {{{{.Path.To.Value}}}} and {{{{json .Path}}}}")]
    Action(String),
    /// A path that leads nowhere.
    #[error("the format names {path}, and there is no {missing} in it")]
    Missing {
        /// The path, with its dots.
        path: String,
        /// The first name that is not there.
        missing: String,
    },
}

impl Classify for TemplateError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, behind) = after.split_once("}}").ok_or_else(|| TemplateError::Open(text.to_owned()))?;
            if !before.is_empty() {
                parts.push(Part::Text(unescape(before)));
            }
            parts.push(parse_action(action)?);
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(unescape(rest)));
        }
        Ok(Template(parts))
    }
}

/// The two escapes that the docker CLI knows in a format.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn parse_action(action: &str) -> Result<Part, TemplateError> {
    let unknown = || TemplateError::Action(action.to_owned());
    let mut words = action.split_whitespace();
    let (json, path) = match (words.next(), words.next(), words.next()) {
        (Some("json"), Some(path), None) => (true, path),
        (Some(path), None, None) => (false, path),
        _ => return Err(unknown()),
    };
    let names = path.strip_prefix('.').ok_or_else(unknown)?;
    let path = if names.is_empty() { Vec::new() } else { names.split('.').map(str::to_owned).collect() };
    let is_name = |name: &String| {
        !name.is_empty() && name.chars().all(|character| character.is_alphanumeric() || "_-".contains(character))
    };
    if path.iter().all(is_name) { Ok(Part::Value { path, json }) } else { Err(unknown()) }
}

impl Template {
    /// The text for `value`.
    pub(crate) fn render(&self, value: &Value) -> Result<String, TemplateError> {
        self.render_with(|path| find(value, path))
    }

    /// The same of a value in which not everything below the path `open` must be there.
    pub(crate) fn render_open(&self, value: &Value, open: &[&str]) -> Result<String, TemplateError> {
        self.render_with(|path| {
            let is_open = path.len() > open.len() && path.iter().zip(open).all(|(name, open)| name == open);
            find(value, path).or_else(|error| if is_open { Ok(&Value::Null) } else { Err(error) })
        })
    }

    fn render_with<'v>(
        &self,
        find: impl Fn(&[String]) -> Result<&'v Value, TemplateError>,
    ) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Value { path, json: true } => text.push_str(&find(path)?.to_string()),
                Part::Value { path, json: false } => match find(path)? {
                    Value::String(string) => text.push_str(string),
                    Value::Null => text.push_str("<no value>"),
                    other => text.push_str(&other.to_string()),
                },
            }
        }
        Ok(text)
    }
}

fn find<'a>(value: &'a Value, path: &[String]) -> Result<&'a Value, TemplateError> {
    path.iter().try_fold(value, |value, name| {
        value
            .get(name)
            .ok_or_else(|| TemplateError::Missing { path: format!(".{}", path.join(".")), missing: name.clone() })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> Result<String, TemplateError> {
        let value = json!({"State": {"OOMKilled": true, "Pid": 7, "Error": ""}, "Name": "/x", "Nothing": null});
        template.parse::<Template>()?.render(&value)
    }

    #[test]
    fn paths_lead_to_values() {
        assert_eq!(render("{{.State.OOMKilled}}").unwrap(), "true");
        assert_eq!(render("{{ .Name }}: {{.State.Pid}}\\t!").unwrap(), "/x: 7\t!");
        assert_eq!(render("{{json .Name}}").unwrap(), "\"/x\"");
        assert_eq!(render("{{json .State}}").unwrap(), r#"{"Error":"","OOMKilled":true,"Pid":7}"#);
        assert_eq!(render("{{.Nothing}}").unwrap(), "<no value>");
        assert_eq!(render("plain").unwrap(), "plain");
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for template in ["{{range .X}}", "{{.A | upper}}", "{{index .A 0}}", "{{}}", "{{State}}", "{{..A}}"] {
            assert!(matches!(render(template), Err(TemplateError::Action(_))), "{template}");
        }
        assert!(matches!(render("{{.State"), Err(TemplateError::Open(_))));
        let error = render("{{.State.Nope}}").unwrap_err();
        assert_eq!(error.to_string(), "the format names .State.Nope, and there is no Nope in it");
    }
}
