//! One program for all targets: `SIXWIRE_FUZZ_TARGET` names the one to run. With `SIXWIRE_FUZZ_SEEDS` it writes the
//! target's corpus into that folder, and ends.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sixwire_fuzz::fuzz;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn start() {
    let name = std::env::var("SIXWIRE_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = fuzz::target(&name) else {
        let known: Vec<_> = fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
        panic!("SIXWIRE_FUZZ_TARGET is {name:?}, not one of {known:?}");
    };
    if let Ok(folder) = std::env::var("SIXWIRE_FUZZ_SEEDS") {
        for (number, input) in fuzz::corpus(&name).iter().enumerate() {
            let file = format!("{folder}/seed-{number}");
            std::fs::write(file, input).expect("the seeds can be written");
        }
        std::process::exit(0);
    }
    TARGET.get_or_init(|| target);
}

fuzz_target!(init: start(), |octets: &[u8]| {
    TARGET.get().expect("libFuzzer begins with the start")(octets)
});
