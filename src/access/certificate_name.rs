//! Names in client certificates, by kind.

use std::fmt;

/// A name of a certificate's extension `subjectAltName`. A DNS name is never equal to a URI: an
/// authority that lets clients choose one kind does not let them choose the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateName {
    /// A DNS name; it has no colon.
    Dns(String),
    /// A URI; it has a scheme and so a colon.
    Uri(String),
}

impl CertificateName {
    /// Returns the name without its kind, as in the audit log.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Dns(name) | Self::Uri(name) => name,
        }
    }

    /// Parses `DNS:NAME`, `URI:URI`, or a name that can only be of one kind. An error states the
    /// expected form.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("DNS:") {
            let name = is_dns_name(name).then(|| Self::Dns(name.to_owned()));
            return name.ok_or_else(|| {
                format!("must have a DNS name after DNS:, without a port, not {text:?}")
            });
        }
        if let Some(uri) = text.strip_prefix("URI:") {
            let uri = is_uri(uri).then(|| Self::Uri(uri.to_owned()));
            return uri.ok_or_else(|| {
                format!("must have a URI with its scheme after URI:, not {text:?}")
            });
        }
        if is_dns_name(text) {
            Ok(Self::Dns(text.to_owned()))
        } else if is_uri(text) && text.contains("://") {
            Ok(Self::Uri(text.to_owned()))
        } else {
            Err(format!("must have a kind, DNS:NAME or URI:URI, not {text:?}"))
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Uri(uri) => write!(f, "URI:{uri}"),
        }
    }
}

/// Returns whether the text may be a DNS name of a certificate, such as `ann.example` or
/// `*.example`.
fn is_dns_name(text: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*');
    !text.is_empty() && text.bytes().all(plain)
}

/// Returns whether the text may be a URI: a scheme, a colon, and visible ASCII without spaces.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(plain)
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_the_given_kind_or_of_the_only_possible_one() {
        for (text, expected) in [
            ("DNS:ann.example", "DNS:ann.example"),
            ("URI:spiffe://a/b", "URI:spiffe://a/b"),
            ("URI:urn:im:ann", "URI:urn:im:ann"),
            ("URI:DNS:ann", "URI:DNS:ann"),
            ("ann", "DNS:ann"),
            ("*.im_1.example", "DNS:*.im_1.example"),
            ("spiffe://a/b?c=d", "URI:spiffe://a/b?c=d"),
        ] {
            let name = CertificateName::parse(text).expect(text);
            assert_eq!(name.to_string(), expected);
            assert_eq!(matches!(name, CertificateName::Dns(_)), expected.starts_with("DNS:"));
            assert_eq!(name.text(), &expected[4..]);
        }
        for (text, why) in [
            ("urn:im:ann", "must have a kind"),
            ("dns:ann", "must have a kind"),
            ("ann:8443", "must have a kind"),
            ("ann example", "must have a kind"),
            ("", "must have a kind"),
            ("DNS:", "must have a DNS name after DNS:"),
            ("DNS:ann:8443", "must have a DNS name after DNS:"),
            ("DNS:spiffe://a/b", "must have a DNS name after DNS:"),
            ("URI:ann", "must have a URI with its scheme after URI:"),
            ("URI:1a://b", "must have a URI with its scheme after URI:"),
            ("URI:spiffe://a b", "must have a URI with its scheme after URI:"),
        ] {
            let error = CertificateName::parse(text).expect_err(text);
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }
}
