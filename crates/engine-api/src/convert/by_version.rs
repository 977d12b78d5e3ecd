// SPDX-License-Identifier: Apache-2.0
//! Answers as older versions of the API had them. The models are the newest version's; what earlier clients look for and
//! later ones no longer get is added here, and what came later taken away.

use api_types::docker::{ContainerSummary, NetworkInspect};
use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::version::Version;

/// What of a configuration of an image is sent only when it is not empty, since 1.52.
const OF_IMAGES: [(&str, Value); 8] = [
    ("Cmd", Value::Null),
    ("Entrypoint", Value::Null),
    ("Env", Value::Null),
    ("Labels", Value::Null),
    ("OnBuild", Value::Null),
    ("User", Value::String(String::new())),
    ("Volumes", Value::Null),
    ("WorkingDir", Value::String(String::new())),
];

/// What `NetworkSettings` had of the default bridge until 1.51, and is to be found at that network since.
const OF_THE_BRIDGE: [&str; 8] = [
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "MacAddress",
];

/// What of a configuration of an image was always empty, and is not sent any more.
const OF_CONTAINERS_ONLY: [(&str, Value); 9] = [
    ("Hostname", Value::Null),
    ("Domainname", Value::Null),
    ("AttachStdin", Value::Bool(false)),
    ("AttachStdout", Value::Bool(false)),
    ("AttachStderr", Value::Bool(false)),
    ("Tty", Value::Bool(false)),
    ("OpenStdin", Value::Bool(false)),
    ("StdinOnce", Value::Bool(false)),
    ("Image", Value::Null),
];

/// `answer` for a client of `version`: as it is for the newest, as `shape` makes it for others.
pub(crate) fn answer(
    version: Version,
    answer: impl Serialize,
    shape: impl FnOnce(Version, &mut Value),
) -> Result<Response, ApiError> {
    if version == Version::NEWEST {
        return Ok(Json(answer).into_response());
    }
    let mut value = serde_json::to_value(answer).map_err(ApiError::Answer)?;
    shape(version, &mut value);
    Ok(Json(value).into_response())
}

/// `GET /images/json`.
pub(crate) fn images(version: Version, list: &mut Value) {
    each(list, |image| {
        virtual_size(version, image);
        if version.is_before(43) {
            for (names, none) in [("RepoTags", "<none>:<none>"), ("RepoDigests", "<none>@<none>")] {
                if image.get(names).and_then(Value::as_array).is_none_or(Vec::is_empty) {
                    image.insert(names.to_owned(), json!([none]));
                }
            }
        }
        if version.is_before(48) {
            image.remove("Descriptor");
        }
        if version.is_before(51) {
            image.insert("Containers".to_owned(), json!(-1));
        }
    });
}

/// `GET /images/NAME/json`.
pub(crate) fn image(version: Version, image: &mut Value) {
    let Some(image) = image.as_object_mut() else { return };
    virtual_size(version, image);
    if version.is_before(44) {
        image.entry("Created").or_insert_with(|| json!("0001-01-01T00:00:00Z"));
    }
    if version.is_before(45) {
        image.insert("Container".to_owned(), json!(""));
        image.insert("ContainerConfig".to_owned(), Value::Object(empty_config()));
    }
    if version.is_before(48) {
        image.remove("Descriptor");
    }
    if version.is_before(50)
        && let Some(Value::Object(config)) = image.get_mut("Config")
    {
        for (field, value) in OF_CONTAINERS_ONLY {
            config.entry(field).or_insert(if value.is_null() { json!("") } else { value });
        }
    }
    if version.has_what_went_with(52) {
        if let Some(Value::Object(config)) = image.get_mut("Config") {
            for (field, value) in OF_IMAGES {
                config.entry(field).or_insert(value);
            }
        }
        for field in ["Parent", "Comment", "DockerVersion", "Author"] {
            image.entry(field).or_insert_with(|| json!(""));
        }
        image.entry("GraphDriver").or_insert_with(|| json!({"Name": "overlay", "Data": {}}));
    }
}

/// A configuration that says nothing, as images had it of the container that they were made of.
fn empty_config() -> Map<String, Value> {
    let all = OF_CONTAINERS_ONLY.into_iter().chain(OF_IMAGES);
    // A text that is none is an empty one; what else is none stays so.
    let value = |field: &str, value: Value| match field {
        "Hostname" | "Domainname" | "Image" => json!(""),
        _ => value,
    };
    all.map(|(field, none)| (field.to_owned(), value(field, none))).collect()
}

