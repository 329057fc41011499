//! The stored format of the audit log's entries: JSON of separate types, with a version.

use serde::{Deserialize, Serialize};

use super::DirectoryError;
use crate::domain::audit::{Actor, Entry, Event, Head};
use crate::domain::id::AppId;
use crate::domain::time::Timestamp;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    v: u32,
    number: u64,
    at_ms: i64,
    actor: String,
    from: String,
    action: String,
    request: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app_id: Option<String>,
    request_id: String,
    before: String,
    after: String,
    previous: String,
    hash: String,
}

/// Encodes an entry.
#[must_use]
pub fn encode(entry: &Entry) -> Vec<u8> {
    let Entry { head, previous, event } = entry.clone();
    let stored = StoredEntry {
        v: VERSION,
        number: head.number,
        at_ms: event.at.as_millis(),
        actor: event.actor.name,
        from: event.actor.from,
        action: event.action,
        request: event.request,
        app_id: event.app.map(|app| app.to_string()),
        request_id: event.request_id,
        before: event.before,
        after: event.after,
        previous,
        hash: head.hash,
    };
    serde_json::to_vec(&stored).expect("maps with string keys can always be written")
}

/// Decodes the entry at place `number` of the log.
pub fn decode(number: u64, bytes: &[u8]) -> Result<Entry, DirectoryError> {
    let unreadable = |reason: String| DirectoryError::UnreadableEntry { number, reason };
    let stored: StoredEntry =
        serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    if stored.v != VERSION {
        return Err(unreadable(format!("version {} is not {VERSION}", stored.v)));
    }
    let app = stored.app_id.map(AppId::try_from).transpose();
    Ok(Entry {
        head: Head { number: stored.number, hash: stored.hash },
        previous: stored.previous,
        event: Event {
            at: Timestamp::from_millis(stored.at_ms),
            actor: Actor { name: stored.actor, from: stored.from },
            action: stored.action,
            request: stored.request,
            app: app.map_err(|error| unreadable(error.to_string()))?,
            request_id: stored.request_id,
            before: stored.before,
            after: stored.after,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"{"v":1,"number":1,"at_ms":1549900800001,"actor":"ops","from":"127.0.0.1","action":"CreateApp","request":"{}","app_id":"demo","request_id":"r1","before":"","after":"{}","previous":"","hash":"HASH"}"#;

    #[test]
    fn entries_are_stored_as_the_golden_bytes() {
        let event = Event {
            at: Timestamp::from_millis(1_549_900_800_001),
            actor: Actor { name: "ops".into(), from: "127.0.0.1".into() },
            action: "CreateApp".into(),
            request: "{}".into(),
            app: Some(AppId::try_from("demo").expect("an id")),
            request_id: "r1".into(),
            before: String::new(),
            after: "{}".into(),
        };
        let entry = event.follow(&Head::default());
        let golden = GOLDEN.replace("HASH", &entry.head.hash);
        assert_eq!(String::from_utf8(encode(&entry)).expect("text"), golden);
        assert_eq!(decode(1, golden.as_bytes()), Ok(entry));
        let newer = golden.replace("\"v\":1", "\"v\":2");
        let error = decode(7, newer.as_bytes()).expect_err("newer").to_string();
        assert!(error.contains("entry 7") && error.contains("version 2"), "{error}");
    }
}
