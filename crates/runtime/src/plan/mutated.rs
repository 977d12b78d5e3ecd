// SPDX-License-Identifier: Apache-2.0
//! Whatever a configuration says, planning answers: with a plan that keeps its promises, or with an error. The
//! configurations are those of real containers with a few values exchanged for others.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The real configurations.
fn originals() -> Vec<Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/golden");
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let specs = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    specs.map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
}

/// All places in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), found));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| places(field, &format!("{at}/{}", name.replace('/', "~1")), found));
        }
        _ => {}
    }
}

/// What a value is exchanged for.
fn replacement() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        any::<bool>().prop_map(|value| json!(value)),
        prop_oneof![Just(i64::MIN), Just(-1), Just(0), Just(i64::from(u32::MAX)), any::<i64>()].prop_map(|n| json!(n)),
        Just(json!(u64::MAX)),
        "[ -~]{0,12}".prop_map(|text| json!(text)),
        prop_oneof![
            Just(""),
            Just("/"),
            Just(".."),
            Just("/proc"),
            Just("/proc/self"),
            Just("a\0b"),
            Just("r"),
            Just("rro"),
            Just("bind"),
            Just("user"),
            Just("/dev/ptmx"),
            Just("\u{fffd}"),
            Just("../../etc"),
            Just("="),
            Just("0:0")
        ]
        .prop_map(|text| json!(text)),
    ]
}

#[derive(Debug, Clone)]
enum Change {
    Replace(Value),
    Remove,
    Repeat,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![4 => replacement().prop_map(Change::Replace), 1 => Just(Change::Remove), 1 => Just(Change::Repeat)]
}

fn apply(value: &mut Value, place: prop::sample::Index, change: Change) {
    let mut found = Vec::new();
    places(value, "", &mut found);
    let place = place.get(&found).clone();
    let (parent, key) = place.rsplit_once('/').unwrap_or_default();
    match (change, value.pointer_mut(parent)) {
        (Change::Replace(new), _) => *value.pointer_mut(&place).unwrap() = new,
        (Change::Remove, Some(Value::Object(fields))) => drop(fields.remove(&key.replace("~1", "/"))),
        (Change::Repeat, Some(Value::Array(items))) => {
            // The whole has no place in a list, even if it is one by now.
            let item = key.parse::<usize>().ok().and_then(|index| items.get(index)).cloned();
            items.extend(item);
        }
        _ => {}
    }
}

fn inputs() -> impl Strategy<Value = Inputs> {
    let caller = prop_oneof![
        Just(Caller::Root),
        Just(Caller::NamespaceRoot),
        Just(Caller::Unprivileged { uid: 1000, gid: 1000 })
    ];
    (any::<[bool; 11]>(), prop_oneof![Just(0), Just(3), any::<u32>()], any::<bool>(), caller).prop_map(
        |(flags, preserve_fds, v1, caller)| {
            let [rootfs, netns, terminal, waits_for_start, dies_with_parent, no_pivot, rest @ ..] = flags;
            let [no_new_keyring, apparmor, selinux, init, filter] = rest;
            let hierarchy = CgroupHierarchy { controllers: vec!["memory".into()], name: None };
            let hierarchies = if v1 { vec![hierarchy] } else { Vec::new() };
            let bundle = "/bundle".into();
            Inputs {
                bundle,
                rootfs,
                netns,
                filter,
                terminal,
                waits_for_start,
                init,
                dies_with_parent,
                no_pivot,
                preserve_fds,
                hierarchies,
                no_new_keyring,
                apparmor,
                selinux,
                caller,
            }
        },
    )
}

/// What every plan promises, whatever it was made from.
fn keeps_its_promises(plan: &Plan) {
    let position = |wanted: fn(&Operation) -> bool| plan.operations.iter().position(wanted);
    assert!(matches!(plan.operations.last(), Some(Operation::Execute(arguments)) if !arguments.is_empty()));
    // No path is looked up in the container by the process before it let go of the host's descriptors.
    let closed = position(|operation| matches!(operation, Operation::CloseDescriptors { .. })).unwrap();
    let directory = position(|operation| matches!(operation, Operation::WorkingDirectory(_))).unwrap();
    assert!(closed < directory);
    // Privileges are dropped after everything that needs them, and the filter comes after that.
    let user = position(|operation| matches!(operation, Operation::User { .. })).unwrap();
    assert!(directory < user);
    assert!(position(|operation| matches!(operation, Operation::Seccomp)).is_none_or(|filter| user < filter));
    // The host's root is left where there is a root of the container's own, after the last mount.
    let root = position(|operation| {
        matches!(
            operation,
            Operation::AttachRoot(_)
                | Operation::AttachRootInPlace(_)
                | Operation::AttachGivenRootAt(_)
                | Operation::CloneRoot(_)
        )
    });
    let left = position(|operation| {
        matches!(operation, Operation::PivotRoot | Operation::PivotRootFromPeers | Operation::ChangeRoot)
    });
    assert_eq!(root.is_some(), left.is_some());
    for (at, operation) in plan.operations.iter().enumerate() {
        if let Operation::Mount(mount) = operation {
            assert!(Some(at) > root && Some(at) < left);
            let inside = |part| matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_));
            assert!(mount.destination.components().all(inside) && mount.destination != Path::new("/"));
        }
        assert!(!operation.to_string().is_empty());
        serde_json::to_string(operation).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_configuration_is_planned_or_refused(
        original in prop::sample::select(originals()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 1..5),
        inputs in inputs(),
    ) {
        let mut config = original;
        changes.into_iter().for_each(|(place, change)| apply(&mut config, place, change));
        // What is no configuration at all is refused before planning.
        if let Ok(spec) = serde_json::from_value::<Spec>(config) {
            if let Ok(plan) = plan(&spec, &inputs) {
                keeps_its_promises(&plan);
            }
            if let Some(process) = spec.process()
                && let Ok(plan) = plan_exec(&spec, process, &inputs)
            {
                assert!(matches!(plan.operations.last(), Some(Operation::Execute(_))));
            }
        }
    }
}
