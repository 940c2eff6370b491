//! Tokens that must not work, and a join that was cut off.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::clock::wait_for;
use crate::lab::{Node, Plane};
use crate::network::Network;

/// Bad, spent, revoked, expired and truncated join strings are refused with a reason, and leave the node able to join.
///
/// # Errors
/// What did not happen.
pub fn bad_tokens_change_nothing(network: &mut Network) -> Result<()> {
    let newcomer = newcomer(network, "new")?;
    let registry = &network.registry;
    let (good, spent) = (registry.token(&[])?, registry.token(&[])?);
    let second = self::newcomer(network, "second")?;
    second.join(&spent)?;
    let registry = &network.registry;
    let expired = registry.token(&["--ttl", "1s"])?;
    let cut = good.get(..good.len() - 5).context("a join string is long")?;
    let (head, tail) = good.split_at(good.len() / 2);
    let flipped = if tail.starts_with('A') { "B" } else { "A" };
    let altered = format!("{head}{flipped}{}", tail.get(1..).unwrap_or_default());
    let cases = [
        ("spent", spent.as_str()),
        ("truncated", cut),
        ("altered", &altered),
        ("empty", ""),
        ("foreign", "https://example.org/"),
    ];
    for (what, string) in cases {
        refused(&newcomer, what, string)?;
    }
    wait_for("a token to expire", Duration::from_secs(20), || {
        let listed = crate::lab::run(&mut registry.command(&["token", "list"]));
        let listed = listed.map_err(|error| format!("{error:#}"))?;
        if listed.contains("expired") { Ok(()) } else { Err(listed) }
    })?;
    refused(&newcomer, "expired", &expired)?;
    newcomer.join(&good).map(drop)
}

/// A join whose answer was lost is repeated with the same key and token, and gives the same node.
///
/// # Errors
/// What did not happen.
pub fn cut_off_join_is_repeated(network: &mut Network) -> Result<()> {
    let newcomer = newcomer(network, "new")?;
    let string = network.registry.token(&[])?;
    newcomer.join(&string)?;
    // All but the key is what a join that was cut off has not stored.
    let mut kept = 0;
    for entry in std::fs::read_dir(newcomer.state_directory())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains("key") {
            kept += 1;
        } else if entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    ensure!(kept == 1, "{kept} files named after the key");
    newcomer.join(&string).map(drop)
}

fn newcomer(network: &mut Network, name: &str) -> Result<Node> {
    let host = network.underlay.host(&mut network.lab, 0, name)?;
    Node::new(&network.lab, host, name, Plane::Auto)
}

fn refused(node: &Node, what: &str, string: &str) -> Result<()> {
    let Err(error) = node.join(string) else {
        anyhow::bail!("joined with a token that is {what}");
    };
    let text = format!("{error:#}");
    ensure!(!text.contains("panicked"), "{what}: {text}");
    let secret = string.rsplit_once('.').map_or("", |(_, secret)| secret);
    // The command line itself is part of our own error, not of what sixwire said.
    let said = text.rsplit_once("exit status").map_or("", |(_, said)| said);
    ensure!(said.len() > 20, "{what}: refused without a reason: {text}");
    ensure!(secret.is_empty() || !said.contains(secret), "{what}: the answer shows the token");
    Ok(())
}
