//! Machines that lack something: the error says what, and what to do.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::clock::wait_for;
use crate::lab::{Node, Plane, Process, binary, run};
use crate::network::Network;

/// A daemon that cannot start says why, and leaves the machine as it was.
///
/// # Errors
/// What did not happen.
pub fn starts_that_cannot_be_say_what_to_do(network: &mut Network) -> Result<()> {
    let directory = network.lab.directory().to_owned();
    let node = network.node(0)?;
    let namespace = node.host.namespace.clone();
    let log = directory.join("refused.log");

    node.configure("[tunnels]\ndailled = 3\n")?;
    fails(node, up(node, &[]), (&log, &["dailled", "dialled"]))?;
    node.configure("[signalling]\nport = \"six\"\n")?;
    fails(node, up(node, &[]), (&log, &["port"]))?;
    // Whoever may set parameters does.
    node.configure("own_namespace = true\n")?;
    let off = ["net/ipv6/conf/all/forwarding=0", "net/ipv4/ip_forward=0"];
    namespace.sysctl(&off)?;

    let taken = namespace.within(|| UdpSocket::bind(("::", 6326)))??;
    fails(node, up(node, &[]), (&log, &["6326", "in use", "signalling.port"]))?;
    drop(taken);
    let taken = namespace.within(|| UdpSocket::bind(("::", 6696)))??;
    fails(node, up(node, &[]), (&log, &["6696", "stop it"]))?;
    drop(taken);

    let without = ["--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"];
    let setpriv: Vec<_> = std::iter::once("setpriv").chain(without).collect();
    fails(node, up(node, &setpriv), (&log, &["CAP_NET_ADMIN"]))?;

    for interface in ["all", "lo"] {
        let key = format!("net/ipv6/conf/{interface}/disable_ipv6");
        namespace.sysctl(&[&format!("{key}=1")])?;
        let way_out = format!("{}=0", key.replace('/', "."));
        fails(node, up(node, &[]), (&log, &["IPv6 is disabled", &way_out]))?;
        namespace.sysctl(&[&format!("{key}=0")])?;
    }

    let absent = directory.join("nobody");
    let mut command = node.command(&["up", "--run-dir", "/run/sixwire", "--state-dir"]);
    command.arg(&absent);
    fails(node, command, (&log, &["has not joined", "sixwire join"]))?;

    node.configure("")?;
    node.up()?;
    node.wait_status(Duration::from_secs(20))?;
    refuses(up(node, &[]), (&log, &["sixwire"])).context("a second daemon")
}

