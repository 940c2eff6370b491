//! `sixwire join`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use sixwire_proto::certificate::{Certificate, NetworkId, is_label};
use sixwire_proto::join::JoinString;

use super::Place;
use super::output::print;
use crate::daemon::config::Keys;
use crate::daemon::join::{Joined, Membership, Wish, join};
use crate::daemon::store::Store;

/// What `join` is told.
#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// The join string; `-` reads it from standard input. Other users see the arguments of a
    /// running program: where there are any, use `-`, --token-file or the variable
    #[arg(
        env = "SIXWIRE_JOIN",
        hide_env_values = true,
        value_name = "STRING",
        required_unless_present = "token_file"
    )]
    string: Option<String>,
    /// Read the join string from this file
    #[arg(long, value_name = "FILE", conflicts_with = "string")]
    token_file: Option<PathBuf>,
    /// Name for people, unless the token says another [default: the host name]
    #[arg(long, env = "SIXWIRE_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Go on for so long while the registry cannot be reached
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

/// Longest text that is read in search of a join string, in octets.
const TEXT_LIMIT: u64 = 4096;

/// Joins, and says what came of it.
pub(super) fn run(place: Place, arguments: &JoinArgs) -> anyhow::Result<()> {
    let name = node_name(arguments.name.as_deref())?;
    let string = join_string(arguments)?;
    let store = Store::open(&place.config(Keys::default())?.state_dir)?;
    let wish = Wish {
        name,
        patience: Duration::from_secs(arguments.wait),
        on_retry: |error, pause| {
            eprintln!("sixwire: {error}; trying again in {} s", pause.as_secs());
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let joined = runtime.block_on(join(&store, &string, &wish))?;
    Ok(print(&text(&joined))?)
}

fn join_string(arguments: &JoinArgs) -> anyhow::Result<JoinString> {
    let text = match (arguments.string.as_deref(), &arguments.token_file) {
        (Some("-"), _) => read("standard input", io::stdin())?,
        (Some(text), _) => text.to_owned(),
        (None, Some(path)) => read_file(path)?,
        (None, None) => bail!("no join string: give one, or --token-file"),
    };
    Ok(text.parse()?)
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    read(&name, file)
}

fn read(name: &str, from: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    from.take(TEXT_LIMIT)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read the join string from {name}"))?;
    Ok(text)
}

/// The name to ask for: the one given, or the host's where it would pass.
fn node_name(given: Option<&str>) -> anyhow::Result<Option<String>> {
    let limit = Certificate::NAME_LIMIT;
    if let Some(name) = given {
        if !is_label(name, limit) {
            bail!(
                "--name {name:?}: want letters, digits, - and _, at most {limit}, not starting \
                 with -"
            );
        }
        return Ok(Some(name.to_owned()));
    }
    let host = nix::unistd::gethostname().unwrap_or_default();
    let label = host.to_string_lossy().split('.').next().unwrap_or_default().to_owned();
    Ok(is_label(&label, limit).then_some(label).filter(|label| label != "localhost"))
}

/// What came of it, for people.
fn text(joined: &Joined) -> String {
    let (verb, membership) = match joined {
        Joined::Now(membership) => ("joined", membership),
        Joined::Before(membership) => ("already joined; the string was not used", membership),
    };
    let Membership { certificate, network, state, .. } = membership;
    let id = certificate.router_id();
    let name = certificate.name.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "{verb}\n\n\
         name        {name}\n\
         router-id   {id}\n\
         prefix      {}\n\
         address     {}\n\
         network     {}  {}\n\
         next        systemctl enable --now sixwire, or run: sixwire up\n",
        certificate.prefix,
        certificate.prefix.node_address(),
        NetworkId::of(&network.root),
        state.prefix,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_name_must_pass_and_the_hosts_may() {
        assert_eq!(node_name(Some("paris-1")).unwrap().as_deref(), Some("paris-1"));
        let error = node_name(Some("par is")).unwrap_err().to_string();
        assert!(error.starts_with("--name \"par is\": want letters"), "{error}");
        assert!(node_name(None).unwrap().is_none_or(|name| is_label(&name, 63)));
    }
}
