//! The tunnel manager as a state machine without I/O: whom to dial, whom to serve, what to close.
