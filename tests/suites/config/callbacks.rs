//! Settings of the callback listener: tables of the file, and the errors of each.

use std::time::Duration;

use imquota::callbacks::{Apps, Protocol, Unavailable};
use imquota::domain::id::{AppId, Name};

use super::{load, tcp};

/// The settings of this file, in the order of the table.
pub const KEYS: [&str; 1] = ["callback_listen"];

const LISTEN: &str = "callback_listen = '127.0.0.1:50053'\n";
const FAR: &str = "callback_listen = '0.0.0.0:50053'\n";

fn openim(more: &str) -> String {
    format!(
        "[[callback]]\nprotocol = 'openim'\npath = '/openim/3f9c0e51'\napp_id = 'demo'\n\
         group_types = {{ 2 = 'Public' }}\n{more}\n"
    )
}

fn tencent(more: &str) -> String {
    format!(
        "[[callback]]\nprotocol = 'tencent'\npath = '/tencent/8a11d7c2'\n\
         group_types = {{ Public = 'Public' }}\n{more}\n"
    )
}

#[test]
fn tables_have_the_defaults_of_their_protocol() {
    let file = format!("{LISTEN}{}{}", openim(""), tencent(""));
    let config = load(&[], &[], Some(&file)).expect("good");
    assert_eq!(config.callback_listen, Some(tcp("127.0.0.1:50053")));
    let [openim, tencent] = &config.callbacks[..] else { panic!("{:?}", config.callbacks) };
    let app = AppId::try_from("demo").expect("an id");
    assert_eq!((openim.protocol, &openim.apps), (Protocol::OpenIm, &Apps::One(app)));
    assert_eq!((openim.unavailable, openim.budget), (Unavailable::Refuse, Duration::from_secs(2)));
    assert_eq!(openim.codes.of(10_014), 20_014);
    assert_eq!(openim.codes.of(1), 20_999, "a code that is not mapped");
    assert_eq!((tencent.protocol, &tencent.apps), (Protocol::Tencent, &Apps::Any));
    let budget = Duration::from_millis(1200);
    assert_eq!((tencent.unavailable, tencent.budget), (Unavailable::Allow, budget));
    assert_eq!(tencent.codes.of(30_010), 38_010);
    assert!(!openim.shadow && tencent.token_file.is_none());
    assert!(!format!("{config:?}").contains("3f9c0e51"), "the secret is not shown");
}

#[test]
fn every_key_of_a_table_counts() {
    let more = "default_group_type = 'Private'\ncodes = { 10014 = 29999, unavailable = 20001 }\n\
                unavailable = 'allow'\nbudget_ms = 10\nshadow = true";
    let file = format!("{LISTEN}{}", openim(more));
    let config = load(&[], &[], Some(&file)).expect("good");
    let [openim] = &config.callbacks[..] else { panic!("{:?}", config.callbacks) };
    assert_eq!(openim.group_type(Some("2")).map(Name::as_str), Some("Public"));
    assert_eq!(openim.group_type(Some("3")).map(Name::as_str), Some("Private"));
    assert_eq!((openim.codes.of(10_014), openim.codes.unavailable), (29_999, 20_001));
    assert_eq!((openim.unavailable, openim.shadow), (Unavailable::Allow, true));
    assert_eq!(openim.budget, Duration::from_millis(10));
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "xxxxyyyy\n").expect("written");
    let token = token.path().display();
    let more = format!("apps = {{ 1400000001 = 'demo-im' }}\ntoken_file = '{token}'");
    let file = format!("{FAR}{}", tencent(&more));
    let config = load(&[], &[], Some(&file)).expect("good");
    let app = AppId::try_from("demo-im").expect("an id");
    let listed = [("1400000001".to_owned(), app)].into();
    assert_eq!(config.callbacks[0].apps, Apps::Listed(listed));
}

