//! ICMPv6 echo (RFC 4443 §4) from inside namespaces: many flows, one thread, every probe on record.

mod record;
mod socket;

use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::socket::{Echo, PingSocket};
use crate::clock::now;
use crate::lab::Namespace;

pub use record::{Outcome, Probe, Record};

/// Probes from one place to one address.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Where the probes start.
    pub from: Namespace,
    /// Their source address, or the kernel's choice.
    pub source: Option<Ipv6Addr>,
    /// Where they go.
    pub to: Ipv6Addr,
}

/// Sends probes until told to stop.
#[derive(Debug)]
pub struct Pinger {
    stop: Arc<AtomicBool>,
    records: Arc<Mutex<Vec<Record>>>,
    thread: JoinHandle<()>,
}

impl Pinger {
    /// Starts to send on every flow, one probe each `interval`, the flows spread over it.
    ///
    /// # Errors
    /// When a socket cannot be opened: no such namespace, or the source address is not there.
    pub fn start(flows: &[Flow], interval: Duration) -> Result<Self> {
        Self::launch(flows, interval, MAX_PROBES)
    }

    fn launch(flows: &[Flow], interval: Duration, probes: usize) -> Result<Self> {
        ensure!(flows.len() <= MAX_FLOWS, "at most {MAX_FLOWS} flows, not {}", flows.len());
        ensure!(!interval.is_zero(), "an interval between probes is not zero");
        let records = Arc::new(Mutex::new(vec![Record::default(); flows.len()]));
        let stop = Arc::new(AtomicBool::new(false));
        let engine = Engine::open(flows, interval, probes, Arc::clone(&records))?;
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || engine.run(&stopped));
        Ok(Self { stop, records, thread })
    }

    /// What has been recorded so far, in the order of the flows.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops sending, waits for late answers (at most a second), and returns all records.
    ///
    /// # Panics
    /// When the thread that pings panicked.
    #[must_use]
    pub fn stop(self) -> Vec<Record> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the pinger runs until it is told to stop");
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends one probe on every flow and returns the round-trip times, `None` where no answer came within a second.
///
/// # Errors
/// As [`Pinger::start`].
pub fn once(flows: &[Flow]) -> Result<Vec<Option<Duration>>> {
    let pinger = Pinger::launch(flows, Duration::from_millis(10), 1)?;
    pinger.thread.join().expect("the pinger ends after its probes");
    let records = pinger.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(records.iter().map(|record| record.probes.first().and_then(Probe::round_trip)).collect())
}

struct Engine {
    sockets: Vec<PingSocket>,
    flows: Vec<Sender>,
    interval: Duration,
    /// Probes per flow before it falls silent.
    probes: usize,
    records: Arc<Mutex<Vec<Record>>>,
}

struct Sender {
    socket: usize,
    to: Ipv6Addr,
    due: Duration,
    sent: usize,
}

impl Engine {
    fn open(
        flows: &[Flow],
        interval: Duration,
        probes: usize,
        records: Arc<Mutex<Vec<Record>>>,
    ) -> Result<Self> {
        let mut places: Vec<(&Namespace, Option<Ipv6Addr>)> = Vec::new();
        let mut sockets = Vec::new();
        let mut senders = Vec::new();
        let (start, count) = (now(), u32::try_from(flows.len()).unwrap_or(u32::MAX));
        for (index, flow) in (0..).zip(flows) {
            let place = (&flow.from, flow.source);
            let socket = match places.iter().position(|known| *known == place) {
                Some(socket) => socket,
                None => {
                    sockets.push(PingSocket::open(&flow.from, flow.source)?);
                    places.push(place);
                    sockets.len() - 1
                }
            };
            let due = start + interval * index / count;
            senders.push(Sender { socket, to: flow.to, due, sent: 0 });
        }
        Ok(Self { sockets, flows: senders, interval, probes, records })
    }

    fn run(mut self, stop: &AtomicBool) {
        let mut last = now();
        loop {
            let time = now();
            let next = if stop.load(Ordering::Relaxed) { None } else { self.send_due(time) };
            if next.is_some() {
                last = time;
            } else if time >= last + GRACE || self.all_answered() {
                return;
            }
            let wait = next.map_or(TURN, |due| due.saturating_sub(now()).min(TURN));
            self.receive(wait);
        }
    }

    /// Sends what is due; the time of the next probe, or `None` when every flow has sent its last.
    fn send_due(&mut self, time: Duration) -> Option<Duration> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next: Option<Duration> = None;
        for (index, (flow, record)) in (0..).zip(self.flows.iter_mut().zip(records.iter_mut())) {
            if flow.sent < self.probes && flow.due <= time {
                let echo = Echo { flow: index, sequence: record.probes.len() as u64 };
                // A probe that cannot leave (no route) counts as sent: the caller asks what arrives.
                let outcome =
                    self.sockets.get(flow.socket).map(|socket| socket.send(flow.to, echo));
                let outcome = match outcome {
                    Some(Err(_)) => Outcome::Refused,
                    _ => Outcome::Unanswered,
                };
                record.probes.push(Probe { sent: time, outcome });
                flow.sent += 1;
                // After a stall the schedule goes on from now; it does not catch up with a burst.
                flow.due = (flow.due + self.interval).max(time);
            }
            if flow.sent < self.probes {
                next = Some(next.map_or(flow.due, |known| known.min(flow.due)));
            }
        }
        next
    }

    fn receive(&self, wait: Duration) {
        let mut waiting: Vec<_> = self
            .sockets
            .iter()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        let milliseconds = u16::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        // An interrupted poll is an early turn.
        let _ = poll(&mut waiting, PollTimeout::from(milliseconds));
        let ready: Vec<_> = waiting.iter().map(|one| one.any().unwrap_or(false)).collect();
        for (socket, _) in self.sockets.iter().zip(ready).filter(|(_, ready)| *ready) {
            while let Some((from, echo)) = socket.receive() {
                self.note(from, echo);
            }
        }
    }

    fn note(&self, from: Ipv6Addr, echo: Echo) {
        let time = now();
        let Ok(index) = usize::try_from(echo.flow) else { return };
        if self.flows.get(index).is_none_or(|flow| flow.to != from) {
            return;
        }
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let probe = usize::try_from(echo.sequence)
            .ok()
            .and_then(|sequence| records.get_mut(index)?.probes.get_mut(sequence));
        if let Some(probe) = probe
            && probe.outcome == Outcome::Unanswered
        {
            probe.outcome = Outcome::Answered(time.saturating_sub(probe.sent));
        }
    }

    fn all_answered(&self) -> bool {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records
            .iter()
            .flat_map(|record| &record.probes)
            .all(|probe| probe.outcome != Outcome::Unanswered)
    }
}

/// How long answers to the last probes may take.
const GRACE: Duration = Duration::from_secs(1);
/// The longest the engine sleeps before it looks whether to stop.
const TURN: Duration = Duration::from_millis(20);
/// A thousand nodes' neighbours, or 40 nodes all to all.
const MAX_FLOWS: usize = 2_000;
/// A quarter of an hour at 1000 per second; a flow falls silent after it.
const MAX_PROBES: usize = 1_000_000;
