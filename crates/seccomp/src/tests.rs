// SPDX-License-Identifier: Apache-2.0
//! Compiled programs against a direct reading of the profile.

use std::collections::BTreeSet;

use oci::runtime_spec::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};
use proptest::prelude::*;

use crate::action::{ALLOW, ENOSYS, EPERM, ERRNO, KILL_PROCESS};
use crate::arch::Table;
use crate::args::Condition;
use crate::calls::Call;
use crate::*;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;
const X32: u32 = 0x4000_0000;
const FORBIDDEN: u32 = ERRNO | EPERM;
const ABSENT: u32 = ERRNO | ENOSYS;

/// Numbers that do not tell how new a call is.
fn apart(table: Table, number: u32) -> bool {
    match table {
        Table::Arm => (0xf_0000..0xf_0800).contains(&number),
        Table::X32 => (512..548).contains(&(number & !X32)),
        _ => false,
    }
}

/// Does this number mean a call of the other one of x86-64 and x32? No kernel from 5.4 on has it here.
fn is_the_siblings(data: &SeccompData) -> bool {
    let has = |table: Table, number: u32| table::CALLS.iter().any(|(_, n)| n[table.column()] == number as i32);
    let number = data.nr & !X32;
    match data.arch == X86_64 && data.nr < 0x8000_0000 {
        true if data.nr >= X32 => !has(Table::X32, number) && has(Table::X86_64, number),
        true => (512..548).contains(&number),
        false => false,
    }
}

/// What the profile says, rule by rule, with none of the compiler's structures.
struct Reading<'a> {
    profile: &'a LinuxSeccomp,
    /// For each table that counts, each rule's numbers, and the newest number named.
    tables: Vec<(Table, Vec<Vec<u32>>, Option<u32>)>,
}

impl Reading<'_> {
    fn new(profile: &LinuxSeccomp, native: Arch) -> Reading<'_> {
        let mut arches = profile.architectures().clone().unwrap_or_default();
        arches.push(native);
        arches.retain(|a| arch::family(native).contains(a));
        let numbers = |table: Table| {
            let rule = |rule: &LinuxSyscall| {
                rule.names().iter().filter_map(|n| Call::named(n)?.number(table)).collect::<Vec<u32>>()
            };
            let rules: Vec<Vec<u32>> = profile.syscalls().iter().flatten().map(rule).collect();
            let newest = rules.iter().flatten().copied().filter(|n| !apart(table, *n)).max();
            (table, rules, newest)
        };
        let mut tables: Vec<_> = arches.iter().filter_map(|a| Table::of(*a)).map(numbers).collect();
        // x86-64 and x32 count their calls together, so the newest of either is the newest of both.
        let both = |table: Table| matches!(table, Table::X86_64 | Table::X32);
        if tables.iter().any(|(table, _, _)| *table == Table::X32) {
            let newest = tables.iter().filter(|t| both(t.0)).filter_map(|t| t.2.map(|n| n & !X32)).max();
            for entry in tables.iter_mut().filter(|t| both(t.0)) {
                entry.2 = newest.map(|n| n | if entry.0 == Table::X32 { X32 } else { 0 });
            }
        }
        Reading { profile, tables }
    }

    fn answer(&self, data: &SeccompData) -> u32 {
        let profile = self.profile;
        let default = action::value(profile.default_action(), profile.default_errno_ret()).unwrap();
        let lists_x32 = self.tables.iter().any(|(t, _, _)| *t == Table::X32);
        let is_x32 = data.arch == X86_64 && data.nr >= X32 && (lists_x32 || data.nr != u32::MAX);
        let table = self.tables.iter().find(|(t, _, _)| t.audit() == data.arch && (*t == Table::X32) == is_x32);
        let Some((table, numbers, newest)) = table else { return KILL_PROCESS };
        for (rule, numbers) in profile.syscalls().iter().flatten().zip(numbers) {
            let args: Vec<&LinuxSeccompArg> = rule.args().iter().flatten().collect();
            let holds = |arg: &&LinuxSeccompArg| Condition::of(arg).unwrap().test.holds(data.args[arg.index()]);
            let indices: BTreeSet<usize> = args.iter().map(|arg| arg.index()).collect();
            let alternatives = indices.len() < args.len();
            if numbers.contains(&data.nr) && if alternatives { args.iter().any(holds) } else { args.iter().all(holds) }
            {
                return action::value(rule.action(), rule.errno_ret()).unwrap();
            }
        }
        let is_newer = newest.is_some_and(|newest| data.nr > newest && !apart(*table, data.nr));
        if is_newer && default & 0xffff_0000 == ERRNO && default != ABSENT { ABSENT } else { default }
    }
}

