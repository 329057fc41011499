//! The stored format of schedules: JSON of separate types, with a version.

use serde::{Deserialize, Serialize};

use crate::domain::id::{Name, RequestId};
use crate::domain::limit::{Bound, Limit, LimitId, Source};
use crate::domain::limits::LimitKind;
use crate::domain::schedule::{Limits, Schedule, Segment};
use crate::domain::time::Timestamp;
use crate::domain::timeline::ServiceState;

const VERSION: u32 = 1;
/// The limit that is stored in a field of its own.
const ALLOWANCE: LimitId = LimitId::GroupsAllowance;

#[derive(Serialize, Deserialize)]
struct StoredSchedule {
    v: u32,
    segments: Vec<StoredSegment>,
}

#[derive(Serialize, Deserialize)]
struct StoredSegment {
    /// Milliseconds since the epoch; absent in the last segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    edition: String,
    state: StoredState,
    add_ons: Vec<String>,
    sold: Vec<StoredLimit>,
    /// Sold limits that the first readers of this version lack. They ignore the field, and do not
    /// check these limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more: Vec<StoredLimit>,
    /// The number of groups of all types at once, if the edition allows no more than are free. A
    /// separate field, since earlier versions do not read a limit with that name, and ignore
    /// unknown fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups_allowance: Option<u64>,
    /// Earlier versions ignore it, and answer with the codes of all apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    im_code_set: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredState {
    Active,
    Grace,
    Stopped,
}

#[derive(Serialize, Deserialize)]
struct StoredLimit {
    id: String,
    /// Absent if unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// Absent if the limit does not come from an add-on.
    #[serde(skip_serializing_if = "Option::is_none")]
    add_on: Option<String>,
    /// The request that agreed the limit, if it was agreed. Earlier versions ignore the field: they
    /// decide by the same number, and name the edition as its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agreed: Option<String>,
}

/// Encodes a schedule.
#[must_use]
pub fn encode_schedule(schedule: &Schedule) -> Vec<u8> {
    let segments = schedule.segments().iter().map(store_segment).collect();
    let stored = StoredSchedule { v: VERSION, segments };
    serde_json::to_vec(&stored).expect("maps with string keys can always be written")
}

fn store_segment(segment: &Segment) -> StoredSegment {
    let limits = &segment.limits;
    let sold = limits.sold.iter().filter(|(id, _)| *id != ALLOWANCE);
    let (sold, more): (Vec<_>, Vec<_>) = sold.partition(|(id, _)| is_first(id.kind()));
    let store = |limits: Vec<&(LimitId, Bound)>| {
        limits.into_iter().map(|(id, bound)| store_limit(id, bound)).collect()
    };
    StoredSegment {
        until: (segment.until != Timestamp::MAX).then(|| segment.until.as_millis()),
        edition: limits.edition.to_string(),
        state: match limits.state {
            ServiceState::Active => StoredState::Active,
            ServiceState::Grace => StoredState::Grace,
            ServiceState::Stopped => StoredState::Stopped,
        },
        add_ons: limits.add_ons.iter().map(Name::to_string).collect(),
        sold: store(sold),
        more: store(more),
        groups_allowance: limits.sold(&ALLOWANCE).and_then(|bound| bound.limit.finite()),
        im_code_set: limits.im_code_set.as_ref().map(Name::to_string),
    }
}

/// Returns whether every reader of this version has a limit.
fn is_first(kind: LimitKind) -> bool {
    match kind {
        LimitKind::AccountsPerApp
        | LimitKind::FriendsPerUser
        | LimitKind::GroupsPerUser
        | LimitKind::MembersPerGroup
        | LimitKind::GroupsPerApp => true,
        LimitKind::Service
        | LimitKind::MembersPerGroupOfType
        | LimitKind::GroupsPerAppOfAllTypes
        | LimitKind::GroupsAllowance
        | LimitKind::GroupsPerDay
        | LimitKind::GroupsPerDayOfType
        | LimitKind::ActiveUsersPerDay
        | LimitKind::ActiveUsersPerMonth => false,
    }
}

fn store_limit(id: &LimitId, bound: &Bound) -> StoredLimit {
    let (add_on, agreed) = match &bound.source {
        Source::AddOn(name) => (Some(name.to_string()), None),
        Source::Agreed(request_id) => (None, Some(request_id.to_string())),
        _ => (None, None),
    };
    StoredLimit { id: id.to_string(), limit: bound.limit.finite(), add_on, agreed }
}

/// Decodes a schedule, or returns the reason why the bytes are malformed.
pub fn decode_schedule(bytes: &[u8]) -> Result<Schedule, String> {
    let stored: StoredSchedule =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if stored.v != VERSION {
        return Err(format!("version {} is not {VERSION}", stored.v));
    }
    let segments = stored.segments.into_iter().map(load_segment).collect::<Result<_, _>>()?;
    Schedule::from_segments(segments).ok_or_else(|| "segments out of order".to_owned())
}

