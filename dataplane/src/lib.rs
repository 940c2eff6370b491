//! The data plane: the kernel and the embedded WireGuard.
