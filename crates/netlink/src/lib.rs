//! Netlink messages: encoding, sockets, routes and links.
