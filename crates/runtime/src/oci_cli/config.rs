// SPDX-License-Identifier: Apache-2.0
//! Reading `config.json` and what `exec --process` takes.
//!
//! The specification's types are stricter than the specification, or spell a value in another way than it does. A file
//! that they refuse is read once more with these differences settled; one that is wrong then is an error that names the
//! field. What is well-formed at once, nearly everything, pays nothing for that.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::CliError;
use crate::plan::CAPABILITY_NAMES;

/// What was read, and what of it is not carried out; for the user to read.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) value: T,
    pub(super) warnings: Vec<String>,
    /// What `value` is when it is written down.
    pub(super) text: Vec<u8>,
}

/// Where the process is in what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    /// It is one field of it.
    Within,
    /// It is all of it.
    Whole,
}

/// Reads the file at `path`.
pub(super) fn read<T: DeserializeOwned>(path: &Path, process: Process) -> Result<Read<T>, CliError> {
    let text = std::fs::read(path).map_err(CliError::file("read", path))?;
    parse(text, process).map_err(|(field, source)| CliError::Field { path: path.into(), field, source })
}

/// Reads `text`; an error comes with the field it is about, empty for the whole.
fn parse<T: DeserializeOwned>(text: Vec<u8>, process: Process) -> Result<Read<T>, (String, serde_json::Error)> {
    let first = match serde_json::from_slice(&text) {
        Ok(value) => return Ok(Read { value, warnings: Vec::new(), text }),
        Err(error) => error,
    };
    let Ok(mut lenient) = serde_json::from_slice::<Value>(&text) else {
        return Err((field_at(&text, &first), first));
    };
    let warnings = settle(&mut lenient, process);
    // Written anew so that an error has a place in a text.
    let text = serde_json::to_vec(&lenient).map_err(|error| (String::new(), error))?;
    match serde_json::from_slice(&text) {
        Ok(value) => Ok(Read { value, warnings, text }),
        Err(error) => Err((field_at(&text, &error), error)),
    }
}

