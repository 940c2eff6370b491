//! Labs, peers, simulator, demo and benches.
