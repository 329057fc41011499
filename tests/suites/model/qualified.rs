//! Limits by group type, and on the groups of all types and of a day, that editions set: the model
//! over the small catalog with such limits, in every store.

use super::coverage::Coverage;
use super::rules::{AddOnRule, EditionRule, FREE, Qualified, Raises, Rules, SMALL};
use super::{ALWAYS, HOLDS, over_small, small_with};
use crate::support::moved_clock::MovedClock;
use crate::support::redis::Server;
use crate::support::{Place, seed};

const PUBLIC: usize = 1;
const CHAT_ROOM: usize = 2;

/// Numbers of [`LISTED`]: by type they are above and below those of all types, and the caps of the
/// types.
const QUALIFIED: Rules = Rules {
    editions: &[
        EditionRule {
            qualified: Qualified {
                members: [None, Some(6), Some(3), None, None, None],
                all_groups: 7,
                per_day: 3,
                per_day_of: [2, FREE, FREE, FREE, 1, FREE],
            },
            all_groups: FREE,
            ..SMALL.editions[0]
        },
        EditionRule {
            qualified: Qualified {
                members: [Some(100), None, Some(10), None, None, None],
                all_groups: 12,
                per_day: FREE,
                per_day_of: [FREE, FREE, FREE, 3, FREE, 2],
            },
            ..SMALL.editions[1]
        },
        // By type it has one limit, above that of Professional and below the add-on.
        EditionRule {
            qualified: Qualified {
                members: [None, None, Some(11), None, None, None],
                all_groups: 14,
                per_day: FREE,
                per_day_of: [FREE; 6],
            },
            ..SMALL.editions[2]
        },
        EditionRule {
            qualified: Qualified {
                members: [None; 6],
                all_groups: 8,
                per_day: 2,
                per_day_of: [FREE; 6],
            },
            all_groups: FREE,
            ..SMALL.editions[3]
        },
    ],
    add_ons: {
        let mut add_ons = SMALL.add_ons;
        add_ons[4] = AddOnRule { raises: Raises::MembersOf(CHAT_ROOM), to: 13, ..add_ons[4] };
        add_ons
    },
    ..SMALL
};

/// Texts of the small catalog, and those that replace them.
const LISTED: [(&str, &str); 5] = [
    (
        "members_per_group = 4\n",
        "members_per_group = 4\n\
         \"members_per_group/Public\" = 6\n\
         \"members_per_group/ChatRoom\" = 3\n\
         groups_per_app = 7\n\
         groups_per_day = 3\n\
         \"groups_per_day/Private\" = 2\n\
         \"groups_per_day/BChatRoom\" = 1\n",
    ),
    (
        "members_per_group = 6\n",
        "members_per_group = 6\n\
         \"members_per_group/Private\" = 100\n\
         \"members_per_group/ChatRoom\" = 10\n\
         groups_per_app = 12\n\
         \"groups_per_day/AVChatRoom\" = 3\n\
         \"groups_per_day/Lounge\" = 2\n",
    ),
    (
        "groups_per_user = 8\n",
        "groups_per_user = 8\n\
         \"members_per_group/ChatRoom\" = 11\n\
         groups_per_app = 14\n",
    ),
    ("groups_per_user = 5\n", "groups_per_user = 5\ngroups_per_app = 8\ngroups_per_day = 2\n"),
    (
        "limit_id = \"members_per_group\"\nlimit = 12\n",
        "limit_id = \"members_per_group/ChatRoom\"\nlimit = 13\n",
    ),
];

async fn compared(
    place: Place,
    clock: Option<&MovedClock>,
    rounds: (usize, Option<usize>),
    seed: u64,
) -> Coverage {
    assert_eq!(QUALIFIED.kinds[PUBLIC].name, "Public");
    assert_eq!(QUALIFIED.kinds[CHAT_ROOM].name, "ChatRoom");
    over_small((&QUALIFIED, small_with(&LISTED)), place, clock, rounds, seed).await
}

/// The cases that a run must cover, with fewer in a shorter one.
fn require(coverage: &Coverage, seed: u64, share: u64) {
    for (case, number) in [
        ("reason Limit", 12),
        ("reason GroupsPerDay", 12),
        ("reason MembersPerGroup", 200),
        ("reason MembersAtCreation", 200),
        ("add-on raises", 50),
    ] {
        coverage.require(seed, &[(case, number / share)]);
    }
}

#[tokio::test]
async fn qualified_limits_in_memory_agree_with_the_model() {
    let coverage = compared(Place::Memory, None, (6_000, None), seed(31)).await;
    coverage.require(seed(31), ALWAYS);
    coverage.require(seed(31), HOLDS);
    require(&coverage, seed(31), 1);
}

#[tokio::test]
async fn qualified_limits_on_disk_agree_with_the_model_also_after_re_opening() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = Place::directory(directory.path());
    let coverage = compared(place, None, (3_000, Some(150)), seed(32)).await;
    require(&coverage, seed(32), 3);
}

#[tokio::test]
async fn qualified_limits_in_redis_agree_with_the_model() {
    let clock = MovedClock::new();
    let server = Server::start_with_clock(&[], &clock);
    let place = Place::Redis(format!("redis://{}/0", server.address()));
    let coverage = compared(place, Some(&clock), (1_500, Some(200)), seed(33)).await;
    require(&coverage, seed(33), 6);
}

#[tokio::test]
async fn qualified_limits_in_redis_agree_with_the_model_in_coalesced_calls() {
    let clock = MovedClock::new();
    let server = Server::start_with_clock(&[], &clock);
    let place = Place::Coalesced(format!("redis://{}/0", server.address()));
    let coverage = compared(place, Some(&clock), (1_500, Some(200)), seed(34)).await;
    require(&coverage, seed(34), 6);
}
