//! Every fuzz target, for a moment, with mutations of its corpus: `scripts/fuzz` goes on from there.

use sixwire_tests::fuzz::{Mutator, TARGETS, corpus, target};

/// Runs a target on its corpus and on `times` mutations of it.
fn run(name: &str, times: usize) {
    let target = target(name).expect("a known target");
    let corpus = corpus(name);
    corpus.iter().for_each(|input| target(input));
    let mut mutator = Mutator::new(corpus, SEED);
    for _ in 0..times {
        target(&mutator.input());
    }
}

#[test]
fn no_octets_break_a_decoder() {
    let decoders = TARGETS.iter().filter(|(name, _)| !["engine", "session"].contains(name));
    decoders.for_each(|(name, _)| run(name, 30_000));
}

#[test]
fn no_sequence_of_inputs_breaks_the_engine_or_its_model() {
    run("engine", 8_000);
}

#[test]
fn no_wire_makes_the_embedded_wireguard_take_what_was_not_sent() {
    run("session", 2_000);
}

#[test]
fn the_corpus_reaches_what_it_is_for() {
    for (name, _) in TARGETS {
        assert!(corpus(name).len() >= 3, "{name}");
    }
    assert!(corpus("packet").len() > 100, "datagrams of babeld and BIRD");
}

const SEED: u64 = 1;