fn caps(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn call(nr: u32, arch: u32, args: [u64; 6]) -> SeccompData {
    SeccompData { nr, arch, instruction_pointer: 0x7fff_1234_5678, args }
}

/// All numbers of interest on all architectures, each with these arguments.
fn every_call(args: [u64; 6]) -> impl Iterator<Item = SeccompData> {
    let numbers = (0..600).chain([
        0xf_0000,
        0xf_0001,
        0xf_0005,
        0xf_0006,
        0xf_07ff,
        0xf_0800,
        0xffff_fffe,
        u32::MAX,
        X32 - 1,
        0x8000_0000,
    ]);
    let numbers = numbers.chain((0..600).map(|n| n | X32));
    numbers.flat_map(move |nr| [X86_64, X86, AARCH64, ARM, 0x1234].map(|arch| call(nr, arch, args)))
}

fn assert_agrees(profile: &LinuxSeccomp, native: Arch, program: &Program, args: [u64; 6]) {
    let reading = Reading::new(profile, native);
    for data in every_call(args) {
        let (answer, _) = simulate(program, &data);
        if answer != reading.answer(&data) {
            let sibling = SeccompData { nr: data.nr ^ X32, ..data };
            assert!(is_the_siblings(&data), "{answer:x} for {data:x?}");
            assert_eq!(answer, reading.answer(&sibling), "{data:x?}");
        }
    }
}

const CONTAINER_CAPS: [&str; 4] = ["CAP_CHOWN", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD"];

fn default_program(capabilities: &[&str]) -> Program {
    let profile = default_profile_for(Arch::ScmpArchX86_64, &caps(capabilities), (6, 18));
    compile(&profile, Arch::ScmpArchX86_64).unwrap()
}

fn answer(program: &Program, name: &str, args: [u64; 6]) -> u32 {
    let number = Call::named(name).unwrap().number(Table::X86_64).unwrap();
    simulate(program, &call(number, X86_64, args)).0
}

#[test]
fn the_default_profile_compiles_to_what_it_says() {
    let interesting = [
        [0; 6],
        [38, 0, 0, 0, 0, 0],
        [40, 1, 2, 3, 4, 5],
        [0x1_0000_0028, 0, 0, 0, 0, 0],
        [0x0002_0008, 0, 0, 0, 0, 0],
        [0xffff_ffff, 0, 0, 0, 0, 0],
        [u64::MAX; 6],
        [0x1000_0000, 0, 0, 0, 0, 0],
        [0x1_0000_0000, 0, 0, 0, 0, 0],
    ];
    for native in [Arch::ScmpArchX86_64, Arch::ScmpArchAarch64] {
        for capabilities in [vec![], CONTAINER_CAPS.to_vec(), vec!["CAP_SYS_ADMIN"], vec!["CAP_BPF", "CAP_SYS_TIME"]] {
            let profile = default_profile_for(native, &caps(&capabilities), (6, 18));
            let program = compile(&profile, native).unwrap();
            assert!(program.unknown_calls.is_empty(), "{:?}", program.unknown_calls);
            for args in interesting {
                assert_agrees(&profile, native, &program, args);
            }
        }
    }
}

#[test]
fn the_default_program_is_short_and_quick() {
    let program = default_program(&CONTAINER_CAPS);
    let steps = |name: &str| {
        let number = Call::named(name).unwrap().number(Table::X86_64).unwrap();
        let (answer, steps) = simulate(&program, &call(number, X86_64, [0; 6]));
        assert_eq!(answer, ALLOW, "{name}");
        steps
    };
    let common = ["read", "write", "close", "futex", "openat", "mmap", "epoll_wait", "clone", "execve", "newfstatat"];
    let counted: Vec<(&str, usize)> = common.map(|name| (name, steps(name))).to_vec();
    println!("{} instructions; steps: {counted:?}", program.instructions.len());
    assert!(program.instructions.len() <= 165, "{} instructions", program.instructions.len());
    for (name, steps) in counted {
        assert!(steps <= 14, "{name} takes {steps} steps");
    }
    let slowest = every_call([0; 6]).map(|data| simulate(&program, &data).1).max().unwrap();
    assert!(slowest <= 20, "{slowest} steps");
}

#[test]
fn forbidden_calls_fail_and_capabilities_unlock_them() {
    let plain = default_program(&CONTAINER_CAPS);
    for name in
        ["mount", "unshare", "bpf", "keyctl", "add_key", "kexec_load", "reboot", "io_uring_setup", "userfaultfd"]
    {
        assert_eq!(answer(&plain, name, [0; 6]), FORBIDDEN, "{name}");
    }
    for name in ["read", "ptrace", "chroot", "landlock_create_ruleset", "seccomp", "uretprobe", "removexattrat"] {
        assert_eq!(answer(&plain, name, [0; 6]), ALLOW, "{name}");
    }
    let admin = default_program(&["CAP_SYS_ADMIN"]);
    for name in ["mount", "unshare", "bpf", "setns", "clone3", "fsopen"] {
        assert_eq!(answer(&admin, name, [0; 6]), ALLOW, "{name}");
    }
    assert_eq!(answer(&admin, "keyctl", [0; 6]), FORBIDDEN, "no capability unlocks it");
    assert_eq!(answer(&default_program(&["CAP_BPF"]), "bpf", [0; 6]), ALLOW);
    assert_eq!(answer(&default_program(&["CAP_SYS_BOOT"]), "reboot", [0; 6]), ALLOW);
    assert_eq!(answer(&default_program(&["CAP_SYS_TIME"]), "settimeofday", [0; 6]), ALLOW);
}

#[test]
fn ptrace_is_forbidden_before_4_8() {
    let profile = default_profile_for(Arch::ScmpArchX86_64, &caps(&[]), (4, 7));
    let program = compile(&profile, Arch::ScmpArchX86_64).unwrap();
    assert_eq!(answer(&program, "ptrace", [0; 6]), FORBIDDEN);
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let program = default_program(&CONTAINER_CAPS);
    for number in [467, 469, 470, 599, 0x3fff_ffff] {
        assert_eq!(simulate(&program, &call(number, X86_64, [0; 6])).0, ABSENT, "{number}");
    }
    assert_eq!(simulate(&program, &call(599, X86, [0; 6])).0, ABSENT);
    assert_eq!(simulate(&program, &call(599 | X32, X86_64, [0; 6])).0, ABSENT);
    assert_eq!(answer(&program, "clone3", [0; 6]), ABSENT);
}

/// Every number of every table, without the reading that the other tests share: what the profile names is answered by a
/// rule, a number below the newest that it names is forbidden, one above does not exist.
#[test]
fn every_number_of_every_table_is_allowed_forbidden_or_absent() {
    for (native, others) in [
        (Arch::ScmpArchX86_64, &[Table::X86_64, Table::X86, Table::X32][..]),
        (Arch::ScmpArchAarch64, &[Table::Aarch64, Table::Arm]),
    ] {
        let profile = default_profile_for(native, &caps(&CONTAINER_CAPS), (6, 18));
        let program = compile(&profile, native).unwrap();
        for table in others {
            let mut unconditional = BTreeSet::new();
            let mut named = BTreeSet::new();
            for rule in profile.syscalls().iter().flatten() {
                let numbers = rule.names().iter().filter_map(|name| Call::named(name)?.number(*table));
                let allows = rule.action() == oci::runtime_spec::LinuxSeccompAction::ScmpActAllow;
                let plain = allows && rule.args().as_ref().is_none_or(Vec::is_empty);
                numbers.for_each(|number| {
                    named.insert(number);
                    if plain {
                        unconditional.insert(number);
                    }
                });
            }
            let newest = *named.iter().filter(|number| !apart(*table, **number)).max().unwrap();
            let mut counts = [0; 3];
            for number in (0..1024).map(|number| number + table.base()) {
                // The two of the x86 family that share a tree answer for each other where only one has a number.
                let data = call(number, table.audit(), [0; 6]);
                if is_the_siblings(&data) {
                    continue;
                }
                let answer = simulate(&program, &data).0;
                if unconditional.contains(&number) {
                    counts[0] += 1;
                    assert_eq!(answer, ALLOW, "{table:?} {number}");
                } else if !named.contains(&number) && number > newest && !apart(*table, number) {
                    counts[1] += 1;
                    assert_eq!(answer, ABSENT, "{table:?} {number}");
                } else if !named.contains(&number) {
                    counts[2] += 1;
                    assert_eq!(answer, FORBIDDEN, "{table:?} {number}");
                }
            }
            assert!(counts.iter().all(|count| *count > 20), "{table:?}: {counts:?}");
        }
    }
}

#[test]
fn flags_are_those_that_the_kernel_takes_together() {
    let flags = |flags: &str, action: &str| {
        let text = format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "flags": [{flags}], "syscalls": [{{"names": ["mkdir"], "action": "{action}"}}]}}"#
        );
        compile(&serde_json::from_str(&text).unwrap(), Arch::ScmpArchX86_64).unwrap().flags
    };
    const ALL: &str = r#""SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV""#;
    assert_eq!(flags(ALL, "SCMP_ACT_LOG"), 1 | 2 | 4);
    assert_eq!(flags(ALL, "SCMP_ACT_NOTIFY"), 1 | 2 | 4 | 8 | 16 | 32);
    assert_eq!(flags("", "SCMP_ACT_NOTIFY"), 8);
}

