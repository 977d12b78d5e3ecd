// SPDX-License-Identifier: Apache-2.0
//! Networks and published ports, from inside, from the host and from beyond it.

use std::net::{IpAddr, Ipv4Addr};

use end_to_end::network::{self, address, serve};
use testkit::Daemon;
use testkit::internet::{HOST, ROUTER, get, get_soon};

#[test]
fn a_container_on_the_bridge_has_an_address_and_a_gateway() {
    network::a_container_on_the_bridge_has_an_address_and_a_gateway();
}

#[test]
fn a_published_port_is_reachable_from_the_host() {
    network::a_published_port_is_reachable_from_the_host();
}

#[test]
fn egress_is_masqueraded_and_names_are_resolved() {
    let daemon = Daemon::builder().internet().start();
    daemon.import_busybox();
    let seen = daemon.ok(&["run", "--rm", "busybox", "wget", "-qO-", "http://a.name.example/whoami"]);
    assert_eq!(seen, HOST.to_string());
    assert_eq!(daemon.internet().visitors(), [IpAddr::V4(HOST)]);
}

#[test]
fn a_published_port_is_reachable_from_beyond_and_shows_who_asks() {
    let daemon = Daemon::builder().internet().start();
    daemon.import_busybox();
    serve(&daemon, "web", &["-p", "8080:80"], "hello beyond");
    let beyond = daemon.internet().sandbox();
    assert_eq!(get_soon(beyond, (HOST, 8080), "/").body, "hello beyond\n");
    assert_eq!(get_soon(daemon.sandbox(), (HOST, 8080), "/").body, "hello beyond\n", "the host's own outer address");
    // Who asks is not hidden behind the bridge: the connection's other end is the router's address.
    let script = "nc -l -p 81 -e sh -c 'cat /proc/net/tcp /proc/net/tcp6' ; sleep 60";
    daemon.ok(&["run", "-d", "--name", "peer", "-p", "8081:81", "busybox", "sh", "-c", script]);
    let row = get_soon_raw(&daemon, 8081);
    let router = u32::from_le_bytes(ROUTER.octets());
    assert!(row.contains(&format!("{router:08X}:")), "{row}");
    assert_eq!(get(beyond, (HOST, 80), "/"), None, "a port nobody published");
}

