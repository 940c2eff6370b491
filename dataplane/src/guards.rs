//! Guards the overlay with an nftables table of our own: sources come only from where they may come, our own UDP is
//! never carried by our own tunnels, what is only passed on is not tracked. Whole tables are replaced in one
//! transaction, a tunnel that comes or goes is a change of elements; no rule of anybody else is looked at or touched.
//!
//! The table is of the family `ip6`: what is inside is IPv6, and the IPv4 packets that carry it meet no rule at all.
//!
//! In a kernel without nftables nothing of this is there, and [`Error::NoNftables`] says so.

mod elements;
mod rules;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use sixwire_proto::prefix::Prefix;

use crate::error::Error;
use crate::model::{GuardedNetwork, Guards, IfName, ObservedGuards, Sources, WireGuard};
use crate::netlink::batch::BatchSocket;
use crate::netlink::nftables::{self, Transaction};
use rules::Extent;

/// Our table.
pub(crate) struct GuardTable(Mutex<State>);

struct State {
    /// Or why there is none.
    socket: Result<BatchSocket, io::Error>,
    /// What there should be; nothing before we were told.
    wanted: Option<Guards>,
    /// What there is, as far as known.
    present: Option<Guards>,
    /// The UDP port of each tunnel.
    ports: BTreeMap<IfName, u16>,
}

impl GuardTable {
    pub(crate) fn open() -> Self {
        let (socket, ports) = (nftables::connect(), BTreeMap::new());
        Self(Mutex::new(State { socket, wanted: None, present: None, ports }))
    }

    /// The port that the kernel names as the originator of our changes.
    pub(crate) fn port(&self) -> Option<u32> {
        self.state().socket.as_ref().ok().map(BatchSocket::port)
    }

    /// Reads what the kernel has. One without nftables has nothing.
    pub(crate) fn observe(&self) -> Result<ObservedGuards, Error> {
        let state = &mut *self.state();
        let Ok(socket) = &mut state.socket else { return Ok(ObservedGuards::Absent) };
        let observed = match read(socket) {
            Err(error) if is_unsupported(&error) => Ok(ObservedGuards::Absent),
            observed => observed,
        };
        let observed = observed.map_err(|error| Error::kernel(READ, error))?;
        state.present = match &observed {
            ObservedGuards::Intact(guards) => Some(guards.clone()),
            ObservedGuards::Absent | ObservedGuards::Foreign | ObservedGuards::Broken => None,
        };
        if state.wanted.is_none() {
            // Found as it should be, it is kept so, without a word.
            state.wanted.clone_from(&state.present);
        }
        Ok(observed)
    }

    /// Makes the table say this.
    pub(crate) fn set(&self, wanted: Guards) -> Result<(), Error> {
        let state = &mut *self.state();
        state.wanted = Some(wanted);
        state.make()
    }

    /// Makes the table say again what it was told to, if it does not; says whether it did not.
    pub(crate) fn restore(&self) -> Result<bool, Error> {
        let state = &mut *self.state();
        let (Some(wanted), Ok(socket)) = (&state.wanted, &mut state.socket) else {
            return Ok(false);
        };
        let found = read(socket).map_err(|error| Error::kernel(READ, error))?;
        if found == ObservedGuards::Intact(wanted.clone()) {
            return Ok(false);
        }
        state.present = None;
        state.make().map(|()| true)
    }

    /// Notes the port of a tunnel that is there.
    pub(crate) fn note(&self, name: &IfName, port: u16) {
        self.state().ports.insert(name.clone(), port);
    }

    /// The tunnels it was told of.
    pub(crate) fn tunnels(&self) -> Vec<IfName> {
        self.state().ports.keys().cloned().collect()
    }

