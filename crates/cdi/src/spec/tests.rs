// SPDX-License-Identifier: Apache-2.0
//! Good files and bad ones.

use super::*;

const YAML: &str = r#"
cdiVersion: "0.5.0"
kind: vendor.com/gpu
devices:
  - name: "0"
    containerEdits:
      deviceNodes:
        - path: /dev/gpu0
          hostPath: /dev/dri/card0
          permissions: rw
      env: [GPU=0]
containerEdits:
  mounts:
    - hostPath: /usr/lib/gpu
      containerPath: /usr/lib/gpu
      options: [ro, bind]
  hooks:
    - hookName: createContainer
      path: /usr/bin/gpu-hook
      args: [gpu-hook, ldcache]
"#;

fn json(version: &str, device: &str) -> Result<Spec, SpecError> {
    let text = format!(r#"{{"cdiVersion":"{version}","kind":"vendor.com/gpu","devices":[{device}]}}"#);
    Spec::parse(&text, Format::Json)
}

#[test]
fn a_file_is_read_whole() {
    let spec = Spec::parse(YAML, Format::Yaml).unwrap();
    assert_eq!(spec.kind, "vendor.com/gpu");
    let node = &spec.devices["0"].device_nodes[0];
    assert_eq!((node.source(), node.access()), ("/dev/dri/card0", "rw"));
    assert_eq!(spec.edits.hooks[0].args, ["gpu-hook", "ldcache"]);
    assert_eq!(spec.edits.mounts[0].options, ["ro", "bind"]);
}

#[test]
fn what_a_version_does_not_have_is_refused() {
    let gids = r#"{"name":"a","containerEdits":{"additionalGids":[7]}}"#;
    assert!(matches!(json("0.6.0", gids), Err(SpecError::TooOld { .. })));
    assert!(json("0.7.0", gids).is_ok());
    let digit = r#"{"name":"0","containerEdits":{"env":["A=1"]}}"#;
    assert!(matches!(json("0.4.0", digit), Err(SpecError::TooOld { .. })));
    for bad in ["0.2.0", "v0.6.0", "1.2.0", "", "1"] {
        assert!(matches!(json(bad, digit), Err(SpecError::Version(_))), "{bad}");
    }
}

#[test]
fn what_cannot_be_known_is_refused_by_name() {
    for device in [
        r#"{"name":"a","containerEdits":{"sysctl":{}}}"#,
        r#"{"name":"a","containerEdits":{}}"#,
        r#"{"name":"a"}"#,
        r#"{"name":"a b","containerEdits":{"env":["A=1"]}}"#,
        r#"{"name":"a","containerEdits":{"env":["A"]}}"#,
        r#"{"name":"a","containerEdits":{"deviceNodes":[{"path":"dev/x"}]}}"#,
        r#"{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/../x"}]}}"#,
        r#"{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/x","permissions":"rwx"}]}}"#,
        r#"{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/x","type":"z"}]}}"#,
        r#"{"name":"a","containerEdits":{"hooks":[{"hookName":"whenever","path":"/x"}]}}"#,
        r#"{"name":"a","containerEdits":{"hooks":[{"hookName":"poststop","path":"x"}]}}"#,
        r#"{"name":"a","containerEdits":{"mounts":[{"hostPath":"","containerPath":"/x"}]}}"#,
        r#"{"name":"a","containerEdits":{"env":["A=1"]}},{"name":"a","containerEdits":{"env":["A=2"]}}"#,
        "",
    ] {
        assert!(json("1.1.0", device).is_err(), "{device}");
    }
    let bad_kind = YAML.replace("vendor.com/gpu", "gpu");
    assert!(matches!(Spec::parse(&bad_kind, Format::Yaml), Err(SpecError::Kind(_))));
}