/// What a TCP service beyond a published port says, asked from beyond.
fn get_soon_raw(daemon: &Daemon, port: u16) -> String {
    use std::io::Read;
    daemon.internet().sandbox().run(move || {
        for _ in 0..1000 {
            if let Ok(mut stream) = std::net::TcpStream::connect((HOST, port)) {
                let mut text = String::new();
                stream.read_to_string(&mut text).expect("an answer");
                return text;
            }
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
        panic!("nobody answers at port {port}");
    })
}

#[test]
fn a_port_published_on_one_address_answers_only_there() {
    let daemon = Daemon::builder().internet().start();
    daemon.import_busybox();
    serve(&daemon, "local", &["-p", "127.0.0.1:8080:80"], "for the host alone");
    assert_eq!(get_soon(daemon.sandbox(), (Ipv4Addr::LOCALHOST, 8080), "/").status, 200);
    assert_eq!(get(daemon.internet().sandbox(), (HOST, 8080), "/"), None);
}

#[test]
fn a_port_without_a_host_port_gets_a_free_one_that_inspect_and_ps_show() {
    let daemon = Daemon::with_busybox();
    serve(&daemon, "web", &["-p", "80"], "anywhere");
    let ports = &daemon.inspect("web")["NetworkSettings"]["Ports"]["80/tcp"];
    let port: u16 = ports[0]["HostPort"].as_str().unwrap_or_default().parse().unwrap_or_else(|_| panic!("{ports}"));
    assert_eq!(get_soon(daemon.sandbox(), (Ipv4Addr::LOCALHOST, port), "/").body, "anywhere\n");
    let list = daemon.ok(&["ps"]);
    assert!(list.contains(&format!("{port}->80/tcp")), "{list}");
}

#[test]
fn a_udp_port_is_published() {
    let daemon = Daemon::with_busybox();
    // The busybox of the distribution speaks no UDP: the echo is a program of these tests.
    let bind = format!("{}:/udp_echo:ro", env!("CARGO_BIN_EXE_udp_echo"));
    daemon.ok(&["run", "-d", "--name", "udp", "-v", &bind, "-p", "5353:53/udp", "busybox", "/udp_echo", "53"]);
    let heard = daemon.sandbox().run(|| {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("a timeout");
        let mut buffer = [0; 64];
        for _ in 0..50 {
            socket.send_to(b"hello", (Ipv4Addr::LOCALHOST, 5353)).expect("it is sent");
            if let Ok(length) = socket.recv(&mut buffer) {
                return String::from_utf8_lossy(&buffer[..length]).into_owned();
            }
        }
        String::new()
    });
    assert_eq!(heard, "hello");
}

#[test]
fn no_network_is_loopback_alone_and_the_hosts_is_the_hosts() {
    let daemon = Daemon::builder().internet().start();
    daemon.import_busybox();
    let none = daemon.ok(&["run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"]);
    assert_eq!(none, "lo");
    let ping = daemon.ok(&["run", "--rm", "--network", "none", "busybox", "ping", "-c1", "127.0.0.1"]);
    assert!(ping.contains("1 packets received"), "loopback is down: {ping}");
    let host = daemon.ok(&["run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net"]);
    assert_eq!(host, daemon.sandbox().namespaces()[0].to_string_lossy());
    let route = daemon.ok(&["run", "--rm", "--network", "host", "busybox", "ip", "route"]);
    assert!(route.contains("wan0"), "{route}");
}

#[test]
fn rules_of_others_are_left_as_they_are() {
    let daemon = Daemon::with_busybox();
    let nft = |daemon: &Daemon, arguments: &'static [&'static str]| {
        daemon.sandbox().run(move || {
            let output = testkit::process::command("nft").args(arguments).output().expect("nft is installed");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    };
    nft(
        &daemon,
        &[
            "add table inet theirs; add chain inet theirs in { type filter hook input priority 0; }; add rule inet theirs in counter",
        ],
    );
    let before = nft(&daemon, &["-s", "list", "table", "inet", "theirs"]);
    serve(&daemon, "web", &["-p", "8080:80"], "x");
    let tables = daemon.sandbox().tables();
    assert_eq!(tables.len(), 2, "one table of ours and one of theirs: {tables:?}");
    assert_eq!(nft(&daemon, &["-s", "list", "table", "inet", "theirs"]), before);
    daemon.ok(&["rm", "-f", "web"]);
    assert_eq!(nft(&daemon, &["-s", "list", "table", "inet", "theirs"]), before);
    nft(&daemon, &["delete table inet theirs"]);
}

#[test]
fn a_hundred_ports_cost_one_rule_and_one_table() {
    let daemon = Daemon::with_busybox();
    let published: Vec<String> = (0..100).map(|n| format!("{}:{}", 9000 + n, 80 + n)).collect();
    let mut flags = Vec::new();
    for port in &published {
        flags.extend(["-p", port.as_str()]);
    }
    serve(&daemon, "many", &["-p", "8080:80"], "x");
    let one = rules(&daemon);
    daemon.ok(&["rm", "-f", "many"]);
    serve(&daemon, "many", &flags, "x");
    assert_eq!(rules(&daemon), one, "the rules grow with the ports");
    assert_eq!(get_soon(daemon.sandbox(), (Ipv4Addr::LOCALHOST, 9000), "/").status, 200);
    let (own, daemons) = (address(&daemon, "many"), daemon.pid());
    assert!(!own.is_loopback());
    let children = std::fs::read_to_string(format!("/proc/{daemons}/task/{daemons}/children")).unwrap();
    assert!(children.split_whitespace().count() <= 2, "a process per port? {children}");
}

/// How many rules there are in the daemon's network namespace.
fn rules(daemon: &Daemon) -> usize {
    daemon.sandbox().run(|| {
        let output =
            testkit::process::command("nft").args(["-a", "list", "ruleset"]).output().expect("nft is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| line.contains("# handle") && !line.contains('{')).count()
    })
}