/// Encodes the limits of one segment.
#[must_use]
pub fn encode_limits(segment: &Segment) -> Vec<u8> {
    serde_json::to_vec(&store_segment(segment)).expect("maps with string keys can be written")
}

/// Decodes the limits of one segment, or returns the reason why the bytes are malformed.
pub fn decode_limits(bytes: &[u8]) -> Result<Limits, String> {
    let stored: StoredSegment = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(load_segment(stored)?.limits)
}

fn load_segment(stored: StoredSegment) -> Result<Segment, String> {
    let edition = Name::from(stored.edition.as_str());
    let sold = stored.sold.into_iter().chain(stored.more).map(|limit| load_limit(&edition, limit));
    let mut sold = sold.collect::<Result<Vec<_>, _>>()?;
    if let Some(allowance) = stored.groups_allowance {
        let source = Source::Edition(edition.clone());
        sold.push((ALLOWANCE, Bound { limit: Limit::Finite(allowance), source }));
    }
    let mut limits = Limits {
        sold,
        edition,
        state: match stored.state {
            StoredState::Active => ServiceState::Active,
            StoredState::Grace => ServiceState::Grace,
            StoredState::Stopped => ServiceState::Stopped,
        },
        add_ons: stored.add_ons.iter().map(|name| name.as_str().into()).collect(),
        im_code_set: stored.im_code_set.as_deref().map(Name::from),
    };
    limits.sort();
    Ok(Segment { until: stored.until.map_or(Timestamp::MAX, Timestamp::from_millis), limits })
}

