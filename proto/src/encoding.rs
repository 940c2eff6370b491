//! Bytes as text: base64 for fixed-size values and byte strings inside JSON.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize as _, Deserializer, Serializer, de};

/// base64url without padding, for identity keys, signatures and tokens.
#[must_use]
pub fn to_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads base64url without padding; `None` if it is anything else.
#[must_use]
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Standard base64, as WireGuard writes its keys.
#[must_use]
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads standard base64; `None` if it is anything else.
#[must_use]
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// `#[serde(with = "encoding::bytes")]`: a byte string as base64url.
pub mod bytes {
    use super::{Deserializer, Serializer, de, from_base64url, to_base64url};
    use serde::Deserialize as _;

    /// Writes the bytes.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_base64url(bytes))
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// When the text is not base64url.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        from_base64url(&text).ok_or_else(|| de::Error::custom("not base64url"))
    }
}

/// Reads a string and turns it into a value through `parse`, for `Deserialize` impls of text types.
///
/// # Errors
/// When the input is no string or `parse` refuses it.
pub(crate) fn deserialize_text<'de, D, T, E>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: std::fmt::Display,
{
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(de::Error::custom)
}
