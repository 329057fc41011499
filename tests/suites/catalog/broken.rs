//! Reports about invalid catalogs. The table of single mistakes is `broken.txt`.

use imquota::catalog::{BUILTIN, load, parse};
use imquota::diagnostics::{FILE_MAX_BYTES, LoadError, PROBLEMS_MAX};
use imquota::domain::catalog::Catalog;

/// A complete catalog; the tests refer to its line numbers.
pub const SMALL: &str = concat!(
    r#"schema = 1
version = "v1"
time_zone = "Asia/Shanghai"
default_edition = "free"
validity = { edition_grace_days = 7, add_on_grace_days = 0, after_grace = "stop", "#,
    r#"full_refund_days = 5, full_refunds_per_app = 1 }
groups = { per_day = 100 }
batch = { accounts_max = 1, members_max = 1, friends_max = 1 }
[im_codes]
service_stopped = 1
accounts_per_app = 2
my_friends = 3
peer_friends = 4
groups_per_user = 5
groups_per_day = 6
members_per_group = 7
members_at_creation = 8
batch_of_accounts = 9
batch_of_members = 10
[[editions]]
id = "free"
label = "体验版"
add_ons_allowed = false
postpaid_allowed = false
[editions.limits]
accounts_per_app = 100
friends_per_user = 0
groups_per_user = 1
members_per_group = 1
"groups_per_app/Room" = 1
[[editions]]
id = "paid"
label = "Paid"
price_fen_per_month = 100
add_ons_allowed = true
postpaid_allowed = true
[editions.limits]
accounts_per_app = "unlimited"
friends_per_user = 10
groups_per_user = 10
members_per_group = 10
"groups_per_app/Room" = 2
[[add_ons]]
id = "more"
label = "More"
limit_id = "groups_per_user"
limit = 20
price_fen_per_month = 5
[[group_types]]
name = "Room"
label = "Room"
member_cap = "unlimited"
members_tracked = false
counts_towards_user = false
per_app = 0
per_day = "unlimited"
reclaim_empty = false
per_app_im_code = 10006
[metering]
final_day = 3
[metering.dau]
free = 10
unit = 10
price_fen_per_unit = 100
[metering.groups]
first_day = 4
free = 10
unit = 10
price_fen_per_unit = 100
[metering.message_history]
free_days = 7
days_max = 30
unit = 10
price_fen_per_unit = 100
[[metering.bandwidth]]
region = "mainland"
label = "Mainland"
price_fen_per_mbps_day = 2
[failure]
accounts_per_app = "closed"
friends_per_user = "open"
groups_per_user = "open"
members_per_group = "open"
groups_per_app = "closed"
groups_per_day = "open"
per_user_max = 10
per_group_max = 50
per_app_max = 10000
[[failure.apps]]
app_id = "demo"
accounts_per_app = "open"
[[failure.apps]]
app_id = "other"
"#
);

/// The small catalog with texts replaced, each of which it has once.
pub fn with(changes: &[(&str, &str)]) -> Result<Catalog, String> {
    let mut text = SMALL.to_owned();
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    parse(&text).map_err(|problems| problems.to_string())
}

/// The small catalog with one line replaced, counted from 1.
fn with_line(number: usize, line: &str) -> String {
    let lines =
        SMALL.lines().enumerate().map(|(index, old)| if index + 1 == number { line } else { old });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_line_of_the_table_has_its_report() {
    assert!(parse(SMALL).is_ok(), "{:?}", parse(SMALL));
    let mut checked = 0;
    for row in include_str!("broken.txt").split("\n\n") {
        let lines: Vec<_> = row.trim().lines().filter(|line| !line.starts_with('#')).collect();
        let Some((edit, expected)) = lines.split_first() else { continue };
        let (number, line) = edit.split_once(" |").expect(edit);
        let line = line.strip_prefix(' ').unwrap_or(line);
        let found = match parse(&with_line(number.parse().expect(edit), line)) {
            Ok(_) => String::new(),
            Err(problems) => problems.to_string(),
        };
        assert_eq!(found, expected.join("\n"), "{edit}");
        checked += 1;
    }
    assert!(checked > 40, "only {checked} rows were found");
}

#[test]
fn all_mistakes_are_reported_together_in_the_order_of_the_text() {
    let edits = [
        ("schema = 1", "schema = 1\nschemas = 1"),
        ("\"v1\"", "1"),
        ("groups = { per_day = 100 }", "groups = {}"),
        ("peer_friends = 4", "peer_friends = 0"),
        ("id = \"paid\"", "id = \"free\""),
        ("friends_per_user = 10\n", ""),
        ("limit_id = \"groups_per_user\"", "limit_id = \"group\""),
        ("members_tracked = false", "members_tracked = 0"),
    ];
    let text = edits.iter().fold(SMALL.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let found = parse(&text).expect_err("the catalog has many mistakes");
    let places: Vec<_> = found.0.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(
        places,
        [(2, 1), (3, 11), (7, 10), (13, 16), (32, 6), (34, 23), (37, 1), (45, 12), (52, 19)],
        "{found}"
    );
}

#[test]
fn every_missing_line_of_the_built_in_catalog_is_reported() {
    // Tables without settings, and entries that no other entry needs, may be left out.
    let optional = ["[editions.limits]", "[[add_ons]]"];
    for (index, line) in BUILTIN.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') || optional.contains(&line) {
            continue;
        }
        let lines = BUILTIN.lines().enumerate().filter(|(other, _)| *other != index);
        let text: String = lines.flat_map(|(_, line)| [line, "\n"]).collect();
        assert!(parse(&text).is_err(), "{}: {line}", index + 1);
    }
}

#[test]
fn hostile_texts_are_refused_in_bounded_messages() {
    for text in [
        String::new(),
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        "x = 1\n".repeat(100_000),
        (0..100_000).map(|n| format!("key_{n} = 1")).collect::<Vec<_>>().join("\n"),
        format!("{} = 1", "k".repeat(1_000_000)),
        format!("\"{}\" = 1", "群\\n".repeat(1000)),
    ] {
        let problems = parse(&text).expect_err("no catalog");
        assert!(!problems.0.is_empty());
        assert!(problems.0.len() <= PROBLEMS_MAX + 1);
        assert!(problems.to_string().len() < 100_000, "{}", problems.to_string().len());
    }
}

#[test]
fn a_file_is_named_in_each_line_of_the_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.toml");
    let shown = path.display();
    let report = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("written");
        load(&path).expect_err("wrong").to_string()
    };
    assert_eq!(
        report(with_line(6, "groups = { per_dy = 1 }").as_bytes()),
        format!(
            "{shown}:6:10: groups: \"per_day\" is missing\n\
             {shown}:6:12: groups.per_dy: unknown key; did you mean \"per_day\"?"
        )
    );
    assert_eq!(report(b"a = 1\nb = '\xff'"), format!("{shown}:2:6: is not UTF-8 from here on"));
    let too_large = usize::try_from(FILE_MAX_BYTES).expect("small") + 1;
    assert_eq!(
        report(&vec![b'#'; too_large]),
        format!("{shown}: must not have more than 1048576 bytes")
    );
    std::fs::remove_file(&path).expect("removed");
    assert!(matches!(load(&path), Err(LoadError::Io { .. })));
    std::fs::write(&path, SMALL.replace('\n', "\r\n")).expect("written");
    assert!(load(&path).is_ok());
    std::fs::write(&path, format!("\u{feff}{SMALL}")).expect("written");
    assert!(load(&path).is_ok());
    assert!(report("\u{feff}schema = 3".as_bytes()).contains(":1:10: schema: must be 1"));
}
