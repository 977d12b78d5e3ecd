// SPDX-License-Identifier: Apache-2.0
//! Devices that their vendors describe: the files of the Container Device Interface are read anew for each start that asks
//! for one, so that what a vendor's tool writes counts at once.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cdi::{DeviceNode, Edits, File, Format, Hook, Mount, Registry, Spec, SpecError};
use oci::runtime_spec as rt;
use rustix::fs::{major, minor};

use super::{DeviceType, HostDevice, Surroundings};
use crate::Engine;
use crate::error::EngineError;
use crate::request::DeviceRequest;

/// Larger files are not read: no description is so long.
const MAX_FILE: u64 = 4 << 20;

/// Kinds of graphics processors, the first that is there.
const GPUS: [&str; 2] = ["nvidia.com/gpu", "amd.com/gpu"];

/// What vendors' descriptions add to a container, device files aside.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    pub(crate) env: Vec<String>,
    pub(crate) mounts: Vec<rt::Mount>,
    /// Hooks and when they are run, in the words of the runtime specification.
    pub(crate) hooks: Vec<(String, rt::Hook)>,
    pub(crate) groups: Vec<u32>,
}

impl Engine {
    /// Devices that can be asked for on this host, by their full names; and the files that describe none, with the reason.
    pub fn described_devices(&self) -> (Vec<String>, Vec<String>) {
        match read(&self.config.cdi_dirs) {
            Ok(registry) => {
                let problem = |(path, problem): (PathBuf, String)| {
                    format!("the description of devices {} cannot be used: {problem}", path.display())
                };
                let names = registry.devices().iter().map(ToString::to_string).collect();
                (names, registry.broken().into_iter().map(problem).collect())
            }
            Err(error) => (Vec::new(), vec![errors::chain(&error)]),
        }
    }

    /// Whether all devices that are asked for are described.
    pub(crate) fn check_requests(&self, requests: &[DeviceRequest]) -> Result<(), EngineError> {
        if requests.is_empty() {
            return Ok(());
        }
        let registry = read(&self.config.cdi_dirs)?;
        resolve(&registry, requests).map(drop)
    }

    /// Adds what the descriptions of the devices that are asked for say.
    pub(super) fn add_described(
        &self,
        requests: &[DeviceRequest],
        around: &mut Surroundings,
    ) -> Result<(), EngineError> {
        if requests.is_empty() {
            return Ok(());
        }
        let registry = read(&self.config.cdi_dirs)?;
        for edits in resolve(&registry, requests)? {
            for node in &edits.device_nodes {
                around.devices.push(device(node)?);
            }
            add(edits, &mut around.additions)?;
        }
        Ok(())
    }
}

/// Makes a bundle of a container's directory, where its specification has hooks: they read `config.json`, and find the root
/// at `rootfs`, where it is attached for them.
pub(crate) fn write_bundle(dir: &Path, spec: &rt::Spec) -> Result<(), EngineError> {
    if spec.hooks().is_none() {
        return Ok(());
    }
    let (root, config) = (dir.join("rootfs"), dir.join("config.json"));
    match fs::create_dir(&root) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(EngineError::io("create", root)(error));
        }
        _ => {}
    }
    let json = serde_json::to_vec(spec).map_err(|error| EngineError::io("encode", &config)(error.into()))?;
    fs::write(&config, json).map_err(EngineError::io("write", config))
}

/// Reads all files of these directories; those of a later one go first.
fn read(directories: &[PathBuf]) -> Result<Registry, EngineError> {
    let mut files = Vec::new();
    for (directory, path) in directories.iter().enumerate() {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(EngineError::io("read", path)(error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(EngineError::io("read", path))?.path());
        }
        paths.sort();
        for path in paths {
            let format = match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => Format::Json,
                Some("yaml") => Format::Yaml,
                _ => continue,
            };
            // One that is broken takes nobody the devices of others.
            let spec = read_file(&path).map_err(SpecError::Unreadable).and_then(|text| Spec::parse(&text, format));
            files.push(File { spec, path, directory });
        }
    }
    Ok(Registry::new(files))
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

fn resolve<'a>(registry: &'a Registry, requests: &[DeviceRequest]) -> Result<Vec<&'a Edits>, EngineError> {
    let mut names = Vec::new();
    for request in requests {
        names.extend(names_of(registry, request)?);
    }
    let found = registry.resolve(&names).map_err(|error| EngineError::invalid("--device", error.to_string()))?;
    match found.iter().find_map(|edits| edits.refused()) {
        None => Ok(found),
        Some(reason) => Err(EngineError::invalid("--device", format!("{}: {reason}", names.join(", ")))),
    }
}

