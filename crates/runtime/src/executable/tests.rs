// SPDX-License-Identifier: Apache-2.0
//! What is said about files that cannot be executed.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn file(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn executed(path: &Path) -> ExecutableError {
    let c_path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let list = sys::exec::StringList::new(vec![c_path.clone()]);
    diagnose(path.as_os_str(), sys::exec::execve(&c_path, &list, &sys::exec::StringList::default()))
}

/// A minimal 64-bit little-endian ELF header for `machine`, with an interpreter when given.
fn elf(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
    let mut head = vec![0; 64];
    head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    head[16..18].copy_from_slice(&2_u16.to_le_bytes());
    head[18..20].copy_from_slice(&machine.to_le_bytes());
    head[20] = 1;
    head[32..40].copy_from_slice(&64_u64.to_le_bytes());
    head[54..56].copy_from_slice(&56_u16.to_le_bytes());
    if let Some(interpreter) = interpreter {
        head[56..58].copy_from_slice(&1_u16.to_le_bytes());
        let mut header = vec![0; 56];
        header[..4].copy_from_slice(&3_u32.to_le_bytes());
        header[8..16].copy_from_slice(&120_u64.to_le_bytes());
        let length = interpreter.len() as u64 + 1;
        header[32..40].copy_from_slice(&length.to_le_bytes());
        header[40..48].copy_from_slice(&length.to_le_bytes());
        head.extend(header);
        head.extend(interpreter.bytes());
        head.push(0);
    }
    head
}

#[test]
fn the_first_executable_in_path_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("1"), dir.path().join("2"));
    fs::create_dir_all(first.join("tool")).unwrap();
    fs::create_dir(&second).unwrap();
    let path = format!("{}:{}", first.display(), second.display());
    assert!(matches!(find("tool", Some(&path)), Err(ExecutableError::Directory { .. })));
    let tool = file(&second, "tool", b"#!/bin/sh\n", 0o755);
    assert_eq!(find("tool", Some(&path)).unwrap().as_bytes(), tool.as_os_str().as_bytes());
}

#[test]
fn what_is_missing_and_what_is_forbidden_have_their_own_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_string_lossy().into_owned();
    let missing = find("no-such", Some(&path)).unwrap_err();
    assert_eq!(missing.kind(), Kind::CommandNotFound);
    assert!(missing.to_string().contains(&path));
    assert_eq!(find("/no/such", None).unwrap_err().kind(), Kind::CommandNotFound);
    file(dir.path(), "plain", b"x", 0o644);
    assert!(matches!(find("plain", Some(&path)), Err(ExecutableError::Denied { .. })));
    assert_eq!(find("plain", Some(&path)).unwrap_err().kind(), Kind::NotExecutable);
}

#[test]
fn a_failed_execve_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let other = if NATIVE_MACHINE == 183 { 62 } else { 183 };
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("foreign", elf(other, None), "is made for"),
        ("text", b"hello\n".to_vec(), "neither a program nor a script"),
        ("script", b"#! /no/such/interpreter -x\n".to_vec(), "interpreter \"/no/such/interpreter\""),
        ("windows", b"#!/bin/sh\r\necho\r\n".to_vec(), "carriage return"),
        ("dynamic", elf(NATIVE_MACHINE, Some("/lib/ld-none.so")), "interpreter \"/lib/ld-none.so\""),
        ("empty", Vec::new(), "neither a program nor a script"),
    ];
    for (name, bytes, expected) in cases {
        let path = file(dir.path(), name, &bytes, 0o755);
        let text = executed(&path).to_string();
        assert!(text.contains(expected), "{name}: {text}");
    }
}

#[test]
fn garbage_headers_are_no_panic() {
    for length in 0..130 {
        let mut bytes = elf(62, Some("/x"));
        bytes.truncate(length);
        interpreter(&bytes);
        let mut huge = elf(62, Some("/x"));
        huge[32..40].fill(0xff);
        interpreter(&huge);
    }
}
