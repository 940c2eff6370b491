//! What WireGuard is asked to do by those who configure it, case by case, driven through our data plane.
//!
//! The cases are those of the WireGuard project's own test in network namespaces that are about
//! configuration. They run on the embedded WireGuard, and on the kernel's with
//! `SIXWIRE_TEST_WIREGUARD=kernel`. What has no case here:
//!
//! | what | why not |
//! |---|---|
//! | both ends behind NAT | no hole punching yet: one end must be reachable (README) |
//! | keepalive, then a private key | a tunnel without a key is not made: `a_tunnel_without_a_known_key_cannot_be_made` |
//! | route MTU below the interface's | our routes have none; what a larger packet meets is `a_smaller_tunnel_further_on_is_found_out` |
//! | resetting a mark by an empty value, keys from files, `showconf`, `syncconf` | those are of the tool `wg` |
//! | removing single prefixes of a peer | a change gives all prefixes of a peer, in one message |
//! | ethtool, offloads switched off one by one | of the interfaces below, which are not ours; `interop` has them on, the embedded one is compared packet by packet in unit tests |
//! | reference counts, memory, leaks in the kernel | the kernel's own to test |

mod allowed_ips;
mod basics;
pub(crate) mod ground;
mod interop;
mod keys;
mod life;
mod mtu;
mod nat;
mod roaming;
mod routing;
mod waiting;
