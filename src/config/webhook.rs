//! Settings of the webhook.

use super::settings::{Kind, Setting};
use super::sources::Sources;
use super::values::{readable_file, wrong};
use crate::input_file;
use crate::webhook::{Target, is_url};

pub(super) const WEBHOOK_URL: Setting = Setting {
    key: "webhook_url",
    flag: "webhook-url",
    env: "IMQUOTA_WEBHOOK_URL",
    kind: Kind::Text,
    value_name: "URL",
    default: None,
    help: "URL to which every event is posted as JSON; needs webhook_secret_file",
};

pub(super) const WEBHOOK_SECRET_FILE: Setting = Setting {
    key: "webhook_secret_file",
    flag: "webhook-secret-file",
    env: "IMQUOTA_WEBHOOK_SECRET_FILE",
    kind: Kind::Text,
    value_name: "FILE",
    default: None,
    help: "File with the secret that signs posts to webhook_url, 16 to 1024 bytes",
};

/// Fewest and most bytes of the secret: 128 bits, and the maximum of other secrets.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;

/// Reads the webhook, if one is configured.
pub(super) fn read(sources: &mut Sources<'_>) -> Option<Target> {
    let url = sources.optional(&WEBHOOK_URL, url);
    let secret = sources.optional(&WEBHOOK_SECRET_FILE, secret);
    match (url, secret) {
        (Some((url, _)), Some((secret, _))) => Some(Target { url, secret }),
        (Some((_, by)), None) | (None, Some((_, by))) => {
            let message =
                "webhook_url and webhook_secret_file are only valid together; add the missing one"
                    .to_owned();
            sources.report_conflict(&by, message, &[&WEBHOOK_URL, &WEBHOOK_SECRET_FILE]);
            None
        }
        (None, None) => None,
    }
}

fn url(text: &str) -> Result<String, String> {
    let expected = "a URL such as https://HOST/PATH, with http or https and without a user";
    if is_url(text) { Ok(text.to_owned()) } else { Err(wrong(expected, text)) }
}

/// Reads the secret in a file, without the line end.
fn secret(text: &str) -> Result<Vec<u8>, String> {
    let path = readable_file(text)?;
    let read = input_file::read(&path, *SECRET_BYTES.end() as u64 + 3);
    let mut content = read.map_err(|error| format!("cannot be read ({error}): {text:?}"))?;
    while content.last().is_some_and(|last| matches!(last, b'\r' | b'\n')) {
        content.pop();
    }
    if SECRET_BYTES.contains(&content.len()) {
        return Ok(content);
    }
    let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
    Err(format!("must be a file of {least} to {most} bytes, not {text:?}"))
}
