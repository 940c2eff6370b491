//! The registry: certifies nodes and introduces them to each other.
