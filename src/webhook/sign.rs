//! Signature by which the receiver verifies that a post is ours, and not an old one replayed by an
//! attacker.
//!
//! HMAC-SHA256 with the shared secret over the timestamp, a dot, and the body; the timestamp is in
//! a header of its own, so that the receiver can refuse posts older than a few minutes.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::domain::text::hex;

/// Prefix of the digits: the version of the signature.
const VERSION: &str = "v1=";

/// Returns the value of the header `imquota-signature`.
#[must_use]
pub fn signature(secret: &[u8], timestamp_s: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key may have any length");
    mac.update(timestamp_s.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("{VERSION}{}", hex(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_match_those_of_openssl() {
        // printf '1549900800.{"event_id":"7"}' | openssl dgst -sha256 -hmac 0123456789abcdef
        assert_eq!(
            signature(b"0123456789abcdef", 1_549_900_800, br#"{"event_id":"7"}"#),
            "v1=c04fbe4db260f2213e15e4be593d4233f58f45a76732836c7bbd872a5835c5f8"
        );
    }
}
