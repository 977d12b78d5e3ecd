//! What the end-to-end tests stand on: daemons, fixtures and peers.
