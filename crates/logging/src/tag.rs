// SPDX-License-Identifier: Apache-2.0
//! `tag`: text with `{{.Field}}` in it, as Docker documents it for log drivers. Nothing else of Go's templates is
//! understood, and so refused.

use std::str::FromStr;

use crate::subject::Subject;

/// A tag that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    FullId,
    Name,
    ImageId,
    ImageFullId,
    ImageName,
    DaemonName,
}

const FIELDS: [(&str, Field); 7] = [
    (".ID", Field::Id),
    (".FullID", Field::FullId),
    (".Name", Field::Name),
    (".ImageID", Field::ImageId),
    (".ImageFullID", Field::ImageFullId),
    (".ImageName", Field::ImageName),
    (".DaemonName", Field::DaemonName),
];

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Tag, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, behind) =
                after.split_once("}}").ok_or_else(|| format!("{text:?} has a {{{{ without its }}}}"))?;
            parts.push(Part::Text(before.to_owned()));
            let field = FIELDS.iter().find(|(name, _)| *name == action.trim());
            parts.push(Part::Field(field.map(|(_, field)| *field).ok_or_else(|| {
                let known: Vec<String> = FIELDS.iter().map(|(name, _)| format!("{{{{{name}}}}}")).collect();
                format!("{{{{{action}}}}} is not understood; there are {}", known.join(" "))
            })?));
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Tag(parts))
    }
}

impl Tag {
    /// The container's short id: what Docker's drivers take where none is given.
    pub(crate) fn usual() -> Tag {
        Tag(vec![Part::Field(Field::Id)])
    }

    /// The text for a container.
    pub(crate) fn render(&self, subject: &Subject<'_>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Field(Field::Id) => text.push_str(subject.id.short()),
                Part::Field(Field::FullId) => text.push_str(subject.id.as_str()),
                Part::Field(Field::Name) => text.push_str(subject.name),
                // Docker cuts the whole text off, algorithm and all.
                Part::Field(Field::ImageId) => text.extend(subject.image_id.to_string().chars().take(12)),
                Part::Field(Field::ImageFullId) => text.push_str(&subject.image_id.to_string()),
                Part::Field(Field::ImageName) => text.push_str(subject.image),
                Part::Field(Field::DaemonName) => text.push_str("corten"),
            }
        }
        text
    }
}
