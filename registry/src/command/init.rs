//! `sixwire-registry init`: makes a network.

use std::fs;
use std::net::ToSocketAddrs as _;

use clap::Args;
use sixwire_proto::join::{JoinString, bracketed};
use sixwire_proto::prefix::Prefix;

use crate::directory::Directory;
use crate::founding::{Founded, Place, check_network, found, random_network};
use crate::{Error, clock};

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The network's prefix [default: a random unique local /48]
    #[arg(long, env = "SIXWIRE_REGISTRY_NETWORK", value_name = "PREFIX")]
    network: Option<Prefix>,
    /// How nodes reach this registry: what join strings will name [default: this host's name]
    #[arg(long, env = "SIXWIRE_REGISTRY_URL", value_name = "HOST[:PORT]")]
    url: Option<String>,
}

impl Init {
    pub(super) fn run(&self, directory: &Directory) -> Result<(), Error> {
        let place = match &self.url {
            Some(url) => Place::parse(url)?,
            None => Place { host: host_name()?, port: JoinString::DEFAULT_PORT },
        };
        let network = match self.network {
            Some(network) => network,
            None => random_network()?,
        };
        check_network(network)?;
        let founded = found(directory, network, &place, clock::now())?;
        report(directory, &place, &founded);
        if self.url.is_none() {
            hint_at_name(&place);
        }
        Ok(())
    }
}

fn report(directory: &Directory, place: &Place, founded: &Founded) {
    let path = directory.path().display();
    println!("Network    {}", founded.prefix);
    println!("Root key   {}", founded.root);
    println!("Registry   https://{}:{}/", bracketed(&place.host), place.port);
    println!("TLS pin    {}", founded.tls_pin);
    println!("Issuer     until {}", founded.issuer_not_after);
    println!("Directory  {path}");
    println!();
    println!("Next:");
    println!("  sixwire-registry serve --dir {path}");
    println!("  sixwire-registry token create --dir {path}    # prints a join string for one node");
    println!("  sixwire join 'JOIN-STRING'                    # on the node");
    println!();
    println!(
        "Back up {}: who has it owns the network. It may be kept offline; it is needed here only \
         to renew the issuer.",
        directory.root_key_path().display()
    );
}

/// Warns when other machines will hardly find the name that join strings carry.
fn hint_at_name(place: &Place) {
    let addresses = (place.host.as_str(), place.port).to_socket_addrs();
    let found = addresses.map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    if !found.iter().any(|address| !address.ip().is_loopback()) {
        eprintln!(
            "hint: {} does not resolve to an address that other machines can use; start anew with \
             --url HOST[:PORT], the name or address at which nodes reach this machine",
            place.host
        );
    }
}

fn host_name() -> Result<String, Error> {
    const FILE: &str = "/proc/sys/kernel/hostname";
    let name = fs::read_to_string(FILE).map_err(|cause| Error::File {
        action: "read",
        path: FILE.into(),
        cause,
    })?;
    Ok(Place::parse(name.trim())?.host)
}
