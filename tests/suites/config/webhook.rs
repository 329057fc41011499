//! Settings of the webhook: both or neither, and the errors of each.

use std::fs;

use imquota::webhook::Target;

use super::load;

/// The settings of this file, in the order of the table.
pub const KEYS: [&str; 2] = ["webhook_url", "webhook_secret_file"];

const URL: &str = "https://example.com/hook";

fn secret_file(secret: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), secret).expect("written");
    file
}

#[test]
fn a_webhook_reaches_the_configuration_from_every_source() {
    let file = secret_file("0123456789abcdef\n");
    let path = file.path().display();
    let flags = [format!("--webhook-url={URL}"), format!("--webhook-secret-file={path}")];
    let path_text = path.to_string();
    let env = [("IMQUOTA_WEBHOOK_URL", URL), ("IMQUOTA_WEBHOOK_SECRET_FILE", path_text.as_str())];
    let in_file = format!("webhook_url = '{URL}'\nwebhook_secret_file = '{path}'\n");
    let expected = Target { url: URL.to_owned(), secret: b"0123456789abcdef".to_vec() };
    for config in [
        load(&[&flags[0], &flags[1]], &[], None),
        load(&[], &env, None),
        load(&[], &[], Some(&in_file)),
    ] {
        assert_eq!(config.expect("good").webhook.as_ref(), Some(&expected));
    }
    assert!(!format!("{expected:?}").contains("0123"), "the secret is not shown");
}

#[test]
fn errors_of_webhook_settings_name_the_setting() {
    let good = secret_file("0123456789abcdef");
    let (short, long) = (secret_file("0123456789abcde\n"), secret_file(&"x".repeat(1025)));
    let path = |file: &tempfile::NamedTempFile| file.path().display().to_string();
    let url = format!("--webhook-url={URL}");
    let secret = |file| format!("--webhook-secret-file={}", path(file));
    for (arguments, wanted) in [
        (vec![url.clone()], "webhook_url and webhook_secret_file are only valid together"),
        (vec![secret(&good)], "webhook_url and webhook_secret_file are only valid together"),
        (vec![url.clone(), secret(&short)], "must be a file of 16 to 1024 bytes"),
        (vec![url.clone(), secret(&long)], "must be a file of 16 to 1024 bytes"),
        (vec![url, "--webhook-secret-file=/no/such".into()], "--webhook-secret-file: must be a"),
        (vec!["--webhook-url=ftp://a".into(), secret(&good)], "--webhook-url: must be a URL"),
        (vec!["--webhook-url=http://a:b@c".into(), secret(&good)], "without a user"),
    ] {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let error = load(&arguments, &[], None).expect_err("it is wrong");
        assert!(error.contains(wanted), "{error}");
    }
}
