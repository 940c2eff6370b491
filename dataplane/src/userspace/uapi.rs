//! The text that configures a userspace WireGuard device, as `wg` and its libraries speak it
//! (<https://www.wireguard.com/xplatform/>).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use sixwire_proto::keys::{PresharedKey, WgPrivateKey, WgPublicKey};
use sixwire_proto::prefix::Prefix;

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Get,
    Set(Update),
}

/// A change of a device. What is `None` stays as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) private_key: Option<Option<WgPrivateKey>>,
    pub(super) port: Option<u16>,
    pub(super) fwmark: Option<u32>,
    /// Peers that are not named go.
    pub(super) replace_peers: bool,
    pub(super) peers: Vec<PeerUpdate>,
    pub(super) greeting: Greeting,
}

/// When peers are asked for a session. No text says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Greeting {
    /// When there is something to send.
    #[default]
    WhenNeeded,
    /// Now: they do not know yet that the one they have is lost.
    AtOnce,
}

/// A change of a peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PeerUpdate {
    pub(super) key: WgPublicKey,
    pub(super) remove: bool,
    /// Not to be made if it is not there.
    pub(super) update_only: bool,
    pub(super) preshared_key: Option<Option<PresharedKey>>,
    pub(super) endpoint: Option<SocketAddr>,
    /// Seconds; 0 for none.
    pub(super) keepalive: Option<u16>,
    pub(super) replace_allowed_ips: bool,
    pub(super) allowed_ips: Vec<(Prefix, Allowed)>,
}

/// What becomes of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    Added,
    Removed,
}

/// A device as it is.
#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) private_key: Option<WgPrivateKey>,
    pub(super) port: u16,
    pub(super) fwmark: u32,
    pub(super) peers: Vec<Peer>,
}

/// A peer as it is.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) key: WgPublicKey,
    pub(super) preshared_key: Option<PresharedKey>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) keepalive: u16,
    pub(super) allowed_ips: Vec<Prefix>,
    /// Since 1970.
    pub(super) last_handshake: Option<Duration>,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
}