/// A container's place in a network.
fn place(version: Version, place: &mut Value) {
    let Some(place) = place.as_object_mut() else { return };
    if version.is_before(44) {
        place.remove("DNSNames");
    }
    if version.is_before(48) {
        place.remove("GwPriority");
    }
}

fn places(version: Version, container: &mut Value) {
    let places = container.pointer_mut("/NetworkSettings/Networks").and_then(Value::as_object_mut);
    places.into_iter().flat_map(Map::values_mut).for_each(|one| place(version, one));
}

/// `GET /containers/NAME/json`, of a container for whose first network the hardware address `mac` was wished.
pub(crate) fn container(version: Version, container: &mut Value, mac: Option<String>) {
    if version.is_before(45) {
        name_by_id(container);
    }
    places(version, container);
    if let Some(Value::Object(host)) = container.get_mut("HostConfig") {
        // Nobody has these limits any more.
        if version.is_before(42) {
            host.insert("KernelMemory".to_owned(), json!(0));
        }
        if version.is_before(52) {
            host.insert("KernelMemoryTCP".to_owned(), json!(0));
        }
    }
    if version.is_before(48)
        && let Some(container) = container.as_object_mut()
    {
        container.remove("ImageManifestDescriptor");
    }
    if !version.has_what_went_with(52) {
        return;
    }
    let bridge = container.pointer("/NetworkSettings/Networks/bridge").cloned().unwrap_or_default();
    if let Some(Value::Object(settings)) = container.get_mut("NetworkSettings") {
        for field in OF_THE_BRIDGE {
            let none = if field.ends_with("PrefixLen") { json!(0) } else { json!("") };
            settings.insert(field.to_owned(), bridge.get(field).cloned().unwrap_or(none));
        }
        for (field, value) in [
            ("Bridge", json!("")),
            ("HairpinMode", json!(false)),
            ("LinkLocalIPv6Address", json!("")),
            ("LinkLocalIPv6PrefixLen", json!(0)),
            ("SecondaryIPAddresses", Value::Null),
            ("SecondaryIPv6Addresses", Value::Null),
        ] {
            settings.insert(field.to_owned(), value);
        }
    }
    if let Some(Value::Object(config)) = container.get_mut("Config") {
        config.entry("OnBuild").or_insert(Value::Null);
        config.extend(mac.map(|mac| ("MacAddress".to_owned(), json!(mac))));
    }
    let Some(container) = container.as_object_mut() else { return };
    if version.is_before(52) {
        container.remove("Storage");
    }
    let driver = container.get("Driver").cloned().unwrap_or_default();
    container.insert("GraphDriver".to_owned(), json!({"Name": driver, "Data": {}}));
}

/// Until 1.44 a container's short id and host name were among its aliases in user-defined networks.
fn name_by_id(container: &mut Value) {
    let id = container.get("Id").and_then(Value::as_str).and_then(|id| id.get(..12)).unwrap_or_default().to_owned();
    let host = container.pointer("/Config/Hostname").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(Value::Object(networks)) = container.pointer_mut("/NetworkSettings/Networks") else { return };
    let user_defined = networks.iter_mut().filter(|(name, _)| !["bridge", "host", "none"].contains(&name.as_str()));
    for place in user_defined.filter_map(|(_, place)| place.as_object_mut()) {
        let aliases = place.entry("Aliases").or_insert_with(|| json!([]));
        if !aliases.is_array() {
            *aliases = json!([]);
        }
        let Some(aliases) = aliases.as_array_mut() else { continue };
        for alias in [&id, &host] {
            if !alias.is_empty() && !aliases.iter().any(|known| known == alias) {
                aliases.push(json!(alias));
            }
        }
    }
}

/// `GET /containers/json`.
pub(crate) fn containers(version: Version, list: &mut [ContainerSummary]) {
    for container in list {
        if version.is_before(46)
            && let Some(host) = &mut container.host_config
        {
            host.annotations = None;
        }
        if version.is_before(52) {
            container.health = None;
        }
        let networks = container.network_settings.as_mut().and_then(|settings| settings.networks.as_mut());
        for place in networks.into_iter().flat_map(|networks| networks.values_mut()) {
            place.dns_names = place.dns_names.take().filter(|_| !version.is_before(44));
            place.gw_priority = place.gw_priority.filter(|_| !version.is_before(48));
        }
    }
}

