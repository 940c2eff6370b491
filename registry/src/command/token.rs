//! `sixwire-registry token`: makes, lists and revokes join tokens.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use serde::Serialize;
use sixwire_proto::certificate::{Certificate, Role, is_label};
use sixwire_proto::join::{JoinString, Token};
use sixwire_proto::time::Timestamp;

use super::{print_json, ttl};
use crate::authority::{Grant, TokenRow};
use crate::directory::Directory;
use crate::registrar::Registrar;
use crate::store::TokenHash;
use crate::{Error, clock, entropy};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Print a join string for one node, or for more with --uses
    Create(Create),
    /// List tokens
    List(List),
    /// Revoke a token; nodes that joined with it stay
    Revoke {
        /// Its number, as `token list` shows it
        #[arg(env = "SIXWIRE_REGISTRY_TOKEN_ID")]
        id: i64,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// How many nodes may join with it
    #[arg(long, env = "SIXWIRE_REGISTRY_TOKEN_USES", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    uses: u32,
    /// How long it can be used: 30m, 24h, 7d
    #[arg(long, env = "SIXWIRE_REGISTRY_TOKEN_TTL", default_value = "24h", value_parser = ttl::parse)]
    ttl: Duration,
    /// A tag of the nodes; may be given again
    #[arg(long = "tag", env = "SIXWIRE_REGISTRY_TOKEN_TAGS", value_name = "TAG",
        value_delimiter = ',', value_parser = tag)]
    tags: Vec<String>,
    /// A role of the nodes; may be given again. A gateway is a transit node too
    #[arg(
        long = "role",
        env = "SIXWIRE_REGISTRY_TOKEN_ROLES",
        value_name = "ROLE",
        value_delimiter = ',',
        default_value = "transit",
        conflicts_with = "leaf"
    )]
    roles: Vec<RoleName>,
    /// No role: the nodes do not forward for others
    #[arg(long, env = "SIXWIRE_REGISTRY_TOKEN_LEAF")]
    leaf: bool,
    /// Length of the nodes' prefixes
    #[arg(long, env = "SIXWIRE_REGISTRY_TOKEN_PREFIX_LENGTH", default_value_t = 64,
        value_parser = clap::value_parser!(u8).range(1..=128))]
    prefix_length: u8,
    /// Print JSON
    #[arg(long, env = "SIXWIRE_REGISTRY_JSON")]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Print JSON
    #[arg(long, env = "SIXWIRE_REGISTRY_JSON")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    Transit,
    Gateway,
}

#[derive(Serialize)]
struct Created {
    schema: u16,
    id: i64,
    expires: Timestamp,
    uses: u32,
    join: String,
}

#[derive(Serialize)]
struct Listed {
    schema: u16,
    tokens: Vec<ListedToken>,
}

#[derive(Serialize)]
struct ListedToken {
    id: i64,
    status: &'static str,
    uses: u32,
    uses_left: u32,
    created: Timestamp,
    expires: Timestamp,
    prefix_length: u8,
    roles: Vec<Role>,
    tags: Vec<String>,
}

impl TokenCommand {
    pub(super) fn run(&self, directory: &Directory) -> Result<(), Error> {
        directory.check()?;
        let mut registrar = Registrar::open(directory)?;
        match self {
            Self::Create(create) => create.run(&mut registrar),
            Self::List(list) => list.run(&mut registrar),
            Self::Revoke { id } => revoke(&mut registrar, *id),
        }
    }
}

impl Create {
    fn run(&self, registrar: &mut Registrar) -> Result<(), Error> {
        let now = clock::now();
        let token = Token::from_octets(&entropy::random()?);
        let row = self.row(now);
        if row.grant.tags.len() > Certificate::TAG_LIMIT {
            return Err(Error::Config(format!("tags: more than {}", Certificate::TAG_LIMIT)));
        }
        let id = registrar.create_token(&TokenHash::of(&token), &row)?;
        let transaction = registrar.database().begin()?;
        let network = transaction.network()?;
        let join = JoinString {
            host: network.host,
            port: network.port,
            root: network.root,
            token,
            tls_pin: network.tls_pin,
        }
        .to_string();
        if self.json {
            print_json(&Created { schema: 1, id, expires: row.expires, uses: row.uses, join });
        } else {
            println!("{join}");
        }
        Ok(())
    }

    fn row(&self, now: Timestamp) -> TokenRow {
        let grant = Grant {
            prefix_length: self.prefix_length,
            roles: self.granted_roles(),
            tags: self.tags.clone(),
        };
        let expires = now + self.ttl;
        let (uses, uses_left) = (self.uses, self.uses);
        TokenRow { id: 0, uses, uses_left, created: now, expires, revoked: None, grant }
    }

    /// A gateway forwards what comes in by its default route, so it is a transit node too.
    fn granted_roles(&self) -> Vec<Role> {
        if self.leaf {
            Vec::new()
        } else if self.roles.contains(&RoleName::Gateway) {
            vec![Role::Transit, Role::Gateway]
        } else {
            vec![Role::Transit]
        }
    }
}

impl List {
    fn run(&self, registrar: &mut Registrar) -> Result<(), Error> {
        let now = clock::now();
        let tokens = registrar.database().begin()?.tokens()?;
        if self.json {
            let tokens = tokens.into_iter().map(|token| listed(token, now)).collect();
            print_json(&Listed { schema: 1, tokens });
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["ID", "STATUS", "USES LEFT", "EXPIRES", "PREFIX", "ROLES", "TAGS"]);
        for token in tokens {
            table.add_row([
                token.id.to_string(),
                status(&token, now).to_owned(),
                format!("{} of {}", token.uses_left, token.uses),
                token.expires.to_string(),
                format!("/{}", token.grant.prefix_length),
                super::node::role_words(&token.grant.roles),
                token.grant.tags.join(","),
            ]);
        }
        println!("{table}");
        Ok(())
    }
}

fn revoke(registrar: &mut Registrar, id: i64) -> Result<(), Error> {
    let transaction = registrar.database().begin()?;
    if !transaction.revoke_token(id, clock::now())? {
        return Err(Error::NoSuchToken(id));
    }
    transaction.commit()?;
    println!("token {id} is revoked; nodes that joined with it stay (see `node revoke`)");
    Ok(())
}

fn listed(token: TokenRow, now: Timestamp) -> ListedToken {
    ListedToken {
        status: status(&token, now),
        id: token.id,
        uses: token.uses,
        uses_left: token.uses_left,
        created: token.created,
        expires: token.expires,
        prefix_length: token.grant.prefix_length,
        roles: token.grant.roles,
        tags: token.grant.tags,
    }
}

fn status(token: &TokenRow, now: Timestamp) -> &'static str {
    if token.revoked.is_some() {
        "revoked"
    } else if token.uses_left == 0 {
        "spent"
    } else if token.expires < now {
        "expired"
    } else {
        "usable"
    }
}

fn tag(text: &str) -> Result<String, String> {
    if is_label(text, Certificate::TAG_LIMIT) {
        return Ok(text.to_owned());
    }
    Err(format!("want letters, digits, - and _, at most {}", Certificate::TAG_LIMIT))
}