#[test]
fn every_mistake_is_reported_at_once_with_its_position() {
    let file = "callback_listen = '127.0.0.1:50053'\n\
                [[callback]]\nprotocol = 'openm'\n\
                [[callback]]\nprotocol = 'openim'\npath = 'openim'\nbudget_ms = 5\n\
                codes = { 10014 = 10014, unavailible = 20000 }\nunavailable = 'deny'\n\
                group_types = { 2 = 1, two = 'Guild' }\nshadow = 'yes'\ntoken_file = 'x'\n\
                default_grouptype = 'a'\n\
                [[callback]]\nprotocol = 'tencent'\npath = '/t/1'\napps = { 14 = 'a b' }\n\
                group_types = { Public = 'Public' }\ntoken_file = '/no/such'\ncodes = { 1 = 9 }\n";
    let error = load(&[], &[], Some(file)).expect_err("wrong");
    let lines: Vec<_> = error.lines().collect();
    for (position, wanted) in [
        ("3:12: callback[0].protocol", "must be \"openim\" or \"tencent\", not \"openm\""),
        ("6:8: callback[1].path", "must be a path"),
        ("7:13: callback[1].budget_ms", "must be a whole number from 10 to 60000"),
        ("8:19: callback[1].codes.10014", "from 20001 to 29999, not 10014"),
        ("8:40: callback[1].codes.unavailible", "did you mean \"unavailable\"?"),
        ("9:15: callback[1].unavailable", "must be \"refuse\" or \"allow\""),
        ("10:21: callback[1].group_types.2", "must be a string"),
        ("10:30: callback[1].group_types.two", "its key must be a number"),
        ("10:30: callback[1].group_types.two", "the catalog has no group type \"Guild\""),
        ("11:10: callback[1].shadow", "must be true or false"),
        ("12:14: callback[1].token_file", "is for protocol \"tencent\" only"),
        ("13:1: callback[1].default_grouptype", "did you mean \"default_group_type\"?"),
        ("4:1: callback[1]", "\"app_id\" is missing"),
        ("17:15: callback[2].apps.14", "is no app id"),
        ("19:14: callback[2].token_file", "must be a file that can be read"),
        ("20:15: callback[2].codes.1", "from 10100 to 10200, or from 38000 to 39000"),
    ] {
        let found = lines.iter().any(|line| line.contains(position) && line.contains(wanted));
        assert!(found, "{position}: {wanted}\n{error}");
    }
    assert_eq!(lines.len(), 17, "{error}");
}

#[test]
fn tables_and_listener_have_to_agree() {
    let two = format!("{LISTEN}{}{}", openim(""), openim(""));
    let below = tencent("").replace("/tencent/8a11d7c2", "/openim/3f9c0e51/x");
    let below = format!("{LISTEN}{}{below}", openim(""));
    let short = format!("{FAR}{}", openim("").replace("3f9c0e51", "3f9c0e5"));
    for (file, wanted) in [
        (LISTEN.to_owned(), "callback_listen: needs a [[callback]]"),
        (openim(""), "imquota.toml:1:1: callback[0]: needs callback_listen"),
        (two, "callback[1].path: must differ from, and not lie below, imquota.toml:4:8"),
        (below, "callback[1].path: must differ from"),
        (short, "callback[0].path: its last segment is the secret"),
        (format!("{FAR}{}", tencent("")), "callback[0]: needs token_file, or tls_client_ca"),
        (
            format!("callback_listen = '127.0.0.1:50051'\n{}", openim("")),
            "127.0.0.1:50051 conflicts with 127.0.0.1:50051",
        ),
        (format!("callback_listen = 'x'\n{}", openim("")), "or unix:PATH"),
        (format!("{LISTEN}callback = 1\n"), "must be an array of tables"),
        (
            format!("{LISTEN}[[callback]]\nprotocol = 'openim'\npath = '/a/b'\napp_id = 'a'\n"),
            "\"group_types\" is missing",
        ),
    ] {
        let error = load(&[], &[], Some(&file)).expect_err(&file);
        assert!(error.contains(wanted), "{wanted}\n{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let near = format!("{LISTEN}{}", openim("").replace("3f9c0e51", "a"));
    assert!(load(&[], &[], Some(&near)).is_ok(), "short secrets are fine on this machine");
    let socket = format!("callback_listen = 'unix:/run/c.sock'\n{}", tencent(""));
    assert!(load(&[], &[], Some(&socket)).is_ok());
}
