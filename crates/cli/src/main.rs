//! The corten command line.
fn main() {}
