//! Limits by group type, and on the groups of all types and of a day, that an edition sets.

use imquota::domain::decision::{Mode, Reason, Subject, Violation};
use imquota::domain::limit::{Bound, Limit, LimitId, Source};
use imquota::domain::schedule::{Limits, Schedule};

use super::operations::{create, create_capped, dissolve, join, leave, numbered, texts};
use super::script::{App, endless};
use super::warnings::shown;
use crate::support::group;

fn members_of(group_type: &str) -> LimitId {
    LimitId::MembersPerGroupOfType(group_type.into())
}

fn per_day_of(group_type: &str) -> LimitId {
    LimitId::GroupsPerDayOfType(group_type.into())
}

impl App {
    /// The limits of the default edition, and these in the order of the table.
    fn with(&self, more: &[(LimitId, u64)]) -> Limits {
        let mut limits = self.trial();
        let source = || Source::Edition(limits.edition.clone());
        let bound = |limit| Bound { limit: Limit::Finite(limit), source: source() };
        let more: Vec<_> = more.iter().map(|(id, limit)| (id.clone(), bound(*limit))).collect();
        limits.sold.extend(more);
        limits.sort();
        limits
    }

    pub async fn sells(&self, more: &[(LimitId, u64)]) {
        let segment = endless(self.with(more));
        self.put(&Schedule::from_segments(vec![segment]).expect("endless")).await;
    }

    async fn violations(&self, group: &str, group_type: &str, members: &[&str]) -> Vec<Violation> {
        let answer = self.apply(create(group, group_type, "", members)).await.expect("a decision");
        let results = answer.whole.into_iter().chain(answer.items);
        results.flat_map(|result| result.violations).collect()
    }
}

pub async fn members_of_a_type_stand_instead_of_those_of_all_types(app: App) {
    let sold = [("Public", 6), ("ChatRoom", 2), ("Private", 9)];
    app.sells(&sold.map(|(name, limit)| (members_of(name), limit))).await;
    app.script([
        // Above the number for all types, which is four.
        (create("p", "Public", "a", &[]), "applied"),
        (join("p", &["b"]), "applied"),
        (join("p", &["c"]), "applied"),
        (join("p", &["d"]), "applied"),
        (join("p", &["e"]), "applied"),
        (join("p", &["f"]), "applied"),
        (join("p", &["g"]), "denied MEMBERS_PER_GROUP 6/6 p"),
        (join("p", &["g", "a"]), "denied MEMBERS_PER_GROUP 6/6 p, held"),
        // Below it.
        (
            create("c", "ChatRoom", "a", &["b", "c"]),
            "applied | applied, denied MEMBERS_AT_CREATION 2/2 c",
        ),
        (join("c", &["d"]), "denied MEMBERS_PER_GROUP 2/2 c"),
        (leave("c", &["b"]), "applied"),
        (join("c", &["d", "e"]), "applied, denied MEMBERS_PER_GROUP 2/2 c"),
        // Another type has the number for all.
        (
            create("l", "Lounge", "", &["a", "b", "c", "d", "e"]),
            "applied | applied x4, denied MEMBERS_AT_CREATION 4/4 l",
        ),
    ])
    .await;
    // The group's own limit is lower, or the type's cap.
    let own = "applied | applied, denied MEMBERS_AT_CREATION 2/2 o";
    app.script([
        (create_capped("o", "Public", "h", &["i", "j"], Some(2)), own),
        (dissolve("o"), "applied; released 2"),
    ])
    .await;
    let users = numbered("user", 8);
    let full = "applied | applied x7, denied MEMBERS_AT_CREATION 7/7 v";
    app.script([(create("v", "Private", "", &texts(&users)), full)]).await;
    app.counts([("group p", "Public 6"), ("group c", "ChatRoom 2"), ("group l", "Lounge 4")]).await;
}

