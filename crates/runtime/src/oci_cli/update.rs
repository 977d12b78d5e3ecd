// SPDX-License-Identifier: Apache-2.0
//! `update`: changes the limits of a container that is there. The configuration that is remembered changes with them, so
//! that later calls know; when a limit is refused, everything stays as it was.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use cgroup::Cgroup;
use cgroup::systemd::Scope;
use oci::ContainerId;
use oci::runtime_spec::{Linux, LinuxResources, Spec};
use serde_json::{Map, Value, json};

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::log::Log;
use super::store::Status;
use super::{Context, size};

const FLAGS: &[Flag] = &[
    Flag::value("resources").short('r'),
    Flag::value("blkio-weight"),
    Flag::value("cpu-period"),
    Flag::value("cpu-quota"),
    Flag::value("cpu-burst"),
    Flag::value("cpu-share"),
    Flag::value("cpu-rt-period"),
    Flag::value("cpu-rt-runtime"),
    Flag::value("cpu-idle"),
    Flag::value("cpuset-cpus"),
    Flag::value("cpuset-mems"),
    Flag::value("memory"),
    Flag::value("memory-swap"),
    Flag::value("memory-reservation"),
    Flag::value("kernel-memory"),
    Flag::value("kernel-memory-tcp"),
    Flag::value("pids-limit"),
    Flag::value("l3-cache-schema"),
    Flag::value("mem-bw-schema"),
];

/// How a flag's value is read.
enum Kind {
    Number,
    Size,
    Text,
}

/// Flags and where their values stand in the specification's `resources`.
const PLACES: [(&str, &str, &str, Kind); 16] = [
    ("blkio-weight", "blockIO", "weight", Kind::Number),
    ("cpu-period", "cpu", "period", Kind::Number),
    ("cpu-quota", "cpu", "quota", Kind::Number),
    ("cpu-burst", "cpu", "burst", Kind::Number),
    ("cpu-share", "cpu", "shares", Kind::Number),
    ("cpu-rt-period", "cpu", "realtimePeriod", Kind::Number),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", Kind::Number),
    ("cpu-idle", "cpu", "idle", Kind::Number),
    ("cpuset-cpus", "cpu", "cpus", Kind::Text),
    ("cpuset-mems", "cpu", "mems", Kind::Text),
    ("memory", "memory", "limit", Kind::Size),
    ("memory-swap", "memory", "swap", Kind::Size),
    ("memory-reservation", "memory", "reservation", Kind::Size),
    ("kernel-memory", "memory", "kernel", Kind::Size),
    ("kernel-memory-tcp", "memory", "kernelTCP", Kind::Size),
    ("pids-limit", "pids", "limit", Kind::Number),
];

/// Values for which 0 says "not given", as for runc.
const ZERO_IS_NOTHING: [(&str, &str); 11] = [
    ("memory", "limit"),
    ("memory", "swap"),
    ("memory", "reservation"),
    ("cpu", "shares"),
    ("cpu", "quota"),
    ("cpu", "period"),
    ("cpu", "realtimeRuntime"),
    ("cpu", "realtimePeriod"),
    ("pids", "limit"),
    ("blockIO", "weight"),
    ("blockIO", "leafWeight"),
];