    /// Lets a tunnel's traffic in, before there is any; gives the port it had, and what it might bring.
    pub(crate) fn add(
        &self,
        name: &IfName,
        wireguard: &WireGuard,
    ) -> Result<(Option<u16>, Option<Sources>), Error> {
        let state = &mut *self.state();
        let before = state.ports.insert(name.clone(), wireguard.port);
        let sources = state.wanted.as_ref().and_then(|guards| guards.tunnels.get(name).cloned());
        let outcome = state.amend(|guards| {
            guards.ports.retain(|port| Some(*port) != before);
            guards.add(name, wireguard);
        });
        outcome.map(|()| (before, sources))
    }

    /// Follows a change of a tunnel, to the port that it is to have and to what it may bring; gives the port it had.
    pub(crate) fn change(
        &self,
        name: &IfName,
        port: Option<u16>,
        sources: Option<Sources>,
    ) -> Result<Option<u16>, Error> {
        let state = &mut *self.state();
        let before = state.ports.get(name).copied();
        state.ports.extend(port.map(|port| (name.clone(), port)));
        let outcome = state.amend(|guards| {
            if port.is_some() {
                guards.ports.retain(|one| Some(*one) != before);
                guards.ports.extend(port);
            }
            guards.tunnels.extend(sources.map(|sources| (name.clone(), sources)));
        });
        outcome.map(|()| before)
    }

    /// Forgets a tunnel.
    pub(crate) fn forget(&self, name: &IfName) -> Result<(), Error> {
        let state = &mut *self.state();
        let before = state.ports.remove(name);
        state.amend(|guards| {
            guards.tunnels.remove(name);
            guards.ports.retain(|one| Some(*one) != before);
        })
    }

    /// Removes the table, if it is ours.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let state = &mut *self.state();
        (state.wanted, state.present) = (None, None);
        let Ok(socket) = &mut state.socket else { return Ok(()) };
        let outcome = match nftables::table_comment(socket, TABLE) {
            Ok(Some(comment)) if rules::network_of(&comment).is_some() => {
                let mut transaction = Transaction::new();
                transaction.remove_table(TABLE);
                transaction.commit(socket)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if error.raw_os_error() != Some(Errno::ENOENT as i32) => {
                Err(Error::kernel(format!("remove nftables table ip6 {TABLE}"), error))
            }
            _ => Ok(()),
        }
    }

