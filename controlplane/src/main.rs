//! `sixwire`: the agent and its command line.

fn main() -> std::process::ExitCode {
    sixwire_controlplane::cli::run()
}
