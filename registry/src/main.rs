//! `sixwire-registry`: the registry and its command line.

fn main() {}