fn load_limit(edition: &Name, stored: StoredLimit) -> Result<(LimitId, Bound), String> {
    let id = LimitId::sold_by_name(&stored.id)
        .ok_or_else(|| format!("unknown limit \"{}\"", stored.id))?;
    let source = match (stored.agreed, stored.add_on) {
        (Some(request_id), _) => {
            let request_id = RequestId::try_from(request_id);
            Source::Agreed(request_id.map_err(|error| error.to_string())?)
        }
        (None, Some(name)) => Source::AddOn(name.as_str().into()),
        (None, None) => Source::Edition(edition.clone()),
    };
    Ok((id, Bound { limit: stored.limit.map_or(Limit::Unlimited, Limit::Finite), source }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"{"v":1,"segments":[{"until":1552233600000,"edition":"professional","state":"active","add_ons":["members-2000"],"sold":[{"id":"accounts_per_app"},{"id":"members_per_group","limit":2000,"add_on":"members-2000"},{"id":"groups_per_app/AVChatRoom","limit":50}]},{"edition":"professional","state":"stopped","add_ons":[],"sold":[{"id":"friends_per_user","limit":3000}]}]}"#;

    fn schedule() -> Schedule {
        let edition = Name::from("professional");
        let by_edition = |limit| Bound { limit, source: Source::Edition(edition.clone()) };
        let add_on = Name::from("members-2000");
        let raised = Bound { limit: Limit::Finite(2000), source: Source::AddOn(add_on.clone()) };
        let segments = vec![
            Segment {
                until: Timestamp::from_millis(1_552_233_600_000),
                limits: Limits {
                    im_code_set: None,
                    edition: edition.clone(),
                    state: ServiceState::Active,
                    add_ons: vec![add_on],
                    sold: vec![
                        (LimitId::AccountsPerApp, by_edition(Limit::Unlimited)),
                        (LimitId::MembersPerGroup, raised),
                        (LimitId::GroupsPerApp("AVChatRoom".into()), by_edition(Limit::Finite(50))),
                    ],
                },
            },
            Segment {
                until: Timestamp::MAX,
                limits: Limits {
                    im_code_set: None,
                    edition: edition.clone(),
                    state: ServiceState::Stopped,
                    add_ons: vec![],
                    sold: vec![(LimitId::FriendsPerUser, by_edition(Limit::Finite(3000)))],
                },
            },
        ];
        Schedule::from_segments(segments).expect("in order")
    }

    #[test]
    fn schedules_are_stored_as_the_golden_bytes() {
        assert_eq!(String::from_utf8(encode_schedule(&schedule())).expect("text"), GOLDEN);
        assert_eq!(decode_schedule(GOLDEN.as_bytes()), Ok(schedule()));
    }

    #[test]
    fn the_free_number_of_groups_is_in_a_field_that_earlier_versions_ignore() {
        let limits = Limits {
            im_code_set: None,
            edition: "trial".into(),
            state: ServiceState::Active,
            add_ons: vec![],
            sold: vec![
                (
                    LimitId::FriendsPerUser,
                    Bound { limit: Limit::Finite(20), source: Source::Edition("trial".into()) },
                ),
                (
                    ALLOWANCE,
                    Bound {
                        limit: Limit::Finite(100_000),
                        source: Source::Edition("trial".into()),
                    },
                ),
            ],
        };
        let segment = Segment { until: Timestamp::MAX, limits };
        let golden = r#"{"edition":"trial","state":"active","add_ons":[],"sold":[{"id":"friends_per_user","limit":20}],"groups_allowance":100000}"#;
        assert_eq!(String::from_utf8(encode_limits(&segment)).expect("text"), golden);
        assert_eq!(decode_limits(golden.as_bytes()), Ok(segment.limits.clone()));
        // As the previous version wrote it: groups have no limit until the schedule is published
        // again.
        let older = golden.replace(r#","groups_allowance":100000"#, "");
        let sold = segment.limits.sold[..1].to_vec();
        assert_eq!(decode_limits(older.as_bytes()), Ok(Limits { sold, ..segment.limits }));
    }

    #[test]
    fn limits_that_earlier_versions_lack_are_in_a_field_that_they_ignore() {
        let edition = |limit| Bound { limit, source: Source::Edition("pro".into()) };
        let raised = Bound { limit: Limit::Finite(9), source: Source::AddOn("more".into()) };
        let limits = Limits {
            im_code_set: None,
            edition: "pro".into(),
            state: ServiceState::Grace,
            add_ons: vec!["more".into()],
            sold: vec![
                (LimitId::MembersPerGroup, edition(Limit::Finite(5))),
                (LimitId::MembersPerGroupOfType("Community".into()), raised),
                (LimitId::GroupsPerApp("Room".into()), edition(Limit::Finite(3))),
                (LimitId::GroupsPerAppOfAllTypes, edition(Limit::Unlimited)),
                (LimitId::GroupsPerDay, edition(Limit::Finite(8))),
                (LimitId::GroupsPerDayOfType("Room".into()), edition(Limit::Finite(2))),
                // `scripts/shared/login_limits.lua` reads the text of these.
                (LimitId::ActiveUsersPerDay, edition(Limit::Unlimited)),
                (LimitId::ActiveUsersPerMonth, edition(Limit::Finite(500))),
            ],
        };
        let segment = Segment { until: Timestamp::MAX, limits };
        let golden = r#"{"edition":"pro","state":"grace","add_ons":["more"],"sold":[{"id":"members_per_group","limit":5},{"id":"groups_per_app/Room","limit":3}],"more":[{"id":"members_per_group/Community","limit":9,"add_on":"more"},{"id":"groups_per_app"},{"id":"groups_per_day","limit":8},{"id":"groups_per_day/Room","limit":2},{"id":"active_users_per_day"},{"id":"active_users_per_month","limit":500}]}"#;
        assert_eq!(String::from_utf8(encode_limits(&segment)).expect("text"), golden);
        assert_eq!(decode_limits(golden.as_bytes()), Ok(segment.limits));
    }

    #[test]
    fn an_agreed_limit_names_its_request_in_a_field_that_earlier_versions_ignore() {
        let agreed = |limit| Bound {
            limit,
            source: Source::Agreed(RequestId::try_from("order-7").expect("an id")),
        };
        let limits = Limits {
            im_code_set: None,
            edition: "pro".into(),
            state: ServiceState::Active,
            add_ons: vec![],
            sold: vec![
                (LimitId::FriendsPerUser, agreed(Limit::Finite(5))),
                (LimitId::GroupsPerAppOfAllTypes, agreed(Limit::Unlimited)),
            ],
        };
        let segment = Segment { until: Timestamp::MAX, limits };
        let golden = r#"{"edition":"pro","state":"active","add_ons":[],"sold":[{"id":"friends_per_user","limit":5,"agreed":"order-7"}],"more":[{"id":"groups_per_app","agreed":"order-7"}]}"#;
        assert_eq!(String::from_utf8(encode_limits(&segment)).expect("text"), golden);
        assert_eq!(decode_limits(golden.as_bytes()), Ok(segment.limits));
        assert!(decode_limits(golden.replace("order-7", "").as_bytes()).is_err());
    }

    #[test]
    fn damaged_schedules_are_refused_with_the_reason() {
        for (stored, reason) in [
            (GOLDEN.replace("\"v\":1", "\"v\":2"), "version 2"),
            (GOLDEN.replace("accounts_per_app", "wishes"), "unknown limit \"wishes\""),
            (GOLDEN.replace("\"until\":1552233600000,", ""), "segments out of order"),
            (r#"{"v":1,"segments":[]}"#.to_owned(), "segments out of order"),
            (GOLDEN[..100].to_owned(), "EOF"),
        ] {
            let error = decode_schedule(stored.as_bytes()).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }
}
