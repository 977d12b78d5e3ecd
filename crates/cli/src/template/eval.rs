// SPDX-License-Identifier: Apache-2.0
//! Nodes walked over a value.

use std::borrow::Cow;

use serde_json::Value;

use super::TemplateError;
use super::functions::{self, Arguments};
use super::parse::{Node, Operand, Pipeline};

/// Docker's fields that are maps, in which a name may well be missing. In all else, a name that is not there is a mistake.
const MAPS: &[&str] = &[
    "Annotations",
    "Attributes",
    "Containers",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Runtimes",
    "Status",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// Docker's fields that its JSON leaves out where there is nothing to say of them; in its templates they are there all the same. Of
/// these, what is not there is nothing,
const NOTHING: &[&str] = &[
    "DefaultAddressPools",
    "Health",
    "Healthcheck",
    "OnBuild",
    "ServerErrors",
    "Shell",
    "SizeRootFs",
    "SizeRw",
    "StopTimeout",
    "Warnings",
];
/// and of these an empty text.
const EMPTY: &[&str] = &["DockerVersion", "MacAddress", "Platform", "StopSignal", "Variant"];

/// A value on its way through a template.
#[derive(Debug, Clone)]
pub(super) struct Item<'v> {
    /// What it is.
    pub(super) value: Cow<'v, Value>,
    /// It is a map, in which a name may be missing.
    pub(super) is_map: bool,
}

impl Item<'_> {
    /// A value that was made here.
    pub(super) fn made(value: impl Into<Value>) -> Item<'static> {
        Item { value: Cow::Owned(value.into()), is_map: false }
    }

    /// Whether Go takes it for true: neither zero nor empty.
    pub(super) fn is_true(&self) -> bool {
        match &*self.value {
            Value::Null => false,
            Value::Bool(is) => *is,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
        }
    }
}

/// What the nodes after one that was walked do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// A template on its way over a value.
pub(super) struct Evaluation<'v> {
    root: Item<'v>,
    labels: Option<&'v Value>,
    is_heading: bool,
    variables: Vec<(String, Item<'v>)>,
    text: String,
}

