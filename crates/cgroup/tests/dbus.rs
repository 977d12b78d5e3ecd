// SPDX-License-Identifier: Apache-2.0
//! Our D-Bus against Debian's: dbus-daemon, which cuts off whoever sends a malformed message, and dbus-monitor, which
//! prints what it reads. On a bus of the test's own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "tests start processes")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use cgroup::systemd::dbus::{Address, Bus, BusError, Kind, Message, Value};

const DRIVER: &str = "org.freedesktop.DBus";

const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>"#;

struct Daemon {
    dir: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    fn start() -> Daemon {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("bus.conf");
        std::fs::write(&config, CONFIG.replace("SOCKET", &dir.path().join("bus").to_string_lossy())).unwrap();
        let mut child = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Daemon { dir, child }
    }

    fn address(&self) -> Address {
        self.dir.path().join("bus").as_path().into()
    }

    fn connect(&self) -> Bus {
        Bus::connect(&self.address()).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn call(bus: &mut Bus, member: &str, body: Vec<Value>) -> Result<Vec<Value>, BusError> {
    bus.call(DRIVER, "/org/freedesktop/DBus", DRIVER, member, body)
}

#[test]
fn a_bus_lets_us_in_answers_and_refuses() {
    let daemon = Daemon::start();
    let mut bus = daemon.connect();
    assert!(bus.name().starts_with(":1."), "{}", bus.name());
    let names = call(&mut bus, "ListNames", Vec::new()).unwrap();
    let Value::Array(element, names) = &names[0] else { panic!("{names:?}") };
    assert_eq!(element, "s");
    assert!(names.contains(&Value::text(bus.name())) && names.contains(&Value::text(DRIVER)), "{names:?}");
    // A dictionary of variants, written by somebody else.
    let name = Value::text(bus.name());
    let credentials = call(&mut bus, "GetConnectionCredentials", vec![name]).unwrap();
    let Value::Array(_, entries) = &credentials[0] else { panic!("{credentials:?}") };
    let uid = Value::Entry(Box::new((
        Value::text("UnixUserID"),
        Value::Uint32(rustix::process::geteuid().as_raw()).in_variant(),
    )));
    assert!(entries.contains(&uid), "{entries:?}");
    let refused = call(&mut bus, "GetNameOwner", vec![Value::text("no.such.name")]).unwrap_err();
    assert!(matches!(&refused, BusError::Refused { name, .. } if name.ends_with("NameHasNoOwner")), "{refused}");
    // The connection outlives a refusal.
    call(&mut bus, "GetId", Vec::new()).unwrap();
}

#[test]
fn signals_come_through_even_while_an_answer_is_waited_for() {
    let daemon = Daemon::start();
    let (mut listener, mut speaker) = (daemon.connect(), daemon.connect());
    listener.add_match("type='signal',interface='org.example.Test'").unwrap();
    for number in [1, 2] {
        let signal = Message {
            path: "/org/example".into(),
            interface: "org.example.Test".into(),
            member: "Happened".into(),
            body: vec![Value::Uint32(number)],
            ..Message::new(Kind::Signal)
        };
        speaker.send(signal).unwrap();
    }
    // An answer from the bus to the speaker shows that it has passed the signals on.
    call(&mut speaker, "GetId", Vec::new()).unwrap();
    call(&mut listener, "GetId", Vec::new()).unwrap();
    let second = listener.wait_for("a signal", |message| message.body == [Value::Uint32(2)]).unwrap();
    assert_eq!((second.member.as_str(), second.sender.as_str()), ("Happened", speaker.name()));
}

#[test]
fn somebody_else_reads_what_we_write() {
    let daemon = Daemon::start();
    let mut monitor = Command::new("dbus-monitor")
        .args(["--address", &format!("unix:path={}", daemon.dir.path().join("bus").display()), "member=Test"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("dbus-monitor is installed");
    let mut lines = BufReader::new(monitor.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut bus = daemon.connect();
    let property = |name: &str, value: Value| Value::Struct(vec![Value::text(name), value.in_variant()]);
    let properties = vec![
        property("PIDs", Value::Array("u".into(), vec![Value::Uint32(7)])),
        property("MemoryMax", Value::Uint64(67_108_864)),
        property("Delegate", Value::Bool(true)),
        property("AllowedCPUs", Value::Array("y".into(), vec![Value::Byte(3)])),
        property(
            "DeviceAllow",
            Value::Array("(ss)".into(), vec![Value::Struct(vec![Value::text("/dev/null"), Value::text("rw")])]),
        ),
    ];
    let body = vec![
        Value::text("x.scope"),
        Value::Array("(sv)".into(), properties),
        Value::Array("(sa(sv))".into(), Vec::new()),
        Value::Int64(-5),
    ];
    let signal = || Message {
        path: "/org/example".into(),
        interface: "org.example.Test".into(),
        member: "Test".into(),
        body: body.clone(),
        ..Message::new(Kind::Signal)
    };
    // The monitor may not listen yet, and says nothing when it does.
    let printed = std::thread::spawn(move || {
        lines.find(|line| line.contains("member=Test")).unwrap();
        lines.map(|line| line.trim().to_owned()).take_while(|line| line != "int64 -5").collect::<Vec<_>>()
    });
    while !printed.is_finished() {
        bus.send(signal()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let printed = printed.join().unwrap().join(" ");
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    let expected = "string \"x.scope\" array [ struct { string \"PIDs\" variant array [ uint32 7 ] } struct { \
        string \"MemoryMax\" variant uint64 67108864 } struct { string \"Delegate\" variant boolean true } struct { \
        string \"AllowedCPUs\" variant array of bytes [ 03 ] } struct { string \"DeviceAllow\" variant array [ \
        struct { string \"/dev/null\" string \"rw\" } ] } ] array [ ]";
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(&printed), words(expected));
}

/// A peer without a bus, as systemd's private socket is one: it is asked who we are, and there is no Hello.
#[test]
fn a_peer_that_asks_for_nothing_but_the_kernels_word_is_spoken_to_directly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("private");
    let listener = UnixListener::bind(&path).unwrap();
    let peer = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut expect = |words: &[u8], answer: &[u8]| {
            let mut bytes = vec![0; words.len()];
            stream.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, words);
            stream.write_all(answer).unwrap();
        };
        expect(b"\0AUTH EXTERNAL\r\n", b"DATA\r\n");
        expect(b"DATA\r\n", b"OK 0123456789abcdef0123456789abcdef\r\n");
        expect(b"BEGIN\r\n", b"");
        let mut bus = Bus::accepted(stream, Address::Abstract(b"peer".to_vec()));
        let question = bus.receive("a call").unwrap();
        let answer = Message {
            reply_serial: question.serial,
            body: vec![Value::text(format!("{} {}", question.interface, question.member))],
            ..Message::new(Kind::Return)
        };
        bus.send(answer).unwrap();
    });
    let mut bus = Bus::connect_to_peer(&path.as_path().into()).unwrap();
    assert_eq!(bus.call("a.b", "/", "a.b", "Ask", Vec::new()).unwrap(), [Value::text("a.b Ask")]);
    peer.join().unwrap();
    let gone = bus.call("a.b", "/", "a.b", "Ask", Vec::new()).unwrap_err();
    assert!(matches!(gone, BusError::Socket { .. }), "{gone}");
}

#[test]
fn a_peer_that_rejects_us_or_talks_nonsense_is_an_error() {
    for (said, expected) in
        [(&b"REJECTED KERBEROS\r\n"[..], "REJECTED KERBEROS"), (b"OK x\r\nnonsensenonsense", "malformed")]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private");
        let listener = UnixListener::bind(&path).unwrap();
        let peer = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.write_all(said).unwrap();
            stream
        });
        let mut answer = Bus::connect_to_peer(&path.as_path().into());
        if let Ok(bus) = &mut answer {
            let error = bus.call("a.b", "/", "a.b", "Ask", Vec::new()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        } else {
            let error = answer.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        drop(peer.join().unwrap());
    }
}
