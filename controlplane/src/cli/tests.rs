use clap::CommandFactory as _;
use sixwire_proto::join::Token;
use sixwire_proto::keys::SecretKey;

use super::*;
use crate::daemon::api::{DownReport, Query, Report, Request, Server};
use crate::daemon::store::Lock;

/// What a command says when it fails, with everything in a directory of its own.
fn failure(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().to_owned();
    std::fs::write(dir.path().join("node.toml"), "").unwrap();
    let place = [
        format!("--config={path}/node.toml"),
        format!("--state-dir={path}/state"),
        format!("--run-dir={path}/run"),
    ];
    let here = |argument: &str| argument.replace("HERE", &path);
    let line = std::iter::once("sixwire".to_owned())
        .chain(arguments.iter().map(|argument| here(argument)))
        .chain(place);
    let text = match Cli::try_parse_from(line) {
        Ok(cli) => format!("{:#}", execute(cli).expect_err("it must fail")),
        Err(usage) => usage.to_string(),
    };
    text.replace(&path, "HERE")
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_bad_join_string_is_named_with_what_to_copy() {
    let root = SecretKey::from_octets(&[1; 32]).public();
    for (string, cause) in [
        ("https://example.net/".to_owned(), "it does not start with sixwire://"),
        ("sixwire://example.net".to_owned(), "the part behind /# is missing"),
        ("sixwire://example.net:0/#a.b".to_owned(), "the port is no number from 1 to 65535"),
        ("sixwire://example.net/#abc.def".to_owned(), "the root key is damaged"),
        (format!("sixwire://example.net/#{root}"), "the token is missing"),
        (format!("sixwire://example.net/#{root}.abc"), "the token is damaged or cut off"),
    ] {
        let expected = format!(
            "this is no join string: {cause}; copy the whole line that `sixwire-registry token \
             create` printed"
        );
        assert_eq!(failure(&["join", &string]), expected, "{string}");
    }
}

#[test]
fn a_join_needs_exactly_one_string() {
    let none = failure(&["join"]);
    assert!(none.contains("required arguments were not provided"), "{none}");
    let both = failure(&["join", "--token-file=HERE/token", "sixwire://a/#b.c"]);
    assert!(both.contains("cannot be used with"), "{both}");
    let missing = failure(&["join", "--token-file=HERE/token"]);
    assert!(missing.starts_with("cannot read HERE/token: No such file"), "{missing}");
}

#[test]
fn an_unreachable_registry_is_named_with_what_to_check() {
    let root = SecretKey::from_octets(&[1; 32]).public();
    let pin = sixwire_proto::join::TlsPin([0; 32]);
    let token = Token::from_octets(&[5; 16]);
    let string = format!("sixwire://127.0.0.1:1/#{root}.{}.{pin}", token.reveal());
    let error = failure(&["join", &string]);
    assert!(
        error.starts_with("cannot reach the registry at 127.0.0.1:1: 127.0.0.1:1: "),
        "{error}"
    );
    assert!(!error.contains(token.reveal()), "the token is a secret: {error}");
}

#[test]
fn commands_for_a_daemon_say_how_to_start_one() {
    for command in ["down", "peers", "routes"] {
        let error = failure(&[command]);
        assert_eq!(
            error,
            "no daemon runs on HERE/run: start it with `sixwire up` or `systemctl start sixwire`, \
             or name its directory with --run-dir"
        );
    }
}

#[test]
fn status_is_down_where_no_daemon_runs() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = format!("--run-dir={}", dir.path().display());
    for form in [vec!["sixwire", "status", &run_dir], vec!["sixwire", "status", "--json", &run_dir]]
    {
        let code = execute(Cli::try_parse_from(form).unwrap()).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(2)));
    }
}

#[test]
fn a_mistake_in_the_configuration_stops_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, "\nrundir = \"/r\"\n").unwrap();
    let config = format!("--config={}", file.display());
    for command in ["up", "down", "peers"] {
        let cli = Cli::try_parse_from(["sixwire", command, &config]).unwrap();
        let error = execute(cli).unwrap_err().to_string();
        assert!(error.contains("line 2: rundir: no such key \"rundir\"; did you mean run_dir?"));
    }
}

#[test]
fn a_wrong_variable_is_told_from_a_wrong_flag() {
    let given = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let variable = |flag, line| variable_of(flag, &given(line));
    let expected = Some("SIXWIRE_TUNNELS_PORTS".to_owned());
    assert_eq!(variable("--tunnels-ports <FIRST-LAST>", "sixwire up --table=1"), expected);
    assert_eq!(variable("--tunnels-ports <FIRST-LAST>", "sixwire up --tunnels-ports=1"), None);
    assert_eq!(variable("[STRING]", "sixwire join"), None);
}

/// A daemon that is asked to go down once, in the order every daemon has to keep: the answer, the
/// socket, the lock.
async fn stop_when_asked(run_dir: PathBuf, left_behind: Vec<String>) {
    let lock = Lock::take(&run_dir).unwrap();
    let server = Server::open(&run_dir).unwrap();
    let (queries, mut asked) = tokio::sync::mpsc::channel(1);
    let serving = tokio::spawn(async move { server.serve(queries).await });
    let Query { request, answer } = asked.recv().await.unwrap();
    assert_eq!(request, Request::Down);
    answer.send(Report::Down(DownReport { left_behind, ..DownReport::default() })).unwrap();
    drop(asked);
    serving.await.unwrap();
    drop(lock);
}

#[tokio::test]
async fn down_returns_once_the_daemon_has_ended() {
    for (left_behind, failure) in [
        (vec![], None),
        (
            vec!["sw-01234567: busy".to_owned()],
            Some("stopped, but not all of it could be removed: sw-01234567: busy"),
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().join("run");
        let daemon = tokio::spawn(stop_when_asked(run_dir.clone(), left_behind));
        while !crate::daemon::api::socket_path(&run_dir).exists() {
            tokio::task::yield_now().await;
        }
        let argument = format!("--run-dir={}", run_dir.display());
        let cli = Cli::try_parse_from(["sixwire", "down", &argument]).unwrap();
        let done = tokio::task::spawn_blocking(move || execute(cli)).await.unwrap();
        assert_eq!(done.err().map(|error| error.to_string()).as_deref(), failure);
        assert!(Lock::take(&run_dir).is_ok(), "it is free");
        daemon.await.unwrap();
    }
}
