// SPDX-License-Identifier: Apache-2.0
//! Fields that Docker's answers have in any case, and our models leave out where there is nothing to say: programs in
//! languages without types take what they know to be there without asking.

use serde_json::{Map, Value, json};

/// What stands in a field that says nothing.
#[derive(Debug, Clone, Copy)]
enum Nothing {
    Null,
    Text,
    Number,
    No,
}

impl Nothing {
    fn value(self) -> Value {
        match self {
            Nothing::Null => Value::Null,
            Nothing::Text => json!(""),
            Nothing::Number => json!(0),
            Nothing::No => json!(false),
        }
    }
}

const OF_A_CONTAINER: [(&str, Nothing); 7] = [
    ("ResolvConfPath", Nothing::Text),
    ("HostnamePath", Nothing::Text),
    ("HostsPath", Nothing::Text),
    ("MountLabel", Nothing::Text),
    ("ProcessLabel", Nothing::Text),
    ("AppArmorProfile", Nothing::Text),
    ("ExecIDs", Nothing::Null),
];

const OF_ITS_HOST: [(&str, Nothing); 18] = [
    ("Binds", Nothing::Null),
    ("CapAdd", Nothing::Null),
    ("CapDrop", Nothing::Null),
    ("ContainerIDFile", Nothing::Text),
    ("DeviceCgroupRules", Nothing::Null),
    ("DeviceRequests", Nothing::Null),
    ("ExtraHosts", Nothing::Null),
    ("GroupAdd", Nothing::Null),
    ("Links", Nothing::Null),
    ("MaskedPaths", Nothing::Null),
    ("MemorySwappiness", Nothing::Null),
    ("OomKillDisable", Nothing::Null),
    ("PidsLimit", Nothing::Null),
    ("ReadonlyPaths", Nothing::Null),
    ("SecurityOpt", Nothing::Null),
    ("Ulimits", Nothing::Null),
    ("VolumeDriver", Nothing::Text),
    ("VolumesFrom", Nothing::Null),
];

const OF_ITS_CONFIG: [(&str, Nothing); 5] = [
    ("AttachStdout", Nothing::No),
    ("AttachStderr", Nothing::No),
    ("Cmd", Nothing::Null),
    ("Entrypoint", Nothing::Null),
    ("Volumes", Nothing::Null),
];

const OF_A_PLACE: [(&str, Nothing); 9] = [
    ("Aliases", Nothing::Null),
    ("DNSNames", Nothing::Null),
    ("DriverOpts", Nothing::Null),
    ("GlobalIPv6Address", Nothing::Text),
    ("GlobalIPv6PrefixLen", Nothing::Number),
    ("GwPriority", Nothing::Number),
    ("IPAMConfig", Nothing::Null),
    ("IPv6Gateway", Nothing::Text),
    ("Links", Nothing::Null),
];

/// `GET /containers/NAME/json`.
pub(crate) fn container(container: &mut Value) {
    fill(Some(container), &OF_A_CONTAINER);
    fill(container.get_mut("HostConfig"), &OF_ITS_HOST);
    fill(container.get_mut("Config"), &OF_ITS_CONFIG);
    fill(container.get_mut("NetworkSettings"), &[("SandboxID", Nothing::Text), ("SandboxKey", Nothing::Text)]);
    if let Some(host) = container.get_mut("HostConfig").and_then(Value::as_object_mut) {
        host.entry("ConsoleSize").or_insert_with(|| json!([0, 0]));
    }
    let places = container.pointer_mut("/NetworkSettings/Networks").and_then(Value::as_object_mut);
    places.into_iter().flat_map(Map::values_mut).for_each(|place| fill(Some(place), &OF_A_PLACE));
}

/// `GET /exec/ID/json`: what has not ended has no exit code, and says so.
pub(crate) fn exec(exec: &mut Value) {
    fill(Some(exec), &[("ExitCode", Nothing::Null)]);
}

/// `GET /volumes`.
pub(crate) fn volumes(list: &mut Value) {
    fill(Some(list), &[("Warnings", Nothing::Null)]);
}

/// `GET /info`.
pub(crate) fn info(info: &mut Value) {
    fill(Some(info), &[("GenericResources", Nothing::Null), ("Warnings", Nothing::Null)]);
    fill(info.get_mut("Plugins"), &[("Authorization", Nothing::Null)]);
    fill(info.get_mut("Swarm"), &[("RemoteManagers", Nothing::Null)]);
}

fn fill(value: Option<&mut Value>, fields: &[(&str, Nothing)]) {
    let Some(object) = value.and_then(Value::as_object_mut) else { return };
    for (name, nothing) in fields {
        object.entry(*name).or_insert_with(|| nothing.value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_there_and_what_says_something_stays() {
        let mut value = json!({"ExecIDs": ["a"], "HostConfig": {"CapAdd": ["ALL"]}, "Config": {}, "NetworkSettings":
            {"Networks": {"mine": {"Aliases": ["b"]}}}});
        container(&mut value);
        assert_eq!((&value["ExecIDs"], &value["HostConfig"]["CapAdd"]), (&json!(["a"]), &json!(["ALL"])));
        let host = value["HostConfig"].as_object().unwrap();
        assert_eq!((host.get("CapDrop"), host.get("ConsoleSize")), (Some(&Value::Null), Some(&json!([0, 0]))));
        assert_eq!((&value["HostsPath"], &value["Config"]["AttachStdout"]), (&json!(""), &json!(false)));
        let place = value["NetworkSettings"]["Networks"]["mine"].as_object().unwrap();
        assert_eq!((place.get("Aliases"), place.get("Links")), (Some(&json!(["b"])), Some(&Value::Null)));
        assert_eq!(place.get("GwPriority"), Some(&json!(0)));
    }
}