/// What a machine lacks but can do without is named in `status`; the node works.
///
/// # Errors
/// What did not happen.
pub fn machines_that_lack_something_say_so_and_work(network: &mut Network) -> Result<()> {
    let log = network.lab.directory().join("lacking.log");
    let node = network.node(0)?;
    let namespace = node.host.namespace.clone();
    node.configure("")?;
    let deprived = |words: &[&'static str]| -> Vec<&'static str> {
        ["setpriv"].iter().chain(words).chain(&["--"]).copied().collect()
    };

    namespace.nft("add table ip6 sixwire\nadd chain ip6 sixwire theirs\n")?;
    says(node, up(node, &[]), (&log, "warnings", &["nft delete table ip6 sixwire"]))?;
    let theirs = namespace.nft("list table ip6 sixwire")?;
    ensure!(theirs.contains("chain theirs") && !theirs.contains("prerouting"), "{theirs}");
    namespace.nft("delete table ip6 sixwire")?;

    let raw = deprived(&["--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]);
    says(node, up(node, &raw), (&log, "warnings", &["CAP_NET_RAW"]))?;

    namespace.sysctl(&["net/ipv4/nexthop_compat_mode=1"])?;
    let wanted = "net.ipv4.nexthop_compat_mode=0 net.ipv6.fib_multipath_hash_policy=1";
    says(node, up(node, &[]), (&log, "warnings", &[wanted, "own_namespace"]))?;
    node.configure("own_namespace = true\n")?;
    let quiet = says(node, up(node, &[]), (&log, "warnings", &[]))?;
    ensure!(quiet == "[]", "{quiet}");
    let set = run(namespace.command("sysctl").args(["-n", "net.ipv4.nexthop_compat_mode"]))?;
    ensure!(set == "0\n", "{set}");

    // As in a container: what is right already is no reason to complain.
    let read_only = ["sh", "-c", READ_ONLY];
    let status = says(node, up(node, &read_only), (&log, "warnings", &[]))?;
    ensure!(status == "[]", "{status}");
    namespace.sysctl(&["net/ipv6/conf/all/forwarding=0", "net/ipv4/nexthop_compat_mode=1"])?;
    let key = "net.ipv4.nexthop_compat_mode=0";
    says(node, up(node, &read_only), (&log, "warnings", &[key, "--sysctl"]))?;
    let key = "net.ipv6.conf.all.forwarding=1";
    says(node, up(node, &read_only), (&log, "reasons", &[key, "--sysctl"]))?;
    Ok(())
}

/// The command runs, and its status has these words in a list of sentences; gives the list. Then it is taken down.
fn says(
    node: &mut Node,
    mut command: Command,
    (log, list, words): (&Path, &str, &[&str]),
) -> Result<String> {
    let mut daemon = Process::start(&mut command, log)?;
    let said = wait_for(&format!("{words:?}"), Duration::from_secs(20), || {
        let status = super::status(node).map_err(|error| format!("{error:#}"))?;
        // A daemon that does not answer yet is not warned of anything.
        let answers = status["node"].is_object();
        let said = status[list].to_string();
        let all = answers && words.iter().all(|word| said.contains(word));
        if all { Ok(said) } else { Err(status.to_string()) }
    })?;
    run(&mut node.command(&["down", "--run-dir", "/run/sixwire"]))?;
    ensure!(daemon.wait(Duration::from_secs(20))?.success(), "{}", daemon.last_words());
    let log = std::fs::read_to_string(log)?;
    for word in words {
        ensure!(log.contains(word), "want {word:?} in {log}");
    }
    Ok(said)
}

/// Runs a program that cannot write kernel parameters.
const READ_ONLY: &str =
    "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$0\" \"$@\"";

/// A join that finds no registry or no room on the disk says so, and works once it has both.
///
/// # Errors
/// What did not happen.
pub fn joins_that_cannot_be_say_what_to_do(network: &mut Network) -> Result<()> {
    let host = network.underlay.host(&mut network.lab, 0, "new")?;
    let node = Node::new(&network.lab, host, "new", Plane::Auto)?;
    let log = network.lab.directory().join("refused.log");
    let (state, string) = (node.state_directory().to_owned(), network.registry.token(&[])?);
    let join = |node: &Node| {
        let mut command = node.command(&["join", &string, "--state-dir"]);
        command.arg(&state);
        command
    };

    let revoked = network.registry.token(&[])?;
    let listed = run(network.registry.command(&["token", "list"]).arg("--json"))?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let tokens = listed["tokens"].as_array().context("a list of tokens")?;
    let id = tokens.iter().filter_map(|token| token["id"].as_i64()).max().context("an id")?;
    run(&mut network.registry.command(&["token", "revoke", &id.to_string()]))?;
    let mut command = node.command(&["join", &revoked, "--state-dir"]);
    command.arg(&state);
    refuses(command, (&log, &["revoked", "new join string"]))?;

    let mut full = node.program(Path::new("sh"));
    full.args(["-c", FILL]).arg(binary("sixwire")).arg(&string).arg(&state);
    refuses(full, (&log, &["space", &state.display().to_string()]))?;

    network.registry.kill()?;
    refuses(join(&node), (&log, &["cannot reach", ":8443"]))?;
    network.registry.serve()?;
    node.join(&string).map(drop)
}

/// Mounts a file system without room over the state directory, seen by this process alone, then joins.
const FILL: &str = "mkdir -p \"$2\" && mount -t tmpfs -o size=4k,mode=700 none \"$2\" && \
                    head -c 4096 /dev/zero >\"$2\"/ballast; exec \"$0\" join \"$1\" --state-dir \"$2\"";

/// The daemon's command line, behind that of another program.
fn up(node: &Node, before: &[&str]) -> Command {
    let sixwire = binary("sixwire");
    let mut command = match before.split_first() {
        Some((first, words)) => {
            let mut command = node.program(Path::new(first));
            command.args(words).arg(&sixwire);
            command
        }
        None => node.program(&sixwire),
    };
    command.args(["up", "--run-dir", "/run/sixwire", "--state-dir"]).arg(node.state_directory());
    let config = node.state_directory().with_extension("toml");
    command.arg("--config").arg(config);
    command
}

/// The command ends by itself with these words, and leaves no interface, no route and no parameter changed.
fn fails(node: &Node, command: Command, (log, words): (&Path, &[&str])) -> Result<()> {
    let before = parameters(node)?;
    refuses(command, (log, words))?;
    let left = node.tunnel_interfaces()?;
    ensure!(left.is_empty(), "{words:?}: left {left:?}");
    let mut routes = node.host.namespace.command("ip");
    let routes = run(routes.args(["-6", "route", "show", "proto", "42"]))?;
    ensure!(routes.is_empty(), "{words:?}: left the routes {routes}");
    let tables = node.host.namespace.nft("list tables")?;
    ensure!(!tables.contains("sixwire"), "{words:?}: left the table: {tables}");
    let helper = node.host.namespace.processes()?;
    ensure!(helper.is_empty(), "{words:?}: left the processes {helper:?}");
    let after = parameters(node)?;
    ensure!(after == before, "{words:?}: kernel parameters were {before}, are {after}");
    Ok(())
}

/// The kernel parameters that a daemon may set.
fn parameters(node: &Node) -> Result<String> {
    let keys = [
        "net.ipv6.conf.all.forwarding",
        "net.ipv4.ip_forward",
        "net.ipv4.nexthop_compat_mode",
        "net.ipv6.fib_multipath_hash_policy",
    ];
    run(node.host.namespace.command("sysctl").args(keys))
}

fn refuses(mut command: Command, (log, words): (&Path, &[&str])) -> Result<()> {
    std::fs::write(log, "")?;
    let ended = Process::start(&mut command, log)?.wait(Duration::from_secs(20))?;
    let said = std::fs::read_to_string(log)?;
    ensure!(!ended.success(), "{words:?}: ended well: {said}");
    ensure!(!said.contains("panicked"), "{said}");
    for word in words {
        ensure!(said.contains(word), "want {word:?} in {said:?}");
    }
    Ok(())
}
