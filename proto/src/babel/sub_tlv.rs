//! Sub-TLVs (RFC 8966 §4.4): padding, Timestamp (RFC 9616) and Source Prefix (RFC 9079).

use super::EchoedTimes;
use super::address::{PrefixEncoding, octets_for, write_prefix};
use super::cursor::{Cursor, End};
use super::error::TlvError;
use super::tlv_type::{PAD_N, PAD1, SUB_MANDATORY, SUB_SOURCE_PREFIX, SUB_TIMESTAMP};
use crate::prefix::Prefix;

/// Reads the sub-TLVs of a TLV for which none is defined.
pub(super) fn read_none(body: Cursor<'_>) -> Result<(), TlvError> {
    walk(body, |_, _| Ok(Verdict::Unknown))
}

/// Reads the sub-TLVs of a Hello: its transmit time. One too short to hold it is not mandatory and
/// counts as absent.
pub(super) fn read_timestamp(body: Cursor<'_>) -> Result<Option<u32>, TlvError> {
    let mut timestamp = None;
    walk(body, |kind, mut body| {
        if kind == SUB_TIMESTAMP {
            timestamp = body.u32().ok();
        }
        Ok(known_if(kind == SUB_TIMESTAMP))
    })?;
    Ok(timestamp)
}

/// Reads the sub-TLVs of an IHU: its two times, absent if too short.
pub(super) fn read_echoed_times(body: Cursor<'_>) -> Result<Option<EchoedTimes>, TlvError> {
    let mut times = None;
    walk(body, |kind, mut body| {
        if kind == SUB_TIMESTAMP {
            times = body
                .u32()
                .and_then(|origin| body.u32().map(|receive| EchoedTimes { origin, receive }))
                .ok();
        }
        Ok(known_if(kind == SUB_TIMESTAMP))
    })?;
    Ok(times)
}

/// Reads the sub-TLVs of a TLV with a prefix of that encoding (`None`: a wildcard): its source
/// prefix (RFC 9079 §7.1).
pub(super) fn read_source_prefix(
    encoding: Option<PrefixEncoding>,
    body: Cursor<'_>,
) -> Result<Option<Prefix>, TlvError> {
    let mut source = None;
    walk(body, |kind, mut body| {
        if kind == SUB_SOURCE_PREFIX {
            let encoding = encoding.ok_or(TlvError::WildcardSourcePrefix)?;
            if source.replace(source_prefix(encoding, &mut body)?).is_some() {
                return Err(TlvError::DuplicateSourcePrefix);
            }
        }
        Ok(known_if(kind == SUB_SOURCE_PREFIX))
    })?;
    Ok(source)
}

fn source_prefix(encoding: PrefixEncoding, body: &mut Cursor<'_>) -> Result<Prefix, TlvError> {
    match body.u8() {
        Ok(0) | Err(End) => Err(TlvError::SourcePrefix),
        Ok(length) => encoding.read_prefix(length, body).map_err(|_| TlvError::SourcePrefix),
    }
}

/// Whether a sub-TLV has a meaning in its TLV.
enum Verdict {
    Known,
    Unknown,
}

fn known_if(condition: bool) -> Verdict {
    if condition { Verdict::Known } else { Verdict::Unknown }
}

/// Shows each sub-TLV to `visit`, with its type, and refuses the TLV if one is unknown and
/// mandatory. Octets a visitor leaves unread are ignored.
fn walk<'a>(
    mut body: Cursor<'a>,
    mut visit: impl FnMut(u8, Cursor<'a>) -> Result<Verdict, TlvError>,
) -> Result<(), TlvError> {
    let overrun = |End| TlvError::SubTlvOverrun;
    while !body.is_empty() {
        let kind = body.u8().map_err(overrun)?;
        if kind == PAD1 {
            continue;
        }
        let length = body.u8().map_err(overrun)?;
        let share = body.take(usize::from(length)).map_err(overrun)?;
        if kind == PAD_N {
            continue;
        }
        match visit(kind, share)? {
            Verdict::Unknown if kind & SUB_MANDATORY != 0 => {
                return Err(TlvError::UnknownMandatorySubTlv);
            }
            Verdict::Unknown | Verdict::Known => {}
        }
    }
    Ok(())
}

/// Writes a source prefix.
pub(super) fn write_source_prefix(prefix: Prefix, out: &mut Vec<u8>) {
    let length = u8::try_from(1 + octets_for(prefix.length())).expect("at most 17 octets");
    out.extend([SUB_SOURCE_PREFIX, length, prefix.length()]);
    write_prefix(prefix, out);
}

/// Writes the transmit time of a Hello and says where it lies.
pub(super) fn write_timestamp(timestamp: u32, out: &mut Vec<u8>) -> usize {
    out.extend([SUB_TIMESTAMP, 4]);
    let position = out.len();
    out.extend(timestamp.to_be_bytes());
    position
}

/// Writes the two times of an IHU.
pub(super) fn write_echoed_times(times: EchoedTimes, out: &mut Vec<u8>) {
    out.extend([SUB_TIMESTAMP, 8]);
    out.extend(times.origin.to_be_bytes());
    out.extend(times.receive.to_be_bytes());
}
