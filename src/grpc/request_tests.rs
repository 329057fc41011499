//! Which requests the rules of ids in the catalog hold for.

use super::*;
use crate::catalog::{BUILTIN, parse};

/// A UUID with a prefix, Matrix, XMPP, a Chinese name, and Emoji.
const WIDE: [&str; 5] = [
    "user:123e4567-e89b-12d3-a456-426614174000",
    "@ann-of-the-long-name:matrix.example.org",
    "ann-of-the-long-name@xmpp.example.org/phone",
    "张三",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
];
/// Ids that no catalog allows.
const NEVER: [&str; 4] = ["", "a\nb", "\u{202e}", "张\u{2028}"];

fn catalog(user: usize, group: usize, charset: &str) -> Catalog {
    let text = BUILTIN
        .replace("user_max_bytes = 32", &format!("user_max_bytes = {user}"))
        .replace("group_max_bytes = 48", &format!("group_max_bytes = {group}"))
        .replace("charset = \"ascii\"", &format!("charset = \"{charset}\""));
    parse(&text).expect("a catalog")
}

/// Returns the names of the invalid fields.
fn wrong<T>(checked: Result<T, Invalid>) -> Vec<String> {
    let violations = checked.err().map(|invalid| invalid.violations).unwrap_or_default();
    violations.into_iter().map(|it| it.field).collect()
}

/// Checks every request that takes, with `id` in every field; returns the wrong fields.
fn takes(catalog: &Catalog, id: &str) -> Vec<String> {
    let (app_id, id, ids) = ("demo".to_owned(), id.to_owned(), vec![id.to_owned()]);
    let mut found = wrong(
        pb::CreateAccountsRequest {
            app_id: app_id.clone(),
            user_ids: ids.clone(),
            ..Default::default()
        }
        .check(catalog),
    );
    let add = pb::AddFriendsRequest {
        app_id: app_id.clone(),
        user_id: id.clone(),
        friend_ids: vec![format!("{id}.")],
        ..Default::default()
    };
    found.extend(wrong(add.check(catalog)));
    let create = pb::CreateGroupRequest {
        app_id: app_id.clone(),
        group_id: id.clone(),
        r#type: "Public".to_owned(),
        owner_id: Some(id.clone()),
        member_ids: ids.clone(),
        ..Default::default()
    };
    found.extend(wrong(create.check(catalog)));
    let join = pb::JoinGroupRequest { app_id, group_id: id, user_ids: ids, ..Default::default() };
    found.extend(wrong(join.check(catalog)));
    found
}

/// Checks every request that releases, changes or reads; returns the wrong fields.
fn others(catalog: &Catalog, id: &str) -> Vec<String> {
    let (app_id, id, ids) = ("demo".to_owned(), id.to_owned(), vec![id.to_owned()]);
    let delete = pb::DeleteAccountsRequest { app_id: app_id.clone(), user_ids: ids.clone() };
    let remove = pb::RemoveFriendsRequest {
        app_id: app_id.clone(),
        user_id: id.clone(),
        friend_ids: vec![format!("{id}.")],
        ..Default::default()
    };
    let update = pb::UpdateGroupRequest {
        app_id: app_id.clone(),
        group_id: id.clone(),
        ..Default::default()
    };
    let leave =
        pb::LeaveGroupRequest { app_id: app_id.clone(), group_id: id.clone(), user_ids: ids };
    let dissolve = pb::DissolveGroupRequest { app_id: app_id.clone(), group_id: id.clone() };
    let read = |kind| {
        let subject = Some(pb::Subject { kind: Some(kind) });
        usage(pb::GetUsageRequest { app_id: app_id.clone(), subject })
    };
    [
        wrong(delete.check(catalog)),
        wrong(remove.check(catalog)),
        wrong(update.check(catalog)),
        wrong(leave.check(catalog)),
        wrong(dissolve.check(catalog)),
        wrong(read(pb::subject::Kind::UserId(id.clone()))),
        wrong(read(pb::subject::Kind::GroupId(id.clone()))),
    ]
    .concat()
}

const EVERY_TAKEN: [&str; 8] = [
    "user_ids[0]",
    "user_id",
    "friend_ids[0]",
    "group_id",
    "owner_id",
    "member_ids[0]",
    "group_id",
    "user_ids[0]",
];