/// The full names of the devices that a request means.
fn names_of(registry: &Registry, request: &DeviceRequest) -> Result<Vec<String>, EngineError> {
    let refuse = |reason: String| Err(EngineError::invalid("--gpus and --device", reason));
    if !request.options.is_empty() {
        return refuse("there are no options for devices".to_owned());
    }
    if request.driver == "cdi" {
        if request.count != 0 {
            return refuse("devices of the Container Device Interface are asked for by name, not by number".to_owned());
        }
        return Ok(request.ids.clone());
    }
    let is_gpu = request.capabilities.iter().flatten().any(|ability| ability == "gpu");
    let vendor = match request.driver.as_str() {
        "" => None,
        "nvidia" => Some("nvidia.com/gpu"),
        "amd" => Some("amd.com/gpu"),
        other => return refuse(format!("there is no driver {other:?}: there are cdi, nvidia and amd")),
    };
    if !is_gpu && vendor.is_none() {
        let able = request.capabilities.concat().join(", ");
        return refuse(format!("no driver has devices with the capabilities [{able}]"));
    }
    let described = registry.devices();
    let there = |kind: &&str| described.iter().any(|name| name.kind == *kind);
    let Some(kind) = vendor.filter(there).or_else(|| GPUS.into_iter().find(|kind| vendor.is_none() && there(kind)))
    else {
        let wanted = vendor.unwrap_or("nvidia.com/gpu or amd.com/gpu");
        return refuse(format!("no file of the Container Device Interface describes {wanted} here"));
    };
    let full = |id: &str| if id.contains('=') { id.to_owned() } else { format!("{kind}={id}") };
    if !request.ids.is_empty() {
        return Ok(request.ids.iter().map(|id| full(id)).collect());
    }
    match request.count {
        -1 if described.iter().any(|name| name.kind == kind && name.device == "all") => Ok(vec![full("all")]),
        -1 => Ok(described.iter().filter(|name| name.kind == kind).map(ToString::to_string).collect()),
        count => {
            let there = described.iter().filter(|name| name.kind == kind).count();
            if usize::try_from(count).map_or(true, |count| count > there) {
                return refuse(format!("{count} devices of {kind} are asked for, and {there} are described here"));
            }
            Ok((0..count).map(|number| full(&number.to_string())).collect())
        }
    }
}

/// A device file as the host has it, where its description does not say otherwise.
fn device(node: &DeviceNode) -> Result<HostDevice, EngineError> {
    let failed = |problem: String| EngineError::invalid("--device", format!("{}: {problem}", node.source()));
    let known = |kind, metadata: Option<&fs::Metadata>| HostDevice {
        path: PathBuf::from(&node.path),
        source: (kind != DeviceType::Fifo).then(|| PathBuf::from(node.source())),
        kind,
        major: node.major,
        minor: node.minor,
        mode: node.file_mode.unwrap_or_else(|| metadata.map_or(0o666, MetadataExt::mode)) & 0o7777,
        uid: node.uid.unwrap_or_else(|| metadata.map_or(0, MetadataExt::uid)),
        gid: node.gid.unwrap_or_else(|| metadata.map_or(0, MetadataExt::gid)),
        access: node.access().to_owned(),
    };
    let named = match node.kind.as_str() {
        "b" => Some(DeviceType::Block),
        "c" | "u" => Some(DeviceType::Character),
        "p" => Some(DeviceType::Fifo),
        _ => None,
    };
    if let Some(kind) = named.filter(|kind| node.major != 0 || *kind == DeviceType::Fifo) {
        return Ok(known(kind, None));
    }
    let metadata = fs::metadata(node.source()).map_err(|error| failed(error.to_string()))?;
    let kind = match metadata.file_type() {
        kind if kind.is_block_device() => DeviceType::Block,
        kind if kind.is_char_device() => DeviceType::Character,
        kind if kind.is_fifo() => DeviceType::Fifo,
        _ => return Err(failed("this is no device file".to_owned())),
    };
    if named.is_some_and(|named| named != kind) {
        return Err(failed(format!("this is no device file of type {:?}", node.kind)));
    }
    let number = metadata.rdev();
    let (major, minor) = (major(number).into(), minor(number).into());
    Ok(HostDevice { major, minor, ..known(kind, Some(&metadata)) })
}

fn add(edits: &Edits, additions: &mut Additions) -> Result<(), EngineError> {
    additions.env.extend(edits.env.iter().cloned());
    for described in &edits.mounts {
        additions.mounts.push(mount(described)?);
    }
    for described in &edits.hooks {
        additions.hooks.push((described.hook_name.clone(), hook(described)?));
    }
    // 0 is everybody's who may ask for it, and means nothing here.
    additions.groups.extend(edits.additional_gids.iter().copied().filter(|gid| *gid != 0));
    Ok(())
}

