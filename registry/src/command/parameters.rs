//! `sixwire-registry parameters`: what all nodes of the network agree on.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};
use sixwire_proto::state::Parameters;

use super::print_json;
use crate::directory::Directory;
use crate::registrar::Registrar;
use crate::{Error, clock};

#[derive(Debug, Subcommand)]
pub(super) enum ParametersCommand {
    /// Show the parameters in force
    Show(Show),
    /// Change parameters; nodes learn of it from their neighbours. Intervals take effect with the
    /// next start of a daemon
    Set {
        /// Such as `hello_interval_ms=2000`
        #[arg(required = true, value_name = "NAME=VALUE", env = "SIXWIRE_REGISTRY_PARAMETERS",
            value_delimiter = ',', value_parser = change)]
        changes: Vec<Change>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Print JSON
    #[arg(long, env = "SIXWIRE_REGISTRY_JSON")]
    json: bool,
}

/// One parameter and its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    name: String,
    value: u32,
}

#[derive(Serialize)]
struct Shown {
    schema: u16,
    epoch: u64,
    parameters: Parameters,
}

impl ParametersCommand {
    pub(super) fn run(&self, directory: &Directory) -> Result<(), Error> {
        directory.check()?;
        let mut registrar = Registrar::open(directory)?;
        let (epoch, present) = registrar.parameters()?;
        match self {
            Self::Show(Show { json: true }) => {
                print_json(&Shown { schema: 1, epoch, parameters: present });
            }
            Self::Show(Show { json: false }) => {
                for (name, value) in fields(&present) {
                    println!("{name}={value}");
                }
            }
            Self::Set { changes } => {
                let epoch = registrar.set_parameters(&changed(&present, changes)?, clock::now())?;
                println!("set; the network state of epoch {epoch} says so");
            }
        }
        Ok(())
    }
}

fn changed(present: &Parameters, changes: &[Change]) -> Result<Parameters, Error> {
    let mut fields = fields(present);
    for Change { name, value } in changes {
        let known: Vec<String> = fields.keys().cloned().collect();
        let field = fields.get_mut(name).ok_or_else(|| {
            Error::Config(format!("there is no parameter {name:?}; there are {}", known.join(", ")))
        })?;
        *field = Value::from(*value);
    }
    serde_json::from_value(Value::Object(fields)).map_err(|e| Error::Config(e.to_string()))
}

fn fields(parameters: &Parameters) -> Map<String, Value> {
    match serde_json::to_value(parameters) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("parameters are an object of numbers"),
    }
}

fn change(text: &str) -> Result<Change, String> {
    let (name, value) = text.split_once('=').ok_or("want NAME=VALUE")?;
    let value = value.parse().map_err(|_| format!("{value:?} is no number"))?;
    Ok(Change { name: name.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_parameters_change_and_the_others_stay() {
        let changes =
            [change("hello_interval_ms=2000").unwrap(), change("tunnel_mtu=1380").unwrap()];
        let after = changed(&Parameters::default(), &changes).unwrap();
        let expected =
            Parameters { hello_interval_ms: 2000, tunnel_mtu: 1380, ..Parameters::default() };
        assert_eq!(after, expected);
    }

    #[test]
    fn unknown_names_and_values_too_large_are_refused() {
        for (text, word) in [("helo=1", "hello_interval_ms"), ("tunnel_mtu=70000", "70000")] {
            let refused = changed(&Parameters::default(), &[change(text).unwrap()]).unwrap_err();
            assert!(refused.to_string().contains(word), "{refused}");
        }
        for text in ["", "hello_interval_ms", "hello_interval_ms=fast", "hello_interval_ms=-1"] {
            assert!(change(text).is_err(), "{text}");
        }
    }
}
