//! One WireGuard device of the helper at work: packets between its interface and its port.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::coalesce::Run;
use super::control::Ask;
use super::drops::{Drops, Loss};
use super::ecn;
use super::noise::Noise;
use super::outbox::Outbox;
use super::saved::Saved;
use super::segment::{self, ROOM};
use super::socket::{Received, Sockets, UdpSocket};
use super::tun::{Tun, is_detached};
use super::uapi::{self, Greeting, Request, Update};
use super::virtio;

/// A device.
pub(super) struct Device {
    tun: AsyncFd<Tun>,
    /// What a successor starts from.
    saved: Saved,
    drops: Arc<Drops>,
    mtu: usize,
    sockets: Option<Sockets>,
    /// Those of the port before, and until when: what was on its way to it still comes in.
    former: Option<(Sockets, Instant)>,
    fwmark: u32,
    noise: Noise,
    /// The kernel takes no datagrams for the moment: then we take no packets.
    congested: bool,
    /// Since the last tick: then the MTU is worth a look.
    has_sent: bool,
    tick: tokio::time::Interval,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is nothing left of it.
    Done,
    /// So that others have theirs.
    Cut,
}

/// What was done in a turn.
#[derive(Debug, Default)]
struct Batch {
    calls: usize,
    octets: usize,
}

impl Batch {
    fn add(&mut self, octets: usize) {
        self.calls += 1;
        self.octets += octets;
    }

    fn is_full(&self) -> bool {
        self.calls >= BATCH || self.octets >= BATCH_OCTETS
    }
}

