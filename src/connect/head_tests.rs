//! Tests of the heads of requests.

use std::sync::Arc;

use http::Request;

use super::*;

const JOIN: &str = "/imquota.v1.QuotaService/JoinGroup";
const WATCH: &str = "/imquota.v1.AdminService/WatchEvents";

/// The HTTP status of the refusal of a request, or 200.
fn status(method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).expect("a request").into_parts();
    let own = "127.0.0.1".parse().expect("an address");
    match accept(&head, &Site::new(Arc::new([]), Some(own))) {
        Ok(_) => 200,
        Err(refusal) => refusal.into_response().status().as_u16(),
    }
}

#[test]
fn only_posts_with_a_media_type_of_the_rpc_are_served() {
    let json = [("content-type", "application/json")];
    let stream = [("content-type", "application/connect+json")];
    for (method, path, headers, expected) in [
        ("POST", JOIN, &json[..], 200),
        ("POST", JOIN, &[("content-type", "application/proto")], 200),
        ("POST", JOIN, &[("content-type", "Application/JSON; charset=UTF-8")], 200),
        ("POST", JOIN, &[("content-type", "application/json; charset=latin1")], 415),
        ("POST", JOIN, &[json[0], json[0]], 415),
        ("POST", JOIN, &[], 415),
        ("POST", JOIN, &[("content-type", "text/plain")], 415),
        ("POST", JOIN, &[("content-type", "application/x-www-form-urlencoded")], 415),
        ("POST", JOIN, &[("content-type", "multipart/form-data; boundary=x")], 415),
        ("POST", JOIN, &[("content-type", "application/grpc-web+proto")], 415),
        ("POST", JOIN, &stream, 415),
        ("POST", WATCH, &json, 415),
        ("POST", WATCH, &stream, 200),
        ("GET", JOIN, &json, 405),
        ("OPTIONS", JOIN, &[], 405),
        ("POST", "/imquota.v1.QuotaService/Nope", &json, 404),
        ("POST", "/", &json, 404),
        ("GET", "/openapi.json", &[], 200),
        ("HEAD", "/openapi.json", &[], 200),
        ("POST", "/openapi.json", &json, 405),
        ("POST", JOIN, &[json[0], ("connect-protocol-version", "1")], 200),
        ("POST", JOIN, &[json[0], ("connect-protocol-version", "2")], 400),
        ("POST", JOIN, &[json[0], ("content-encoding", "identity")], 200),
        ("POST", JOIN, &[json[0], ("content-encoding", "gzip")], 501),
        ("POST", WATCH, &[stream[0], ("connect-content-encoding", "gzip")], 501),
        ("POST", JOIN, &[json[0], ("origin", "https://attacker.example")], 403),
        ("GET", "/openapi.json", &[("sec-fetch-site", "cross-site")], 403),
    ] {
        assert_eq!(status(method, path, headers), expected, "{method} {path} {headers:?}");
    }
}

#[test]
fn a_timeout_has_at_most_ten_digits() {
    for (text, expected) in [
        ("1", 200),
        ("0", 200),
        ("9999999999", 200),
        ("10000000000", 400),
        ("", 400),
        ("-1", 400),
        ("+1", 400),
        ("1.5", 400),
        ("100ms", 400),
    ] {
        let headers = [("content-type", "application/json"), ("connect-timeout-ms", text)];
        assert_eq!(status("POST", JOIN, &headers), expected, "{text:?}");
    }
}

#[test]
fn the_media_type_alone_makes_a_request_one_of_grpc() {
    for (text, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;charset=utf-8", true),
        ("application/grpc-web", false),
        ("application/json", false),
        ("", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
        assert_eq!(is_grpc(&headers), expected, "{text}");
    }
    assert!(!is_grpc(&HeaderMap::new()));
}