pub(super) fn update(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<u8, CliError> {
    let flags = Flags::read(args, FLAGS)?;
    let id = flags.id()?;
    for (flag, what) in [("l3-cache-schema", "--l3-cache-schema"), ("mem-bw-schema", "--mem-bw-schema")] {
        if flags.text(flag)?.is_some_and(|schema| !schema.is_empty()) {
            return Err(CliError::Unsupported { what });
        }
    }
    let source = flags.path("resources").filter(|path| !path.as_os_str().is_empty());
    // As for runc, the file's words count alone.
    let given = match &source {
        Some(path) => read_resources(path)?,
        None => from_flags(&flags)?,
    };
    let (entry, record) = context.store.find(&id)?;
    let refused = |status| CliError::State { id: id.to_string(), status, action: "update", expected: "not stopped" };
    if entry.phase(&record)? == Status::Stopped {
        return Err(refused(Status::Stopped));
    }
    let cgroup = record.cgroup()?.ok_or_else(|| refused(Status::Stopped))?;
    let mut spec = entry.spec()?;
    let change = Change::plan(given, resources_of(&spec)?, &id)?;
    for limit in cgroup.limits_without_meaning(&change.to_apply) {
        log.warning(&format!("{limit} has no meaning on this host and is ignored"));
    }
    apply(&cgroup, record.scope.as_ref(), &change)?;
    let mut linux = spec.linux().clone().unwrap_or_else(no_linux);
    linux.set_resources(Some(change.to_remember));
    spec.set_linux(Some(linux));
    entry.write_spec(&spec)?;
    Ok(0)
}

/// systemd first: what it refuses has changed nothing, and what it sets the control files may say more exactly. When the
/// kernel refuses, systemd is told the old limits again.
fn apply(cgroup: &Cgroup, scope: Option<&Scope>, change: &Change) -> Result<(), CliError> {
    let Some(scope) = scope else { return Ok(cgroup.update(&change.to_apply)?) };
    let host = crate::prepare::cgroup_host()?;
    scope.update(host, &change.to_apply)?;
    let updated = cgroup.update(&change.to_apply);
    if updated.is_err() {
        // The first error is the one to tell.
        scope.update(host, &change.before).unwrap_or_default();
    }
    Ok(updated?)
}

/// Nothing of what the type's default brings along.
fn no_linux() -> Linux {
    serde_json::from_value(json!({})).unwrap_or_default()
}

fn resources_of(spec: &Spec) -> Result<Value, CliError> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    resources.map_or(Ok(json!({})), |resources| serde_json::to_value(resources).map_err(CliError::Format))
}

fn read_resources(path: &Path) -> Result<Value, CliError> {
    let mut text = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut text).map_err(CliError::file("read", "standard input"))?;
    } else {
        text = std::fs::read(path).map_err(CliError::file("read", path))?;
    }
    let invalid = |source| CliError::Json { path: path.to_owned(), source };
    // Read as what it is to be first, so that a wrong type is told with its place.
    let resources: LinuxResources = serde_json::from_slice(&text).map_err(invalid)?;
    serde_json::to_value(resources).map_err(CliError::Format)
}

fn from_flags(flags: &Flags) -> Result<Value, CliError> {
    let mut given = json!({});
    for (flag, section, field, kind) in PLACES {
        let Some(text) = flags.text(flag)?.filter(|text| !text.is_empty()) else { continue };
        let invalid = |expected| CliError::InvalidValue { flag, value: text.clone(), expected };
        given[section][field] = match kind {
            Kind::Text => json!(text),
            Kind::Number => json!(text.parse::<i64>().map_err(|_| invalid("a number"))?),
            Kind::Size => json!(size::bytes(&text).ok_or_else(|| invalid("a size such as 512m, or -1"))?),
        };
    }
    Ok(given)
}

/// What an update comes to. Pure.
#[derive(Debug)]
struct Change {
    /// The limits given, and those that must be written along with them.
    to_apply: LinuxResources,
    /// All limits but the devices, as they were.
    before: LinuxResources,
    /// All limits, as they are afterwards.
    to_remember: LinuxResources,
}

impl Change {
    fn plan(mut given: Value, old: Value, id: &ContainerId) -> Result<Change, CliError> {
        if let Some(sections) = given.as_object_mut() {
            // As for runc, device rules cannot be changed: another program may have refined them meanwhile.
            sections.remove("devices");
        }
        for (section, field) in ZERO_IS_NOTHING {
            if let Some(fields) = given.get_mut(section).and_then(Value::as_object_mut)
                && fields.get(field).and_then(Value::as_i64) == Some(0)
            {
                fields.remove(field);
            }
        }
        // No limit for memory, and one for memory and swap together, would be a limit for memory.
        if given["memory"]["limit"] == json!(-1) && given["memory"].get("swap").is_none() {
            given["memory"]["swap"] = json!(-1);
        }
        let mut all = old.clone();
        merge(&mut all, &given);
        // One is written, or checked, together with the other.
        for (section, left, right) in [("cpu", "quota", "period"), ("memory", "limit", "swap")] {
            for (changed, companion) in [(left, right), (right, left)] {
                let has = |field: &str| given.get(section).is_some_and(|fields| fields.get(field).is_some());
                if let (true, false, Some(value)) = (has(changed), has(companion), old[section].get(companion).cloned())
                {
                    given[section][companion] = value;
                }
            }
        }
        // An index into a JSON object that is not there makes it null.
        given.as_object_mut().into_iter().for_each(|sections| sections.retain(|_, section| !section.is_null()));
        let read = |value| {
            let path = format!("the limits of container {id}").into();
            serde_json::from_value(value).map_err(|source| CliError::Json { path, source })
        };
        let mut before = old;
        before.as_object_mut().into_iter().for_each(|sections| drop(sections.remove("devices")));
        Ok(Change { to_apply: read(given)?, before: read(before)?, to_remember: read(all)? })
    }
}

