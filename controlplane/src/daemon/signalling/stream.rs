//! One request and one answer on each stream: JSON, ended by the end of the stream.

use std::error::Error;
use std::time::Duration;

use quinn::{Connection, ReadToEndError, RecvStream, SendStream, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sixwire_proto::peer::{Answer, MESSAGE_LIMIT, Refusal, Request};

/// Largest request, in octets. A hello, the largest of them, carries a certificate of 12 KiB.
pub(super) const REQUEST_LIMIT: usize = 64 * 1024;
/// How long a peer may leave a request without any packet: a few retransmissions.
const SILENCE: Duration = Duration::from_millis(1500);

/// Why a message did not come through.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// The connection or the stream ended first.
    #[error("{0}")]
    Lost(String),
    /// It came, and is none.
    #[error("{0}")]
    Malformed(String),
}

/// Asks, and reads the answer.
///
/// # Errors
/// [`StreamError`]; [`StreamError::Lost`] also when not a single packet comes back for a while:
/// the other side is gone, and waiting for the idle timeout would help nobody.
pub(super) async fn ask(connection: &Connection, request: &[u8]) -> Result<Answer, StreamError> {
    let streams = connection.open_bi().await.map_err(lost)?;
    tokio::select! {
        answer = exchange(streams, request) => answer,
        () = silence(connection) => Err(StreamError::Lost("no packet came back".to_owned())),
    }
}

async fn exchange(
    (mut send, recv): (SendStream, RecvStream),
    request: &[u8],
) -> Result<Answer, StreamError> {
    match send.write_all(request).await {
        // A peer that reads no further says why in its answer.
        Ok(()) | Err(WriteError::Stopped(_)) => {}
        Err(error) => return Err(lost(error)),
    }
    // Fails for a stopped stream only, which needs no end.
    let _ = send.finish();
    read(recv, MESSAGE_LIMIT).await
}

/// Ends when the peer has been silent for [`SILENCE`], or four round trips if they take longer.
/// A living peer acknowledges within one, however long its answer takes.
async fn silence(connection: &Connection) {
    let before = connection.stats().udp_rx.datagrams;
    tokio::time::sleep(SILENCE.max(connection.rtt() * 4)).await;
    if connection.stats().udp_rx.datagrams != before {
        std::future::pending().await
    }
}

/// Reads a request.
///
/// # Errors
/// [`StreamError`].
pub(super) async fn read_request(recv: RecvStream) -> Result<Request, StreamError> {
    read(recv, REQUEST_LIMIT).await
}

/// Writes an answer and ends the stream; does not wait until it has arrived.
///
/// # Errors
/// [`StreamError::Lost`].
pub(super) async fn write_answer(
    send: &mut SendStream,
    answer: &Answer,
) -> Result<(), StreamError> {
    let mut text = encode(answer);
    if text.len() > MESSAGE_LIMIT {
        tracing::error!(octets = text.len(), limit = MESSAGE_LIMIT, "answer is too large to send");
        text = encode(&refused(Refusal::Other, "the answer exceeds the limit of a message"));
    }
    send.write_all(&text).await.map_err(lost)?;
    send.finish().map_err(lost)
}

/// A message as it travels.
pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages have text keys only")
}

/// The answer "no".
pub(super) fn refused(reason: Refusal, text: impl Into<String>) -> Answer {
    Answer::Refused { reason, text: text.into() }
}

async fn read<T: DeserializeOwned>(mut recv: RecvStream, limit: usize) -> Result<T, StreamError> {
    let text = recv.read_to_end(limit).await.map_err(|error| match error {
        ReadToEndError::TooLong => {
            StreamError::Malformed(format!("message exceeds the limit of {limit} octets"))
        }
        ReadToEndError::Read(error) => lost(error),
    })?;
    serde_json::from_slice(&text).map_err(|error| StreamError::Malformed(error.to_string()))
}

fn lost(error: impl Error) -> StreamError {
    StreamError::Lost(match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}
