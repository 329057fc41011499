//! The description of the unary RPCs in OpenAPI 3.1, made from the protos.
//!
//! `proto/openapi.json` is served as it is. A test makes it from the descriptors (`document_tests`,
//! and `schema` for the messages) and compares; with `IMQUOTA_WRITE_OPENAPI` in its environment it
//! writes the file. RPCs with a stream are left out: OpenAPI cannot describe their frames.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body_util::Full;
use prost::bytes::Bytes;
use tonic::body::Body;

#[cfg(test)]
mod schema;
#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;

/// Path of the description on every listener. It has no secret and needs no credentials.
pub(super) const PATH: &str = "/openapi.json";

const DOCUMENT: &str = include_str!("../../../proto/openapi.json");

/// Returns the response with the description.
pub(super) fn response() -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from_static(DOCUMENT.as_bytes()))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
