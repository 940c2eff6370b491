//! A member that hands out network states that are none.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sixwire_controlplane::daemon::signalling::Event;
use sixwire_proto::certificate::Chain;
use sixwire_proto::peer::{Answer, Request};
use sixwire_proto::state::NetworkState;

use super::papers::{CALL, Impostor, Press, key, target};
use super::strangers::{altered, refused};
use super::{Witness, settle, status};
use crate::clock::wait_for;
use crate::lab::{Host, Node, Plane};
use crate::network::Network;

/// States that are altered, truncated, signed by others, out of bounds or old are refused when a member claims to
/// have a newer one; a genuine one from the same member is taken over, and expels whom it revokes.
///
/// # Errors
/// What did not happen.
pub fn states_that_do_not_hold_change_nothing(network: &mut Network) -> Result<()> {
    let host = network.underlay.host(&mut network.lab, 1, "mole")?;
    let mole = Node::new(&network.lab, host, "mole", Plane::Auto)?;
    mole.join(&network.registry.token(&[])?)?;
    settle(network)?;
    let press = Press::of(network, &mole)?;
    let mut spy =
        press.impostor(&press.genuine.key.clone(), press.genuine.certificate_chain.clone());
    spy.membership.state.epoch += 100;

    let newer = |change: &dyn Fn(&mut NetworkState)| {
        let mut state = press.genuine.state.clone();
        state.epoch += 50;
        change(&mut state);
        state
    };
    let honest = newer(&|_| {});
    let hasty = newer(&|state| state.parameters.hello_interval_ms = 1);
    let cases = [
        ("network state has a wrong signature", altered(&press.sign(&honest))?),
        ("network state has a wrong signature", truncated(&press.sign(&honest))?),
        ("not by the key it must be signed by", press.sign_with(&key(67), &honest)),
        ("hello_interval_ms", press.sign(&hasty)),
        // A certificate in a state's place: its signature is for another purpose.
        ("network state has a wrong signature", press.genuine.certificate_chain.clone()),
    ];
    for (reason, chain) in cases {
        offered(network, (&mole.host, &spy), chain, reason)?;
    }

    taken_over(network, (&mole.host, &spy), press.sign(&honest), honest.epoch)?;
    let replayed = press.genuine.state_chain.clone();
    offered(network, (&mole.host, &spy), replayed, "older than ours")?;

    let mut expelling = honest;
    expelling.epoch += 1;
    expelling.revoked_keys.push(press.genuine.key.public());
    let epoch = expelling.epoch;
    taken_over(network, (&mole.host, &spy), press.sign(&expelling), epoch)?;
    refused(network, &mole.host, &spy, "node certificate is revoked")?;
    network.wait_reachable(Duration::from_secs(10)).map(drop)
}

/// A state that arrives before a restarted daemon has met its neighbours again costs it no tunnel; one that revokes
/// a neighbour ends that neighbour's tunnel and routes, whether it has met it or not.
///
/// # Errors
/// What did not happen.
pub fn revocation_ends_the_tunnel_of_the_revoked_alone(network: &mut Network) -> Result<()> {
    let host = network.underlay.host(&mut network.lab, 1, "bearer")?;
    let bearer = Node::new(&network.lab, host, "bearer", Plane::Auto)?;
    bearer.join(&network.registry.token(&[])?)?;
    settle(network)?;
    let press = Press::of(network, &bearer)?;
    let mut spy =
        press.impostor(&press.genuine.key.clone(), press.genuine.certificate_chain.clone());
    spy.membership.state.epoch += 100;

    let before = Witness::call(network)?;
    network.node(0)?.kill()?;
    network.node(0)?.up()?;
    network.node(0)?.wait_status(CALL)?;
    let mut state = press.genuine.state.clone();
    state.epoch += 1;
    let epoch = state.epoch;
    taken_over(network, (&bearer.host, &spy), press.sign(&state), epoch)?;
    network.wait_reachable(Duration::from_secs(10))?;
    before.same_tunnels(network)?;

    let revoked = network.nodes.get(1).context("there are two nodes")?;
    let revoked = Press::of(network, revoked)?.genuine.key.public();
    state.epoch += 1;
    state.revoked_keys.push(revoked);
    offer(network, (&bearer.host, &spy), press.sign(&state))?;
    let node = network.node(0)?;
    wait_for("the revoked node's tunnel and route to go", CALL, || {
        let (tunnels, routes) = (node.tunnel_interfaces(), node.routes());
        match (&tunnels, &routes) {
            (Ok(tunnels), Ok(routes)) if tunnels.is_empty() && routes.is_empty() => Ok(()),
            _ => Err(format!("{tunnels:?} {routes:?}")),
        }
    })
}

/// The same cut in half.
fn truncated(chain: &Chain) -> Result<Chain> {
    let mut json = serde_json::to_value(chain)?;
    let payload = json["document"]["payload"].as_str().context("an envelope has a payload")?;
    let half = payload.len() / 8 * 4;
    json["document"]["payload"] = payload.get(..half).unwrap_or_default().into();
    Ok(serde_json::from_value(json)?)
}

fn offered(
    network: &Network,
    member: (&Host, &Impostor),
    chain: Chain,
    reason: &str,
) -> Result<()> {
    let witness = Witness::call(network)?;
    offer(network, member, chain)?;
    witness.saw(network, "members.states_refused", reason)
}

fn taken_over(
    network: &Network,
    member: (&Host, &Impostor),
    chain: Chain,
    epoch: u64,
) -> Result<()> {
    offer(network, member, chain)?;
    for node in &network.nodes {
        wait_for(&format!("{} to be at epoch {epoch}", node.name), CALL, || {
            let status = status(node).map_err(|error| format!("{error:#}"))?;
            let now = status["network"]["epoch"].as_u64();
            if now == Some(epoch) { Ok(()) } else { Err(format!("at {now:?}")) }
        })?;
    }
    Ok(())
}

/// Claims to have a newer state, and answers with this one when asked for it.
fn offer(network: &Network, (host, spy): (&Host, &Impostor), chain: Chain) -> Result<()> {
    let (node, address) = target(network)?;
    let asked = spy.on(host, async |signalling, mut events| {
        signalling.call(node, &[address], Request::NodeInfo, CALL).await?;
        let next = tokio::time::timeout(CALL, events.recv()).await;
        let Ok(Some(Event::Request(incoming))) = next else { return Ok(false) };
        let asked = incoming.request == Request::StateGet;
        // The node may have gone, which the caller will notice.
        let _ = incoming.reply.send(Answer::State { state: chain });
        // The answer travels beside this question, which goes and comes.
        signalling.call(node, &[], Request::NodeInfo, CALL).await.map(|_| asked)
    })?;
    match asked {
        Ok(asked) => ensure!(asked, "the node did not ask for the newer state"),
        // It has put a state in force that expels us.
        Err(error) => ensure!(error.to_string().contains("lost"), "{error}"),
    }
    Ok(())
}
