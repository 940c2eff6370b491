//! Sorts what other nodes ask to those who can answer.

use std::sync::Arc;

use sixwire_proto::peer::{Answer, NodeInfo, Request};
use tokio::sync::mpsc;

use super::members::Members;
use super::monotonic::Monotonic;
use super::signalling::{Event, Incoming, Signalling};
use super::tunnels;

/// Runs until signalling ends.
pub(super) async fn serve(
    mut events: mpsc::Receiver<Event>,
    members: Arc<Members>,
    (signalling, tunnels, started): (Signalling, mpsc::Sender<tunnels::Command>, Monotonic),
) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Request(incoming) => serve_one(incoming, &members, &tunnels, started).await,
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
    started: Monotonic,
) {
    let answer = match &incoming.request {
        Request::NodeInfo => Some(Answer::NodeInfo(NodeInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: started.now().0 / 1_000_000,
            links: Vec::new(),
        })),
        request => members.answer(request),
    };
    match answer {
        // The asker may be gone.
        Some(answer) => drop(incoming.reply.send(answer)),
        // The tunnel driver ends only with the daemon; the asker is then told that it is busy.
        None => drop(tunnels.send(tunnels::Command::Request(incoming)).await),
    }
}
