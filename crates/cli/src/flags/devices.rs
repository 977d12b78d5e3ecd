// SPDX-License-Identifier: Apache-2.0
//! Devices: `--device`, the limits at block devices, `--gpus`.

use api_types::docker::{DeviceMapping, DeviceRequest, ResourcesBlkioWeightDevice, ThrottleDevice};

use super::fields::fields;
use super::{FlagError, size};

/// What `--device` asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Device {
    /// A device file, or a directory of them.
    File(DeviceMapping),
    /// What a vendor describes (the Container Device Interface), by its full name.
    Vendor(String),
}

/// `/dev/HOST[:/dev/CONTAINER][:rwm]`, or `VENDOR/CLASS=NAME`.
pub(crate) fn device(text: &str) -> Result<Device, FlagError> {
    if !text.starts_with('/') {
        let problem = "is neither a device's absolute path nor a vendor's name for one (vendor.com/class=name)";
        return match text.split_once('=') {
            Some((kind, name)) if !name.is_empty() && kind.split('/').filter(|part| !part.is_empty()).count() == 2 => {
                Ok(Device::Vendor(text.to_owned()))
            }
            _ => Err(FlagError::invalid(text, problem)),
        };
    }
    let parts: Vec<&str> = text.split(':').collect();
    let is_access = |part: &str| !part.is_empty() && part.chars().all(|letter| "rwm".contains(letter));
    let (host, container, access) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, access] if is_access(access) => (host, host, access),
        [host, container] if container.starts_with('/') => (host, container, "rwm"),
        [host, container, access] if container.starts_with('/') && is_access(access) => (host, container, access),
        _ => return Err(FlagError::invalid(text, "is no device: write /dev/HOST[:/dev/CONTAINER][:rwm]")),
    };
    Ok(Device::File(DeviceMapping {
        path_on_host: Some(host.to_owned()),
        path_in_container: Some(container.to_owned()),
        cgroup_permissions: Some(access.to_owned()),
    }))
}

/// `/dev/DEVICE:VALUE`
fn path_and_value(text: &str) -> Result<(String, &str), FlagError> {
    match text.rsplit_once(':') {
        Some((path, value)) if path.starts_with("/dev/") => Ok((path.to_owned(), value)),
        _ => Err(FlagError::invalid(text, "is not /dev/DEVICE:VALUE")),
    }
}

/// `/dev/DEVICE:WEIGHT`
pub(crate) fn weight(text: &str) -> Result<ResourcesBlkioWeightDevice, FlagError> {
    let (path, value) = path_and_value(text)?;
    let weight = value.parse().ok().filter(|weight| (10..=1000).contains(weight));
    let weight = weight.ok_or_else(|| FlagError::invalid(text, "has no weight from 10 to 1000"))?;
    Ok(ResourcesBlkioWeightDevice { path: Some(path), weight: Some(weight) })
}

/// `/dev/DEVICE:SIZE`
pub(crate) fn bytes_per_second(text: &str) -> Result<ThrottleDevice, FlagError> {
    let (path, value) = path_and_value(text)?;
    Ok(ThrottleDevice { path: Some(path), rate: Some(size::bytes(value)?) })
}

/// `/dev/DEVICE:NUMBER`
pub(crate) fn operations_per_second(text: &str) -> Result<ThrottleDevice, FlagError> {
    let (path, value) = path_and_value(text)?;
    let rate: u32 = value.parse().map_err(|_| FlagError::invalid(text, "has no number of operations"))?;
    Ok(ThrottleDevice { path: Some(path), rate: Some(rate.into()) })
}

/// `NAME=VALUE`
pub(crate) fn pair(text: &str) -> Result<(String, String), FlagError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(FlagError::invalid(text, "is not NAME=VALUE")),
    }
}

