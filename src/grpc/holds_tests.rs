//! Tests of requests and responses about holds.

use super::*;
use crate::catalog::builtin;
use crate::domain::id::GroupId;
use crate::domain::time::Timestamp;
use crate::grpc::request::Check;

fn fields_of<T>(result: Result<T, Invalid>) -> Vec<String> {
    let invalid = result.err().map(|it| it.violations).unwrap_or_default();
    invalid.into_iter().map(|violation| violation.field).collect()
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("u{number}")).collect()
}

#[test]
fn a_hold_needs_its_seconds_and_its_id() {
    let long = "x".repeat(65);
    for (seconds, id, wrong) in [
        (None, "", &[][..]),
        (Some(1), "o", &[]),
        (Some(3600), "o 1", &[]),
        (Some(1), "", &["operation_id"]),
        (None, "o", &["hold_seconds"]),
        (Some(0), "o", &["hold_seconds"]),
        (Some(3601), "o", &["hold_seconds"]),
        (Some(0), "", &["hold_seconds", "operation_id"]),
        (Some(1), long.as_str(), &["operation_id"]),
        (Some(1), "ö", &["operation_id"]),
    ] {
        let hold = || (seconds, id.to_owned());
        let app_id = || "demo".to_owned();
        let (hold_seconds, operation_id) = hold();
        let accounts = pb::CreateAccountsRequest {
            app_id: app_id(),
            user_ids: ids(1),
            hold_seconds,
            operation_id,
            ..Default::default()
        };
        let (hold_seconds, operation_id) = hold();
        let friends = pb::AddFriendsRequest {
            app_id: app_id(),
            user_id: "a".into(),
            friend_ids: ids(1),
            hold_seconds,
            operation_id,
            ..Default::default()
        };
        let (hold_seconds, operation_id) = hold();
        let group = pb::CreateGroupRequest {
            app_id: app_id(),
            group_id: "g".into(),
            r#type: "Public".into(),
            hold_seconds,
            operation_id,
            ..Default::default()
        };
        let (hold_seconds, operation_id) = hold();
        let join = pb::JoinGroupRequest {
            app_id: app_id(),
            group_id: "g".into(),
            user_ids: ids(1),
            hold_seconds,
            operation_id,
            ..Default::default()
        };
        let catalog = builtin();
        let all = [
            accounts.check(&catalog),
            friends.check(&catalog),
            group.check(&catalog),
            join.check(&catalog),
        ];
        for checked in all {
            if let Ok(checked) = &checked {
                let given = checked.take.hold.as_ref().map(|hold| (hold.seconds, hold.id.as_str()));
                assert_eq!(given, seconds.map(|seconds| (seconds, id)));
            }
            assert_eq!(fields_of(checked), wrong, "{seconds:?} {id:?}");
        }
    }
}

#[test]
fn a_take_with_a_hold_has_at_most_five_hundred_subjects() {
    for (hold_seconds, operation_id, max) in [(Some(60), "o", 500), (None, "", 1000)] {
        let request = |count| pb::AddFriendsRequest {
            app_id: "demo".into(),
            user_id: "a".into(),
            friend_ids: ids(count),
            hold_seconds,
            operation_id: operation_id.into(),
            ..Default::default()
        };
        assert!(request(max).check(&builtin()).is_ok());
        assert_eq!(fields_of(request(max + 1).check(&builtin())), ["friend_ids"]);
    }
}

#[test]
fn an_end_names_what_is_wrong_with_it() {
    let request = pb::ConfirmHoldRequest {
        app_id: "demo".into(),
        operation_id: "o".into(),
        relation: pb::HoldRelation::Friends.into(),
        mode: pb::Mode::Force.into(),
    };
    let checked = request.clone().check().expect("valid");
    assert_eq!((checked.part, checked.mode), (Some(Part::Friends), Mode::Force));
    for mode in [pb::Mode::CheckOnly, pb::Mode::Shadow] {
        let request = pb::ConfirmHoldRequest { mode: mode.into(), ..request.clone() };
        assert_eq!(fields_of(request.check()), ["mode"]);
    }
    let request =
        pb::ConfirmHoldRequest { mode: 9, relation: 4, operation_id: String::new(), ..request };
    assert_eq!(fields_of(request.check()), ["mode", "operation_id", "relation"]);
    let release = pb::ReleaseHoldRequest {
        app_id: "demo".into(),
        operation_id: "o".into(),
        ..Default::default()
    };
    assert_eq!(release.check().expect("valid").part, None);
}

#[test]
fn each_subject_of_a_hold_has_a_result_with_its_ids() {
    let user = |id: &str| UserId::try_from(id).expect("an id");
    let result = |outcome| HoldResult { outcome, denials: Vec::new() };
    let hold = |operation, whole, items| EndedHold {
        operation,
        expired_at: Some(Timestamp::from_millis(7_000)),
        whole,
        items,
        warnings: Vec::new(),
    };
    let group = GroupId::try_from("g").expect("an id");
    let members = vec![user("b"), user("c")];
    let create = Operation::CreateGroup {
        group,
        group_type: "Public".into(),
        owner: Some(user("a")),
        members: members.clone(),
        max_members: None,
    };
    let retaken = || Some(result(HoldOutcome::Retaken));
    let friends = Operation::AddFriends { user: user("a"), friends: members, one_way: false };
    let holds = vec![
        hold(friends, None, vec![Some(result(HoldOutcome::Released)), None]),
        hold(create, retaken(), vec![None, retaken()]),
    ];
    let at = Timestamp::from_millis(9_000);
    let ended: pb::ConfirmHoldResponse =
        EndedHolds { decided_at: at, holds, degradation: None }.into();
    let ids = |it: &pb::HoldResult| {
        let of = it.operation().as_str_name().trim_start_matches("HOLD_OPERATION_").to_owned();
        let outcome = it.outcome().as_str_name().trim_start_matches("HOLD_OUTCOME_").to_owned();
        [of, it.user_id.clone(), it.friend_id.clone(), it.group_id.clone(), outcome].join(" ")
    };
    let lines: Vec<String> = ended.results.iter().map(ids).collect();
    assert_eq!(
        lines,
        ["ADD_FRIENDS a b  RELEASED", "CREATE_GROUP   g RETAKEN", "CREATE_GROUP c  g RETAKEN"]
    );
    assert!(ended.results.iter().all(|it| it.expired_at.is_some_and(|at| at.seconds == 7)));
}
