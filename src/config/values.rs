//! Parsers of settings' values. An error states the expected value.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::redis_url;
use crate::access::ForcePolicy;
use crate::diagnostics::truncate_for_display;
use crate::engine::UnknownApp;
use crate::input_file::{self, SECRET_MAX_BYTES, read_secret};
use crate::redis::options::Options;
use crate::telemetry::LogFormat;

/// Longest path of a Unix socket, in bytes: the kernel stores it in 108, with a zero at the end.
const UNIX_PATH_MAX_BYTES: usize = 107;

/// Longest host name, by DNS.
const HOST_MAX_BYTES: usize = 253;

/// Store of the facts. Displayed as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In files under this directory.
    Embedded(PathBuf),
    /// In memory, until the process ends.
    Memory,
    /// In Redis. Displayed without user and password.
    Redis(Box<Options>),
}

/// Address of a listener. Displayed as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(directory) => write!(f, "embedded:{}", directory.display()),
            Self::Memory => f.write_str("memory"),
            Self::Redis(options) => options.topology.fmt(f),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

pub(super) fn store(text: &str) -> Result<Store, String> {
    match text.split_once(':') {
        Some(("embedded", directory)) if usable_path(directory) => {
            Ok(Store::Embedded(directory.into()))
        }
        None if text == "memory" => Ok(Store::Memory),
        _ if redis_url::is_redis(text) => {
            redis_url::parse(text).map(|options| Store::Redis(Box::new(options)))
        }
        _ => Err(wrong("\"embedded:DIR\", \"memory\" or a Redis such as redis://HOST:PORT", text)),
    }
}

/// Parses a host: a name or an address, without brackets and without a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    let is_address = text.parse::<IpAddr>().is_ok();
    let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || b".-_".contains(&letter);
    let is_name = (1..=HOST_MAX_BYTES).contains(&text.len()) && text.bytes().all(is_letter);
    if is_address || is_name {
        return Ok(text.trim_end_matches('.').to_owned());
    }
    Err(wrong("a host name or an address, without scheme and port, such as quota.example", text))
}

pub(super) fn listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        if !usable_path(path) || path.len() > UNIX_PATH_MAX_BYTES {
            let expected =
                format!("\"unix:\" and a path of 1 to {UNIX_PATH_MAX_BYTES} bytes without NUL");
            return Err(wrong(&expected, text));
        }
        return Ok(Listen::Unix(path.into()));
    }
    address(text).map(Listen::Tcp).ok_or_else(|| {
        wrong(
            "IP:PORT such as 127.0.0.1:50051 or [::1]:50051, localhost:PORT or unix:PATH \
             (other host names are not looked up)",
            text,
        )
    })
}

pub(super) fn management_listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let expected = "IP:PORT such as 127.0.0.1:9090 or [::1]:9090, localhost:PORT or \"off\" \
                    (other host names are not looked up)";
    address(text).map(Some).ok_or_else(|| wrong(expected, text))
}

/// Parses a fraction.
pub(super) fn part(text: &str) -> Result<f64, String> {
    let part = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| wrong("a number from 0 to 1, such as 0.01", text))
}

pub(super) fn http_url(text: &str) -> Result<String, String> {
    let good = text
        .parse::<http::Uri>()
        .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
    if good { Ok(text.to_owned()) } else { Err(wrong("a URL such as http://localhost:4317", text)) }
}

pub(super) fn journal(text: &str) -> Result<Option<PathBuf>, String> {
    if text == "off" {
        return Ok(None);
    }
    if usable_path(text) {
        Ok(Some(text.into()))
    } else {
        Err(wrong("a directory or \"off\"", text))
    }
}

/// Parses the id of a store in Redis.
pub(super) fn store_id(text: &str) -> Result<String, String> {
    let is_id = text.len() == 32
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let expected = "32 hexadecimal digits, as `imquota admin store-id` prints them";
    if is_id { Ok(text.to_owned()) } else { Err(wrong(expected, text)) }
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if usable_path(text) { Ok(text.into()) } else { Err(wrong("a path", text)) }
}

/// Parses the path of a file and checks that it can be opened now; its content is checked where it
/// is used.
pub(super) fn readable_file(text: &str) -> Result<PathBuf, String> {
    let path = path(text)?;
    // The whole path, however long: a typing error may be at its end.
    input_file::open(&path)
        .map_err(|error| format!("must be a file that can be read ({error}), not {text:?}"))?;
    Ok(path)
}

/// Parses the path of a file, and reads the password in it.
pub(super) fn secret(text: &str) -> Result<(PathBuf, String), String> {
    let path = readable_file(text)?;
    let secret = read_secret(&path)?;
    Ok((path, secret))
}

pub(super) fn name(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.len() <= SECRET_MAX_BYTES;
    if good { Ok(text.to_owned()) } else { Err(wrong("a name", text)) }
}

pub(super) fn unknown_app(text: &str) -> Result<UnknownApp, String> {
    match text {
        "trial" => Ok(UnknownApp::Trial),
        "reject" => Ok(UnknownApp::Reject),
        _ => Err(wrong("\"trial\" or \"reject\"", text)),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(wrong("\"text\" or \"json\"", text)),
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let expected = "directives such as \"info\" or \"warn,imquota::engine=debug\"";
    if text.trim().is_empty() {
        return Err(wrong(expected, text));
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{}: {error}", wrong(expected, text))),
    }
}

pub(super) fn force(text: &str) -> Result<ForcePolicy, String> {
    match text {
        "allow" => Ok(ForcePolicy::Allow),
        "certificates" => Ok(ForcePolicy::Certificates),
        "deny" => Ok(ForcePolicy::Deny),
        _ => Err(wrong("\"allow\", \"certificates\" or \"deny\"", text)),
    }
}

/// Parses the permissions of a file, in chmod's notation.
pub(super) fn file_mode(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
    mode.ok_or_else(|| wrong("an octal number from 0 to 0777, such as 0660", text))
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| wrong("true or false", text))
}

pub(super) fn millis(text: &str, range: RangeInclusive<u64>) -> Result<Duration, String> {
    in_range(text, range, " of milliseconds").map(Duration::from_millis)
}

pub(super) fn number(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    in_range(text, range, "")
}

fn in_range<T>(text: &str, range: RangeInclusive<T>, unit: &str) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + fmt::Display,
{
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let expected = format!("a whole number{unit} from {} to {}", range.start(), range.end());
        wrong(&expected, text)
    })
}

/// Parses an address. `localhost` is IPv4: a name with two addresses would need two listeners.
fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().map(|port: u16| (Ipv4Addr::LOCALHOST, port).into())
        }
        _ => text.parse().ok(),
    }
}

fn usable_path(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

pub(super) fn wrong(expected: &str, given: &str) -> String {
    format!("must be {expected}, not {:?}", truncate_for_display(given))
}
