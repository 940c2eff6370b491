//! What leaves at the end of one step: control TLVs ahead of updates, each packed with the others for
//! the same destination.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sixwire_proto::babel::{Destination, Ihu, Packet, Tlv, Writer};
use sixwire_proto::link::LinkId;

use super::Babel;
use super::announcement::Outlet;
use super::counter::{Counters, Done};
use super::output::{Event, Output};

/// Collected in the course of a step.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) outputs: VecDeque<Output>,
    pub(super) counters: Counters,
    control: BTreeMap<(LinkId, Destination), Vec<Tlv>>,
    /// Senders that may have something to send.
    pub(super) touched: BTreeSet<Outlet>,
}

impl Outbox {
    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Adds a TLV to what leaves at the end of the step.
    pub(super) fn control(&mut self, link: LinkId, to: Destination, tlv: Tlv) {
        self.control.entry((link, to)).or_default().push(tlv);
    }

    pub(super) fn send(&mut self, link: LinkId, to: Destination, packet: Packet) {
        self.counters.done(Done::PacketSent);
        self.outputs.push_back(Output::Send { link, to, packet });
    }
}

impl Babel {
    /// Ends a step: control TLVs first, so that no Hello waits behind a dump.
    pub(super) fn flush(&mut self) {
        for ((link, to), tlvs) in std::mem::take(&mut self.outbox.control) {
            self.send_control(link, to, &tlvs);
        }
        for outlet in std::mem::take(&mut self.outbox.touched) {
            self.pump(outlet);
        }
    }

    fn send_control(&mut self, link: LinkId, to: Destination, tlvs: &[Tlv]) {
        let Some(params) = self.links.get(&link).map(|link| link.params) else { return };
        let mut writer = self.writer(link, (params.largest_datagram, params.address));
        let mut company = Company::NoHello;
        for tlv in tlvs {
            if writer.push(&company.stamps(*tlv)).is_err() {
                self.send_finished(link, to, &mut writer);
                company = Company::NoHello;
                let alone = company.stamps(*tlv);
                writer.push(&alone).expect("any TLV fits an empty datagram");
            }
            if matches!(tlv, Tlv::Hello(_)) {
                company = Company::Hello;
            }
        }
        self.send_finished(link, to, &mut writer);
    }

    fn send_finished(&mut self, link: LinkId, to: Destination, writer: &mut Writer) {
        if let Some(packet) = writer.finish() {
            self.transmit(link, to, packet);
        }
    }
}

/// What an IHU travels with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    NoHello,
    Hello,
}

impl Company {
    /// A TLV as it is of use: the times of an IHU need a Hello in the same packet (RFC 9616), which may be
    /// in the one before.
    fn stamps(self, tlv: Tlv) -> Tlv {
        match (self, tlv) {
            (Self::NoHello, Tlv::Ihu(ihu)) => Tlv::Ihu(Ihu { timestamps: None, ..ihu }),
            (Self::NoHello | Self::Hello, tlv) => tlv,
        }
    }
}
