//! Statuses as errors of Connect: JSON with the code, the message and the same details as gRPC's.

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use prost::Message as _;
use prost::bytes::Bytes;
use prost_reflect::DynamicMessage;
use serde::Serialize;
use tonic::body::Body;
use tonic::{Code, Status};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::headers;
use super::methods::POOL;

/// The media type of every error.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An error as Connect has it.
#[derive(Debug, Serialize)]
pub(super) struct ErrorJson {
    code: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

#[derive(Debug, Serialize)]
struct Detail {
    r#type: String,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<serde_json::Value>,
}

impl From<&Status> for ErrorJson {
    fn from(status: &Status) -> Self {
        let (code, _) = names(status.code());
        let details = tonic_types::pb::Status::decode(status.details()).unwrap_or_default().details;
        Self {
            code,
            message: status.message().to_owned(),
            details: details.into_iter().map(Detail::from).collect(),
        }
    }
}

impl From<prost_types::Any> for Detail {
    fn from(any: prost_types::Any) -> Self {
        let name = any.type_url.rsplit('/').next().unwrap_or_default().to_owned();
        let descriptor = POOL.get_message_by_name(&name);
        let decoded = descriptor.and_then(|of| DynamicMessage::decode(of, &*any.value).ok());
        let debug = decoded.and_then(|message| serde_json::to_value(message).ok());
        Self { r#type: name, value: BASE64.encode(&any.value), debug }
    }
}

/// Returns the name of a code in Connect, and the HTTP status of an error with it.
pub(super) fn names(code: Code) -> (&'static str, u16) {
    match code {
        // An error without a code is one of the server.
        Code::Ok | Code::Unknown => ("unknown", 500),
        Code::Cancelled => ("canceled", 499),
        Code::InvalidArgument => ("invalid_argument", 400),
        Code::DeadlineExceeded => ("deadline_exceeded", 504),
        Code::NotFound => ("not_found", 404),
        Code::AlreadyExists => ("already_exists", 409),
        Code::PermissionDenied => ("permission_denied", 403),
        Code::ResourceExhausted => ("resource_exhausted", 429),
        Code::FailedPrecondition => ("failed_precondition", 400),
        Code::Aborted => ("aborted", 409),
        Code::OutOfRange => ("out_of_range", 400),
        Code::Unimplemented => ("unimplemented", 501),
        Code::Internal => ("internal", 500),
        Code::Unavailable => ("unavailable", 503),
        Code::DataLoss => ("data_loss", 500),
        Code::Unauthenticated => ("unauthenticated", 401),
    }
}

/// Returns the response of a unary call with that error, and the code as an extension. `leading`
/// are the headers of the gRPC response.
pub(super) fn response(status: &Status, leading: &HeaderMap) -> Response<Body> {
    let (_, http) = names(status.code());
    let http = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = serde_json::to_vec(&ErrorJson::from(status)).expect("it has string keys only");
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = http;
    headers::copy_metadata(leading, response.headers_mut(), "");
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.extensions_mut().insert(status.code());
    response
}

/// A refusal before the call has reached a service.
#[derive(Debug)]
pub struct Refusal {
    status: Status,
    http: Option<StatusCode>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status, http: None, header: None }
    }
}

impl Refusal {
    /// Sets the HTTP status, which is that of the code otherwise.
    pub(super) fn with_http(self, http: StatusCode) -> Self {
        Self { http: Some(http), ..self }
    }

    /// Sets a header.
    pub(super) fn with_header(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, HeaderValue::from_static(value))), ..self }
    }

    /// Makes it the refusal of a method that is not served.
    pub(super) fn allowing(self, methods: &'static str) -> Self {
        self.with_http(StatusCode::METHOD_NOT_ALLOWED).with_header(ALLOW, methods)
    }

    /// Returns its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.status.code()
    }

    /// Returns its response.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let mut response = response(&self.status, &HeaderMap::new());
        if let Some(http) = self.http {
            *response.status_mut() = http;
        }
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_and_statuses_of_the_specification() {
        for (code, name, http) in [
            (1, "canceled", 499),
            (2, "unknown", 500),
            (3, "invalid_argument", 400),
            (4, "deadline_exceeded", 504),
            (5, "not_found", 404),
            (6, "already_exists", 409),
            (7, "permission_denied", 403),
            (8, "resource_exhausted", 429),
            (9, "failed_precondition", 400),
            (10, "aborted", 409),
            (11, "out_of_range", 400),
            (12, "unimplemented", 501),
            (13, "internal", 500),
            (14, "unavailable", 503),
            (15, "data_loss", 500),
            (16, "unauthenticated", 401),
        ] {
            assert_eq!(names(Code::from(code)), (name, http));
        }
    }
}
