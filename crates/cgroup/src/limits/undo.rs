// SPDX-License-Identifier: Apache-2.0
//! What to write to a control file to have its old content again. Pure.

/// The values that put `before`, the file's content, back after `written` was written.
///
/// Most files hold one value and take it back as it is. The tables of block I/O hold a line per device, and taking a line
/// away is done by writing a value that means "none".
pub(super) fn values(file: &str, written: &str, before: &str) -> Vec<String> {
    let table = file.starts_with("blkio.throttle.") || file.ends_with("weight_device") || file.starts_with("io.");
    if !table {
        return if before == written { Vec::new() } else { vec![before.to_owned()] };
    }
    written.lines().map(|line| line_before(file, line, before)).collect()
}

/// The old line of the device that `line` was about.
fn line_before(file: &str, line: &str, before: &str) -> String {
    let (device, settings) = match line.split_once(' ') {
        Some((device, settings)) => (device, settings),
        // A weight for all devices: v2 shows it as the device `default`.
        None => {
            let default = before.lines().find_map(|line| line.strip_prefix("default "));
            return default.unwrap_or(before.lines().next().unwrap_or(before)).to_owned();
        }
    };
    let old = before.lines().find_map(|line| line.strip_prefix(device)?.strip_prefix(' '));
    if let Some(old) = old {
        return format!("{device} {old}");
    }
    let none = if settings.contains('=') {
        let keys = settings.split(' ').filter_map(|setting| setting.split_once('='));
        keys.map(|(key, _)| format!("{key}=max")).collect::<Vec<_>>().join(" ")
    } else if file.contains("weight") && !file.starts_with("blkio.") {
        "default".to_owned()
    } else {
        "0".to_owned()
    };
    format!("{device} {none}")
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn one_value_is_put_back_as_it_was() {
        assert_eq!(values("pids.max", "7", "max"), ["max"]);
        assert_eq!(values("cpu.max", "50000 100000", "max 100000"), ["max 100000"]);
        assert!(values("pids.max", "7", "7").is_empty());
    }

    #[test]
    fn tables_are_put_back_by_device() {
        assert_eq!(values("blkio.throttle.read_bps_device", "8:0 5", "8:16 1\n8:0 9"), ["8:0 9"]);
        assert_eq!(values("blkio.throttle.read_bps_device", "8:0 5", ""), ["8:0 0"]);
        assert_eq!(values("io.max", "8:0 rbps=5 wiops=3", ""), ["8:0 rbps=max wiops=max"]);
        assert_eq!(values("io.max", "8:0 rbps=5", "8:0 rbps=7 wbps=max"), ["8:0 rbps=7 wbps=max"]);
        assert_eq!(values("io.weight", "300", "default 100\n8:0 50"), ["100"]);
        assert_eq!(values("io.weight", "8:0 300", "default 100"), ["8:0 default"]);
        assert_eq!(values("io.bfq.weight", "300", "100"), ["100"]);
        assert_eq!(values("blkio.bfq.weight_device", "8:0 300", ""), ["8:0 0"]);
    }
}