impl Request {
    /// Reads a request, without the empty line that ends it.
    ///
    /// # Errors
    /// `EINVAL` for anything not understood: then nothing of it is done.
    pub(super) fn parse(text: &str) -> Result<Self, Errno> {
        let mut lines = text.lines().take_while(|line| !line.is_empty());
        match lines.next() {
            Some("get=1") if lines.next().is_none() => Ok(Self::Get),
            Some("set=1") => {
                let mut update = Update::default();
                lines.try_for_each(|line| {
                    let (key, value) = line.split_once('=').ok_or(Errno::EINVAL)?;
                    update.take(key, value)
                })?;
                Ok(Self::Set(update))
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

impl Update {
    /// The change that makes a device what another one said it was.
    ///
    /// # Errors
    /// `EINVAL` if that is not [`Device::text`].
    pub(super) fn restoring(text: &str) -> Result<Self, Errno> {
        let mut update = Self { greeting: Greeting::AtOnce, ..Self::default() };
        for line in text.lines() {
            match line.split_once('=').ok_or(Errno::EINVAL)? {
                // The past of a peer is not part of what it is.
                ("last_handshake_time_sec" | "last_handshake_time_nsec", _) => {}
                ("tx_bytes" | "rx_bytes", _) => {}
                (key, value) => update.take(key, value)?,
            }
        }
        Ok(update)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), Errno> {
        if key == "public_key" {
            self.peers.push(PeerUpdate::of(WgPublicKey(octets(value)?)));
            return Ok(());
        }
        if let Some(peer) = self.peers.last_mut() {
            return peer.take(key, value);
        }
        match key {
            "private_key" => {
                self.private_key = Some(secret(value)?.map(WgPrivateKey::from_octets));
            }
            "listen_port" => self.port = Some(number(value)?),
            // An empty mark is no mark.
            "fwmark" if value.is_empty() => self.fwmark = Some(0),
            "fwmark" => self.fwmark = Some(mark(value)?),
            "replace_peers" => self.replace_peers = truth(value)?,
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }
}

impl PeerUpdate {
    pub(super) fn of(key: WgPublicKey) -> Self {
        Self {
            key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), Errno> {
        match key {
            "remove" => self.remove = truth(value)?,
            "update_only" => self.update_only = truth(value)?,
            "preshared_key" => {
                self.preshared_key = Some(secret(value)?.map(PresharedKey::from_octets));
            }
            "endpoint" => self.endpoint = Some(endpoint(value)?),
            "persistent_keepalive_interval" => self.keepalive = Some(number(value)?),
            "replace_allowed_ips" => self.replace_allowed_ips = truth(value)?,
            "allowed_ip" => self.allowed_ips.push(match value.strip_prefix('-') {
                Some(value) => (prefix(value)?, Allowed::Removed),
                None => (prefix(value)?, Allowed::Added),
            }),
            "protocol_version" if value == "1" => {}
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }
}

impl Device {
    /// Writes it as the answer to a `get`, without the end.
    pub(super) fn text(&self) -> String {
        let mut lines = String::new();
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{key}={value}");
        };
        if let Some(key) = &self.private_key {
            line("private_key", &hex(key.octets()));
        }
        line("listen_port", &self.port);
        if self.fwmark != 0 {
            line("fwmark", &self.fwmark);
        }
        self.peers.iter().for_each(|peer| peer.say(&mut line));
        lines
    }
}

impl Peer {
    fn say(&self, line: &mut impl FnMut(&str, &dyn std::fmt::Display)) {
        line("public_key", &hex(&self.key.0));
        let none = [0; 32];
        let preshared_key = self.preshared_key.as_ref().map_or(&none, PresharedKey::octets);
        line("preshared_key", &hex(preshared_key));
        line("protocol_version", &1);
        if let Some(endpoint) = self.endpoint {
            line("endpoint", &endpoint);
        }
        let handshake = self.last_handshake.unwrap_or_default();
        line("last_handshake_time_sec", &handshake.as_secs());
        line("last_handshake_time_nsec", &handshake.subsec_nanos());
        line("tx_bytes", &self.tx_bytes);
        line("rx_bytes", &self.rx_bytes);
        line("persistent_keepalive_interval", &self.keepalive);
        for prefix in &self.allowed_ips {
            line("allowed_ip", prefix);
        }
    }
}

/// The end of every answer.
pub(super) fn outcome(outcome: Result<(), Errno>) -> String {
    format!("errno={}\n\n", outcome.err().map_or(0, |errno| errno as i32))
}

fn hex(octets: &[u8; 32]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn octets(value: &str) -> Result<[u8; 32], Errno> {
    let (pairs, []) = value.as_bytes().as_chunks::<2>() else { return Err(Errno::EINVAL) };
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(Errno::EINVAL),
    };
    let pairs: &[_; 32] = pairs.try_into().map_err(|_| Errno::EINVAL)?;
    let mut octets = [0; 32];
    for (octet, [high, low]) in octets.iter_mut().zip(pairs) {
        *octet = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(octets)
}

/// A key; all zeros stand for none.
fn secret(value: &str) -> Result<Option<[u8; 32]>, Errno> {
    octets(value).map(|octets| (octets != [0; 32]).then_some(octets))
}

fn number(value: &str) -> Result<u16, Errno> {
    value.parse().map_err(|_| Errno::EINVAL)
}

/// A mark is written in either way.
fn mark(value: &str) -> Result<u32, Errno> {
    let number = match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => value.parse(),
    };
    number.map_err(|_| Errno::EINVAL)
}

fn truth(value: &str) -> Result<bool, Errno> {
    if value == "true" { Ok(true) } else { Err(Errno::EINVAL) }
}

fn prefix(value: &str) -> Result<Prefix, Errno> {
    let (address, length) = value.split_once('/').ok_or(Errno::EINVAL)?;
    let address: IpAddr = address.parse().map_err(|_| Errno::EINVAL)?;
    let length = length.parse().map_err(|_| Errno::EINVAL)?;
    Prefix::containing(address, length).map_err(|_| Errno::EINVAL)
}

/// An address and a port; a scope is a number, or, as `wg` writes it, a name.
fn endpoint(value: &str) -> Result<SocketAddr, Errno> {
    if let Ok(address) = value.parse() {
        return Ok(address);
    }
    let (inner, port) =
        value.strip_prefix('[').and_then(|v| v.split_once("]:")).ok_or(Errno::EINVAL)?;
    let (address, scope) = inner.split_once('%').ok_or(Errno::EINVAL)?;
    let address = address.parse().map_err(|_| Errno::EINVAL)?;
    let scope = if_nametoindex(scope).map_err(|_| Errno::EINVAL)?;
    Ok(SocketAddrV6::new(address, number(port)?, 0, scope).into())
}

#[cfg(test)]
mod tests;
