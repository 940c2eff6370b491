//! The routing engine: Babel (RFC 8966) as a state machine without I/O.