#[test]
fn arguments_of_clone_socket_and_personality() {
    let program = default_program(&CONTAINER_CAPS);
    let first = |value: u64| [value, 0, 0, 0, 0, 0];
    assert_eq!(answer(&program, "clone", first(0x003d_0f00)), ALLOW, "a thread");
    for namespace in [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        assert_eq!(answer(&program, "clone", first(namespace | 17)), FORBIDDEN, "{namespace:x}");
    }
    for family in 0..48 {
        let wanted = if matches!(family, 38 | 40) { FORBIDDEN } else { ALLOW };
        assert_eq!(answer(&program, "socket", first(family)), wanted, "family {family}");
        assert_eq!(answer(&program, "socket", first(family | 7 << 32)), wanted, "family {family} with a high word");
    }
    for (domain, wanted) in [(0, ALLOW), (8, ALLOW), (0x2_0008, ALLOW), (0x0004_0000, FORBIDDEN), (0xffff_ffff, ALLOW)]
    {
        assert_eq!(answer(&program, "personality", first(domain)), wanted, "{domain:x}");
    }
}

#[test]
fn x32_and_x86_64_agree_on_every_number_that_both_have() {
    for (name, numbers) in table::CALLS {
        let [native, _, x32, _, _] = *numbers;
        assert!(x32 == table::NONE || (512..548).contains(&x32) || x32 == native, "{name}");
        assert!(!(512..548).contains(&native), "{name}");
    }
}

