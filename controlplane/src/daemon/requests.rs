//! Sorts what other nodes ask to those who can answer.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::members::Members;
use super::signalling::{Event, Incoming, Signalling};
use super::tunnels;

/// Runs until signalling ends.
pub(super) async fn serve(
    mut events: mpsc::Receiver<Event>,
    members: Arc<Members>,
    (signalling, tunnels): (Signalling, mpsc::Sender<tunnels::Command>),
) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Request(incoming) => serve_one(incoming, &members, &tunnels).await,
            Event::NewerState { peer, .. } => {
                let (members, signalling) = (Arc::clone(&members), signalling.clone());
                tokio::spawn(async move { members.fetch_state(peer, &signalling).await });
            }
        }
    }
}

async fn serve_one(
    incoming: Box<Incoming>,
    members: &Members,
    tunnels: &mpsc::Sender<tunnels::Command>,
) {
    match members.answer(&incoming.request) {
        // The asker may be gone.
        Some(answer) => drop(incoming.reply.send(answer)),
        // The tunnel driver ends only with the daemon; the asker is then told that it is busy.
        None => drop(tunnels.send(tunnels::Command::Request(incoming)).await),
    }
}
