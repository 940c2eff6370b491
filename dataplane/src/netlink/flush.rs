//! Removing very many routes at once: a hundred thousand acknowledgements take longer than the removals.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::route::Table;
use crate::error::Error;
use crate::model::{ROUTE_METRIC, RouteChange, RouteKey};

/// Routes to be removed, and a socket to do it with.
pub(crate) struct Flush {
    socket: Socket,
    requests: Vec<Vec<u8>>,
}

impl Flush {
    /// Puts the requests together, each bearing our mark: a route of anybody else does not match.
    pub(crate) fn new(table: Table, keys: impl Iterator<Item = RouteKey>) -> Result<Self, Error> {
        let socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
        let mut requests = vec![Vec::new()];
        for key in keys {
            // A key that cannot be written has never been in the kernel.
            let Ok(message) = table.message(&RouteChange::Remove(key), ROUTE_METRIC) else {
                continue;
            };
            let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelRoute(message));
            request.header.flags = NLM_F_REQUEST;
            request.finalize();
            let length = request.buffer_len();
            if requests.last().is_none_or(|last| last.len() + length > SEND) {
                requests.push(Vec::with_capacity(SEND));
            }
            let Some(last) = requests.last_mut() else { continue };
            let start = last.len();
            last.resize(start + length, 0);
            if let Some(room) = last.get_mut(start..) {
                request.serialize(room);
            }
        }
        Ok(Self { socket, requests })
    }

    /// Sends them; the kernel is done with each when its send returns. What it refuses is not told: look
    /// what is left.
    pub(crate) fn run(self) -> Result<(), Error> {
        let kernel = SocketAddr::new(0, 0);
        for request in self.requests.iter().filter(|request| !request.is_empty()) {
            self.socket.send_to(request, &kernel, 0).map_err(failed)?;
        }
        Ok(())
    }
}

fn failed(error: io::Error) -> Error {
    Error::kernel("remove our routes", error)
}

/// Octets a send: a third of the default send buffer (208 KiB), about 700 routes.
const SEND: usize = 64 * 1024;
