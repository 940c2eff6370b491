//! The machine's randomness, for the drivers.

use crate::Error;

/// Fresh random octets.
///
/// # Errors
/// [`Error::Entropy`].
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(Error::Entropy)?;
    Ok(octets)
}
