//! Refusals as HTTP answers: the one place that knows status codes.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use sixwire_proto::registry::{ErrorBody, ErrorCode};

use crate::clock;
use crate::refusal::Refusal;

/// A refusal with its status.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    refusal: Refusal,
}

impl Refused {
    pub(super) fn no_such_path(refusal: Refusal) -> Self {
        Self { status: StatusCode::NOT_FOUND, refusal }
    }

    pub(super) fn wrong_method(refusal: Refusal) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, refusal }
    }

    pub(super) fn too_large(refusal: Refusal) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, refusal }
    }

    pub(super) fn too_slow(refusal: Refusal) -> Self {
        Self { status: StatusCode::REQUEST_TIMEOUT, refusal }
    }

    pub(super) fn throttled(refusal: Refusal) -> Self {
        Self { status: StatusCode::TOO_MANY_REQUESTS, refusal }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code() {
            ErrorCode::Malformed | ErrorCode::Other => StatusCode::BAD_REQUEST,
            ErrorCode::Signature | ErrorCode::Clock => StatusCode::UNAUTHORIZED,
            ErrorCode::TokenUnknown
            | ErrorCode::TokenRevoked
            | ErrorCode::TokenExpired
            | ErrorCode::NodeUnknown
            | ErrorCode::Revoked => StatusCode::FORBIDDEN,
            ErrorCode::TokenSpent | ErrorCode::Replayed => StatusCode::CONFLICT,
            ErrorCode::PoolEmpty | ErrorCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, refusal }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            code: self.refusal.code(),
            message: self.refusal.to_string(),
            time: clock::now(),
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Refusal::Busy(wait) = self.refusal {
            response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
        }
        response
    }
}
