//! sixwire.
fn main() {}
