//! The registry's HTTP resources, one a file.

mod call;
mod health;
mod join;
mod peers;
mod refused;
mod renew;
mod state;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{get, post};

use crate::desk::Desk;
use crate::http::refused::Refused;
use crate::listener::Source;
use crate::refusal::Refusal;
use throttle::Throttle;

mod throttle;

/// What the resources share.
#[derive(Clone)]
struct Registry {
    desk: Desk,
    throttle: Arc<Mutex<Throttle>>,
}

/// All resources, to be served with a [`Source`] extension in each request.
pub fn router(desk: Desk) -> Router {
    let registry = Registry { desk, throttle: Arc::default() };
    Router::new()
        .route("/v1/join", post(join::join))
        .route("/v1/renew", post(renew::renew))
        .route("/v1/peers", post(peers::peers))
        .route("/v1/state", get(state::state))
        .route("/v1/health", get(health::health))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(registry)
}

impl Registry {
    fn throttled<T>(&self, source: IpAddr, with: impl FnOnce(&mut Throttle, IpAddr) -> T) -> T {
        // A throttle holds plain counts: one that a panic left behind is as good as any.
        let mut throttle = self.throttle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        with(&mut throttle, source)
    }
}

async fn no_such_path(uri: Uri) -> Refused {
    let text = format!("there is no {} here; is the node newer than the registry?", uri.path());
    Refused::no_such_path(Refusal::Malformed(text))
}

async fn wrong_method(method: Method, uri: Uri) -> Refused {
    let text = format!("{} does not take {method}", uri.path());
    Refused::wrong_method(Refusal::Malformed(text))
}
