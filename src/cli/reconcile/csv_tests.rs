//! Valid and invalid CSV files, and the errors of the latter.

use std::fs;

use super::super::export::ExportFile;
use super::*;

fn read(kind: Kind, bytes: &[u8]) -> Result<Vec<Item>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.csv");
    fs::write(&path, bytes).unwrap();
    let prefix = format!("{}/", folder.path().display());
    let text = |error: Error| error.to_string().replace(&prefix, "");
    let mut subjects = ExportFile::find(kind, path).and_then(|file| file.open()).map_err(text)?;
    let mut items = Vec::new();
    while let Some(item) = subjects.next().map_err(text)? {
        items.push(item);
    }
    Ok(items)
}

fn group(id: &str, max_members: Option<u32>, members: &[&str]) -> Subject {
    Subject::Group(pb::ExportedGroup {
        group_id: id.into(),
        r#type: "Public".into(),
        max_members,
        member_ids: members.iter().map(ToString::to_string).collect(),
    })
}

#[test]
fn columns_may_have_any_order_and_quotes_are_removed() {
    let text = "\u{feff}member_id,\"type\",group_id\r\nu1,Public,g1\r\n\"u \"\"2,\",Public,g1\r\n\
                ,Public,g2\r\n\r\n\n";
    let items = read(Kind::Groups, text.as_bytes()).unwrap();
    let wanted = [
        Item { line: 2, subject: group("g1", None, &["u1", "u \"2,"]) },
        Item { line: 4, subject: group("g2", None, &[]) },
    ];
    assert_eq!(items, wanted);
}

#[test]
fn an_empty_limit_means_no_limit_and_an_absent_column_is_not_compared() {
    let text = "group_id,type,max_members,member_id\ng1,Public,,u1\ng2,Public,4294967295,u1\n";
    let items = read(Kind::Groups, text.as_bytes()).unwrap();
    let subjects: Vec<_> = items.into_iter().map(|item| item.subject).collect();
    assert_eq!(subjects, [group("g1", Some(0), &["u1"]), group("g2", Some(u32::MAX), &["u1"])]);
}

fn friends(user: &str, ids: &[&str]) -> Subject {
    let friend_ids = ids.iter().map(ToString::to_string).collect();
    Subject::Friends(pb::ExportedFriends { user_id: user.into(), friend_ids })
}

#[test]
fn friends_and_accounts_are_read() {
    let text = b"user_id,friend_id\nu1,u2\nu1,u3\nu2,u1\n";
    let items = read(Kind::Friends, text).unwrap();
    let wanted = [
        Item { line: 2, subject: friends("u1", &["u2", "u3"]) },
        Item { line: 4, subject: friends("u2", &["u1"]) },
    ];
    assert_eq!(items, wanted);
    let items = read(Kind::Accounts, b"user_id\nu1\n").unwrap();
    assert_eq!(items, [Item { line: 2, subject: Subject::Account("u1".into()) }]);
    assert_eq!(read(Kind::Accounts, b"user_id\n"), Ok(vec![]));
}

#[test]
fn ids_may_be_of_any_script() {
    let text = "user_id,friend_id\n张三,@ann:matrix.example.org\n张三,\"李四,五\"\n";
    let subject = friends("张三", &["@ann:matrix.example.org", "李四,五"]);
    assert_eq!(read(Kind::Friends, text.as_bytes()), Ok(vec![Item { line: 2, subject }]));
    let longest = "三".repeat(85);
    let text = format!("user_id\n{longest}\n");
    let subject = Subject::Account(longest);
    assert_eq!(read(Kind::Accounts, text.as_bytes()), Ok(vec![Item { line: 2, subject }]));
}

#[test]
fn an_invalid_account_is_reported() {
    let header = b"user_id\n";
    let table: [(&[u8], &str); 10] = [
        (
            b"u1",
            "2: does not end with a line break, as if the file was truncated; export it again, \
                 or end the line",
        ),
        (b"u1,u2\n", "2: has 2 columns, not 1"),
        (b"u1\n\nu2\n", "3: is empty; only lines at the end of a file may be empty"),
        (b"\"\"\n", "2: user_id must not be empty"),
        (b"\xff\n", "2: must be UTF-8, but byte 0 is 0xff"),
        (b"a\xe7\n", "2: must be UTF-8, but byte 1 is 0xe7"),
        (
            b"a\0\n",
            "2: user_id must not contain control characters, line or paragraph separators, or \
                     bidirectional overrides, but byte 1 begins U+0000",
        ),
        (
            b"a\rb\n",
            "2: user_id must not contain control characters, line or paragraph separators, or \
                      bidirectional overrides, but byte 1 begins U+000D",
        ),
        (b"\"a\nb\"\n", "2: has a quote that is not closed on its line"),
        (b"\"a\"b\n", "2: has text between a closing quote and the next comma"),
    ];
    for (rows, wanted) in table {
        let found = read(Kind::Accounts, &[header, rows].concat());
        assert_eq!(found, Err(format!("f.csv:{wanted}")));
    }
    let long = read(Kind::Accounts, &[&header[..], &[b'u'; 256], b"\n"].concat());
    assert_eq!(long, Err("f.csv:2: user_id must be at most 255 bytes long, not 256".into()));
    let endless = read(Kind::Accounts, &[&header[..], &vec![b'u'; 99_999]].concat());
    assert_eq!(endless, Err("f.csv:2: is longer than 4096 bytes".into()));
}