pub async fn members_of_a_type_are_a_limit_in_every_mode(app: App) {
    app.sells(&[(members_of("Public"), 6)]).await;
    app.script([(create("p", "Public", "", &["a", "b", "c", "d", "e"]), "applied | applied x5")])
        .await;
    let check = app.as_mode(Mode::CheckOnly);
    check.script([(join("p", &["f", "g"]), "applied, denied MEMBERS_PER_GROUP 6/6 p")]).await;
    let whole = app.all_or_nothing();
    whole.script([(join("p", &["f", "g"]), "aborted, denied MEMBERS_PER_GROUP 6/6 p")]).await;
    let shadow = app.as_mode(Mode::Shadow);
    shadow.script([(join("p", &["f", "g"]), "applied, applied MEMBERS_PER_GROUP 6/6 p")]).await;
    app.as_mode(Mode::Force).script([(join("p", &["h"]), "applied")]).await;
    app.script([(join("p", &["i"]), "denied MEMBERS_PER_GROUP 8/6 p")]).await;
    // Without the limit the one of all types applies.
    app.sells(&[]).await;
    app.script([(join("p", &["i"]), "denied MEMBERS_PER_GROUP 8/4 p")]).await;
}

pub async fn sixty_four_joins_fill_a_group_up_to_the_limit_of_its_type(app: App) {
    let app = app.roomy().await;
    let mut limits = app.with(&[(members_of("Public"), 40)]);
    limits.sold.retain(|(id, _)| *id == LimitId::MembersPerGroup || *id == members_of("Public"));
    app.put(&Schedule::from_segments(vec![endless(limits)]).expect("endless")).await;
    app.script([(create("p", "Public", "", &[]), "applied")]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for user in numbered("user", 64) {
        let app = app.clone();
        tasks.spawn(async move { app.done(join("p", &[&user])).await });
    }
    let answers = tasks.join_all().await;
    let applied = answers.iter().filter(|answer| *answer == "applied").count();
    let denied = answers.iter().filter(|it| *it == "denied MEMBERS_PER_GROUP 40/40 p").count();
    assert_eq!((applied, denied), (40, 24), "{answers:?}");
}

pub async fn no_group_beyond_the_number_of_all_types(app: App) {
    app.sells(&[(LimitId::GroupsPerAppOfAllTypes, 3)]).await;
    let full = "denied LIMIT 3/3 app";
    app.script([
        (create("a", "Private", "u", &[]), "applied"),
        (create("b", "AVChatRoom", "", &[]), "applied"),
        (create("c", "Public", "u", &[]), "applied"),
        (create("d", "Public", "v", &["w"]), "denied LIMIT 3/3 app | denied"),
        (create("d", "BChatRoom", "", &[]), full),
        (create("c", "Public", "v", &["w"]), "held | applied"),
        (dissolve("b"), "applied"),
        (create("d", "AVChatRoom", "", &[]), "applied"),
    ])
    .await;
    let check = app.as_mode(Mode::CheckOnly);
    check.script([(create("e", "Public", "u", &[]), full)]).await;
    let shadow = app.as_mode(Mode::Shadow);
    shadow.script([(create("e", "Public", "u", &[]), "applied LIMIT 3/3 app")]).await;
    let both = "denied groups_per_day 4/4 app + LIMIT 4/3 app";
    app.script([(create("f", "Public", "u", &[]), both)]).await;
}

pub async fn groups_of_a_day_are_limited_by_the_edition_within_the_rule(app: App) {
    app.sells(&[
        (LimitId::GroupsPerDay, 3),
        (per_day_of("Public"), 1),
        (per_day_of("BChatRoom"), 9),
    ])
    .await;
    app.script([
        (create("p1", "Public", "", &[]), "applied"),
        (create("p2", "Public", "", &[]), "denied groups_per_day/Public 1/1 app"),
        // The type's own rule is two.
        (create("b1", "BChatRoom", "", &[]), "applied"),
        (create("b2", "BChatRoom", "", &[]), "applied"),
        (
            create("b3", "BChatRoom", "", &[]),
            "denied groups_per_day/BChatRoom 2/2 app + groups_per_day 3/3 app",
        ),
        (create("c", "ChatRoom", "", &[]), "denied groups_per_day 3/3 app"),
        (dissolve("p1"), "applied"),
        (create("p2", "Public", "", &[]), "applied"),
    ])
    .await;
    // The rule of the catalog is four.
    app.sells(&[(LimitId::GroupsPerDay, 5)]).await;
    app.script([
        (create("c", "ChatRoom", "", &[]), "applied"),
        (create("d", "ChatRoom", "", &[]), "denied groups_per_day 4/4 app"),
    ])
    .await;
}

pub async fn violations_of_sold_limits_name_edition_and_ceiling(app: App) {
    let sold = [
        (members_of("Public"), 1),
        (LimitId::GroupsPerAppOfAllTypes, 2),
        (LimitId::GroupsPerDay, 2),
        (per_day_of("Public"), 1),
    ];
    app.sells(&sold).await;
    let by_edition =
        |limit| Bound { limit: Limit::Finite(limit), source: Source::Edition("trial".into()) };
    let members = Violation {
        reason: Reason::MembersAtCreation,
        limit_id: LimitId::MembersPerGroup,
        subject: Subject::Group(group("p")),
        used: 1,
        bound: by_edition(1),
        ceiling: Limit::Finite(9),
        group_type: Some("Public".into()),
    };
    assert_eq!(app.violations("p", "Public", &["a", "b"]).await, [members]);
    app.script([(create("c", "ChatRoom", "", &[]), "applied")]).await;
    let of_type = Violation {
        reason: Reason::GroupsPerDay,
        limit_id: per_day_of("Public"),
        subject: Subject::App,
        used: 1,
        bound: by_edition(1),
        ceiling: Limit::Unlimited,
        group_type: Some("Public".into()),
    };
    let of_day = Violation {
        limit_id: LimitId::GroupsPerDay,
        used: 2,
        bound: by_edition(2),
        ceiling: Limit::Finite(4),
        ..of_type.clone()
    };
    let of_all = Violation {
        reason: Reason::Limit,
        limit_id: LimitId::GroupsPerAppOfAllTypes,
        ceiling: Limit::Unlimited,
        group_type: None,
        ..of_day.clone()
    };
    assert_eq!(app.violations("q", "Public", &[]).await, [of_type, of_day, of_all]);
    let answer = app.apply(create("q", "Public", "", &[])).await.expect("a decision");
    assert_eq!(answer.limits, Some(app.with(&sold)));
}

pub async fn sold_limits_have_thresholds(app: App) {
    let app = app.roomy().await;
    let sold = [
        (members_of("Public"), 10),
        (LimitId::GroupsPerAppOfAllTypes, 10),
        (LimitId::GroupsPerDay, 20),
        (per_day_of("ChatRoom"), 4),
    ];
    let mut limits = app.with(&sold);
    limits.sold.retain(|(id, _)| sold.iter().any(|(of, _)| of == id));
    app.put(&Schedule::from_segments(vec![endless(limits)]).expect("endless")).await;
    let crossed = async |operation| {
        let answer = app.apply(operation).await.expect("an answer");
        let mut warnings: Vec<String> = answer.warnings.iter().map(shown).collect();
        warnings.sort_unstable();
        warnings.join(", ")
    };
    assert_eq!(crossed(create("p", "Public", "", &["a", "b", "c", "d", "e", "f"])).await, "");
    assert_eq!(crossed(join("p", &["g"])).await, "members_per_group p 7/10 at 70");
    assert_eq!(crossed(join("p", &["h"])).await, "");
    assert_eq!(crossed(join("p", &["i"])).await, "members_per_group p 9/10 at 90");
    let room = |number: usize| create(&format!("c{number}"), "ChatRoom", "", &[]);
    for number in 1..=2 {
        assert_eq!(crossed(room(number)).await, "");
    }
    assert_eq!(crossed(room(3)).await, "groups_per_day/ChatRoom app 3/4 at 70");
    assert_eq!(crossed(room(4)).await, "groups_per_day/ChatRoom app 4/4 at 100");
    assert_eq!(crossed(create("q1", "Public", "", &[])).await, "");
    assert_eq!(crossed(create("q2", "Public", "", &[])).await, "groups_per_app app 7/10 at 70");
}
