// SPDX-License-Identifier: Apache-2.0
//! `--format`: Go's templates over JSON, with the functions that the docker CLI adds. `lex` cuts the text into tokens,
//! `parse` makes nodes of them, `eval` walks these over a value; `functions` and `printf` are what a template can call.
//! What is not understood is an error that says so, never misread.

mod eval;
mod functions;
mod lex;
mod parse;
mod printf;
#[cfg(test)]
mod tests;

use std::str::FromStr;

use errors::{Classify, Kind};
use serde_json::Value;

use self::eval::Evaluation;
use self::parse::Node;

/// A template that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Node>);

/// A template that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// `{{` without `}}`.
    #[error("the format \"{0}\" has a {{{{ without its }}}}")]
    Open(String),
    /// An action that is not written as it must be.
    #[error("the format {{{{{action}}}}} is not understood: {problem}")]
    Action {
        /// What stands between the braces.
        action: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A block without its end, or an end without its block.
    #[error("the format {0}")]
    Block(&'static str),
    /// A path that leads nowhere.
    #[error("the format names {path}, and there is no {missing} in it")]
    Missing {
        /// The path, with its dots.
        path: String,
        /// The first name that is not there.
        missing: String,
    },
    /// A function that cannot do with what it was given.
    #[error("the format calls {function}, which {problem}")]
    Call {
        /// The function.
        function: String,
        /// What is wrong.
        problem: String,
    },
}

impl Classify for TemplateError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

/// A field's name as a heading: of `CreatedSince`, `CREATED SINCE`.
pub(crate) fn spelled(field: &str) -> String {
    let mut heading = String::new();
    let mut previous = 'A';
    for character in field.chars() {
        if character.is_uppercase() && previous.is_lowercase() {
            heading.push(' ');
        }
        heading.extend(character.to_uppercase());
        previous = character;
    }
    heading
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Template, TemplateError> {
        Ok(Template(parse::parse(lex::pieces(text)?)?))
    }
}

impl Template {
    /// The text for `value`.
    pub(crate) fn render(&self, value: &Value) -> Result<String, TemplateError> {
        Evaluation::of(value, None).render(&self.0)
    }

    /// The text for a row of a listing, whose labels `.Label "NAME"` finds.
    pub(crate) fn render_row(&self, row: &Value, labels: Option<&Value>) -> Result<String, TemplateError> {
        Evaluation::of(row, labels).render(&self.0)
    }

    /// The text for a row of headings, which the functions leave as they are.
    pub(crate) fn render_headings(&self, headings: &Value) -> Result<String, TemplateError> {
        Evaluation::of_headings(headings).render(&self.0)
    }

    /// Whether the template names the field `name` of what it is for.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|node| node.names(name))
    }
}
