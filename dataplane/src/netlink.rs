//! Requests to the kernel's routing socket: one connection, every request acknowledged and timed.

pub(crate) mod address;
pub(crate) mod foreign;
pub(crate) mod interface;
pub(crate) mod link;
pub(crate) mod monitor;
pub(crate) mod route;
pub(crate) mod rule;

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_proto::ConnectionHandle;
use netlink_proto::sys::protocols::NETLINK_ROUTE;
use netlink_proto::sys::{AsyncSocket as _, SocketAddr};

use crate::error::Error;

/// A connection for requests. Events have their own, because an acknowledgement lost to a full
/// receive buffer would leave a request without its answer.
#[derive(Clone)]
pub(crate) struct Netlink {
    handle: ConnectionHandle<RouteNetlinkMessage>,
    port: u32,
}

/// How a request treats what exists.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// Change or delete what exists.
    Existing,
    /// Make it; an error if it exists.
    New,
    /// Make it, or put it in the place of what exists.
    Replace,
}

impl Netlink {
    /// Opens a connection in the network namespace of the calling thread.
    pub(crate) fn connect() -> Result<Self, Error> {
        let failed = |error| Error::kernel("open a netlink socket", error);
        let (mut connection, handle, _) =
            netlink_proto::new_connection(NETLINK_ROUTE).map_err(failed)?;
        connection.set_forward_ack(true);
        let address = connection.socket_mut().socket_mut().bind_auto().map_err(failed)?;
        tokio::spawn(connection);
        Ok(Self { handle, port: address.port_number() })
    }

    /// The port that the kernel names as the originator of our changes.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Sends one request and waits for its acknowledgement.
    pub(crate) async fn send(
        &self,
        doing: impl Into<String>,
        message: RouteNetlinkMessage,
        mode: Mode,
    ) -> Result<(), Error> {
        let doing = doing.into();
        let answers =
            self.answers(&doing, vec![request(message, mode.flags() | NLM_F_ACK)]).await?;
        match answers.into_iter().next() {
            Some(answer) => verdict(&answer).map_err(|error| Error::kernel(doing, error)),
            None => Err(Error::kernel(doing, closed())),
        }
    }

    /// Sends many requests with few system calls. One verdict each, in order.
    pub(crate) async fn send_all(
        &self,
        doing: &str,
        messages: Vec<(RouteNetlinkMessage, Mode)>,
    ) -> Result<Vec<Result<(), io::Error>>, Error> {
        let count = messages.len();
        let requests = messages
            .into_iter()
            .map(|(message, mode)| request(message, mode.flags() | NLM_F_ACK))
            .collect();
        let answers = self.answers(doing, requests).await?;
        if answers.len() != count {
            return Err(Error::kernel(doing, closed()));
        }
        Ok(answers.iter().map(verdict).collect())
    }

    /// Lists all objects of one kind. Repeated when they change meanwhile.
    pub(crate) async fn dump(
        &self,
        doing: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut attempt = 1;
        loop {
            let requests = vec![request(message.clone(), NLM_F_DUMP)];
            let answers = self.answers(doing, requests).await?;
            let interrupted = answers.iter().any(|a| a.header.flags & NLM_F_DUMP_INTR != 0);
            if interrupted && attempt < DUMP_ATTEMPTS {
                attempt += 1;
                continue;
            }
            return collect(doing, answers);
        }
    }

    /// Asks for one object.
    pub(crate) async fn get(
        &self,
        doing: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>, Error> {
        let answers = self.answers(doing, vec![request(message, 0)]).await?;
        match collect(doing, answers) {
            Ok(objects) => Ok(objects.into_iter().next()),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn answers(
        &self,
        doing: &str,
        requests: Vec<NetlinkMessage<RouteNetlinkMessage>>,
    ) -> Result<Vec<NetlinkMessage<RouteNetlinkMessage>>, Error> {
        let stream = self
            .handle
            .request_batch(requests, SocketAddr::new(0, 0))
            .map_err(|_| Error::kernel(doing, closed()))?;
        tokio::time::timeout(ANSWER_LIMIT, stream.collect()).await.map_err(|_| Error::NoAnswer {
            doing: doing.to_owned(),
            seconds: ANSWER_LIMIT.as_secs(),
        })
    }
}

impl Mode {
    fn flags(self) -> u16 {
        match self {
            Self::Existing => 0,
            Self::New => NLM_F_CREATE | NLM_F_EXCL,
            Self::Replace => NLM_F_CREATE | NLM_F_REPLACE,
        }
    }
}

fn request(message: RouteNetlinkMessage, flags: u16) -> NetlinkMessage<RouteNetlinkMessage> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    message
}

fn verdict(answer: &NetlinkMessage<RouteNetlinkMessage>) -> Result<(), io::Error> {
    match &answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        NetlinkPayload::Overrun(_) => Err(io::Error::other("the kernel's answer was lost")),
        _ => Ok(()),
    }
}

fn collect(
    doing: &str,
    answers: Vec<NetlinkMessage<RouteNetlinkMessage>>,
) -> Result<Vec<RouteNetlinkMessage>, Error> {
    let mut objects = Vec::with_capacity(answers.len());
    for answer in answers {
        verdict(&answer).map_err(|error| Error::kernel(doing, error))?;
        if let NetlinkPayload::InnerMessage(object) = answer.payload {
            objects.push(object);
        }
    }
    Ok(objects)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the netlink connection is closed")
}

/// The objects changed during the dump (`linux/netlink.h`, NLM_F_DUMP_INTR).
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Dumps of a table under steady change are taken as they are after so many.
const DUMP_ATTEMPTS: u32 = 3;
/// The kernel answers within microseconds; a request this late has lost its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