/// `GET /networks` and `GET /networks/NAME`.
pub(crate) fn networks(version: Version, list: &mut [NetworkInspect]) {
    for network in list.iter_mut().filter(|_| version.is_before(48)) {
        network.enable_ipv4 = None;
    }
}

/// `GET /system/df`.
pub(crate) fn disk_usage(version: Version, usage: &mut Value) {
    if let Some(list) = usage.get_mut("Images") {
        each(list, |image| {
            virtual_size(version, image);
            if version.is_before(48) {
                image.remove("Descriptor");
            }
        });
    }
    for container in usage.get_mut("Containers").and_then(Value::as_array_mut).into_iter().flatten() {
        places(version, container);
        if let Some(container) = container.as_object_mut().filter(|_| version.is_before(52)) {
            container.remove("Health");
        }
    }
    let Some(usage) = usage.as_object_mut() else { return };
    if version.is_before(42) {
        usage.insert("BuilderSize".to_owned(), json!(0));
    }
    if version.is_before(52) {
        for kind in ["ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage"] {
            usage.remove(kind);
        }
    }
}

/// `GET /info`.
pub(crate) fn info(version: Version, info: &mut Value) {
    let Some(info) = info.as_object_mut() else { return };
    if version.is_before(42) {
        info.insert("KernelMemory".to_owned(), json!(false));
    }
    if version.is_before(44) {
        info.remove("CDISpecDirs");
    }
    if version.is_before(49) {
        info.remove("FirewallBackend");
    }
    if version.is_before(52) {
        info.insert("KernelMemoryTCP".to_owned(), json!(false));
    }
    if version.is_before(50) {
        info.remove("DiscoveredDevices");
        info.insert("BridgeNfIptables".to_owned(), json!(false));
        info.insert("BridgeNfIp6tables".to_owned(), json!(false));
    }
    if version.is_before(49) {
        for commit in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            if let Some(Value::Object(commit)) = info.get_mut(commit)
                && let Some(id) = commit.get("ID").cloned()
            {
                commit.insert("Expected".to_owned(), id);
            }
        }
    }
    if version.is_before(47)
        && let Some(Value::Object(registries)) = info.get_mut("RegistryConfig")
    {
        for places in ["AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames"] {
            registries.insert(places.to_owned(), Value::Null);
        }
    }
}

fn virtual_size(version: Version, image: &mut Map<String, Value>) {
    if version.is_before(44)
        && let Some(size) = image.get("Size").cloned()
    {
        image.insert("VirtualSize".to_owned(), size);
    }
}