impl<'v> Evaluation<'v> {
    /// Over `value`, whose labels are `labels`.
    pub(super) fn of(value: &'v Value, labels: Option<&'v Value>) -> Evaluation<'v> {
        let root = Item { value: Cow::Borrowed(value), is_map: false };
        Evaluation { root, labels, is_heading: false, variables: Vec::new(), text: String::new() }
    }

    /// Over headings, which stay as they are.
    pub(super) fn of_headings(headings: &'v Value) -> Evaluation<'v> {
        Evaluation { is_heading: true, ..Evaluation::of(headings, None) }
    }

    /// The text.
    pub(super) fn render(mut self, nodes: &[Node]) -> Result<String, TemplateError> {
        let dot = self.root.clone();
        self.walk(nodes, &dot)?;
        Ok(self.text)
    }

    /// Walks a body: the variables that it declares end with it.
    fn walk(&mut self, nodes: &[Node], dot: &Item<'v>) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        let mut flow = Flow::Next;
        for node in nodes {
            flow = match node {
                Node::Text(text) => {
                    self.text.push_str(text);
                    Flow::Next
                }
                Node::Pipe(pipeline) => {
                    let item = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.text.push_str(&functions::printed(&item.value));
                    }
                    Flow::Next
                }
                Node::Choice { rebinds, arms, otherwise } => self.choice(*rebinds, arms, otherwise, dot)?,
                Node::Range { over, body, otherwise } => self.range(over, body, otherwise, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                break;
            }
        }
        self.variables.truncate(known);
        Ok(flow)
    }

    fn choice(
        &mut self,
        rebinds: bool,
        arms: &[(Pipeline, Vec<Node>)],
        otherwise: &[Node],
        dot: &Item<'v>,
    ) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        let mut flow = None;
        for (condition, body) in arms {
            let found = self.pipeline_or_nothing(condition, dot)?;
            if found.is_true() {
                flow = Some(self.walk(body, if rebinds { &found } else { dot })?);
                break;
            }
        }
        let flow = match flow {
            Some(flow) => flow,
            None => self.walk(otherwise, dot)?,
        };
        self.variables.truncate(known);
        Ok(flow)
    }

    fn range(
        &mut self,
        over: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Item<'v>,
    ) -> Result<Flow, TemplateError> {
        // The elements' variables are set for each of them, not to the whole.
        let whole = self.commands(&over.commands, dot)?;
        let elements = elements(whole)?;
        if elements.is_empty() {
            return self.walk(otherwise, dot);
        }
        let known = self.variables.len();
        for (key, element) in elements {
            match &over.variables[..] {
                [value] => self.set(over.declares, value, element.clone())?,
                [index, value, ..] => {
                    self.set(over.declares, index, Item::made(key))?;
                    self.set(over.declares, value, element.clone())?;
                }
                [] => {}
            }
            let flow = self.walk(body, &element)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn set(&mut self, declares: bool, name: &str, item: Item<'v>) -> Result<(), TemplateError> {
        if declares {
            self.variables.push((name.to_owned(), item));
            return Ok(());
        }
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        known.ok_or_else(|| missing_variable(name))?.1 = item;
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Item<'v>) -> Result<Item<'v>, TemplateError> {
        let item = self.commands(&pipeline.commands, dot)?;
        if let [name] = &pipeline.variables[..] {
            self.set(pipeline.declares, name, item.clone())?;
        }
        Ok(item)
    }

    /// The same of a condition: what is asked for in one may be missing. `{{if .State.Health}}` asks just that.
    fn pipeline_or_nothing(&mut self, pipeline: &Pipeline, dot: &Item<'v>) -> Result<Item<'v>, TemplateError> {
        match &pipeline.commands[..] {
            [command] if command.len() == 1 => match self.pipeline(pipeline, dot) {
                Err(TemplateError::Missing { .. }) => Ok(Item::made(Value::Null)),
                other => other,
            },
            _ => self.pipeline(pipeline, dot),
        }
    }

    fn commands(&mut self, commands: &[Vec<Operand>], dot: &Item<'v>) -> Result<Item<'v>, TemplateError> {
        let mut handed = None;
        for command in commands {
            handed = Some(self.command(command, handed.take(), dot)?);
        }
        Ok(handed.unwrap_or_else(|| Item::made(Value::Null)))
    }

    fn command(
        &mut self,
        command: &[Operand],
        handed: Option<Item<'v>>,
        dot: &Item<'v>,
    ) -> Result<Item<'v>, TemplateError> {
        match command {
            [Operand::Function(name), arguments @ ..] if matches!(name.as_str(), "and" | "or" | "not") => {
                self.logic(name, arguments, handed, dot)
            }
            [Operand::Function(name), arguments @ ..] => {
                let items = arguments.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>, _>>();
                let items: Vec<Item<'v>> = items?.into_iter().chain(handed).collect();
                Arguments { function: name, items, is_heading: self.is_heading }.call()
            }
            [Operand::Field(path), arguments @ ..]
                if path.len() == 1 && path[0] == functions::LABEL && self.has_labels() =>
            {
                let items = arguments.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>, _>>();
                let items = items?.into_iter().chain(handed).collect();
                Arguments { function: "Label", items, is_heading: self.is_heading }.label(self.labels)
            }
            [operand] => self.operand(operand, dot),
            _ => Err(TemplateError::Call { function: ".Label".into(), problem: "only rows of a listing have".into() }),
        }
    }

    fn has_labels(&self) -> bool {
        self.labels.is_some() || self.is_heading
    }

    /// `and`, `or` and `not` look at no more of their arguments than they need, and at what may be missing.
    fn logic(
        &mut self,
        name: &str,
        arguments: &[Operand],
        handed: Option<Item<'v>>,
        dot: &Item<'v>,
    ) -> Result<Item<'v>, TemplateError> {
        let mut last = None;
        for operand in arguments {
            let item = match self.operand(operand, dot) {
                Err(TemplateError::Missing { .. }) if !matches!(operand, Operand::Group(..)) => Item::made(Value::Null),
                other => other?,
            };
            if name == "not" {
                return Ok(Item::made(!item.is_true()));
            }
            if item.is_true() == (name == "or") {
                return Ok(item);
            }
            last = Some(item);
        }
        match handed.or(last) {
            Some(item) if name == "not" => Ok(Item::made(!item.is_true())),
            Some(item) => Ok(item),
            None => Err(TemplateError::Call { function: name.to_owned(), problem: "needs an argument".into() }),
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Item<'v>) -> Result<Item<'v>, TemplateError> {
        match operand {
            // A listing without rows knows no more fields than those of its plain table.
            Operand::Field(path) if self.is_heading && path.len() == 1 && dot.value.get(&path[0]).is_none() => {
                Ok(Item::made(super::spelled(&path[0])))
            }
            Operand::Field(path) => find(dot.clone(), path, String::new()),
            Operand::Variable(name, path) if name.is_empty() => find(self.root.clone(), path, "$".to_owned()),
            Operand::Variable(name, path) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let item = known.ok_or_else(|| missing_variable(name))?.1.clone();
                find(item, path, format!("${name}"))
            }
            Operand::Literal(value) => Ok(Item::made(value.clone())),
            Operand::Nil => Ok(Item::made(Value::Null)),
            Operand::Function(name) => {
                Arguments { function: name, items: Vec::new(), is_heading: self.is_heading }.call()
            }
            Operand::Group(pipeline, path) => {
                let item = self.pipeline(pipeline, dot)?;
                find(item, path, "(…)".to_owned())
            }
        }
    }
}

fn missing_variable(name: &str) -> TemplateError {
    TemplateError::Missing { path: format!("${name}"), missing: format!("variable ${name}") }
}

/// What `path` leads to from `item`, which the user called `from`.
fn find<'v>(mut item: Item<'v>, path: &[String], from: String) -> Result<Item<'v>, TemplateError> {
    for name in path {
        let found = match &item.value {
            Cow::Borrowed(value) => field(value, name, item.is_map).map(Cow::Borrowed),
            Cow::Owned(value) => field(value, name, item.is_map).cloned().map(Cow::Owned),
        };
        item = match found {
            Some(value) => {
                let is_map = MAPS.contains(&name.as_str()) && (value.is_object() || value.is_null());
                Item { value, is_map }
            }
            None if item.is_map || (item.value.is_object() && NOTHING.contains(&name.as_str())) => {
                Item::made(Value::Null)
            }
            None if item.value.is_object() && EMPTY.contains(&name.as_str()) => Item::made(""),
            None => {
                let path = format!("{from}.{}", path.join("."));
                return Err(TemplateError::Missing { path, missing: name.clone() });
            }
        };
    }
    Ok(item)
}

/// The field `name`. Those of Docker's structures have two names, in Go and in JSON, which differ by the case of letters: both
/// are in use (`.ID` and `.Id`, `.Server.APIVersion` and `.Server.ApiVersion`). The names in a map are exact.
fn field<'m>(value: &'m Value, name: &str, is_map: bool) -> Option<&'m Value> {
    let fields = value.as_object()?;
    let alike = || fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, found)| found);
    fields.get(name).or_else(|| if is_map { None } else { alike() })
}

/// What `range` goes through: the elements of a list, or those of a map by their names.
fn elements(whole: Item<'_>) -> Result<Vec<(Value, Item<'_>)>, TemplateError> {
    let item = |value| Item { value, is_map: false };
    Ok(match whole.value {
        Cow::Borrowed(Value::Array(list)) => {
            list.iter().enumerate().map(|(index, value)| (index.into(), item(Cow::Borrowed(value)))).collect()
        }
        Cow::Borrowed(Value::Object(map)) => {
            map.iter().map(|(key, value)| (key.as_str().into(), item(Cow::Borrowed(value)))).collect()
        }
        Cow::Owned(Value::Array(list)) => {
            list.into_iter().enumerate().map(|(index, value)| (index.into(), item(Cow::Owned(value)))).collect()
        }
        Cow::Owned(Value::Object(map)) => {
            map.into_iter().map(|(key, value)| (key.into(), item(Cow::Owned(value)))).collect()
        }
        Cow::Borrowed(Value::Null) | Cow::Owned(Value::Null) => Vec::new(),
        other => {
            let problem = format!("goes through lists and maps, and {} is neither", functions::printed(&other));
            return Err(TemplateError::Call { function: "range".into(), problem });
        }
    })
}
