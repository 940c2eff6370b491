//! `sixwire-registry node`: lists and revokes nodes.

use clap::{Args, Subcommand};
use comfy_table::Table;
use serde::Serialize;
use sixwire_proto::certificate::Role;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Timestamp;

use super::print_json;
use crate::authority::NodeRow;
use crate::directory::Directory;
use crate::registrar::Registrar;
use crate::store::Holder;
use crate::{Error, clock};

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// List nodes
    List(List),
    /// Revoke a node: its key for good by router-id, or one certificate and its earlier ones by
    /// serial number, which a new token makes good
    Revoke {
        /// Router-id (16 hexadecimal digits) or serial number, as `node list` shows them
        #[arg(value_name = "ROUTER-ID|SERIAL", env = "SIXWIRE_REGISTRY_NODE", value_parser = holder)]
        node: Holder,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Print JSON
    #[arg(long, env = "SIXWIRE_REGISTRY_JSON")]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    schema: u16,
    nodes: Vec<ListedNode>,
}

#[derive(Serialize)]
struct ListedNode {
    node: RouterId,
    name: Option<String>,
    status: &'static str,
    prefix: Prefix,
    serial: u64,
    not_after: Timestamp,
    last_seen: Option<Timestamp>,
    roles: Vec<Role>,
    tags: Vec<String>,
}

impl NodeCommand {
    pub(super) fn run(&self, directory: &Directory) -> Result<(), Error> {
        directory.check()?;
        let mut registrar = Registrar::open(directory)?;
        match self {
            Self::List(list) => list.run(&mut registrar),
            Self::Revoke { node } => {
                let epoch = registrar.revoke(*node, clock::now())?;
                println!("revoked; the network state of epoch {epoch} says so");
                Ok(())
            }
        }
    }
}

impl List {
    fn run(&self, registrar: &mut Registrar) -> Result<(), Error> {
        let nodes = nodes(registrar)?;
        if self.json {
            print_json(&Listed { schema: 1, nodes });
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header([
            "ROUTER-ID",
            "NAME",
            "STATUS",
            "PREFIX",
            "SERIAL",
            "CERTIFIED UNTIL",
            "LAST SEEN",
            "ROLES",
            "TAGS",
        ]);
        for node in nodes {
            table.add_row([
                node.node.to_string(),
                node.name.unwrap_or_default(),
                node.status.to_owned(),
                node.prefix.to_string(),
                node.serial.to_string(),
                node.not_after.to_string(),
                node.last_seen.map_or_else(|| "-".to_owned(), |seen| seen.to_string()),
                role_words(&node.roles),
                node.tags.join(","),
            ]);
        }
        println!("{table}");
        Ok(())
    }
}

fn nodes(registrar: &mut Registrar) -> Result<Vec<ListedNode>, Error> {
    let now = clock::now();
    let transaction = registrar.database().begin()?;
    let mut listed = Vec::new();
    for (row, last_seen) in transaction.nodes()? {
        let banned = transaction.banned(&row.certificate.node)?;
        let status = status(&row, banned, now);
        let certificate = row.certificate;
        listed.push(ListedNode {
            node: certificate.router_id(),
            name: certificate.name,
            status,
            prefix: certificate.prefix,
            serial: certificate.serial,
            not_after: certificate.not_after,
            last_seen,
            roles: certificate.roles,
            tags: certificate.tags,
        });
    }
    listed.sort_by_key(|node| node.prefix);
    Ok(listed)
}

fn status(node: &NodeRow, banned: Option<Timestamp>, now: Timestamp) -> &'static str {
    if banned.or(node.revoked).is_some() {
        "revoked"
    } else if node.certificate.not_after < now {
        "expired"
    } else {
        "certified"
    }
}

/// Roles for a table; a node without any is a leaf.
pub(super) fn role_words(roles: &[Role]) -> String {
    let words: Vec<&str> = roles
        .iter()
        .map(|role| match role {
            Role::Transit => "transit",
            Role::Gateway => "gateway",
        })
        .collect();
    if words.is_empty() { "leaf".to_owned() } else { words.join(",") }
}

/// 16 hexadecimal digits are a router-id; serial numbers are shorter.
fn holder(text: &str) -> Result<Holder, String> {
    if let Ok(id) = text.parse() {
        return Ok(Holder::RouterId(id));
    }
    text.parse()
        .map(Holder::Serial)
        .map_err(|_| "want a router-id of 16 hexadecimal digits, or a serial number".to_owned())
}