#[test]
fn an_invalid_friend_is_reported() {
    for (rows, wanted) in [
        ("u1\n", "2: has 1 column, not 2"),
        ("u1,u2\nu1,\n", "3: friend_id must not be empty"),
        (",u2\n", "2: user_id must not be empty"),
        ("u1,u1\n", "2: friend_id must not be the user \"u1\" themselves"),
        ("u1,u2\nu1,u3\nu1,u2\n", "4: friend \"u2\" of user \"u1\" is repeated from line 2"),
        (
            "u1,a\"b\n",
            "2: has a quote in a field that does not begin with one; write such a field as \
             \"a\"\"b\"",
        ),
    ] {
        let found = read(Kind::Friends, format!("user_id,friend_id\n{rows}").as_bytes());
        assert_eq!(found, Err(format!("f.csv:{wanted}")));
    }
}

#[test]
fn an_invalid_group_is_reported() {
    let limit = "max_members must be 1-4294967295, or empty if the group has no limit of its own, \
                 not";
    for (rows, wanted) in [
        ("g1,A,,u1\ng1,A,,u1\n", "3: member \"u1\" of group \"g1\" is repeated from line 2".into()),
        (
            "g1,A,,u1\ng1,B,,u2\n",
            "3: group \"g1\" has the type \"B\" here and \"A\" at line 2; its rows must agree"
                .into(),
        ),
        (
            "g1,A,,u1\ng1,A,7,u2\n",
            "3: group \"g1\" has the max_members 7 here and none at line 2; its rows must agree"
                .into(),
        ),
        (
            "g1,A,,\ng1,A,,u2\n",
            "3: group \"g1\" has a row without a member_id among others; only a group without \
             members may have one"
                .into(),
        ),
        (
            "g1,A,,u2\ng1,A,,\n",
            "3: group \"g1\" has a row without a member_id among others; only a group without \
             members may have one"
                .into(),
        ),
        ("g1,,,u1\n", "2: type must be 1-64 of A-Z a-z 0-9 . _ -, not \"\"".to_owned()),
        ("g1,A,0,u1\n", format!("2: {limit} \"0\"")),
        ("g1,A,+5,u1\n", format!("2: {limit} \"+5\"")),
        ("g1,A,4294967296,u1\n", format!("2: {limit} \"4294967296\"")),
        ("g1,A,many,u1\n", format!("2: {limit} \"many\"")),
    ] {
        let header = "group_id,type,max_members,member_id\n";
        let found = read(Kind::Groups, format!("{header}{rows}").as_bytes());
        assert_eq!(found, Err(format!("f.csv:{wanted}")));
    }
}

#[test]
fn an_invalid_header_is_reported() {
    let groups = "the columns are group_id, type, member_id and optionally max_members";
    for (kind, text, wanted) in [
        (Kind::Friends, "", ": is empty; must begin with the header user_id,friend_id".into()),
        (Kind::Friends, "\n\n", ": is empty; must begin with the header user_id,friend_id".into()),
        (Kind::Friends, "user_id\n", ":1: must have a column \"friend_id\"".to_owned()),
        (
            Kind::Groups,
            "group_id,type,Member\n",
            format!(":1: has an unknown column \"Member\"; {groups}"),
        ),
        (
            Kind::Accounts,
            "user_id,max_members\n",
            ":1: has an unknown column \"max_members\"; the columns are user_id".into(),
        ),
        (Kind::Accounts, "user_id,user_id\n", ":1: has the column \"user_id\" twice".into()),
        (
            Kind::Accounts,
            "u1\nu2\n",
            ":1: has an unknown column \"u1\"; the columns are user_id".into(),
        ),
        (Kind::Accounts, "\"user_id\n", ":1: has a quote that is not closed on its line".into()),
    ] {
        assert_eq!(read(kind, text.as_bytes()), Err(format!("f.csv{wanted}")), "{text:?}");
    }
}

#[test]
fn a_list_has_at_most_twenty_thousand_ids() {
    let rows = |count: usize| {
        let rows = (0..count).map(|number| format!("u,f{number}\n"));
        format!("user_id,friend_id\n{}", rows.collect::<String>())
    };
    assert!(read(Kind::Friends, rows(20_000).as_bytes()).is_ok());
    let wanted = "f.csv:20002: user \"u\" has more than 20000 friends";
    assert_eq!(read(Kind::Friends, rows(20_001).as_bytes()), Err(wanted.into()));
}

#[test]
fn only_regular_files_of_known_formats_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let find = |name: &str| {
        let found = ExportFile::find(Kind::Accounts, folder.path().join(name));
        let text = found.err().unwrap().to_string();
        text.replace(&format!("{}/", folder.path().display()), "")
    };
    for name in ["a.xlsx", "a", "a.csv.gz", ".csv"] {
        let wanted = format!("{name}: must end in .csv, .jsonl or .ndjson");
        assert_eq!(find(name), wanted);
    }
    assert_eq!(find("a.csv"), "cannot read a.csv: No such file or directory (os error 2)");
    fs::create_dir(folder.path().join("d.CSV")).unwrap();
    assert_eq!(find("d.CSV"), "d.CSV: is not a regular file; it must be readable twice");
}