fn each(list: &mut Value, change: impl Fn(&mut Map<String, Value>)) {
    list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut).for_each(change);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaped(shape: fn(Version, &mut Value), minor: u32, mut value: Value) -> Value {
        shape(Version::of(minor), &mut value);
        value
    }

    #[test]
    fn images_have_a_virtual_size_until_1_43_and_a_descriptor_from_1_48_on() {
        let list = || json!([{"Size": 7, "RepoTags": [], "RepoDigests": ["a@b"], "Containers": 2, "Descriptor": {}}]);
        let old = shaped(images, 42, list());
        let expected = json!([{"Size": 7, "VirtualSize": 7, "RepoTags": ["<none>:<none>"], "RepoDigests": ["a@b"],
            "Containers": -1}]);
        assert_eq!(old, expected);
        assert_eq!(shaped(images, 43, list())[0]["RepoTags"], json!([]));
        assert_eq!(shaped(images, 44, list())[0].get("VirtualSize"), None);
        assert_eq!(shaped(images, 50, list())[0]["Descriptor"], json!({}));
        assert_eq!(shaped(images, 51, list()), list());
    }

    #[test]
    fn an_image_has_the_fields_of_containers_until_1_49_and_empty_ones_until_1_51() {
        let image = || json!({"Size": 7, "Config": {"Cmd": ["x"]}, "Descriptor": {}});
        let old = shaped(super::image, 40, image());
        assert_eq!(
            (&old["VirtualSize"], &old["Config"]["Tty"], &old["Container"]),
            (&json!(7), &json!(false), &json!(""))
        );
        assert_eq!((&old["Config"]["Hostname"], &old["Config"]["OnBuild"]), (&json!(""), &Value::Null));
        assert_eq!((&old["Config"]["Cmd"], &old["Created"]), (&json!(["x"]), &json!("0001-01-01T00:00:00Z")));
        assert!(old.get("Descriptor").is_none());
        let new = shaped(super::image, 51, image());
        assert_eq!(
            new["Config"],
            json!({"Cmd": ["x"], "Entrypoint": null, "Env": null, "Labels": null,
            "OnBuild": null, "User": "", "Volumes": null, "WorkingDir": ""})
        );
        assert!(new.get("VirtualSize").is_none() && new.get("ContainerConfig").is_none());
        assert_eq!((&new["Author"], &new["GraphDriver"]["Name"]), (&json!(""), &json!("overlay")));
        assert_eq!(shaped(super::image, 52, image()), image());
    }

    #[test]
    fn a_container_has_the_bridges_address_beside_its_networks_until_1_51() {
        let container = || {
            json!({"Id": "0123456789abcdef", "Driver": "overlay", "Storage": {}, "Config": {"Hostname": "h"},
            "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "10.0.0.2", "IPPrefixLen": 16},
                "mine": {"Aliases": ["h"]}}}})
        };
        let of = |version: Version| {
            let mut value = container();
            super::container(version, &mut value, Some("02:00:00:00:00:01".into()));
            value
        };
        let old = of(Version::of(44));
        let settings = &old["NetworkSettings"];
        assert_eq!((&settings["IPAddress"], &settings["IPPrefixLen"]), (&json!("10.0.0.2"), &json!(16)));
        assert_eq!((&settings["Gateway"], &settings["HairpinMode"]), (&json!(""), &json!(false)));
        assert_eq!(settings["Networks"]["mine"]["Aliases"], json!(["h", "0123456789ab"]));
        assert!(settings["Networks"]["bridge"].get("Aliases").is_none());
        assert_eq!((&old["Config"]["MacAddress"], old.get("Storage")), (&json!("02:00:00:00:00:01"), None));
        assert_eq!(old["GraphDriver"]["Name"], "overlay");
        assert_eq!(of(Version::of(52)), container());
        let unnamed = of(Version::UNNAMED);
        assert_eq!((&unnamed["NetworkSettings"]["IPAddress"], &unnamed["Storage"]), (&json!("10.0.0.2"), &json!({})));
        assert_eq!(unnamed["NetworkSettings"]["Networks"]["mine"]["Aliases"], json!(["h"]));
    }

    #[test]
    fn the_host_and_its_disk_are_told_of_as_before() {
        let host =
            || json!({"RuncCommit": {"ID": "a"}, "RegistryConfig": {}, "FirewallBackend": {}, "DiscoveredDevices": []});
        let host = || {
            let mut host = host();
            host["KernelMemoryTCP"] = json!(false);
            host
        };
        let old = shaped(info, 46, host());
        assert_eq!(old["RegistryConfig"].as_object().unwrap().len(), 2, "{old}");
        assert_eq!(shaped(info, 47, host())["RegistryConfig"], json!({}));
        let before = shaped(info, 48, host());
        assert_eq!((&before["RuncCommit"]["Expected"], before.get("FirewallBackend")), (&json!("a"), None));
        let before = shaped(info, 49, host());
        assert_eq!((&before["BridgeNfIptables"], before.get("DiscoveredDevices")), (&json!(false), None));
        assert_eq!(before["FirewallBackend"], json!({}));
        assert_eq!(shaped(info, 50, host()), host());
        assert_eq!(shaped(info, 52, json!({})), json!({}));
        assert_eq!(shaped(info, 41, json!({"CDISpecDirs": []}))["KernelMemory"], false);
        let usage = || json!({"Images": [{"Size": 3}]});
        let described = || json!({"Images": [{"Size": 3, "Descriptor": {}}]});
        assert_eq!(shaped(disk_usage, 47, described()), usage());
        assert_eq!(shaped(disk_usage, 48, described())["Images"][0]["Descriptor"], json!({}));
        assert_eq!(
            shaped(disk_usage, 41, usage()),
            json!({"Images": [{"Size": 3, "VirtualSize": 3}], "BuilderSize": 0})
        );
        assert_eq!(shaped(disk_usage, 44, usage()), usage());
        let by_kind = || json!({"Images": [], "ImageUsage": {"TotalCount": 0}});
        assert_eq!(shaped(disk_usage, 51, by_kind()), json!({"Images": []}));
        assert_eq!(shaped(disk_usage, 52, by_kind()), by_kind());
    }
}
