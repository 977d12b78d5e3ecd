// SPDX-License-Identifier: Apache-2.0
//! `corten events`: what happens to containers and images, as it happens.

use std::fmt::Write;

use api_types::EventMessage;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::commands::logs::moment;
use crate::failure::Failure;
use crate::template::Template;
use crate::{flags, printer};

/// Print what happens to containers and images, as it happens
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only events that are type=, event=, container=, image=, label= or scope= what is given
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = flags::filter)]
    filter: Vec<client::Filter>,
    /// How to print: json, or a template like '{{.Type}} {{.Action}} {{.Actor.ID}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// First the events since then: a time (RFC 3339, or of the clock here), seconds since the epoch, or a span (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events until then, and end: a time (RFC 3339, or of the clock here), seconds since the epoch, or a span (10m)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// How an event is printed.
enum Form {
    Line,
    Json,
    Template(Template),
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let form = match args.format.as_deref().map(str::trim) {
        None | Some("") => Form::Line,
        // As Docker has it: the whole event in its own names.
        Some("json" | "{{json .}}" | "{{ json . }}") => Form::Json,
        Some(template) => Form::Template(template.parse()?),
    };
    let now = Timestamp::now();
    let time = |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose();
    let (since, until) = (time(&args.since)?, time(&args.until)?);
    let mut events = context.client.events(since.as_deref(), until.as_deref(), &args.filter).await?;
    while let Some(event) = events.next().await? {
        printer::line(&match &form {
            Form::Line => line(&event),
            Form::Json => serde_json::to_value(&event).unwrap_or_default().to_string(),
            Form::Template(template) => template.render(&named(event))?,
        });
    }
    Ok(0)
}

/// An event as the docker CLI prints it, in UTC.
fn line(event: &EventMessage) -> String {
    // What the daemon says lies between the years 1677 and 2262.
    let time = Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut line = format!("{time:.9} {} {} {}", event.kind, event.action, event.actor.id);
    let attributes = event.actor.attributes.iter();
    let attributes: Vec<String> = attributes.map(|(name, value)| format!("{name}={value}")).collect();
    if !attributes.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(line, " ({})", attributes.join(", "));
    }
    visible(&line)
}

/// Labels and commands may have line ends and a terminal's control characters: nothing of that kind is obeyed.
fn visible(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let escaped = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// An event by the names that Docker's templates use.
fn named(event: EventMessage) -> Value {
    json!({
        "Status": event.status,
        "ID": event.id,
        "From": event.from,
        "Type": event.kind,
        "Action": event.action,
        "Actor": event.actor,
        "Scope": event.scope,
        "Time": event.time,
        "TimeNano": event.time_nano,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> EventMessage {
        serde_json::from_value(json!({
            "Type": "container",
            "Action": "die",
            "Actor": {"ID": "abc", "Attributes": {"name": "x", "exitCode": "0", "image": "busybox"}},
            "scope": "local",
            "time": 1_714_979_289,
            "timeNano": 1_714_979_289_120_000_000_i64,
        }))
        .unwrap()
    }

    #[test]
    fn a_line_is_dockers() {
        let expected = "2024-05-06T07:08:09.120000000Z container die abc (exitCode=0, image=busybox, name=x)";
        assert_eq!(line(&event()), expected);
        let mut bare = event();
        bare.actor.attributes.clear();
        assert_eq!(line(&bare), "2024-05-06T07:08:09.120000000Z container die abc");
    }

    #[test]
    fn a_label_cannot_forge_a_line() {
        let mut event = event();
        event.actor.attributes = [("a".to_owned(), "1)\nfake\u{1b}[2J".to_owned())].into();
        assert!(line(&event).ends_with("(a=1)\\nfake\\u{1b}[2J)"), "{}", line(&event));
    }

    #[test]
    fn a_template_uses_dockers_names_and_not_every_event_has_every_attribute() {
        let template: Template = "{{.Type}} {{.Action}} {{.Actor.ID}} {{.TimeNano}}".parse().unwrap();
        assert_eq!(template.render(&named(event())).unwrap(), "container die abc 1714979289120000000");
        let template: Template = "{{.Actor.Attributes.name}} {{.Actor.Attributes.signal}}".parse().unwrap();
        assert_eq!(template.render(&named(event())).unwrap(), "x <no value>");
        let template: Template = "{{.Nonsense}}".parse().unwrap();
        assert!(template.render(&named(event())).is_err());
    }
}
