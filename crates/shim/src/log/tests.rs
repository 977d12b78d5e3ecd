// SPDX-License-Identifier: Apache-2.0
//! What is written can be read as JSON again, stays within its bound, and survives crashes and full disks.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    log: String,
    stream: String,
    time: String,
    #[serde(default)]
    attrs: std::collections::BTreeMap<String, String>,
}

fn entries(path: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn writer(dir: &Path, max_size: u64, max_files: u32) -> LogWriter {
    LogWriter::open(LogConfig { max_size, max_files, ..LogConfig::new(dir.join("log")) }).unwrap()
}

/// What a shim does with output that nobody else follows.
fn put(log: &mut LogWriter, stream: LogStream, bytes: &[u8]) {
    log.write(stream, bytes);
    log.flush();
}

#[test]
fn lines_are_logged_when_their_newline_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = writer(dir.path(), 0, 1);
    put(&mut log, LogStream::Stdout, b"one\ntw");
    put(&mut log, LogStream::Stderr, b"error \"\\\x01\x7f\t<&>\n");
    assert_eq!(entries(&path).len(), 2, "the line in progress waits");
    put(&mut log, LogStream::Stdout, b"o\nthree");
    log.end(LogStream::Stdout);
    log.end(LogStream::Stderr);
    let found: Vec<_> = entries(&path).into_iter().map(|e| (e.stream, e.log)).collect();
    let expected =
        [("stdout", "one\n"), ("stderr", "error \"\\\x01\x7f\t<&>\n"), ("stdout", "two\n"), ("stdout", "three")];
    assert_eq!(found, expected.map(|(s, l)| (s.to_owned(), l.to_owned())));
    assert!(entries(&path)[0].time.ends_with('Z') && entries(&path)[0].time.len() == 30);
}

#[test]
fn a_long_line_is_split_between_characters() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = writer(dir.path(), 0, 1);
    let line = format!("x{}\n", "€".repeat(20_000));
    put(&mut log, LogStream::Stdout, line.as_bytes());
    let exact = format!("{}\n", "y".repeat(MAX_PART));
    put(&mut log, LogStream::Stdout, exact.as_bytes());
    let found = entries(&dir.path().join("log"));
    let (last, parts) = found.split_last().unwrap();
    assert_eq!(last.log, exact, "16 KiB and a newline is one entry");
    assert!(parts.len() > 3 && parts.iter().all(|e| e.log.len() <= MAX_PART + 1));
    assert_eq!(parts.iter().map(|e| e.log.as_str()).collect::<String>(), line);
    assert_eq!(parts.iter().filter(|e| e.log.ends_with('\n')).count(), 1);
}

#[test]
fn rotation_keeps_the_newest_within_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = writer(dir.path(), 4096, 3);
    for number in 0..1000 {
        put(&mut log, LogStream::Stdout, format!("line {number}\n").as_bytes());
    }
    // A second run of the same container goes on in the same files.
    drop(log);
    let mut log = writer(dir.path(), 4096, 3);
    for number in 1000..1100 {
        put(&mut log, LogStream::Stdout, format!("line {number}\n").as_bytes());
    }
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["log", "log.1", "log.2"]);
    let mut numbers = Vec::new();
    for name in ["log.2", "log.1", "log"] {
        let path = dir.path().join(name);
        assert!(std::fs::metadata(&path).unwrap().len() <= 4096);
        numbers.extend(entries(&path).iter().map(|e| e.log.trim()["line ".len()..].parse::<u32>().unwrap()));
    }
    assert!(numbers.len() > 50);
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no gap");
    assert_eq!(numbers.last(), Some(&1099));
}

#[test]
fn one_batch_may_fill_several_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = writer(dir.path(), 1000, 100);
    let batch: String = (0..200).map(|n| format!("{n}\n")).collect();
    put(&mut log, LogStream::Stdout, batch.as_bytes());
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(files > 10);
    let mut all = String::new();
    for age in (0..files as u32).rev() {
        all.extend(entries(&log.files.aged(age)).into_iter().map(|e| e.log));
    }
    assert_eq!(all, batch);
}

#[test]
fn one_file_alone_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = writer(dir.path(), 1000, 1);
    for number in 0..100 {
        put(&mut log, LogStream::Stdout, format!("{number}\n").as_bytes());
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(entries(&dir.path().join("log")).last().unwrap().log, "99\n");
}

#[test]
fn half_an_entry_left_by_a_crash_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    put(&mut writer(dir.path(), 0, 1), LogStream::Stdout, b"whole\n");
    let path = dir.path().join("log");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&[b'z'; 3000]).unwrap();
    put(&mut writer(dir.path(), 0, 1), LogStream::Stdout, b"next\n");
    assert_eq!(entries(&path).iter().map(|e| e.log.as_str()).collect::<String>(), "whole\nnext\n");
}

