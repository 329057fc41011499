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
        assert_eq!(catalog.im_code(reason, Some("Room")), expected, "{reason:?}");
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
        assert_eq!(catalog.im_code(reason, Some("Room")), of_room, "{reason:?}");
        assert_eq!(catalog.im_code(reason, Some("Other")), of_other, "{reason:?}");
        assert_eq!(catalog.im_code(reason, None), of_other, "{reason:?}");
    }
    let catalog = with(&[("per_app_im_code = 10006", per_app)]).expect("valid");
    assert_eq!(catalog.im_code(Reason::GroupsPerApp, Some("Room")), code(62, Some("N")));
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