    /// Packets that were kept out, by reason.
    pub(crate) fn dropped(&self) -> Vec<(String, u64)> {
        let state = &mut *self.state();
        let Ok(socket) = &mut state.socket else { return Vec::new() };
        let listed = nftables::rules(socket, TABLE).unwrap_or_default();
        let mut dropped: BTreeMap<String, u64> = BTreeMap::new();
        for rule in listed {
            if let Some(packets) = rule.packets {
                *dropped.entry(rule.comment).or_default() += packets;
            }
        }
        dropped.into_iter().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Changes what the table should say, if it should say anything. Tunnels do without it where it cannot be.
    fn amend(&mut self, change: impl FnOnce(&mut Guards)) -> Result<(), Error> {
        let Some(wanted) = &mut self.wanted else { return Ok(()) };
        change(wanted);
        match self.make() {
            Err(error @ (Error::NoNftables(_) | Error::TableTaken(_))) => {
                tracing::warn!("{error}");
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn make(&mut self) -> Result<(), Error> {
        let Some(wanted) = self.wanted.clone() else { return Ok(()) };
        let outcome = match &mut self.socket {
            Ok(socket) => make(socket, self.present.take(), &wanted),
            Err(error) => Err(Error::NoNftables(error.to_string())),
        };
        match &outcome {
            Ok(()) => self.present = Some(wanted),
            // It will not be otherwise with the next tunnel.
            Err(Error::NoNftables(_) | Error::TableTaken(_)) => self.wanted = None,
            Err(_) => {}
        }
        outcome
    }
}

fn make(socket: &mut BatchSocket, present: Option<Guards>, wanted: &Guards) -> Result<(), Error> {
    match present {
        Some(present) if present == *wanted => Ok(()),
        // What is not as it was known to be is made anew.
        Some(present) if present.ground == wanted.ground => {
            follow(socket, &present, wanted).or_else(|_| replace(socket, wanted))
        }
        _ => replace(socket, wanted),
    }
}

/// Adds and removes elements.
fn follow(socket: &mut BatchSocket, present: &Guards, wanted: &Guards) -> Result<(), Error> {
    let mut transaction = Transaction::new();
    for (set, before, after) in elements::pairs(present, wanted) {
        transaction.remove_elements((TABLE, set.name), before.difference(&after));
        transaction.add_elements((TABLE, set.name), after.difference(&before));
    }
    transaction.commit(socket).map_err(|error| Error::kernel(WRITE, error))
}

/// Makes the whole table, in place of the one there is.
fn replace(socket: &mut BatchSocket, wanted: &Guards) -> Result<(), Error> {
    let there = match nftables::table_comment(socket, TABLE) {
        Err(error) if is_unsupported(&error) => return Err(Error::NoNftables(error.to_string())),
        there => there.map_err(|error| Error::kernel(READ, error))?,
    };
    if there.as_ref().is_some_and(|comment| rules::network_of(comment).is_none()) {
        return Err(Error::TableTaken(TABLE));
    }
    let mut outcome = Ok(());
    for extent in [Extent::Full, Extent::Essential] {
        let mut transaction = Transaction::new();
        // Only what is there can be removed, and it may go at any moment.
        transaction.add_table(TABLE, &rules::comment(wanted.ground.network));
        transaction.remove_table(TABLE);
        write(&mut transaction, wanted, extent);
        outcome = transaction.commit(socket);
        match &outcome {
            Err(error) if is_unsupported(error) => {
                tracing::info!(%error, "the kernel's nftables lacks parts (fib, notrack or rt)");
            }
            _ => break,
        }
    }
    outcome.map_err(|error| match is_unsupported(&error) {
        true => Error::NoNftables(error.to_string()),
        false => Error::kernel(WRITE, error),
    })
}

fn write(transaction: &mut Transaction, wanted: &Guards, extent: Extent) {
    let network = wanted.ground.network;
    transaction.add_table(TABLE, &rules::comment(network));
    for (chain, hook) in rules::CHAINS {
        transaction.add_chain(TABLE, chain, hook);
    }
    for (number, (set, elements)) in (1..).zip(elements::of(wanted)) {
        transaction.add_set(TABLE, (set, number));
        transaction.add_elements((TABLE, set.name), elements.iter());
    }
    for rule in rules::rules(network, extent) {
        transaction.add_rule(TABLE, (rule.chain, rule.comment, &rule.steps));
    }
}

fn read(socket: &mut BatchSocket) -> io::Result<ObservedGuards> {
    let Some(comment) = nftables::table_comment(socket, TABLE)? else {
        return Ok(ObservedGuards::Absent);
    };
    let Some(network) = rules::network_of(&comment) else { return Ok(ObservedGuards::Foreign) };
    Ok(read_own(socket, network)?.map_or(ObservedGuards::Broken, ObservedGuards::Intact))
}

fn read_own(socket: &mut BatchSocket, network: Prefix) -> io::Result<Option<Guards>> {
    let listed = nftables::rules(socket, TABLE)?;
    if !rules::are_listed(network, &listed) {
        return Ok(None);
    }
    let mut found = Vec::new();
    for set in elements::SETS {
        match nftables::elements(socket, (TABLE, set.name)) {
            Ok(elements) => found.push(elements.into_iter().collect()),
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(elements::read(network, &found))
}

/// Whether the kernel has no nftables, or not all of it.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::ENOENT)
    )
}

impl GuardedNetwork {
    /// What is there whatever the tunnels.
    fn here(&self) -> impl Iterator<Item = Prefix> {
        self.own.iter().copied().chain(rules::link_prefixes())
    }
}

/// Its name; there is one daemon for a network namespace.
pub(crate) const TABLE: &str = "sixwire";
const READ: &str = "read nftables table ip6 sixwire";
const WRITE: &str = "write nftables table ip6 sixwire";