#[test]
fn a_foreign_architecture_ends_the_process() {
    let program = default_program(&[]);
    assert_eq!(simulate(&program, &call(0, AARCH64, [0; 6])).0, KILL_PROCESS);
    let only_native: LinuxSeccomp = serde_json::from_str(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
    let program = compile(&only_native, Arch::ScmpArchX86_64).unwrap();
    assert_eq!(simulate(&program, &call(0, X86_64, [0; 6])).0, ALLOW);
    assert_eq!(simulate(&program, &call(X32, X86_64, [0; 6])).0, KILL_PROCESS);
    assert_eq!(simulate(&program, &call(3, X86, [0; 6])).0, KILL_PROCESS);
}

#[test]
fn the_first_rule_that_holds_decides_and_all_conditions_must() {
    let profile: LinuxSeccomp = serde_json::from_str(
        r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [
                {"index": 0, "value": 3, "op": "SCMP_CMP_GE"}, {"index": 1, "value": 9, "op": "SCMP_CMP_LT"},
                {"index": 2, "value": 4294967296, "op": "SCMP_CMP_GT"}]},
            {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}"#,
    )
    .unwrap();
    let program = compile(&profile, Arch::ScmpArchX86_64).unwrap();
    assert_eq!(program.flags, 2 | 8);
    assert_eq!(program.unknown_calls, ["no_such_call"]);
    assert_eq!(answer(&program, "read", [3, 0, 1 << 33, 0, 0, 0]), ERRNO | 5);
    assert_eq!(answer(&program, "read", [2, 0, 1 << 33, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&program, "read", [3, 9, 1 << 33, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&program, "read", [3, 0, 1 << 32, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&program, "close", [0; 6]), KILL_PROCESS, "a default that is no error stays as it is");
}

/// As runc and crun take them: otherwise this rule would never hold, and forbid nothing.
#[test]
fn conditions_on_one_argument_are_alternatives() {
    let profile: LinuxSeccomp = serde_json::from_str(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 12, "op": "SCMP_CMP_EQ"},
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#,
    )
    .unwrap();
    let program = compile(&profile, Arch::ScmpArchX86_64).unwrap();
    for (pid, signal, expected) in [(7, 10, FORBIDDEN), (7, 12, FORBIDDEN), (7, 11, ALLOW), (1, 11, FORBIDDEN)] {
        assert_eq!(answer(&program, "kill", [pid, signal, 0, 0, 0, 0]), expected, "kill({pid}, {signal})");
    }
}

#[test]
fn profiles_that_make_no_sense_are_refused() {
    let compiled = |rules: &str| {
        let text = format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{rules}]}}"#);
        compile(&serde_json::from_str(&text).unwrap(), Arch::ScmpArchX86_64)
    };
    let errno = r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096}"#;
    assert!(matches!(compiled(errno), Err(CompileError::ReturnValue { value: 4096, .. })));
    let index =
        r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#;
    assert!(matches!(compiled(index), Err(CompileError::Argument { index: 6, .. })));
    let long: Vec<String> = (0..3000)
        .map(|i| {
            format!(
                r#"{{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
                    {{"index": 0, "value": {i}, "op": "SCMP_CMP_EQ"}}, {{"index": 1, "value": {i}, "op": "SCMP_CMP_EQ"}}]}}"#
            )
        })
        .collect();
    assert!(matches!(compiled(&long.join(",")), Err(CompileError::TooLong(n)) if n > 4096));
    assert!(matches!(compile(&LinuxSeccomp::default(), Arch::ScmpArchMips), Err(CompileError::Architecture(_))));
}

