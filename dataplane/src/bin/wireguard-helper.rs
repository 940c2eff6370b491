//! The embedded WireGuard helper as a program of its own: `sixwire-wireguard-helper RUN_DIR`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(run_dir) = std::env::args_os().nth(1) else {
        eprintln!("usage: sixwire-wireguard-helper RUN_DIR");
        return ExitCode::from(2);
    };
    match sixwire_dataplane::helper_main(Path::new(&run_dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