/// `all`, a number, or fields: `count=`, `device=`, `capabilities=`, `driver=`; a field with commas stands in double
/// quotes.
pub(crate) fn gpus(text: &str) -> Result<DeviceRequest, FlagError> {
    let invalid = || FlagError::invalid(text, "is not all, a number, or fields like device=0 or driver=nvidia");
    let count = |text: &str| match text {
        "all" => Some(-1),
        number => number.parse::<u16>().ok().map(i64::from),
    };
    let mut request = DeviceRequest { options: Some(Default::default()), ..DeviceRequest::default() };
    let mut capabilities = vec!["gpu".to_owned()];
    let list = |value: &str| value.split(',').map(str::to_owned).collect::<Vec<_>>();
    for field in fields(text).ok_or_else(invalid)? {
        match field.split_once('=') {
            None | Some(("count", _)) => {
                let value = field.split_once('=').map_or(field.as_str(), |(_, value)| value);
                request.count = Some(count(value).ok_or_else(invalid)?);
            }
            Some(("device", value)) => request.device_ids = Some(list(value)),
            Some(("driver", value)) => request.driver = Some(value.to_owned()),
            Some(("capabilities", value)) => capabilities.extend(list(value)),
            Some(_) => return Err(invalid()),
        }
    }
    if request.count.is_some() && request.device_ids.is_some() {
        return Err(FlagError::invalid(text, "has both a number and names of devices"));
    }
    if request.device_ids.is_none() {
        request.count.get_or_insert(1);
    }
    capabilities.dedup();
    request.capabilities = Some(vec![capabilities]);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (String, String, String) {
        let Device::File(mapping) = device(text).unwrap() else { panic!("{text} is a vendor's") };
        let text = |field: Option<String>| field.unwrap_or_default();
        (text(mapping.path_on_host), text(mapping.path_in_container), text(mapping.cgroup_permissions))
    }

    #[test]
    fn devices_are_read_as_docker_reads_them() {
        let of = |host: &str, container: &str, access: &str| (host.into(), container.into(), access.into());
        assert_eq!(file("/dev/fuse"), of("/dev/fuse", "/dev/fuse", "rwm"));
        assert_eq!(file("/dev/fuse:r"), of("/dev/fuse", "/dev/fuse", "r"));
        assert_eq!(file("/dev/a:/dev/b"), of("/dev/a", "/dev/b", "rwm"));
        assert_eq!(file("/dev/a:/dev/b:mr"), of("/dev/a", "/dev/b", "mr"));
        assert_eq!(device("vendor.com/gpu=all").unwrap(), Device::Vendor("vendor.com/gpu=all".into()));
        for bad in
            ["", "dev/fuse", "fuse", "/dev/a:b", "/dev/a:/dev/b:x", "/dev/a:/dev/b:", "/a:/b:r:w", "a/b/c=d", "a/b="]
        {
            assert!(device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_at_devices_are_checked() {
        assert_eq!(bytes_per_second("/dev/vda:1mb").unwrap().rate, Some(1 << 20));
        assert_eq!(operations_per_second("/dev/vda:100").unwrap().rate, Some(100));
        assert_eq!(weight("/dev/vda:10").unwrap().weight, Some(10));
        assert!(bytes_per_second("vda:1mb").is_err() && bytes_per_second("/dev/vda").is_err());
        assert!(operations_per_second("/dev/vda:1mb").is_err() && weight("/dev/vda:9").is_err());
    }

    #[test]
    fn graphics_processors_are_asked_for_as_docker_asks() {
        assert_eq!(gpus("all").unwrap().count, Some(-1));
        assert_eq!(gpus("2").unwrap().count, Some(2));
        let some = gpus("\"device=0,1\",driver=nvidia").unwrap();
        assert_eq!((some.count, some.device_ids), (None, Some(vec!["0".into(), "1".into()])));
        assert_eq!(some.driver.as_deref(), Some("nvidia"));
        let able = gpus("all,capabilities=utility").unwrap();
        assert_eq!(able.capabilities, Some(vec![vec!["gpu".into(), "utility".into()]]));
        for bad in ["", "some", "-1", "all,", "\"all", "device=0,count=1", "size=3"] {
            assert!(gpus(bad).is_err(), "{bad}");
        }
    }
}