/// What a thread works with, for all its devices.
struct Buffers {
    /// When the ticks of all devices began.
    epoch: Instant,
    packet: Box<[u8]>,
    segment: Box<[u8]>,
    datagrams: Box<[u8]>,
    opened: Box<[u8]>,
    used: usize,
    run: Run,
    outbox: Outbox,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

impl Default for Buffers {
    fn default() -> Self {
        let buffer = |size| vec![0; size].into_boxed_slice();
        Self {
            epoch: Instant::now(),
            packet: buffer(virtio::LEN + PACKET),
            segment: buffer(PACKET),
            datagrams: buffer(PACKET),
            opened: buffer(OPENED),
            used: 0,
            run: Run::default(),
            outbox: Outbox::default(),
        }
    }
}

impl Device {
    /// A device without keys and peers. It stays with the thread that makes it.
    pub(super) fn new((tun, saved): (Tun, Saved), drops: Arc<Drops>) -> io::Result<Self> {
        let mtu = tun.mtu()?;
        let mut tick = tokio::time::interval_at(next_tick(), TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Ok(Self {
            tun: tun.watched()?,
            saved,
            drops: Arc::clone(&drops),
            mtu,
            sockets: None,
            former: None,
            fwmark: 0,
            noise: Noise::new(drops),
            congested: false,
            has_sent: true,
            tick,
        })
    }

    /// Waits for something to do, and does it.
    pub(super) async fn turn(&mut self, asks: &mut mpsc::Receiver<Ask>) -> io::Result<Turn> {
        let Self { tun, sockets, former, congested, tick, .. } = self;
        let former = former.as_ref().map(|(sockets, _)| sockets);
        tokio::select! {
            Some(ask) = asks.recv() => self.answer(ask),
            _ = tick.tick() => {
                if std::mem::take(&mut self.has_sent) {
                    self.mtu = self.tun.get_ref().mtu().unwrap_or(self.mtu);
                }
                self.do_what_is_due();
                if self.noise.has_moved() {
                    self.save();
                }
            }
            outcome = readable(sockets.as_ref()) => {
                outcome?;
                return BUFFERS.with_borrow_mut(|buffers| self.receive(buffers));
            }
            outcome = readable(former) => {
                outcome?;
                return BUFFERS.with_borrow_mut(|buffers| self.receive(buffers));
            }
            outcome = tun.readable(), if !*congested => {
                drop(outcome?);
                return BUFFERS.with_borrow_mut(|buffers| self.send(buffers));
            }
            outcome = writable(sockets.as_ref()), if *congested => {
                outcome?;
                self.congested = false;
            }
        }
        Ok(Turn::Done)
    }

    fn answer(&mut self, Ask { request, answer }: Ask) {
        let text = match request {
            Request::Get => self.describe().text() + &uapi::outcome(Ok(())),
            Request::Set(update) => uapi::outcome(self.set(update)),
        };
        // A client that does not wait for it has it done all the same.
        let _ = answer.send(text);
    }

    fn describe(&self) -> uapi::Device {
        let port = self.sockets.as_ref().map_or(0, Sockets::port);
        uapi::Device { port, fwmark: self.fwmark, ..self.noise.describe() }
    }

    /// Leaves what a successor starts from.
    fn save(&mut self) {
        if let Err(error) = self.saved.write(&self.describe().text()) {
            tracing::warn!("configuration not saved: {error}");
        }
    }

    /// Changes the device, all of it or nothing.
    fn set(&mut self, update: Update) -> Result<(), Errno> {
        self.noise.check(&update)?;
        let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
        let fwmark = update.fwmark.unwrap_or(self.fwmark);
        let current = self.sockets.as_ref().map(Sockets::port);
        let wanted = update.port.or(current).unwrap_or(0);
        if current == Some(wanted) && wanted != 0 {
            if let Some(sockets) = self.sockets.as_ref().filter(|_| fwmark != self.fwmark) {
                sockets.set_mark(fwmark).map_err(errno)?;
            }
        } else {
            // The old ones serve until the new ones are there, and until the peers have heard of them.
            let fresh = self.bind(wanted, fwmark).map_err(errno)?;
            let former = self.sockets.replace(fresh);
            self.former = former.map(|sockets| (sockets, Instant::now() + LINGERING));
            self.noise.speak_up();
        }
        if current != Some(wanted) || fwmark != self.fwmark {
            self.noise.forget_sources();
        }
        self.fwmark = fwmark;
        let greeting = update.greeting;
        self.noise.set(update);
        if greeting == Greeting::AtOnce {
            BUFFERS.with_borrow_mut(|Buffers { outbox, .. }| {
                self.noise.greet(outbox, Instant::now());
                self.flush(outbox);
            });
        }
        self.do_what_is_due();
        self.save();
        Ok(())
    }

    /// Sockets on another port, which may be the one before.
    fn bind(&mut self, port: u16, fwmark: u32) -> io::Result<Sockets> {
        match self.former.take_if(|(sockets, _)| sockets.port() == port && port != 0) {
            Some((sockets, _)) => sockets.set_mark(fwmark).map(|()| sockets),
            None => Sockets::bind(port, fwmark),
        }
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        self.former = self.former.take().filter(|(_, until)| now < *until);
        BUFFERS.with_borrow_mut(|Buffers { outbox, .. }| {
            self.noise.tick(outbox, now);
            self.flush(outbox);
        });
    }

    /// Takes packets of the kernel, encrypts and sends them.
    fn send(&mut self, buffers: &mut Buffers) -> io::Result<Turn> {
        let now = Instant::now();
        self.has_sent = true;
        let port = self.sockets.as_ref().map_or(0, Sockets::port);
        let (mut batch, mut turn) = (Batch::default(), Turn::Done);
        loop {
            if batch.is_full() {
                turn = Turn::Cut;
                break;
            }
            let read = self.tun.try_io(Interest::READABLE, |tun| {
                tun.read(&mut buffers.packet[..virtio::LEN + PACKET - ROOM])
            });
            let (offload, place) = match read {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            batch.add(place.len());
            let packet = (&mut buffers.packet[place.start..], place.len());
            let peer = self.noise.route(&packet.0[..packet.1]);
            let (Some(offload), Some(peer)) = (offload, peer) else {
                if offload.is_none() {
                    self.drops.one(Loss::Malformed);
                }
                continue;
            };
            if self.noise.is_own(peer, &packet.0[..packet.1], port) {
                self.drops.one(Loss::Loop);
                continue;
            }
            let (segment, outbox) = (&mut buffers.segment, &mut buffers.outbox);
            let split = segment::split(packet, offload, segment, |buffer, length| {
                if outbox.is_full() {
                    self.flush(outbox);
                }
                let padded = length.next_multiple_of(16).min(self.mtu).max(length);
                buffer[length..padded].fill(0);
                self.noise.seal(peer, &buffer[..padded], outbox, now);
            });
            if split.is_err() {
                self.drops.one(Loss::Malformed);
                tracing::trace!("a packet of the kernel makes no sense: {offload:?}");
            }
        }
        self.flush(&mut buffers.outbox);
        Ok(turn)
    }

    /// Receives datagrams, decrypts them and gives the packets to the kernel.
    fn receive(&mut self, buffers: &mut Buffers) -> io::Result<Turn> {
        let now = Instant::now();
        let (mut batch, mut turn) = (Batch::default(), Turn::Done);
        loop {
            if batch.is_full() {
                turn = Turn::Cut;
                break;
            }
            let mut idle = true;
            for number in 0..4 {
                match self.socket(number).map(|one| one.receive(&mut buffers.datagrams)) {
                    Some(Ok(received)) => {
                        idle = false;
                        batch.add(received.octets);
                        self.open(&received, buffers, now)?;
                    }
                    Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                        // It stands for a datagram sent before.
                        tracing::trace!("receive: {error}");
                    }
                    Some(Err(_)) | None => {}
                }
            }
            if idle {
                break;
            }
        }
        self.deliver(buffers)?;
        buffers.used = 0;
        self.flush(&mut buffers.outbox);
        Ok(turn)
    }

    /// The sockets in use, one after the other, then those of the port before.
    fn socket(&self, number: usize) -> Option<&UdpSocket> {
        let former = self.former.iter().map(|(sockets, _)| sockets);
        self.sockets.iter().chain(former).flat_map(Sockets::both).nth(number)
    }

    fn open(&mut self, received: &Received, buffers: &mut Buffers, now: Instant) -> io::Result<()> {
        let Received { from, octets, size, class, lost } = *received;
        if lost > 0 {
            self.drops.many(Loss::ReceiveQueueFull, lost);
        }
        let mut start = 0;
        while start < octets {
            let end = octets.min(start + size);
            if buffers.opened.len() - buffers.used < PACKET {
                self.deliver(buffers)?;
                buffers.used = 0;
            }
            if buffers.outbox.is_full() {
                self.flush(&mut buffers.outbox);
            }
            let space = &mut buffers.opened[buffers.used..];
            let datagram = (from, &buffers.datagrams[start..end]);
            if let Some(length) = self.noise.open(datagram, space, &mut buffers.outbox, now) {
                let packet = buffers.used..buffers.used + length;
                ecn::decapsulate(class, &mut buffers.opened[packet.clone()]);
                if !buffers.run.join(&buffers.opened, &packet) {
                    self.deliver(buffers)?;
                    buffers.run.start(&buffers.opened, packet);
                }
                buffers.used += length;
            }
            start = end;
        }
        Ok(())
    }

    /// Gives the kernel what was joined so far.
    fn deliver(&self, buffers: &mut Buffers) -> io::Result<()> {
        let Buffers { run, opened, .. } = buffers;
        let (offload, parts) = run.finish(opened);
        let outcome = match parts {
            [] => Ok(()),
            parts => self.tun.get_ref().write(offload, opened, parts),
        };
        run.clear();
        match outcome {
            Err(error) if is_detached(&error) => Err(error),
            // It is switched off, or the packet is not one.
            Err(error) => {
                self.drops.one(Loss::DeliveryRefused);
                tracing::trace!("packet refused by the kernel: {error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn flush(&mut self, outbox: &mut Outbox) {
        let Some(sockets) = &mut self.sockets else { return outbox.clear() };
        for (train, octets) in outbox.trains() {
            if self.congested {
                // What is left is lost, as in any full queue.
                self.drops.many(Loss::SendQueueFull, train.count());
                continue;
            }
            match sockets.send(train, octets) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.congested = true;
                    self.drops.many(Loss::SendQueueFull, train.count());
                }
                Err(error) => {
                    self.drops.many(Loss::SendRefused, train.count());
                    tracing::trace!("send to {}: {error}", train.endpoint.to);
                }
                Ok(()) => {}
            }
        }
        outbox.clear();
    }
}

/// All devices of a thread tick together: one waking for all of them.
fn next_tick() -> Instant {
    let epoch = BUFFERS.with_borrow(|buffers| buffers.epoch);
    let past = epoch.elapsed().as_nanos() % TICK.as_nanos();
    Instant::now() + TICK - Duration::from_nanos(u64::try_from(past).unwrap_or(0))
}

async fn readable(sockets: Option<&Sockets>) -> io::Result<()> {
    match sockets {
        Some(sockets) => sockets.readable().await,
        None => std::future::pending().await,
    }
}

async fn writable(sockets: Option<&Sockets>) -> io::Result<()> {
    match sockets {
        Some(sockets) => sockets.writable().await,
        None => std::future::pending().await,
    }
}

/// The library counts in it: handshakes, keepalives.
const TICK: Duration = Duration::from_millis(250);
/// How long the port before is listened to: longer than it takes a peer to hear of the new one.
const LINGERING: Duration = Duration::from_secs(1);
/// Calls in a row for one direction; then the other, and other devices, have their turn.
const BATCH: usize = 64;
/// Octets in a row; about what is encrypted in a quarter of a millisecond.
const BATCH_OCTETS: usize = 256 << 10;
/// Octets: more than any packet, datagram or run of them, and what stands around it.
const PACKET: usize = (64 << 10) + 512;
/// Octets of decrypted packets held back at most.
const OPENED: usize = 4 * PACKET;
