//! Requests to the kernel's routing socket: one connection, every request acknowledged and timed.

pub(crate) mod address;
pub(crate) mod attribute;
pub(crate) mod batch;
pub(crate) mod foreign;
pub mod fuzz;
pub(crate) mod interface;
pub(crate) mod link;
pub(crate) mod monitor;
pub(crate) mod nexthop;
pub(crate) mod nftables;
pub(crate) mod notices;
pub(crate) mod route;
pub(crate) mod rule;

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::Handle;
use rtnetlink::packet_core::{
    ErrorMessage, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::AsyncSocket as _;
use rtnetlink::sys::protocols::NETLINK_ROUTE;

use crate::error::Error;
use batch::BatchSocket;
use nexthop::Listing;

/// A connection for requests. Events have their own, because an acknowledgement lost to a full
/// receive buffer would leave a request without its answer.
#[derive(Clone)]
pub(crate) struct Netlink {
    handle: Handle,
    ports: [u32; 2],
    batches: Arc<Mutex<Option<BatchSocket>>>,
    /// For what the library does not list.
    lists: Arc<Mutex<BatchSocket>>,
}

impl Netlink {
    /// Opens a connection in the network namespace of the calling thread.
    pub(crate) fn connect() -> Result<Self, Error> {
        let failed = |error| Error::kernel("open a netlink socket", error);
        let (mut connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
        // An answer that lacks its end was cut off; the library would take it for whole.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        let address = connection.socket_mut().socket_mut().bind_auto().map_err(failed)?;
        tokio::spawn(poll_fn(move |context| {
            // The library would send one request each time it is woken.
            connection.poll_requests(context);
            (1..BATCH).for_each(|_| connection.poll_send_messages(context));
            Pin::new(&mut connection).poll(context)
        }));
        let batches = BatchSocket::open(NETLINK_ROUTE).map_err(failed)?;
        let ports = [address.port_number(), batches.port()];
        let lists = Arc::new(Mutex::new(BatchSocket::open(NETLINK_ROUTE).map_err(failed)?));
        Ok(Self { handle, ports, batches: Arc::new(Mutex::new(Some(batches))), lists })
    }

    /// The ports that the kernel names as the originators of our changes.
    pub(crate) fn ports(&self) -> [u32; 2] {
        self.ports
    }

    /// The socket for batches: there is one, for one writer.
    pub(crate) fn take_batches(&self) -> Option<BatchSocket> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The next-hop objects with this protocol number; none where the kernel has no such things.
    pub(crate) fn next_hops(&self, protocol: u8) -> Listing {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        nexthop::objects(&mut lists, protocol).unwrap_or_default()
    }

    /// Lists all objects of one kind: of each what `read` takes from it. Repeated when they change meanwhile,
    /// which the library's own listing does not tell.
    async fn dump<T>(
        &self,
        doing: &str,
        message: RouteNetlinkMessage,
        mut read: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut attempt = 1;
        loop {
            let answers = self.handle.clone().request(request.clone());
            let answers = answers.map_err(|error| Error::kernel(doing, refusal(error)))?;
            let (objects, was) = in_time(doing, list(doing, answers, &mut read)).await??;
            if was == Listed::Whole || attempt == DUMP_ATTEMPTS {
                return Ok(objects);
            }
            attempt += 1;
        }
    }
}

/// Whether objects changed while they were listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Whole,
    Interrupted,
}

/// Takes what is wanted from each answer as it comes: a parsed message is ten times as large.
async fn list<T>(
    doing: &str,
    answers: impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>>,
    read: &mut impl FnMut(RouteNetlinkMessage) -> Option<T>,
) -> Result<(Vec<T>, Listed), Error> {
    let mut answers = pin!(answers);
    let (mut objects, mut was) = (Vec::new(), Listed::Whole);
    while let Some(answer) = answers.next().await {
        if answer.header.flags & NLM_F_DUMP_INTR != 0 {
            was = Listed::Interrupted;
        }
        match answer.payload {
            NetlinkPayload::InnerMessage(object) => objects.extend(read(object)),
            NetlinkPayload::Error(error) => return Err(Error::kernel(doing, error.to_io())),
            NetlinkPayload::Done(_) => return Ok((objects, was)),
            _ => {}
        }
    }
    Err(Error::kernel(doing, closed()))
}

/// Waits for the acknowledgement of a request.
async fn done(
    doing: impl Display,
    request: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<(), Error> {
    match in_time(&doing, request).await? {
        // The library knows an acknowledgement only as an error without a number.
        Err(rtnetlink::Error::NetlinkError(ErrorMessage { code: None, .. })) => Ok(()),
        Err(error) => Err(Error::kernel(doing.to_string(), refusal(error))),
        Ok(()) => Err(Error::kernel(doing.to_string(), closed())),
    }
}

/// As [`done`]; that the object exists already is success.
async fn added(
    doing: impl Display,
    request: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<(), Error> {
    match done(doing, request).await {
        Err(error) if error.is_present() => Ok(()),
        outcome => outcome,
    }
}

/// As [`done`]; that the object is gone already is success.
async fn removed(
    doing: impl Display,
    request: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<(), Error> {
    match done(doing, request).await {
        Err(error) if error.is_gone() => Ok(()),
        outcome => outcome,
    }
}

async fn in_time<T>(doing: impl Display, answer: impl Future<Output = T>) -> Result<T, Error> {
    let late = |_| Error::NoAnswer { doing: doing.to_string(), seconds: ANSWER_LIMIT.as_secs() };
    tokio::time::timeout(ANSWER_LIMIT, answer).await.map_err(late)
}

fn refusal(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        rtnetlink::Error::RequestFailed => closed(),
        other => io::Error::other(other),
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the netlink connection is closed")
}

/// The objects changed during the dump (`linux/netlink.h`, NLM_F_DUMP_INTR).
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Requests sent at a time: their acknowledgements fit the default receive buffer.
const BATCH: usize = 64;
/// Dumps of a table under steady change are taken as they are after so many.
const DUMP_ATTEMPTS: u32 = 3;
/// The kernel answers within microseconds; a request this late has lost its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
