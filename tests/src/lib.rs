//! sixwire.
