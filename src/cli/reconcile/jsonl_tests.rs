//! Valid and invalid JSON lines, and the errors of the latter.

use std::fs;

use super::super::export::ExportFile;
use super::*;

fn read(kind: Kind, bytes: &[u8]) -> Result<Vec<Subject>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.jsonl");
    fs::write(&path, bytes).unwrap();
    let prefix = format!("{}/", folder.path().display());
    let text = |error: Error| error.to_string().replace(&prefix, "");
    let mut subjects = ExportFile::find(kind, path).and_then(|file| file.open()).map_err(text)?;
    let mut read = Vec::new();
    while let Some(item) = subjects.next().map_err(text)? {
        read.push(item.subject);
    }
    Ok(read)
}

#[test]
fn a_limit_is_absent_null_or_a_number() {
    let text = r#"{"group_id":"g1","type":"Public"}
 { "type": "Public", "group_id": "\u0067\u0031", "max_members": null, "member_ids": ["u1"] }
{"group_id":"g1","type":"Public","max_members":7,"member_ids":[]}

"#;
    let group = |max_members, members: &[&str]| {
        Subject::Group(pb::ExportedGroup {
            group_id: "g1".into(),
            r#type: "Public".into(),
            max_members,
            member_ids: members.iter().map(ToString::to_string).collect(),
        })
    };
    let wanted = vec![group(None, &[]), group(Some(0), &["u1"]), group(Some(7), &[])];
    assert_eq!(read(Kind::Groups, text.as_bytes()), Ok(wanted));
}

#[test]
fn friends_and_accounts_are_read() {
    let friends = Subject::Friends(pb::ExportedFriends {
        user_id: "u1".into(),
        friend_ids: vec!["u2".into()],
    });
    let text = b"{\"user_id\":\"u1\",\"friend_ids\":[\"u2\"]}\r\n";
    assert_eq!(read(Kind::Friends, text), Ok(vec![friends]));
    let accounts = read(Kind::Accounts, b"\xef\xbb\xbf{\"user_id\":\"u1\"}\n");
    assert_eq!(accounts, Ok(vec![Subject::Account("u1".into())]));
}

#[test]
fn an_invalid_group_is_reported() {
    let example = r#"{"group_id":"g1","type":"Public","max_members":200,"member_ids":["u1"]}"#;
    let no_object = format!("must be an object such as {example}");
    for (line, wanted) in [
        ("[\"g1\",\"A\",null,[]]", no_object.clone()),
        ("null", no_object.clone()),
        (r#"{"group_id":"g1"}"#, format!("{no_object}; at byte 17: missing field `type`")),
        (
            r#"{"group_id":"g1","type":"A","members":[]}"#,
            format!(
                "{no_object}; at byte 37: unknown field `members`, expected one of `group_id`, \
                 `type`, `max_members`, `member_ids`"
            ),
        ),
        (
            r#"{"group_id":"g1","group_id":"g1","type":"A"}"#,
            format!("{no_object}; at byte 27: duplicate field `group_id`"),
        ),
        (
            r#"{"group_id":"g1","type":"A"} {}"#,
            format!("{no_object}; at byte 30: trailing characters"),
        ),
        (
            r#"{"group_id":"g1","type":"A","max_members":-1}"#,
            format!("{no_object}; at byte 44: invalid value: integer `-1`, expected a nonzero u32"),
        ),
        (
            r#"{"group_id":"g1","type":"A","max_members":0}"#,
            format!("{no_object}; at byte 43: invalid value: integer `0`, expected a nonzero u32"),
        ),
        (r#"{"group_id":"","type":"A"}"#, "group_id must not be empty".into()),
        (
            r#"{"group_id":"g1","type":""}"#,
            "type must be 1-64 of A-Z a-z 0-9 . _ -, not \"\"".into(),
        ),
        (
            r#"{"group_id":"g1","type":"A","member_ids":["u1",""]}"#,
            "member_ids[1] must not be empty".into(),
        ),
        (
            r#"{"group_id":"g1","type":"A","member_ids":["u1","u2","u1"]}"#,
            "member_ids[2] is \"u1\", as member_ids[0] is; a member must not be repeated".into(),
        ),
    ] {
        let found = read(Kind::Groups, format!("{line}\n").as_bytes());
        assert_eq!(found, Err(format!("f.jsonl:1: {wanted}")), "{line}");
    }
}

#[test]
fn an_invalid_friend_is_reported() {
    let example = r#"must be an object such as {"user_id":"u1","friend_ids":["u2","u3"]}"#;
    let good = "{\"user_id\":\"u1\",\"friend_ids\":[]}\n";
    for (line, wanted) in [
        (
            "{\"user_id\":\"u1\",\"friend_ids\":[\"u1\"]}\n",
            ":2: friend_ids[0] must not be the user \"u1\" themselves".to_owned(),
        ),
        (
            "{\"user_id\":\"u1\"}\n",
            format!(":2: {example}; at byte 16: missing field `friend_ids`"),
        ),
        (
            "{\"user_id\":\"u1\",\"friend_ids\":null}\n",
            format!(":2: {example}; at byte 33: invalid type: null, expected a sequence"),
        ),
        (
            "{\"user_id\":\"u1\",\"friend_ids\":[\"u2\n",
            format!(":2: {example}; at byte 33: EOF while parsing a string"),
        ),
        (
            "{\"user_id\":\"u1\",\"friend_ids\":[\"u2",
            ":2: does not end with a line break, as if the file was truncated; export it again, \
             or end the line"
                .into(),
        ),
        ("\n{}\n", ":2: is empty; only lines at the end of a file may be empty".into()),
    ] {
        let found = read(Kind::Friends, format!("{good}{line}").as_bytes());
        assert_eq!(found, Err(format!("f.jsonl{wanted}")), "{line}");
    }
}

#[test]
fn a_long_list_and_a_long_line_are_refused() {
    let line = |count: usize| {
        let ids: Vec<_> = (0..count).map(|number| format!("\"f{number}\"")).collect();
        format!("{{\"user_id\":\"u\",\"friend_ids\":[{}]}}\n", ids.join(","))
    };
    assert!(read(Kind::Friends, line(20_000).as_bytes()).is_ok());
    let wanted = "f.jsonl:1: user \"u\" has more than 20000 friends";
    assert_eq!(read(Kind::Friends, line(20_001).as_bytes()), Err(wanted.into()));
    let endless = read(Kind::Friends, &vec![b'{'; 33 * 1024 * 1024]);
    assert_eq!(endless, Err("f.jsonl:1: is longer than 33554432 bytes".into()));
}

#[test]
fn the_error_of_a_long_line_is_short() {
    let line = format!("{{\"{}\":1}}\n", "x".repeat(100_000));
    let text = read(Kind::Accounts, line.as_bytes()).unwrap_err();
    assert!(text.len() < 400, "{} bytes", text.len());
}

#[test]
fn an_empty_file_is_reported_as_a_failed_export() {
    for text in ["", "\n\n"] {
        let wanted = "f.jsonl: is empty, as if the export had failed; if there are no accounts, \
                      give a CSV file with only its header";
        assert_eq!(read(Kind::Accounts, text.as_bytes()), Err(wanted.into()), "{text:?}");
    }
}