#[test]
fn long_programs_jump_over_more_than_8_bits() {
    // Different error numbers for neighbouring calls: every call is a run of its own.
    let rule = |(i, name): (usize, &&str)| {
        format!(r#"{{"names": ["{name}"], "action": "SCMP_ACT_ERRNO", "errnoRet": {}}}"#, i + 100)
    };
    let names: Vec<&str> = table::CALLS.iter().map(|(name, _)| *name).collect();
    let rules: Vec<String> = names.iter().enumerate().map(rule).collect();
    let text = format!(
        r#"{{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": [{}]}}"#,
        rules.join(",")
    );
    let profile: LinuxSeccomp = serde_json::from_str(&text).unwrap();
    let program = compile(&profile, Arch::ScmpArchX86_64).unwrap();
    assert!(program.instructions.len() > 1000);
    assert_agrees(&profile, Arch::ScmpArchX86_64, &program, [0; 6]);
}

#[test]
fn dockers_file_format() {
    let text = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_FUTURE"]}],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "x", "includes": {}, "excludes": {}},
            {"name": "close", "action": "SCMP_ACT_ALLOW", "args": null},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
            {"names": ["set_tls"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm", "arm64"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}}]}"#;
    let names = |capabilities: &[&str], kernel| {
        let profile = parse_docker_profile_for(Arch::ScmpArchX86_64, text, &caps(capabilities), kernel).unwrap();
        assert_eq!(profile.architectures().as_deref(), Some(&[Arch::ScmpArchX86_64, Arch::ScmpArchX86][..]));
        compile(&profile, Arch::ScmpArchX86_64).unwrap();
        let rules = profile.syscalls().clone().unwrap();
        rules.iter().flat_map(|rule| rule.names().clone()).collect::<Vec<String>>().join(" ")
    };
    assert_eq!(names(&[], (6, 1)), "read write close clone3 arch_prctl ptrace");
    assert_eq!(names(&["CAP_SYS_ADMIN"], (4, 7)), "read write close mount arch_prctl");
    let error = |text: &str| parse_docker_profile(text, &caps(&[]), (6, 1)).unwrap_err();
    assert!(matches!(error("[]"), ProfileError::Json(_)));
    assert!(matches!(
        error(r#"{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#),
        ProfileError::NoDefault
    ));
    let both =
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_LOG"}]}"#;
    assert!(matches!(error(both), ProfileError::Names(name) if name == "a"));
    let nothing = parse_docker_profile("{}", &caps(&[]), (6, 1)).unwrap();
    assert_eq!(simulate(&compile(&nothing, Arch::ScmpArchX86_64).unwrap(), &call(1, X86, [0; 6])).0, ALLOW);
}

fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..50,
        any::<u64>(),
        any::<u32>().prop_map(u64::from),
        (0u32..64).prop_map(|bit| 1 << bit),
        (0u32..64).prop_map(|bits| u64::MAX << bits),
        (0u32..33).prop_map(|bits| u64::from(u32::MAX) >> bits ^ u64::from(u32::MAX)),
        Just(u64::from(u32::MAX)),
        Just(u64::MAX),
    ]
}

fn any_condition() -> impl Strategy<Value = serde_json::Value> {
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    (0usize..2, any_value(), any_value(), proptest::sample::select(operators.to_vec()), any::<bool>()).prop_map(
        |(index, value, two, op, fits)| {
            let two = if fits { two & value } else { two };
            serde_json::json!({"index": index, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{op}")})
        },
    )
}

fn any_rule() -> impl Strategy<Value = serde_json::Value> {
    let actions = ["ALLOW", "ERRNO", "KILL_PROCESS", "KILL_THREAD", "KILL", "TRAP", "TRACE", "LOG", "NOTIFY"];
    let names: Vec<&'static str> = table::CALLS.iter().map(|(name, _)| *name).collect();
    let few = vec!["read", "write", "socket"];
    let names = prop_oneof![
        proptest::collection::vec(proptest::sample::select(names), 1..60),
        proptest::collection::vec(proptest::sample::select(few), 1..2),
    ];
    (names, proptest::sample::select(actions.to_vec()), proptest::option::of(0u32..4096), proptest::collection::vec(any_condition(), 0..4))
        .prop_map(|(names, action, errno, args)| {
            serde_json::json!({"names": names, "action": format!("SCMP_ACT_{action}"), "errnoRet": errno, "args": args})
        })
}

fn any_profile() -> impl Strategy<Value = serde_json::Value> {
    let defaults = ["ERRNO", "ALLOW", "KILL_PROCESS", "TRAP"];
    (proptest::sample::select(defaults.to_vec()), proptest::option::of(0u32..40), proptest::collection::vec(any_rule(), 0..8))
        .prop_map(|(default, errno, rules)| {
            serde_json::json!({"defaultAction": format!("SCMP_ACT_{default}"), "defaultErrnoRet": errno,
                "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_MIPS"], "syscalls": rules})
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_profiles_compile_to_what_they_say(
        json in any_profile(),
        arguments in proptest::collection::vec((any_value(), any_value()), 1..4),
        arm in any::<bool>(),
    ) {
        let profile: LinuxSeccomp = serde_json::from_value(json).unwrap();
        let native = if arm { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 };
        let program = compile(&profile, native).unwrap();
        for (a, b) in arguments {
            assert_agrees(&profile, native, &program, [a, b, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn conditions_hold_at_their_edges(rules in proptest::collection::vec(any_rule(), 1..4)) {
        let rules: Vec<_> = rules.into_iter().map(|mut rule| { rule["names"] = serde_json::json!(["read"]); rule }).collect();
        let json = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules});
        let profile: LinuxSeccomp = serde_json::from_value(json.clone()).unwrap();
        let program = compile(&profile, Arch::ScmpArchX86_64).unwrap();
        let reading = Reading::new(&profile, Arch::ScmpArchX86_64);
        let mut values = vec![0, u64::MAX, u64::from(u32::MAX), 1 << 32];
        for arg in rules.iter().flat_map(|r| r["args"].as_array().unwrap()) {
            for value in [arg["value"].as_u64().unwrap(), arg["valueTwo"].as_u64().unwrap()] {
                values.extend([value, value.wrapping_sub(1), value.wrapping_add(1), value ^ 1 << 32, value | 1 << 40]);
            }
        }
        values.sort_unstable();
        values.dedup();
        values.truncate(40);
        for &a in &values {
            for &b in &values {
                let data = call(0, X86_64, [a, b, 0, 0, 0, 0]);
                prop_assert_eq!(simulate(&program, &data).0, reading.answer(&data), "{:x?}", data);
            }
        }
    }

    #[test]
    fn a_profile_file_never_panics(text in ".{0,200}", json in any_profile(), cut in any::<prop::sample::Index>()) {
        drop(parse_docker_profile(&text, &caps(&[]), (6, 1)));
        let whole = json.to_string();
        parse_docker_profile(&whole, &caps(&[]), (6, 1)).unwrap();
        let end = cut.index(whole.len());
        drop(parse_docker_profile(whole.get(..end).unwrap_or(""), &caps(&[]), (6, 1)));
        let mut bytes = whole.into_bytes();
        bytes[end] ^= 0x15;
        drop(parse_docker_profile(&String::from_utf8_lossy(&bytes), &caps(&[]), (6, 1)));
    }
}
