//! `sixwire peers`.

use super::output::{Column, or_dash, print, print_json, table};
use super::quantity::{age, milliseconds, octets};
use super::{Form, Place};
use crate::daemon::api::Request;
use crate::daemon::api::report::{LinkRole, PeerReport, PeersReport};

/// Prints the links to other nodes.
pub(super) fn run(place: Place, form: Form) -> anyhow::Result<()> {
    let report: PeersReport = place.client()?.ask(Request::Peers)?;
    if form.json {
        return Ok(print_json(&report)?);
    }
    Ok(print(&text(&report))?)
}

const COLUMNS: [Column; 8] = [
    Column::Text("NODE"),
    Column::Text("LINK"),
    Column::Text("ENDPOINT"),
    Column::Number("COST"),
    Column::Number("RTT"),
    Column::Number("RX"),
    Column::Number("TX"),
    Column::Number("SEEN"),
];

/// The report for people; uplinks only where somebody has several.
fn text(report: &PeersReport) -> String {
    if report.peers.is_empty() {
        return "no links to other nodes\n".to_owned();
    }
    let several = |peer: &PeerReport| peer.uplink.is_some() || !peer.uplink_number.is_first();
    if !report.peers.iter().any(several) {
        return table(&COLUMNS, report.peers.iter().map(row));
    }
    let mut columns = COLUMNS.to_vec();
    columns.insert(2, Column::Text("UPLINK"));
    let rows = report.peers.iter().map(|peer| {
        let mut cells = row(peer);
        cells.insert(2, uplink(peer));
        cells
    });
    table(&columns, rows)
}

/// The name of our uplink, or the number of theirs.
fn uplink(peer: &PeerReport) -> String {
    match (peer.role, &peer.uplink) {
        (_, Some(name)) => name.clone(),
        (LinkRole::Dialled | LinkRole::Served, None) => format!("#{}", peer.uplink_number),
        (LinkRole::Native, None) => "-".to_owned(),
    }
}

fn row(peer: &PeerReport) -> Vec<String> {
    vec![
        peer.name.clone().unwrap_or_else(|| peer.router_id.to_string()),
        link(peer),
        or_dash(peer.endpoint),
        or_dash(peer.cost),
        or_dash(peer.rtt_ms.map(milliseconds)),
        octets(peer.rx_bytes),
        octets(peer.tx_bytes),
        or_dash(peer.handshake_age_s.map(age)),
    ]
}

/// Who asked for a link that is up; how far it is otherwise.
fn link(peer: &PeerReport) -> String {
    match (peer.state.as_str(), peer.role) {
        ("up", LinkRole::Dialled) => "dialled".to_owned(),
        ("up", LinkRole::Served) => "served".to_owned(),
        ("up", LinkRole::Native) => peer.interface.clone(),
        (state, _) => state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use sixwire_proto::uplink::UplinkNumber;

    use super::*;
    use crate::daemon::api::Schema;

    fn peer(name: Option<&str>, role: LinkRole) -> PeerReport {
        PeerReport {
            router_id: "0123456789abcdef".parse().unwrap(),
            name: name.map(str::to_owned),
            interface: "sw-01234567".to_owned(),
            role,
            state: "up".to_owned(),
            uplink_number: UplinkNumber::FIRST,
            uplink: None,
            endpoint: Some("203.0.113.17:51820".parse().unwrap()),
            cost: Some(96),
            rtt_ms: Some(12.5),
            rx_bytes: 3_500_000,
            tx_bytes: 812,
            handshake_age_s: Some(75),
        }
    }

    #[test]
    fn peers_fit_a_small_terminal() {
        let probing = PeerReport {
            state: "probing".to_owned(),
            endpoint: None,
            cost: None,
            rtt_ms: None,
            rx_bytes: 0,
            tx_bytes: 0,
            handshake_age_s: None,
            ..peer(None, LinkRole::Dialled)
        };
        let peers = vec![peer(Some("paris"), LinkRole::Served), probing];
        let expected = "\
NODE              LINK     ENDPOINT            COST     RTT    RX   TX  SEEN
paris             served   203.0.113.17:51820    96  12.5ms  3.3M  812    1m
0123456789abcdef  probing  -                      -       -     0    0     -
";
        assert_eq!(text(&PeersReport { schema: Schema, peers }), expected);
        assert!(expected.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn several_tunnels_of_one_node_are_told_apart_by_their_uplinks() {
        let dsl =
            PeerReport { uplink: Some("dsl".to_owned()), ..peer(Some("paris"), LinkRole::Dialled) };
        let second = UplinkNumber::try_from(2).unwrap();
        let served = PeerReport { uplink_number: second, ..peer(Some("oslo"), LinkRole::Served) };
        let expected = "\
NODE   LINK     UPLINK  ENDPOINT            COST     RTT    RX   TX  SEEN
paris  dialled  dsl     203.0.113.17:51820    96  12.5ms  3.3M  812    1m
oslo   served   #2      203.0.113.17:51820    96  12.5ms  3.3M  812    1m
";
        assert_eq!(text(&PeersReport { schema: Schema, peers: vec![dsl, served] }), expected);
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(text(&PeersReport::default()), "no links to other nodes\n");
    }
}
