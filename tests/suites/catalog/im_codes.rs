//! IM codes of a catalog: numbers, names, and those of group types.

use imquota::domain::decision::Reason;
use imquota::domain::im_code::ImCode;

use super::broken::with;

fn code(number: i32, name: Option<&str>) -> ImCode {
    ImCode { number, name: name.map(Into::into) }
}

#[test]
fn a_code_is_a_number_a_name_or_both() {
    let catalog = with(&[
        ("my_friends = 3", "my_friends = { number = 3, name = \"MAX_FRIENDS\" }"),
        ("peer_friends = 4", "peer_friends = { name = \"friends:max.of-other/1\" }"),
        ("groups_per_user = 5", "groups_per_user = { number = 5 }"),
        ("batch_of_members = 10", "batch_of_members = { number = 999999, name = \"M\" }"),
    ])
    .expect("valid");
    for (reason, expected) in [
        (Reason::AccountsPerApp, code(2, None)),
        (Reason::MyFriends, code(3, Some("MAX_FRIENDS"))),
        (Reason::PeerFriends, code(0, Some("friends:max.of-other/1"))),
        (Reason::GroupsPerUser, code(5, None)),
    ] {
        assert_eq!(catalog.im_code(reason, Some("Room"), None), expected, "{reason:?}");
    }
    assert_eq!(catalog.im_codes.batch_of_members, code(999_999, Some("M")));
}

#[test]
fn a_group_type_has_codes_in_place_of_those_of_its_reasons() {
    let own = "per_app_im_code = 10006\n\
               im_codes = { groups_per_day = 61, members_per_group = { name = \"ROOM_FULL\" } }";
    let per_app =
        "per_app_im_code = 10006\nim_codes.groups_per_app = { number = 62, name = \"N\" }";
    let catalog = with(&[("per_app_im_code = 10006", own)]).expect("valid");
    for (reason, of_room, of_other) in [
        (Reason::GroupsPerApp, code(10006, None), code(6, None)),
        (Reason::GroupsPerDay, code(61, None), code(6, None)),
        (Reason::MembersPerGroup, code(0, Some("ROOM_FULL")), code(7, None)),
        (Reason::MembersAtCreation, code(8, None), code(8, None)),
    ] {
        assert_eq!(catalog.im_code(reason, Some("Room"), None), of_room, "{reason:?}");
        assert_eq!(catalog.im_code(reason, Some("Other"), None), of_other, "{reason:?}");
        assert_eq!(catalog.im_code(reason, None, None), of_other, "{reason:?}");
    }
    let catalog = with(&[("per_app_im_code = 10006", per_app)]).expect("valid");
    assert_eq!(catalog.im_code(Reason::GroupsPerApp, Some("Room"), None), code(62, Some("N")));
}

#[test]
fn invalid_codes_are_reported_with_their_keys() {
    let of_type = "per_app_im_code = 10006\nim_codes = ";
    for (value, problem) in [
        ("{}", "im_codes.my_friends: must have a \"number\", a \"name\", or both"),
        ("{ number = 0 }", "im_codes.my_friends.number: must be a whole number from 1 to 999999"),
        ("{ name = \"\" }", "im_codes.my_friends.name: must be 1-64 letters, digits or any of"),
        ("{ name = \"a b\" }", "im_codes.my_friends.name: must be 1-64 letters, digits or any of"),
        ("{ number = 3, label = \"x\" }", "im_codes.my_friends.label: unknown key"),
        ("\"MAX\"", "im_codes.my_friends: must be a whole number from 1 to 999999"),
    ] {
        let problems = with(&[("my_friends = 3", &format!("my_friends = {value}"))]);
        let problems = problems.expect_err("invalid");
        assert!(problems.contains(problem), "{value}: {problems}");
        assert_eq!(problems.lines().count(), 1, "{value}: {problems}");
    }
    let long = format!("my_friends = {{ name = \"{}\" }}", "n".repeat(65));
    assert!(with(&[("my_friends = 3", &long)]).is_err());
    for (value, problem) in [
        ("{ groups_per_day = 0 }", "group_types[0].im_codes.groups_per_day: must be"),
        ("{ my_friends = 7 }", "group_types[0].im_codes.my_friends: unknown key"),
        ("7", "group_types[0].im_codes: must be a table"),
    ] {
        let problems = with(&[("per_app_im_code = 10006", &format!("{of_type}{value}"))]);
        let problems = problems.expect_err("invalid");
        assert!(problems.contains(problem), "{value}: {problems}");
    }
}

#[test]
fn a_set_of_codes_comes_before_those_of_all_apps() {
    let own = "per_app_im_code = 10006\n\
               im_codes = { members_per_group = { name = \"ROOM_FULL\" } }";
    let with_sets = |sets: &str| {
        with(&[("per_app_im_code = 10006", own), ("[im_codes]", &format!("{sets}\n[im_codes]"))])
    };
    let catalog = with_sets(
        "[[im_code_sets]]\nname = \"a\"\n\
         codes = { members_per_group = 70, my_friends = { name = \"MAX\" }, limit = 71 }\n\
         [[im_code_sets]]\nname = \"b\"\ncodes.groups_per_app = { number = 72, name = \"N\" }",
    )
    .expect("valid");
    for (set, reason, expected) in [
        (Some("a"), Reason::MembersPerGroup, code(70, None)),
        (Some("a"), Reason::MyFriends, code(0, Some("MAX"))),
        (Some("a"), Reason::Limit, code(71, None)),
        // What the set lacks, and a set that the catalog lacks.
        (Some("a"), Reason::GroupsPerApp, code(10006, None)),
        (Some("b"), Reason::GroupsPerApp, code(72, Some("N"))),
        (Some("b"), Reason::MembersPerGroup, code(0, Some("ROOM_FULL"))),
        (Some("c"), Reason::MembersPerGroup, code(0, Some("ROOM_FULL"))),
        (None, Reason::MembersPerGroup, code(0, Some("ROOM_FULL"))),
    ] {
        assert_eq!(catalog.im_code(reason, Some("Room"), set), expected, "{set:?} {reason:?}");
    }
    for (sets, problem) in [
        ("[[im_code_sets]]\nname = \"a\"", "im_code_sets[0]: \"codes\" is missing"),
        ("[[im_code_sets]]\ncodes.limit = 1", "im_code_sets[0]: \"name\" is missing"),
        ("[[im_code_sets]]\nname = \"a\"\ncodes = {}", "must have the code of a reason"),
        ("[[im_code_sets]]\nname = \"a b\"\ncodes.limit = 1", "im_code_sets[0].name: must be"),
        ("[[im_code_sets]]\nname = \"a\"\ncodes.limits = 1", "codes.limits: unknown key"),
        ("[[im_code_sets]]\nname = \"a\"\ncodes.limit = 0", "codes.limit: must be a whole number"),
    ] {
        let problems = with_sets(sets).expect_err("invalid");
        assert!(problems.contains(problem), "{sets}: {problems}");
    }
    let twice = "[[im_code_sets]]\nname = \"a\"\ncodes.limit = 1\n".repeat(2);
    assert!(with_sets(&twice).expect_err("invalid").contains("is the name of an entry above"));
}