/// Settles the differences between the specification and its types. Returns warnings.
fn settle(config: &mut Value, process: Process) -> Vec<String> {
    let mut warnings = Vec::new();
    without_nulls(config);
    let whole = match process {
        Process::Whole => Some(&mut *config),
        Process::Within => config.get_mut("process"),
    };
    if let Some(Value::Object(process)) = whole {
        if let Some(Value::Object(sets)) = process.get_mut("capabilities") {
            sets.iter_mut().for_each(|(set, names)| known_capabilities(set, names, &mut warnings));
        }
        if let Some(Value::Array(flags)) = process.get_mut("scheduler").and_then(|scheduler| scheduler.get_mut("flags"))
        {
            flags.iter_mut().for_each(scheduler_flag);
        }
        if let Some(Value::Object(affinity)) = process.get_mut("execCPUAffinity") {
            affinity.retain(|_, cpus| cpus != "");
        }
        // As in runc, which takes both for nothing at all.
        process.entry("user").or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    if let Some(Value::Object(linux)) = config.get_mut("linux").filter(|_| process == Process::Within)
        && linux.get("seccomp").is_some_and(|seccomp| seccomp == &Value::Object(serde_json::Map::new()))
    {
        linux.remove("seccomp");
    }
    warnings
}

/// A null is as good as nothing.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Leaves out what is no capability (config.md, "Linux Process": a warning, no error).
fn known_capabilities(set: &str, names: &mut Value, warnings: &mut Vec<String>) {
    let Value::Array(names) = names else { return };
    names.retain(|name| {
        let Value::String(name) = name else { return true };
        let known = is_capability(name);
        if !known {
            warnings.push(format!("process.capabilities.{set}: {name:?} is no capability, and left out"));
        }
        known
    });
}

/// Whether this is a name as the specification writes it.
pub(super) fn is_capability(name: &str) -> bool {
    name.strip_prefix("CAP_").is_some_and(|name| CAPABILITY_NAMES.contains(&name))
}

/// The types spell two of the flags in their own way.
fn scheduler_flag(flag: &mut Value) {
    let spelt = match flag.as_str() {
        Some("SCHED_FLAG_RESET_ON_FORK") => "SCHED_RESET_ON_FORK",
        Some("SCHED_FLAG_DL_OVERRUN") => "SCHED_FLAG_D_L_OVERRUN",
        _ => return,
    };
    *flag = Value::String(spelt.into());
}

/// One step into a JSON text.
enum Place {
    Key { name: String, expected: bool },
    Index(usize),
}

/// The field that an error of `text` is about, written like `mounts[2].options`.
fn field_at(text: &[u8], error: &serde_json::Error) -> String {
    let start: usize =
        text.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let end = (start + error.column()).saturating_sub(1).min(text.len());
    let mut places: Vec<Place> = Vec::new();
    let mut at = 0;
    while at < end {
        match text[at] {
            b'{' => places.push(Place::Key { name: String::new(), expected: true }),
            b'[' => places.push(Place::Index(0)),
            b'}' | b']' => drop(places.pop()),
            b',' => match places.last_mut() {
                Some(Place::Index(index)) => *index += 1,
                Some(Place::Key { expected, .. }) => *expected = true,
                None => {}
            },
            b'"' => {
                let length = string_length(&text[at..]);
                if let Some(Place::Key { name, expected: expected @ true }) = places.last_mut() {
                    *name = String::from_utf8_lossy(&text[at + 1..(at + length - 1).max(at + 1)]).into_owned();
                    *expected = false;
                }
                at += length - 1;
            }
            _ => {}
        }
        at += 1;
    }
    // What is noticed at its end is wrong with the whole: a field is missing.
    if matches!(text.get(end), Some(b'}' | b']')) {
        places.pop();
    }
    let mut field = String::new();
    for place in &places {
        match place {
            Place::Key { name, .. } if name.is_empty() => {}
            Place::Key { name, .. } => {
                field.push_str(if field.is_empty() { "" } else { "." });
                field.push_str(name);
            }
            Place::Index(index) => field.push_str(&format!("[{index}]")),
        }
    }
    field
}

/// How long the string is that `text` begins with, quotes included; all of it when it does not end.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    for (index, byte) in text.iter().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return index + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::runtime_spec::{LinuxSchedulerFlag, Spec};
    use serde_json::json;

    fn changed(pointer: &str, change: Value) -> Result<Read<Spec>, (String, serde_json::Error)> {
        let mut config = crate::oci_cli::sample();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = change;
        parse(serde_json::to_vec_pretty(&config).unwrap(), Process::Within)
    }

    #[test]
    fn what_is_no_capability_is_left_out_with_a_warning() {
        let read = changed("/process/capabilities/effective", json!(["CAP_KILL", "CAP_NO_SUCH", "kill"])).unwrap();
        let left = read.value.process().clone().unwrap().capabilities().clone().unwrap().effective().clone().unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(read.warnings.len(), 2);
        assert!(read.warnings[0].contains("effective") && read.warnings[0].contains("CAP_NO_SUCH"));
    }

    #[test]
    fn what_the_specification_allows_is_read() {
        let flags = json!(["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"]);
        let read = changed("/process/scheduler", json!({ "policy": "SCHED_OTHER", "flags": flags })).unwrap();
        let scheduler = read.value.process().clone().unwrap().scheduler().clone().unwrap();
        let flags = scheduler.flags().clone().unwrap();
        assert_eq!(flags[..2], [LinuxSchedulerFlag::SchedResetOnFork, LinuxSchedulerFlag::SchedFlagDLOverrun]);
        for (pointer, change) in [
            ("/mounts", json!(null)),
            ("/process/user", json!(null)),
            ("/linux/seccomp", json!({})),
            ("/process/execCPUAffinity", json!({ "initial": "", "final": "0" })),
            ("/linux/noSuchField", json!({ "a": 1 })),
            ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MIPS64N32"] })),
        ] {
            let read = changed(pointer, change).unwrap();
            assert_eq!(read.warnings, Vec::<String>::new(), "{pointer}");
        }
    }

    #[test]
    fn an_error_names_its_field() {
        for (pointer, change, field) in [
            ("/process/args", json!("sh"), "process.args"),
            ("/process/args", json!(["sh", 5]), "process.args[1]"),
            ("/process/user/uid", json!("root"), "process.user.uid"),
            ("/process/user/uid", json!(-1), "process.user.uid"),
            (
                "/process/rlimits",
                json!([{ "type": "RLIMIT_NO_SUCH", "soft": 1, "hard": 1 }]),
                "process.rlimits[0].type",
            ),
            ("/process/scheduler", json!({ "policy": "SCHED_NO_SUCH" }), "process.scheduler.policy"),
            ("/process/execCPUAffinity", json!({ "final": "a" }), "process.execCPUAffinity"),
            ("/linux/personality", json!({ "domain": "MINIX" }), "linux.personality.domain"),
            ("/mounts", json!([{ "destination": "/a" }, { "source": "b" }]), "mounts[1]"),
            ("/hostname", json!({ "a": "b" }), "hostname"),
            ("/hooks", json!({ "poststop": [{ "args": ["\"}\\"] }] }), "hooks.poststop[0]"),
            ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_NO_SUCH" }), "linux.seccomp.defaultAction"),
        ] {
            let (found, error) = changed(pointer, change).unwrap_err();
            assert_eq!(found, field, "{error}");
        }
        let (field, error) = parse::<Spec>(b"{\"a\":".to_vec(), Process::Within).unwrap_err();
        assert!(error.is_eof(), "{field}: {error}");
    }
}
