// SPDX-License-Identifier: Apache-2.0
//! From tokens to nodes.

use serde_json::Value;

use super::TemplateError;
use super::functions;
use super::lex::{Action, Piece, Token, TokenKind};

/// How deep blocks and parentheses may stand in each other: far deeper than anybody writes, and no danger to the stack.
const DEEPEST: usize = 50;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Text, as it is.
    Text(String),
    /// What a pipeline yields is printed, unless it goes into a variable.
    Pipe(Pipeline),
    /// `if` and `with`: the first body whose pipeline yields something.
    Choice {
        /// `with`: the body's dot is what was found.
        rebinds: bool,
        /// The pipelines and their bodies.
        arms: Vec<(Pipeline, Vec<Node>)>,
        /// `else`.
        otherwise: Vec<Node>,
    },
    /// `range`: the body for each element.
    Range {
        /// What is gone through.
        over: Pipeline,
        /// For each.
        body: Vec<Node>,
        /// Where there is none.
        otherwise: Vec<Node>,
    },
    /// Leaves a `range`.
    Break,
    /// Goes on with the next element of a `range`.
    Continue,
}

/// Commands that hand on what they yield.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    /// The variables that take the result; two only in `range`.
    pub(super) variables: Vec<String>,
    /// They are new: `:=`.
    pub(super) declares: bool,
    /// The commands: a value, or a function with its arguments.
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A word of a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    /// `.A.B`, from the dot; without names, the dot.
    Field(Vec<String>),
    /// `$x.A.B`.
    Variable(String, Vec<String>),
    /// A value.
    Literal(Value),
    /// `nil`.
    Nil,
    /// A function.
    Function(String),
    /// `(pipeline).A.B`.
    Group(Box<Pipeline>, Vec<String>),
}

impl Node {
    /// Whether the field `name` is named in here.
    pub(super) fn names(&self, name: &str) -> bool {
        let any = |nodes: &[Node]| nodes.iter().any(|node| node.names(name));
        match self {
            Node::Text(_) | Node::Break | Node::Continue => false,
            Node::Pipe(pipeline) => pipeline.names(name),
            Node::Choice { arms, otherwise, .. } => {
                any(otherwise) || arms.iter().any(|(pipeline, body)| pipeline.names(name) || any(body))
            }
            Node::Range { over, body, otherwise } => over.names(name) || any(body) || any(otherwise),
        }
    }
}

impl Pipeline {
    fn names(&self, name: &str) -> bool {
        self.commands.iter().flatten().any(|operand| match operand {
            Operand::Field(path) | Operand::Variable(_, path) => path.iter().any(|part| part == name),
            Operand::Group(pipeline, _) => pipeline.names(name),
            Operand::Literal(_) | Operand::Nil | Operand::Function(_) => false,
        })
    }
}

/// The nodes of a template.
pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { pieces: pieces.into_iter(), depth: 0, loops: 0 };
    let (nodes, ended) = parser.nodes()?;
    match ended {
        End::Template => Ok(nodes),
        End::Block => Err(TemplateError::Block("has an {{end}} without a block")),
        End::Else(_) => Err(TemplateError::Block("has an {{else}} without a block")),
    }
}

/// What ended a list of nodes.
enum End {
    Template,
    Block,
    /// `else`, with what stands behind the word.
    Else(Action),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
    loops: usize,
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let mut action = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(action) => action,
            };
            let keyword = match action.tokens.first().map(|token| &token.kind) {
                Some(TokenKind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let mut without_keyword = || {
                action.tokens.remove(0);
            };
            match keyword.as_str() {
                "end" => return Ok((nodes, End::Block)),
                "else" => {
                    without_keyword();
                    return Ok((nodes, End::Else(action)));
                }
                "if" | "with" | "range" => {
                    without_keyword();
                    nodes.push(self.block(&keyword, &action)?);
                }
                "break" | "continue" if self.loops == 0 => {
                    return Err(action.error("it stands in no range"));
                }
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "define" | "template" | "block" => {
                    return Err(action.error("templates within templates are not supported"));
                }
                _ => nodes.push(Node::Pipe(pipeline(&action, 1)?)),
            }
        }
        Ok((nodes, End::Template))
    }

    fn block(&mut self, keyword: &str, action: &Action) -> Result<Node, TemplateError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(action.error("it stands too deep in other blocks"));
        }
        let node = if keyword == "range" { self.range(action) } else { self.choice(keyword, action) };
        self.depth -= 1;
        node
    }

    fn range(&mut self, action: &Action) -> Result<Node, TemplateError> {
        let over = pipeline(action, 2)?;
        self.loops += 1;
        let (body, ended) = self.nodes()?;
        self.loops -= 1;
        let otherwise = match ended {
            End::Else(rest) if rest.tokens.is_empty() => self.last_body()?,
            End::Else(rest) => return Err(rest.error("behind the else of a range stands nothing")),
            End::Block => Vec::new(),
            End::Template => return Err(NO_END),
        };
        Ok(Node::Range { over, body, otherwise })
    }

    fn choice(&mut self, keyword: &str, action: &Action) -> Result<Node, TemplateError> {
        let (mut arms, mut otherwise) = (Vec::new(), Vec::new());
        let mut condition = pipeline(action, 1)?;
        loop {
            let (body, ended) = self.nodes()?;
            arms.push((condition, body));
            match ended {
                End::Else(mut rest) if rest.tokens.first().is_some_and(|token| token.kind == word(keyword)) => {
                    rest.tokens.remove(0);
                    condition = pipeline(&rest, 1)?;
                }
                End::Else(rest) if rest.tokens.is_empty() => {
                    otherwise = self.last_body()?;
                    break;
                }
                End::Else(rest) => return Err(rest.error(format!("behind this else stands nothing, or {keyword}"))),
                End::Block => break,
                End::Template => return Err(NO_END),
            }
        }
        Ok(Node::Choice { rebinds: keyword == "with", arms, otherwise })
    }

    /// The last body of a block.
    fn last_body(&mut self) -> Result<Vec<Node>, TemplateError> {
        match self.nodes()? {
            (nodes, End::Block) => Ok(nodes),
            (_, End::Else(_)) => Err(TemplateError::Block("has an {{else}} behind an {{else}}")),
            (_, End::Template) => Err(NO_END),
        }
    }
}

