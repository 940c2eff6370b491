//! The fuzz targets, as the tests have them.

#[path = "../../src/fuzz/mod.rs"]
pub mod fuzz;