fn mount(described: &Mount) -> Result<rt::Mount, EngineError> {
    let mut options = described.options.clone();
    let is_bind = options.iter().any(|option| option == "bind" || option == "rbind");
    if described.kind.is_empty() && !is_bind {
        options.push("bind".to_owned());
    }
    let kind = if described.kind.is_empty() || is_bind { "bind" } else { &described.kind };
    rt::MountBuilder::default()
        .destination(&described.container_path)
        .source(&described.host_path)
        .typ(kind)
        .options(options)
        .build()
        .map_err(EngineError::Spec)
}

fn hook(described: &Hook) -> Result<rt::Hook, EngineError> {
    let mut hook = rt::HookBuilder::default()
        .path(&described.path)
        .args(described.args.clone())
        .env(described.env.clone())
        .build()
        .map_err(EngineError::Spec)?;
    hook.set_timeout(described.timeout);
    Ok(hook)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(dir: &Path) -> Registry {
        let gpu = |name: &str| format!(r#"{{"name":"{name}","containerEdits":{{"env":["GPU={name}"]}}}}"#);
        let text = format!(
            r#"{{"cdiVersion":"0.6.0","kind":"nvidia.com/gpu","devices":[{},{},{}]}}"#,
            gpu("0"),
            gpu("1"),
            gpu("all")
        );
        fs::write(dir.join("gpus.json"), text).unwrap();
        fs::write(dir.join("notes.txt"), "no description").unwrap();
        fs::write(dir.join("broken.json"), b"\xff\xfe").unwrap();
        fs::create_dir(dir.join("directory.yaml")).unwrap();
        read(&[dir.to_owned(), dir.join("not-there")]).unwrap()
    }

    fn names(registry: &Registry, json: &str) -> Result<Vec<String>, EngineError> {
        names_of(registry, &serde_json::from_str(json).unwrap())
    }

    #[test]
    fn graphics_processors_are_found_by_number_by_name_or_all() {
        let dir = tempfile::tempdir().unwrap();
        let registry = registry(dir.path());
        let of = |json: &str| names(&registry, json).unwrap();
        let gpu = r#""capabilities":[["gpu"]]"#;
        assert_eq!(registry.broken().len(), 2);
        assert_eq!(of(&format!(r#"{{"count":-1,{gpu}}}"#)), ["nvidia.com/gpu=all"]);
        assert_eq!(of(&format!(r#"{{"count":2,{gpu}}}"#)), ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]);
        assert_eq!(of(&format!(r#"{{"ids":["1"],{gpu}}}"#)), ["nvidia.com/gpu=1"]);
        assert_eq!(of(r#"{"driver":"cdi","ids":["v.com/c=x"]}"#), ["v.com/c=x"]);
        for bad in [
            r#"{"count":-1,"driver":"amd","capabilities":[["gpu"]]}"#,
            r#"{"count":-1,"driver":"intel","capabilities":[["gpu"]]}"#,
            r#"{"count":-1,"capabilities":[["tpu"]]}"#,
            r#"{"count":1,"driver":"cdi"}"#,
            r#"{"count":4,"capabilities":[["gpu"]]}"#,
            r#"{"count":9223372036854775807,"capabilities":[["gpu"]]}"#,
            r#"{"count":-2,"capabilities":[["gpu"]]}"#,
            r#"{"count":1,"capabilities":[["gpu"]],"options":{"a":"b"}}"#,
        ] {
            assert!(names(&registry, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_is_what_the_host_has_unless_it_is_said() {
        let node = |json: &str| device(&serde_json::from_str(json).unwrap());
        let null = node(r#"{"path":"/dev/mine","hostPath":"/dev/null","permissions":"r","fileMode":384}"#).unwrap();
        assert_eq!((null.major, null.minor, null.mode, null.access.as_str()), (1, 3, 0o600, "r"));
        let said = node(r#"{"path":"/dev/x","type":"b","major":7,"minor":9,"permissions":"none"}"#).unwrap();
        assert_eq!((said.kind, said.major, said.minor, said.access.as_str()), (DeviceType::Block, 7, 9, ""));
        assert!(node(r#"{"path":"/dev/x","hostPath":"/dev/no-such"}"#).is_err());
        assert!(node(r#"{"path":"/dev/x","hostPath":"/dev/null","type":"b"}"#).is_err());
        assert!(node(r#"{"path":"/dev/x","hostPath":"/etc/passwd"}"#).is_err());
    }
}