#[test]
fn a_disk_that_refuses_is_counted_and_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = writer(dir.path(), 0, 1);
    put(&mut log, LogStream::Stdout, b"before\n");
    // /dev/full refuses every write with ENOSPC, as a full disk does.
    let real = log.files.file.replace(File::options().write(true).open("/dev/full").unwrap());
    put(&mut log, LogStream::Stdout, b"a\nb\n");
    assert_eq!(log.lost(), 2);
    assert!(log.failure().unwrap().contains("No space left"));
    log.files.file = real;
    put(&mut log, LogStream::Stdout, b"after\n");
    put(&mut log, LogStream::Stdout, b"last\n");
    assert_eq!((log.lost(), log.failure()), (2, None));
    let found: Vec<_> = entries(&path).into_iter().map(|e| e.log).collect();
    assert_eq!(found.len(), 4);
    assert!(found[1].starts_with("corten: 2 log lines were lost since ") && found[1].contains("No space left"));
    assert_eq!((found[0].as_str(), found[2].as_str(), found[3].as_str()), ("before\n", "after\n", "last\n"));
}

#[test]
fn a_log_that_cannot_be_rotated_does_not_grow() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = writer(dir.path(), 1000, 2);
    // A directory where the rotated file would go.
    std::fs::create_dir_all(dir.path().join("log.1/in the way")).unwrap();
    for number in 0..100 {
        put(&mut log, LogStream::Stdout, format!("{number}\n").as_bytes());
    }
    assert!(std::fs::metadata(dir.path().join("log")).unwrap().len() <= 1000);
    assert!(log.lost() > 50 && log.failure().is_some());
    std::fs::remove_dir_all(dir.path().join("log.1")).unwrap();
    put(&mut log, LogStream::Stdout, b"again\n");
    let found = entries(&dir.path().join("log"));
    assert!(found[0].log.contains("log lines were lost") && found[1].log == "again\n");
}

#[test]
fn attributes_come_before_the_time_as_in_docker() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let config = LogConfig { attrs: r#"{"tag":"a\"b"}"#.into(), ..LogConfig::new(&path) };
    put(&mut LogWriter::open(config).unwrap(), LogStream::Stderr, b"x\n");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(r#"{"log":"x\n","stream":"stderr","attrs":{"tag":"a\"b"},"time":"20"#), "{text}");
    assert_eq!(entries(&path)[0].attrs["tag"], "a\"b");
}

#[test]
fn lines_of_one_read_are_a_nanosecond_apart() {
    let dir = tempfile::tempdir().unwrap();
    put(&mut writer(dir.path(), 0, 1), LogStream::Stdout, "line\n".repeat(300).as_bytes());
    let times: Vec<String> = entries(&dir.path().join("log")).into_iter().map(|e| e.time).collect();
    assert!(times.len() == 300 && times.windows(2).all(|pair| pair[0] < pair[1] || pair[0].ends_with("999999999Z")));
}

/// What all files say together, oldest first, and their names.
fn everything(dir: &Path) -> (String, Vec<String>) {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let mut all = String::new();
    for name in names.iter().rev() {
        let mut text = String::new();
        let file = File::open(dir.join(name)).unwrap();
        match name.ends_with(".gz") {
            true => flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap(),
            false => { file }.read_to_string(&mut text).unwrap(),
        };
        let lines = text.lines().map(|line| serde_json::from_str::<Entry>(line).unwrap().log);
        all.extend(lines);
    }
    (all, names)
}

#[test]
fn older_files_are_compressed_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { compress: true, max_size: 4096, max_files: 4, ..LogConfig::new(dir.path().join("log")) };
    let mut log = LogWriter::open(config).unwrap();
    for number in 0..1000 {
        put(&mut log, LogStream::Stdout, format!("line {number}\n").as_bytes());
    }
    log.settle();
    let (all, names) = everything(dir.path());
    assert_eq!(names, ["log", "log.1.gz", "log.2.gz", "log.3.gz"]);
    let expected: String = (0..1000).map(|number| format!("line {number}\n")).collect();
    assert!(expected.ends_with(&all) && all.lines().count() > 100, "{}", all.lines().count());
}

#[test]
fn a_file_that_a_crash_left_uncompressed_moves_on_with_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { compress: true, max_size: 1000, max_files: 3, ..LogConfig::new(dir.path().join("log")) };
    put(&mut writer(dir.path(), 0, 1), LogStream::Stdout, "old\n".repeat(30).as_bytes());
    std::fs::rename(dir.path().join("log"), dir.path().join("log.1")).unwrap();
    std::fs::write(dir.path().join("log.1.gz.new"), "half").unwrap();
    let mut log = LogWriter::open(config).unwrap();
    put(&mut log, LogStream::Stdout, "new\n".repeat(20).as_bytes());
    log.settle();
    let (all, names) = everything(dir.path());
    assert_eq!(names, ["log", "log.1.gz", "log.2"], "and half a file is gone");
    assert_eq!(all, format!("{}{}", "old\n".repeat(30), "new\n".repeat(20)));
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_are_all_there(bytes in proptest::collection::vec(any::<u8>(), 0..3000), size in 1usize..500) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(dir.path(), 0, 1);
        bytes.chunks(size).for_each(|piece| put(&mut log, LogStream::Stdout, piece));
        log.end(LogStream::Stdout);
        let all: String = entries(&dir.path().join("log")).into_iter().map(|e| e.log).collect();
        prop_assert_eq!(all, String::from_utf8_lossy(&bytes));
    }
}
