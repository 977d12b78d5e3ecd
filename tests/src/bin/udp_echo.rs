// SPDX-License-Identifier: Apache-2.0
//! Sends every UDP datagram back to where it came from: `udp_echo PORT`, run inside a container.

use std::net::{Ipv4Addr, UdpSocket};

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(7);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let mut datagram = [0; 1500];
    loop {
        let (length, peer) = socket.recv_from(&mut datagram)?;
        socket.send_to(&datagram[..length], peer)?;
    }
}
