//! The head of a request: what is served, in which form, and until when.

use std::time::Duration;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, Response, StatusCode};
use tonic::body::Body;

use super::error::Refusal;
use super::methods::Method;
use super::openapi;
use super::site::Site;
use crate::grpc::error_reason::ErrorReason;
use crate::grpc::status::{of_bad_header, of_reason};

const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
const VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const STREAM_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// Most digits of a timeout, by the specification.
const TIMEOUT_DIGITS_MAX: usize = 10;

/// Most characters of a path that are shown.
const SHOWN_CHARS: usize = 100;

const GRPC: &str = "application/grpc";
const UNARY_TYPES: &str = "application/json, application/proto";
const STREAM_TYPES: &str = "application/connect+json, application/connect+proto";

/// Returns whether a request is a gRPC one, by its media type alone.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(of_request) = headers.get(CONTENT_TYPE) else { return false };
    let rest = of_request.as_bytes().strip_prefix(GRPC.as_bytes());
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Form of the messages of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Proto,
}

/// A request that is served.
pub enum Accepted {
    /// A call of an RPC.
    Call(CallHead),
    /// A document, with its response.
    Document(Response<Body>),
}

/// The head of a call.
#[derive(Debug, Clone)]
pub struct CallHead {
    pub(super) method: &'static Method,
    pub(super) form: Form,
    /// The time that the caller has set.
    pub(super) timeout: Option<Duration>,
    pub(super) content_type: HeaderValue,
}

impl CallHead {
    /// Returns whether its messages are in frames with their length, as those of gRPC.
    #[must_use]
    pub fn is_framed(&self) -> bool {
        self.method.is_stream
    }

    /// Returns whether it sends a stream of requests.
    #[must_use]
    pub fn has_request_stream(&self) -> bool {
        self.method.has_request_stream
    }
}

/// Checks the head of a request that is not a gRPC one.
pub fn accept(head: &Parts, site: &Site) -> Result<Accepted, Refusal> {
    site.check(head)?;
    let path = head.uri.path();
    if path == openapi::PATH {
        return match head.method {
            HttpMethod::GET | HttpMethod::HEAD => Ok(Accepted::Document(openapi::response())),
            _ => Err(not_served("the description is served to GET only").allowing("GET, HEAD")),
        };
    }
    let Some(method) = Method::at(path) else {
        let message = format!("no RPC has the path {:?}", truncated(path, SHOWN_CHARS));
        return Err(not_served(&message).with_http(StatusCode::NOT_FOUND));
    };
    if head.method != HttpMethod::POST {
        return Err(not_served("RPCs are called by POST only").allowing("POST"));
    }
    let form = form(&head.headers, method)?;
    check_protocol(&head.headers, method)?;
    let timeout = timeout(&head.headers)?;
    let content_type = match (form, method.is_stream) {
        (Form::Json, false) => "application/json",
        (Form::Proto, false) => "application/proto",
        (Form::Json, true) => "application/connect+json",
        (Form::Proto, true) => "application/connect+proto",
    };
    let content_type = HeaderValue::from_static(content_type);
    Ok(Accepted::Call(CallHead { method, form, timeout, content_type }))
}

fn not_served(message: &str) -> Refusal {
    of_reason(ErrorReason::NotServed, message).into()
}

/// Returns the beginning of a text of a caller.
pub(super) fn truncated(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

/// Returns the form that the media type of a request names.
fn form(headers: &HeaderMap, method: &Method) -> Result<Form, Refusal> {
    let mut named = headers.get_all(CONTENT_TYPE).iter();
    let (first, is_one) = (named.next(), named.next().is_none());
    let text = first.filter(|_| is_one).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let parameters = parameters.trim().to_ascii_lowercase();
    // JSON is UTF-8, and no other parameter has a meaning.
    let is_utf8 = ["", "charset=utf-8", "charset=\"utf-8\""].contains(&parameters.as_str());
    let form = match (essence.trim().to_ascii_lowercase().as_str(), method.is_stream) {
        ("application/json", false) | ("application/connect+json", true) => Some(Form::Json),
        ("application/proto", false) | ("application/connect+proto", true) => Some(Form::Proto),
        _ => None,
    };
    form.filter(|_| is_utf8).ok_or_else(|| {
        let types = if method.is_stream { STREAM_TYPES } else { UNARY_TYPES };
        let message = format!("content-type must be one of {types}, or gRPC's over HTTP/2");
        let refusal = not_served(&message).with_http(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        refusal.with_header(ACCEPT_POST, types)
    })
}

/// Checks the version of the protocol and the encoding of the messages.
fn check_protocol(headers: &HeaderMap, method: &Method) -> Result<(), Refusal> {
    if headers.get_all(VERSION).iter().any(|version| version != "1") {
        return Err(of_bad_header(VERSION.as_str(), "must be 1, if it is given").into());
    }
    let names: &[HeaderName] =
        if method.is_stream { &[CONTENT_ENCODING, STREAM_ENCODING] } else { &[CONTENT_ENCODING] };
    for name in names {
        if headers.get_all(name).iter().any(|encoding| encoding != "identity") {
            let message = format!("{name} is not supported; only identity is");
            return Err(not_served(&message).with_header(ACCEPT_ENCODING, "identity"));
        }
    }
    Ok(())
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let mut named = headers.get_all(TIMEOUT).iter();
    let Some(first) = named.next() else { return Ok(None) };
    let digits = first.as_bytes();
    let is_valid = (1..=TIMEOUT_DIGITS_MAX).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && named.next().is_none();
    let millis = first.to_str().ok().filter(|_| is_valid).and_then(|text| text.parse().ok());
    let Some(millis) = millis else {
        let rule = "must be a number of milliseconds of at most 10 digits, given once";
        return Err(of_bad_header(TIMEOUT.as_str(), rule).into());
    };
    Ok(Some(Duration::from_millis(millis)))
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
