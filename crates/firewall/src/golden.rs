// SPDX-License-Identifier: Apache-2.0
//! Every message of a small table, byte by byte: type, flags, what follows the header. The file was made when nft, given
//! the table by the kernel, had printed it as it was meant (see tests/kernel.rs); that is how to renew it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{Bridge, Published, Transit, Transport};

#[test]
#[cfg(target_endian = "little")]
fn the_messages_are_the_ones_that_were_proved_to_mean_the_table() {
    let bridge = |name: &str, second, internal: bool| Bridge {
        name: name.to_owned(),
        network: Ipv4Addr::new(172, second, 0, 0),
        prefix: 16,
        ipv6: internal.then_some((Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0), 64)),
        masquerade: true,
        internal,
        inter_container: true,
    };
    let port = Published {
        transport: Transport::Tcp,
        host_address: None,
        host_port: 8080,
        container_address: Ipv4Addr::new(172, 17, 0, 2).into(),
        container_port: 80,
    };
    let port6 = Published { container_address: Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 2).into(), ..port };
    let bridges = [bridge("corten0", 17, false), bridge("br-1", 18, true)];
    let batch = crate::table::replacement("corten", &bridges, &[port, port6], Transit::Dropped);
    let mut written = Vec::new();
    for message in netlink::messages(batch.bytes()) {
        let message = message.unwrap();
        let payload: String = message.payload.iter().map(|byte| format!("{byte:02x}")).collect();
        written.push(format!("{:04x} {:04x} {payload}", message.kind, message.flags));
    }
    let expected: Vec<&str> = include_str!("golden.hex").lines().collect();
    assert_eq!(written, expected);
}
