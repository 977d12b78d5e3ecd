//! Build, test, bench and tidy.
fn main() {}
