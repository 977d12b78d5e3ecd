// SPDX-License-Identifier: Apache-2.0
//! From the text of a template to plain pieces and the tokens of its actions.

use serde_json::{Number, Value};

use super::TemplateError;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// Text, as it is printed.
    Text(String),
    /// What stands between braces.
    Action(Action),
}

/// What stands between braces.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Action {
    /// As it was written, for errors.
    pub(super) source: String,
    /// Its tokens.
    pub(super) tokens: Vec<Token>,
}

impl Action {
    /// That this action is not understood.
    pub(super) fn error(&self, problem: impl Into<String>) -> TemplateError {
        TemplateError::Action { action: self.source.clone(), problem: problem.into() }
    }
}

/// A token, and whether it follows the one before without a blank.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: TokenKind,
    /// Nothing stands between it and the one before.
    pub(super) glued: bool,
}

/// What a token can be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// A keyword or a function.
    Word(String),
    /// `.Name`.
    Field(String),
    /// `.`
    Dot,
    /// `$name`; the name is empty for `$`.
    Variable(String),
    /// A text, a number, `true` or `false`.
    Literal(Value),
    /// `nil`.
    Nil,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `|`
    Pipe,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// The pieces of `text`.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let open = || TemplateError::Open(text.to_owned());
    let (mut pieces, mut rest, mut trim) = (Vec::new(), text, false);
    while let Some((before, after)) = rest.split_once("{{") {
        let before = if trim { before.trim_start() } else { before };
        let (trims_before, body) = match after.strip_prefix('-').filter(|body| body.starts_with(char::is_whitespace)) {
            Some(body) => (true, body),
            None => (false, after),
        };
        push_text(&mut pieces, if trims_before { before.trim_end() } else { before });
        let length = if body.trim_start().starts_with("/*") {
            body.find("*/").map(|at| at + body[at..].find("}}").unwrap_or(body.len()))
        } else {
            end_of_action(body)
        };
        let length = length.filter(|length| body.len() >= length + 2).ok_or_else(open)?;
        let inside = &body[..length];
        rest = &body[length + 2..];
        let trimmed = inside.strip_suffix('-').filter(|inside| inside.ends_with(char::is_whitespace));
        trim = trimmed.is_some();
        let source = trimmed.unwrap_or(inside).trim();
        if !source.starts_with("/*") {
            pieces.push(Piece::Action(Action { source: source.to_owned(), tokens: tokens(source)? }));
        }
    }
    push_text(&mut pieces, if trim { rest.trim_start() } else { rest });
    Ok(pieces)
}

/// The docker CLI knows two escapes in the text of a format.
fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.replace("\\t", "\t").replace("\\n", "\n")));
    }
}

/// Where the braces are that end an action: not in a text between quotes.
fn end_of_action(body: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, character) in body.char_indices() {
        match quote {
            None if body[at..].starts_with("}}") => return Some(at),
            None if matches!(character, '"' | '`' | '\'') => quote = Some(character),
            None => {}
            Some(_) if escaped => escaped = false,
            Some(mark) if character == '\\' && mark != '`' => escaped = true,
            Some(mark) if character == mark => quote = None,
            Some(_) => {}
        }
    }
    None
}

/// The tokens of an action.
fn tokens(source: &str) -> Result<Vec<Token>, TemplateError> {
    let wrong = |problem: String| TemplateError::Action { action: source.to_owned(), problem };
    let mut tokens = Vec::new();
    let mut rest = source;
    loop {
        let trimmed = rest.trim_start();
        let glued = trimmed.len() == rest.len() && !tokens.is_empty();
        rest = trimmed;
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (kind, length) = match first {
            '(' => (TokenKind::Open, 1),
            ')' => (TokenKind::Close, 1),
            '|' => (TokenKind::Pipe, 1),
            ',' => (TokenKind::Comma, 1),
            '=' => (TokenKind::Assign, 1),
            ':' if rest.starts_with(":=") => (TokenKind::Declare, 2),
            '"' | '`' | '\'' => literal(rest, first).map_err(|problem| wrong(problem.to_owned()))?,
            '$' => (TokenKind::Variable(name(&rest[1..]).to_owned()), 1 + name(&rest[1..]).len()),
            '.' => match name(&rest[1..]) {
                "" => (TokenKind::Dot, 1),
                name => (TokenKind::Field(name.to_owned()), 1 + name.len()),
            },
            '-' | '+' | '0'..='9' => number(rest).ok_or_else(|| wrong(format!("{rest} begins with no number")))?,
            _ => match name(rest) {
                "" => return Err(wrong(format!("there is a {first} in it"))),
                "true" => (TokenKind::Literal(Value::Bool(true)), 4),
                "false" => (TokenKind::Literal(Value::Bool(false)), 5),
                "nil" => (TokenKind::Nil, 3),
                word => (TokenKind::Word(word.to_owned()), word.len()),
            },
        };
        tokens.push(Token { kind, glued });
        rest = &rest[length..];
    }
}

/// The name that `text` begins with.
fn name(text: &str) -> &str {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
    &text[..text.find(|character| !is_part(character)).unwrap_or(text.len())]
}

fn number(text: &str) -> Option<(TokenKind, usize)> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let length = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let length = text.len() - digits.len() + length;
    let written = text[..length].trim_start_matches('+');
    let whole = written.parse::<i64>().ok().map(Number::from);
    let number = whole.or_else(|| written.parse::<f64>().ok().and_then(Number::from_f64))?;
    Some((TokenKind::Literal(Value::Number(number)), length))
}

/// A text between quotes, or the number of a character between single ones, as in Go.
fn literal(text: &str, quote: char) -> Result<(TokenKind, usize), &'static str> {
    const OPEN: &str = "a text in it has no end";
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => {
                let literal = match (quote, value.chars().next()) {
                    ('\'', Some(one)) if value.chars().count() == 1 => Value::from(u32::from(one)),
                    ('\'', _) => return Err("between single quotes stands one character"),
                    _ => Value::String(value),
                };
                return Ok((TokenKind::Literal(literal), at + 1));
            }
            '\\' if quote != '`' => value.push(match characters.next().ok_or(OPEN)?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                same @ ('\\' | '"' | '\'') => same,
                _ => return Err("of escapes there are \\n, \\t, \\r, \\\\, \\\" and \\'"),
            }),
            other => value.push(other),
        }
    }
    Err(OPEN)
}
