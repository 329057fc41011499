//! What Redis answers: from the bytes of the protocol to what a script decided, and where the
//! servers are.

use imquota::ledger::redis::reply::{Reply, read};
use imquota::redis::client::reply::{
    field, followed_master, forbidden_command, redirection, unknown_command,
};
use imquota::redis::reply::{array, bytes, integer, text};
use redis::{Value, parse_redis_value};

/// A reply in the protocol of Redis. What is not in it is read as the text of `INFO`, and as that
/// of an error.
pub fn redis_replies(input: &[u8]) -> bool {
    let Ok(value) = parse_redis_value(input) else {
        let text = String::from_utf8_lossy(input);
        let found = field(&text, "redis_version");
        assert!(found.is_none_or(|version| text.contains(version)));
        for command in [unknown_command(&text), forbidden_command(&text)].into_iter().flatten() {
            assert!(text.contains(command));
        }
        return redirection(&text, "10.0.0.1").is_some();
    };
    let followed = followed_master(&value);
    let (number, elements) = (integer(&value), array(value.clone()));
    assert!(number.is_none() || elements.is_none());
    let said = bytes(value.clone()).and_then(text);
    assert!(said.is_none() || elements.is_none());
    decided(value) || followed.is_some()
}

/// Reads a script's answer: each letter of its items has its notes.
fn decided(value: Value) -> bool {
    match read(value) {
        Some(Reply::Decided(decided)) => {
            for said in &decided.said {
                let has_notes = matches!(said.letter, b'D' | b'S' | b'G');
                assert!(has_notes || said.notes.is_empty(), "{said:?}");
            }
            true
        }
        Some(Reply::Nothing { .. }) => true,
        None => false,
    }
}
