//! Strangers that speak signalling with papers that do not hold.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sixwire_controlplane::daemon::signalling::{CallError, Membership};
use sixwire_proto::certificate::{Chain, Issuer, NetworkId};
use sixwire_proto::envelope::Envelope;
use sixwire_proto::peer::{Refusal, Request};
use sixwire_proto::time::Timestamp;

use super::papers::{CALL, Impostor, Press, key, target, today};
use super::{Witness, settle};
use crate::lab::Host;
use crate::network::Network;

/// Whoever shows a certificate of another network, of another node, of another time or of another issuer is told so,
/// and gets nothing.
///
/// # Errors
/// What did not happen.
pub fn strangers_are_refused_by_reason(network: &mut Network) -> Result<()> {
    let host = network.underlay.host(&mut network.lab, 1, "stranger")?;
    settle(network)?;
    let other = network.nodes.get(1).context("there are two nodes")?;
    let press = Press::of(network, other)?;
    for (reason, impostor) in impostors(&press)? {
        refused(network, &host, &impostor, reason)?;
    }
    network.wait_reachable(Duration::from_secs(10)).map(drop)
}

fn impostors(press: &Press) -> Result<Vec<(&'static str, Impostor)>> {
    let own = key(66);
    let (long_ago, far_ahead) = (Timestamp(1_600_000_000), Timestamp(today().0 + 900_000));
    let expired = press.certificate(&own, |c| (c.not_before, c.not_after) = (long_ago, long_ago));
    let early = press.certificate(&own, |c| (c.not_before, c.not_after) = (far_ahead, far_ahead));
    let outside = "fd66:6666:6666:6666::/64".parse()?;
    let outside = press.certificate(&own, |c| c.prefix = outside);
    let of_nobody = press.certificate(&own, |_| {});
    let stolen = press.genuine.certificate_chain.clone();
    Ok(vec![
        ("issuer certificate is signed by", foreigner(press)),
        ("node certificate is for key", press.impostor(&own, stolen)),
        ("node certificate expired at", press.impostor(&own, press.sign(&expired))),
        ("node certificate is valid only from", press.impostor(&own, press.sign(&early))),
        ("is outside the network", press.impostor(&own, press.sign(&outside))),
        (
            "not by the key it must be signed by",
            press.impostor(&own, press.sign_with(&key(67), &of_nobody)),
        ),
        (
            "node certificate has a wrong signature",
            press.impostor(&own, altered(&press.sign(&of_nobody))?),
        ),
    ])
}

/// A member in good standing of a network of its own.
fn foreigner(press: &Press) -> Impostor {
    let (root, issuer, own) = (key(70), key(71), key(66));
    let network = NetworkId::of(&root.public());
    let genuine = &press.genuine.certificate;
    let (not_before, not_after) = (genuine.not_before, genuine.not_after);
    let word = Issuer { version: 1, network, key: issuer.public(), not_before, not_after };
    let certificate = press.certificate(&own, |c| c.network = network);
    let certificate = Chain {
        issuer: Envelope::seal(&root, &word),
        document: Envelope::seal(&issuer, &certificate),
    };
    let mut state = press.genuine.state.clone();
    (state.network, state.issuers) = (network, vec![issuer.public()]);
    Impostor { key: own, membership: Membership { root: root.public(), certificate, state } }
}

/// The same with one letter of its payload changed.
pub(super) fn altered(chain: &Chain) -> Result<Chain> {
    let mut json = serde_json::to_value(chain)?;
    let payload = json["document"]["payload"].as_str().context("an envelope has a payload")?;
    let (head, tail) = payload.split_at(payload.len() / 2);
    let letter = if tail.starts_with('A') { 'B' } else { 'A' };
    let payload = format!("{head}{letter}{}", tail.get(1..).unwrap_or_default());
    json["document"]["payload"] = payload.into();
    Ok(serde_json::from_value(json)?)
}

/// The first node refuses the impostor: to its face, in a counter, in its log.
pub(super) fn refused(
    network: &Network,
    host: &Host,
    impostor: &Impostor,
    reason: &str,
) -> Result<()> {
    let witness = Witness::call(network)?;
    let (node, address) = target(network)?;
    let answer = impostor.on(host, async |signalling, _| {
        signalling.call(node, &[address], Request::NodeInfo, CALL).await
    })?;
    match answer {
        Err(CallError::Refused { reason: Refusal::Certificate, text, .. }) => {
            ensure!(text.contains(reason), "want {reason:?}, was told {text:?}");
        }
        other => bail!("want a refusal with {reason:?}, got {other:?}"),
    }
    witness.saw(network, "signalling.refused_certificate", reason)
}
