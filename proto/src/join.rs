//! Join strings: `sixwire://HOST[:PORT]/#<root-key>.<token>[.<tls-pin>]`.

use std::fmt;
use std::str::FromStr;

use crate::encoding::{from_base64url, to_base64url};
use crate::keys::PublicKey;

/// Everything a machine needs to join a network. It holds a secret, the token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinString {
    /// Host name or address of the registry.
    pub host: String,
    /// TCP port of the registry.
    pub port: u16,
    /// The network's root key, pinned at join.
    pub root: PublicKey,
    /// The secret that buys one certificate.
    pub token: Token,
    /// SHA-256 of the registry's TLS public key, where no authority vouches for it.
    pub tls_pin: Option<TlsPin>,
}

/// A join token: 16 random octets.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// SHA-256 of a TLS server's subject public key info.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsPin(pub [u8; 32]);

/// Why a join string was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no join string: {0}; copy the whole line that `sixwire-registry token create` printed"
)]
pub struct JoinStringError(&'static str);

impl JoinString {
    /// The registry's port where the string names none.
    pub const DEFAULT_PORT: u16 = 8443;
}

impl Token {
    /// Octets of randomness in a token.
    pub const SIZE: usize = 16;

    /// The token made of these random octets.
    #[must_use]
    pub fn from_octets(octets: &[u8; Self::SIZE]) -> Self {
        Self(to_base64url(octets))
    }

    /// The text that travels. Never log it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = JoinStringError;

    fn from_str(text: &str) -> Result<Self, JoinStringError> {
        match from_base64url(text) {
            Some(octets) if octets.len() == Self::SIZE => Ok(Self(text.to_owned())),
            _ => Err(JoinStringError("the token is damaged or cut off")),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

impl fmt::Debug for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinString({}:{}, secret)", self.host, self.port)
    }
}

impl fmt::Display for TlsPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&to_base64url(&self.0))
    }
}

impl FromStr for TlsPin {
    type Err = JoinStringError;

    fn from_str(text: &str) -> Result<Self, JoinStringError> {
        from_base64url(text)
            .and_then(|octets| octets.try_into().ok())
            .map(Self)
            .ok_or(JoinStringError("the TLS pin is damaged or cut off"))
    }
}

/// The whole string, token included: print it only where the operator asked for it.
impl fmt::Display for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sixwire://{}", bracketed(&self.host))?;
        if self.port != Self::DEFAULT_PORT {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/#{}.{}", self.root, self.token.0)?;
        self.tls_pin.map_or(Ok(()), |pin| write!(f, ".{pin}"))
    }
}

impl FromStr for JoinString {
    type Err = JoinStringError;

    fn from_str(text: &str) -> Result<Self, JoinStringError> {
        let rest = text
            .trim()
            .strip_prefix("sixwire://")
            .ok_or(JoinStringError("it does not start with sixwire://"))?;
        let (place, secret) =
            rest.split_once("/#").ok_or(JoinStringError("the part behind /# is missing"))?;
        let (host, port) = split_place(place)?;
        let mut parts = secret.split('.');
        let root = parts.next().unwrap_or_default();
        let token = parts.next().ok_or(JoinStringError("the token is missing"))?;
        let tls_pin = parts.next().map(str::parse).transpose()?;
        if parts.next().is_some() {
            return Err(JoinStringError("it has too many parts"));
        }
        Ok(Self {
            host,
            port,
            root: root.parse().map_err(|_| JoinStringError("the root key is damaged"))?,
            token: token.parse()?,
            tls_pin,
        })
    }
}

/// `host` with brackets if it is an IPv6 address, as in a URL.
#[must_use]
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Splits `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
fn split_place(place: &str) -> Result<(String, u16), JoinStringError> {
    let bad_port = JoinStringError("the port is no number from 1 to 65535");
    let (host, port) = match place.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, rest))) => {
            (host, rest.strip_prefix(':').or((rest.is_empty()).then_some("")))
        }
        Some(None) => return Err(JoinStringError("the host has an unclosed bracket")),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, Some("")),
        },
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if host.is_empty() || !host.chars().all(legal) {
        return Err(JoinStringError("the host is missing or malformed"));
    }
    let port = match port.ok_or(bad_port.clone())? {
        "" => JoinString::DEFAULT_PORT,
        digits => digits.parse().ok().filter(|port| *port != 0).ok_or(bad_port)?,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    fn sample(host: &str, port: u16) -> JoinString {
        JoinString {
            host: host.to_owned(),
            port,
            root: SecretKey::from_octets(&[1; 32]).public(),
            token: Token::from_octets(&[2; 16]),
            tls_pin: Some(TlsPin([3; 32])),
        }
    }

    #[test]
    fn strings_round_trip() {
        for (host, port) in [("vpn.example.net", 8443), ("192.0.2.1", 443), ("2001:db8::1", 9)] {
            let string = sample(host, port);
            assert_eq!(string.to_string().parse(), Ok(string));
        }
        let unpinned = JoinString { tls_pin: None, ..sample("a", 1) };
        assert_eq!(unpinned.to_string().parse(), Ok(unpinned));
    }

    #[test]
    fn every_truncation_is_refused_or_lacks_only_the_pin() {
        let text = sample("vpn.example.net", 8443).to_string();
        for length in 0..text.len() {
            let cut = text[..length].parse::<JoinString>();
            let without_pin = length == text.rfind('.').unwrap();
            assert_eq!(cut.is_ok(), without_pin, "{length} octets: {cut:?}");
        }
    }

    #[test]
    fn damage_is_named() {
        for (text, word) in [
            ("https://a/#b.c", "sixwire://"),
            ("sixwire://host", "/#"),
            ("sixwire:///#a.b", "host"),
            ("sixwire://h:0/#a.b", "port"),
            ("sixwire://h:99999/#a.b", "port"),
            ("sixwire://[::1/#a.b", "bracket"),
            ("sixwire://h/#a.b", "root key"),
        ] {
            let error = text.parse::<JoinString>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn the_token_does_not_print_by_accident() {
        let string = sample("h", 1);
        assert!(!format!("{string:?}").contains(string.token.reveal()));
    }
}
