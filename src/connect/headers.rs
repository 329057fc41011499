//! Headers of a call: from those of Connect to the metadata of gRPC, and back.

use std::time::Duration;

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST,
    ORIGIN, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Prefix of the headers of the protocol, which are no metadata.
const OF_CONNECT: &str = "connect-";
/// Prefix of the headers of gRPC, which only this room sets.
const OF_GRPC: &str = "grpc-";
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The largest value of a timeout in gRPC, which has eight digits.
const GRPC_TIMEOUT_MAX: u128 = 99_999_999;

/// Headers of HTTP and of the protocol, which are no metadata.
fn is_of_transport(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 12] = [
        ACCEPT_ENCODING,
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        DATE,
        HOST,
        ORIGIN,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    let text = name.as_str();
    NAMES.contains(name) || text.starts_with(OF_CONNECT) || text.starts_with(OF_GRPC)
}

/// Makes the headers of a Connect request those of gRPC.
pub(super) fn to_grpc(headers: &mut HeaderMap, timeout: Option<Duration>) {
    let foreign: Vec<_> = headers.keys().filter(|name| is_of_transport(name)).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(timeout) = timeout {
        headers.insert(GRPC_TIMEOUT, timeout_value(timeout));
    }
}

/// Returns a timeout as gRPC has it, in the finest unit that fits.
fn timeout_value(timeout: Duration) -> HeaderValue {
    let units = [(timeout.as_micros(), 'u'), (timeout.as_millis(), 'm')];
    let seconds = (u128::from(timeout.as_secs()).min(GRPC_TIMEOUT_MAX), 'S');
    let fitting = units.into_iter().find(|(value, _)| *value <= GRPC_TIMEOUT_MAX);
    let (value, unit) = fitting.unwrap_or(seconds);
    HeaderValue::try_from(format!("{value}{unit}")).expect("digits and a letter")
}

/// Copies the metadata of a response, with a prefix before each name.
pub(super) fn copy_metadata(from: &HeaderMap, to: &mut HeaderMap, prefix: &str) {
    for (name, value) in from.iter().filter(|(name, _)| !is_of_transport(name)) {
        if prefix.is_empty() {
            to.append(name.clone(), value.clone());
        } else if let Ok(name) = HeaderName::try_from(format!("{prefix}{name}")) {
            to.append(name, value.clone());
        }
    }
}

/// Returns the metadata of trailers as JSON: each name with its values.
pub(super) fn metadata_json(trailers: &HeaderMap) -> serde_json::Map<String, serde_json::Value> {
    let names = trailers.keys().filter(|name| !is_of_transport(name));
    let values = |name: &HeaderName| {
        let values = trailers.get_all(name).iter();
        values.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned().into()).collect()
    };
    names.map(|name| (name.to_string(), serde_json::Value::Array(values(name)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_the_finest_unit_that_fits() {
        for (timeout, expected) in [
            (Duration::ZERO, "0u"),
            (Duration::from_millis(50), "50000u"),
            (Duration::from_secs(99), "99000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_millis(9_999_999_999), "9999999S"),
            (Duration::from_secs(u64::MAX), "99999999S"),
        ] {
            assert_eq!(timeout_value(timeout), expected, "{timeout:?}");
        }
    }

    #[test]
    fn only_metadata_passes_in_both_directions() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer t"),
            ("x-request-id", "7"),
            ("traceparent", "00-1"),
            ("imquota-deny-as-error", "1"),
            ("grpc-timeout", "1H"),
            ("connect-timeout-ms", "5"),
            ("connect-protocol-version", "1"),
            ("content-length", "9"),
            ("transfer-encoding", "chunked"),
            ("host", "localhost"),
            ("content-type", "application/json"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        to_grpc(&mut headers, Some(Duration::from_millis(5)));
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "authorization",
            "content-type",
            "grpc-timeout",
            "imquota-deny-as-error",
            "te",
            "traceparent",
            "x-request-id",
        ];
        assert_eq!(names, expected);
        assert_eq!(headers["grpc-timeout"], "5000u");
        let mut answer = HeaderMap::new();
        copy_metadata(&headers, &mut answer, "trailer-");
        assert_eq!(answer["trailer-x-request-id"], "7");
        assert!(!answer.contains_key("trailer-grpc-timeout"));
    }
}