const NO_END: TemplateError = TemplateError::Block("has a block without its {{end}}");

fn word(text: &str) -> TokenKind {
    TokenKind::Word(text.to_owned())
}

/// The pipeline that an action is; `most` variables may take its result.
fn pipeline(action: &Action, most: usize) -> Result<Pipeline, TemplateError> {
    let mut tokens = &action.tokens[..];
    let (mut variables, mut declares) = (Vec::new(), false);
    let sign = tokens.iter().take(4).position(|token| matches!(token.kind, TokenKind::Declare | TokenKind::Assign));
    if let Some(sign) = sign {
        declares = tokens[sign].kind == TokenKind::Declare;
        for (index, token) in tokens[..sign].iter().enumerate() {
            match &token.kind {
                TokenKind::Variable(name) if index % 2 == 0 && !name.is_empty() => variables.push(name.clone()),
                TokenKind::Comma if index % 2 == 1 => {}
                _ => return Err(action.error("before := and = stands a variable")),
            }
        }
        if variables.is_empty() || variables.len() > most {
            return Err(action.error("the number of variables is wrong"));
        }
        tokens = &tokens[sign + 1..];
    }
    let (commands, rest) = commands(action, tokens, 0)?;
    if !rest.is_empty() {
        return Err(action.error("there is a ) without its ("));
    }
    Ok(Pipeline { variables, declares, commands })
}

/// The commands up to the end, or to a parenthesis that closes.
fn commands<'t>(
    action: &Action,
    mut tokens: &'t [Token],
    depth: usize,
) -> Result<(Vec<Vec<Operand>>, &'t [Token]), TemplateError> {
    if depth > DEEPEST {
        return Err(action.error("its parentheses are too deep"));
    }
    let (mut commands, mut command) = (Vec::new(), Vec::new());
    loop {
        let finished = matches!(tokens.first().map(|token| &token.kind), None | Some(TokenKind::Close));
        let is_pipe = tokens.first().is_some_and(|token| token.kind == TokenKind::Pipe);
        if finished || is_pipe {
            if command.is_empty() {
                return Err(action.error("a value or a function is missing"));
            }
            commands.push(checked(action, std::mem::take(&mut command), !commands.is_empty())?);
            if finished {
                return Ok((commands, tokens));
            }
            tokens = &tokens[1..];
            continue;
        }
        let (operand, rest) = operand(action, tokens, depth)?;
        command.push(operand);
        tokens = rest;
    }
}

/// Whether the command can be one: only functions have arguments, and only they are handed something.
fn checked(action: &Action, command: Vec<Operand>, is_handed: bool) -> Result<Vec<Operand>, TemplateError> {
    let calls = match &command[0] {
        Operand::Function(_) => true,
        // A row's label, as of a method.
        Operand::Field(path) => path.last().is_some_and(|name| name == functions::LABEL),
        _ => false,
    };
    let nested = command[1..].iter().any(|operand| matches!(operand, Operand::Function(_)));
    if !calls && (command.len() > 1 || is_handed) {
        return Err(action.error("arguments can be given to a function only"));
    }
    if nested {
        return Err(action.error("a function among arguments needs parentheses"));
    }
    Ok(command)
}

fn operand<'t>(action: &Action, tokens: &'t [Token], depth: usize) -> Result<(Operand, &'t [Token]), TemplateError> {
    // The caller has seen that there is one.
    let (first, mut rest) = tokens.split_first().ok_or_else(|| action.error("it is empty"))?;
    let mut operand = match &first.kind {
        TokenKind::Field(name) => Operand::Field(vec![name.clone()]),
        TokenKind::Dot => return Ok((Operand::Field(Vec::new()), rest)),
        TokenKind::Variable(name) => Operand::Variable(name.clone(), Vec::new()),
        TokenKind::Literal(value) => return Ok((Operand::Literal(value.clone()), rest)),
        TokenKind::Nil => return Ok((Operand::Nil, rest)),
        TokenKind::Word(name) if functions::exists(name) => return Ok((Operand::Function(name.clone()), rest)),
        TokenKind::Word(name) => {
            return Err(action.error(format!("there is no function {name}; there are {}", functions::NAMES.join(", "))));
        }
        TokenKind::Open => {
            let (commands, behind) = commands(action, rest, depth + 1)?;
            rest = behind.split_first().ok_or_else(|| action.error("there is a ( without its )"))?.1;
            Operand::Group(Box::new(Pipeline { variables: Vec::new(), declares: false, commands }), Vec::new())
        }
        TokenKind::Close | TokenKind::Pipe | TokenKind::Comma | TokenKind::Declare | TokenKind::Assign => {
            return Err(action.error("a value or a function is missing"));
        }
    };
    while let Some((Token { kind: TokenKind::Field(name), glued: true }, behind)) = rest.split_first() {
        match &mut operand {
            Operand::Field(path) | Operand::Variable(_, path) | Operand::Group(_, path) => path.push(name.clone()),
            _ => {}
        }
        rest = behind;
    }
    Ok((operand, rest))
}