/// Lays `new` over `old`. A list of devices is one entry per device; any other list is replaced.
fn merge(old: &mut Value, new: &Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(old), Value::Array(new)) if new.iter().all(|item| device(item).is_some()) => {
            for item in new {
                match old.iter_mut().find(|known| device(known) == device(item)) {
                    Some(known) => merge(known, item),
                    None => old.push(item.clone()),
                }
            }
        }
        (old, new) => {
            if !new.is_null() {
                *old = new.clone();
            }
        }
    }
}

fn device(item: &Value) -> Option<(&Value, &Value)> {
    let fields: &Map<String, Value> = item.as_object()?;
    Some((fields.get("major")?, fields.get("minor")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(given: Value, old: Value) -> (Value, Value) {
        let change = Change::plan(given, old, &"x".parse().unwrap()).unwrap();
        (serde_json::to_value(change.to_apply).unwrap(), serde_json::to_value(change.to_remember).unwrap())
    }

    #[test]
    fn only_what_is_given_is_applied_and_all_is_remembered() {
        let (apply, remember) = change(json!({"pids": {"limit": 9}}), json!({"memory": {"limit": 5}}));
        assert_eq!(apply, json!({"pids": {"limit": 9}}));
        assert_eq!(remember, json!({"pids": {"limit": 9}, "memory": {"limit": 5}}));
    }

    #[test]
    fn quota_and_period_go_together_and_so_do_memory_and_swap() {
        let old = json!({"cpu": {"quota": 5000, "period": 10000}, "memory": {"limit": 100, "swap": 300}});
        assert_eq!(
            change(json!({"cpu": {"quota": 7000}}), old.clone()).0,
            json!({"cpu": {"quota": 7000, "period": 10000}})
        );
        assert_eq!(
            change(json!({"cpu": {"period": 20000}}), old.clone()).0,
            json!({"cpu": {"quota": 5000, "period": 20000}})
        );
        assert_eq!(
            change(json!({"memory": {"limit": 200}}), old.clone()).0,
            json!({"memory": {"limit": 200, "swap": 300}})
        );
        assert_eq!(
            change(json!({"memory": {"swap": 400}}), old.clone()).0,
            json!({"memory": {"limit": 100, "swap": 400}})
        );
        assert_eq!(change(json!({"memory": {"limit": -1}}), old).0, json!({"memory": {"limit": -1, "swap": -1}}));
    }

    #[test]
    fn zeros_and_devices_are_nothing() {
        let given = json!({"devices": [{"allow": true, "access": "rwm"}], "pids": {"limit": 0},
            "memory": {"limit": 0}, "cpu": {"idle": 0, "shares": 0}});
        let (apply, remember) = change(given, json!({"memory": {"limit": 5}, "devices": []}));
        assert_eq!(apply["cpu"], json!({"idle": 0}));
        assert_eq!(apply.get("devices"), None);
        assert_eq!(remember["memory"], json!({"limit": 5}));
    }

    #[test]
    fn a_device_is_changed_or_added() {
        let list = |rates: &[(i64, i64)]| {
            let entries = rates.iter().map(|(minor, rate)| json!({"major": 8, "minor": minor, "rate": rate}));
            json!({"blockIO": {"throttleReadBpsDevice": entries.collect::<Vec<_>>()}})
        };
        let (_, remember) = change(list(&[(16, 7), (0, 3)]), list(&[(0, 1)]));
        assert_eq!(remember, list(&[(0, 3), (16, 7)]));
    }
}