#[test]
fn a_wide_catalog_takes_what_the_built_in_one_refuses() {
    let (built_in, wide) = (catalog(32, 48, "ascii"), catalog(255, 255, "utf8"));
    for id in WIDE {
        assert_eq!(takes(&wide, id), Vec::<String>::new(), "{id}");
        let refused = takes(&built_in, id);
        // Those in ASCII fit into a group id of 48 bytes.
        let expected: Vec<_> =
            EVERY_TAKEN.into_iter().filter(|it| !id.is_ascii() || *it != "group_id").collect();
        assert_eq!(refused, expected, "{id}");
    }
    let longest = "u".repeat(254);
    assert_eq!(takes(&wide, &longest), Vec::<String>::new());
    let longer = "u".repeat(256);
    assert_eq!(takes(&wide, &longer), EVERY_TAKEN);
}

#[test]
fn releases_and_reads_accept_the_ids_of_any_catalog() {
    for catalog in [catalog(32, 48, "ascii"), catalog(255, 255, "utf8"), catalog(1, 1, "ascii")] {
        for id in WIDE {
            assert_eq!(others(&catalog, id), Vec::<String>::new(), "{id}");
        }
    }
}

#[test]
fn no_catalog_allows_controls() {
    for catalog in [catalog(32, 48, "ascii"), catalog(255, 255, "utf8")] {
        for id in NEVER {
            let of_friends = usize::from(id.is_empty());
            assert_eq!(takes(&catalog, id).len(), 8 - of_friends, "{id:?}");
            assert_eq!(others(&catalog, id).len(), 9 - of_friends, "{id:?}");
        }
    }
}

#[test]
fn the_prefix_of_the_im_is_refused_with_every_catalog() {
    for catalog in [catalog(32, 48, "ascii"), catalog(255, 255, "utf8")] {
        for (by_im, expected) in [(false, vec!["group_id".to_owned()]), (true, Vec::new())] {
            let create = pb::CreateGroupRequest {
                app_id: "demo".to_owned(),
                group_id: "@TGS#1".to_owned(),
                r#type: "Public".to_owned(),
                group_id_allocated_by_im: by_im,
                ..Default::default()
            };
            assert_eq!(wrong(create.check(&catalog)), expected, "{by_im}");
        }
    }
}

#[test]
fn an_error_names_the_field_the_rule_and_the_offset() {
    for (charset, expected) in [
        ("ascii", "must consist of printable ASCII (0x20-0x7e), but byte 0 is 0xe5"),
        (
            "utf8",
            "must not contain control characters, line or paragraph separators, or bidirectional \
             overrides, but byte 6 begins U+202E",
        ),
    ] {
        let request = pb::CreateAccountsRequest {
            app_id: "demo".to_owned(),
            user_ids: vec!["ann".to_owned(), "张三\u{202e}".to_owned()],
            ..Default::default()
        };
        let invalid = request.check(&catalog(255, 255, charset)).expect_err("wrong");
        assert_eq!(invalid, Invalid::field("user_ids[1]", expected));
    }
}

#[test]
fn the_group_that_is_replaced_has_any_id_but_that_of_the_new_one() {
    let check = |replaces_group_id: &str| {
        let request = pb::CreateGroupRequest {
            app_id: "demo".to_owned(),
            group_id: "g".to_owned(),
            r#type: "Public".to_owned(),
            replaces_group_id: replaces_group_id.to_owned(),
            ..Default::default()
        };
        request.check(&catalog(32, 48, "ascii")).map(|checked| checked.take.replaces)
    };
    assert_eq!(check(""), Ok(None));
    for id in WIDE.into_iter().chain(["tmp", "@TGS#1"]) {
        assert_eq!(check(id).map(|group| group.map(|it| it.to_string())), Ok(Some(id.to_owned())));
    }
    assert_eq!(check("g"), Err(Invalid::field("replaces_group_id", "must not be group_id itself")));
    for id in NEVER.into_iter().filter(|id| !id.is_empty()) {
        assert_eq!(wrong(check(id)), ["replaces_group_id"], "{id:?}");
    }
}
