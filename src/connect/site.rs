//! Which requests may come from a web page: those of a page of the same origin.
//!
//! A browser sends requests for any page to any address that it can reach, with the client
//! certificates of its user. A page cannot choose the headers that are checked here: `Host` names
//! the host as the page wrote it, which after DNS rebinding is the page's own; `Origin` and
//! `Sec-Fetch-Site` name the page. Programs send neither of the last two.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Uri};
use tonic::Status;

use crate::grpc::error_reason::ErrorReason;
use crate::grpc::status::of_reason;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The name of this machine, which browsers resolve themselves.
const LOCALHOST: &str = "localhost";

/// The hosts that a connection's requests may name.
#[derive(Debug, Clone)]
pub struct Site {
    names: Arc<[String]>,
    own: Option<IpAddr>,
}

impl Site {
    /// Creates the site of a connection: `names` are allowed beside the names and addresses of this
    /// machine; `own` is the address that the client has connected to, `None` for a Unix socket,
    /// which no browser reaches and whose clients may name any host.
    #[must_use]
    pub fn new(names: Arc<[String]>, own: Option<IpAddr>) -> Self {
        Self { names, own: own.map(|address| address.to_canonical()) }
    }

    /// Checks the host that a request names, and the page that it is from.
    pub(super) fn check(&self, head: &Parts) -> Result<(), Status> {
        let host = host(&head.headers, &head.uri);
        if let Some(own) = self.own {
            let Some(host) = &host else {
                return Err(of_host("the request names no valid host, or several"));
            };
            if !self.allows(host.host(), own) {
                return Err(of_host(&format!(
                    "host \"{}\" is not allowed; add it to http_hosts if clients use that name",
                    host.host()
                )));
            }
        }
        check_page(&head.headers, host.as_ref())
    }

    fn allows(&self, host: &str, own: IpAddr) -> bool {
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            let address = address.to_canonical();
            return address.is_loopback() || address == own || self.names(bare);
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        host.eq_ignore_ascii_case(LOCALHOST) || self.names(host)
    }

    fn names(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

fn of_host(message: &str) -> Status {
    of_reason(ErrorReason::HostNotAllowed, message)
}

/// Returns the host of a request; `None` if it names none, or two that differ.
fn host(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let parsed =
        |host: &[u8]| Authority::try_from(host).ok().filter(|it| !it.as_str().contains('@'));
    let mut named = headers.get_all(HOST).iter().map(|it| parsed(it.as_bytes()));
    let first = match (uri.authority(), named.next()) {
        (Some(authority), None) => return Some(authority.clone()),
        (None, Some(host)) => host,
        (Some(authority), Some(host)) => host.filter(|host: &Authority| host == authority),
        (None, None) => None,
    };
    if named.next().is_some() { None } else { first }
}

/// Refuses a request of a page of another origin, and of a page without one.
fn check_page(headers: &HeaderMap, host: Option<&Authority>) -> Result<(), Status> {
    let is_own = |origin: &[u8]| {
        let rest = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        let origin = rest.and_then(|it| Authority::try_from(it).ok());
        origin.is_some() && origin.as_ref() == host
    };
    let is_foreign = headers.get_all(ORIGIN).iter().any(|origin| !is_own(origin.as_bytes()));
    let sites = headers.get_all(FETCH_SITE);
    let is_cross_site =
        sites.iter().any(|site| site.as_bytes() != b"same-origin" && site.as_bytes() != b"none");
    if is_foreign || is_cross_site {
        let message = "the request is from a web page of another origin, which is never served";
        return Err(of_reason(ErrorReason::CrossSite, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The reason of the refusal of a request with these headers; empty if it is served.
    fn refused(own: Option<&str>, uri: &str, headers: &[(&str, &str)]) -> &'static str {
        let names: Arc<[String]> = Arc::new(["quota.example".to_owned(), "imquota".to_owned()]);
        let site = Site::new(names, own.map(|own| own.parse().expect("an address")));
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        match site.check(&head) {
            Ok(()) => "",
            Err(status) if status.message().contains("page") => "page",
            Err(_) => "host",
        }
    }

    #[test]
    fn only_names_and_addresses_of_this_machine_and_configured_ones_are_allowed() {
        for (own, host, expected) in [
            ("127.0.0.1", "localhost:50051", ""),
            ("127.0.0.1", "LOCALHOST", ""),
            ("127.0.0.1", "localhost.", ""),
            ("127.0.0.1", "127.0.0.1:50051", ""),
            ("127.0.0.1", "127.8.9.1", ""),
            ("::1", "[::1]:50051", ""),
            ("::ffff:10.0.0.7", "10.0.0.7:50051", ""),
            ("10.0.0.7", "10.0.0.8:50051", "host"),
            ("fd00::7", "[fd00::7]", ""),
            ("fd00::7", "[fd00::8]", "host"),
            ("10.0.0.7", "quota.example:443", ""),
            ("10.0.0.7", "Quota.Example", ""),
            ("10.0.0.7", "imquota.", ""),
            ("127.0.0.1", "attacker.example", "host"),
            ("127.0.0.1", "attacker.example:50051", "host"),
            ("127.0.0.1", "localhost.attacker.example", "host"),
            ("127.0.0.1", "127.0.0.1.attacker.example", "host"),
            ("127.0.0.1", "user@localhost", "host"),
            ("127.0.0.1", "0.0.0.0", "host"),
            ("127.0.0.1", "local host", "host"),
            ("127.0.0.1", "", "host"),
        ] {
            assert_eq!(refused(Some(own), "/p", &[("host", host)]), expected, "{host} at {own}");
        }
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(refused(Some("127.0.0.1"), "/p", &two), "host");
        assert_eq!(refused(Some("127.0.0.1"), "/p", &[]), "host");
        assert_eq!(refused(Some("127.0.0.1"), "http://localhost/p", &[]), "");
        assert_eq!(refused(Some("127.0.0.1"), "http://attacker.example/p", &[]), "host");
        let differing = [("host", "attacker.example")];
        assert_eq!(refused(Some("127.0.0.1"), "http://localhost/p", &differing), "host");
        assert_eq!(refused(None, "/p", &[("host", "any.example")]), "", "a Unix socket");
        assert_eq!(refused(None, "/p", &[]), "");
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        for (header, value, expected) in [
            ("origin", "http://localhost:50051", ""),
            ("origin", "https://localhost:50051", ""),
            ("origin", "http://localhost", "page"),
            ("origin", "http://localhost:3000", "page"),
            ("origin", "https://attacker.example", "page"),
            ("origin", "null", "page"),
            ("origin", "", "page"),
            ("sec-fetch-site", "same-origin", ""),
            ("sec-fetch-site", "none", ""),
            ("sec-fetch-site", "same-site", "page"),
            ("sec-fetch-site", "cross-site", "page"),
            ("sec-fetch-site", "same-origin, cross-site", "page"),
        ] {
            let headers = [("host", "localhost:50051"), (header, value)];
            assert_eq!(refused(Some("127.0.0.1"), "/p", &headers), expected, "{header}: {value}");
            assert_eq!(refused(None, "/p", &headers), expected, "{header}: {value} by a socket");
        }
    }
}
