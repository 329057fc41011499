//! Exchanges through the admin service, on every store, with a fake clock: one request, one entry
//! of the audit log, one result for every retry, the figures of the preview, and the statement.
//! The offer of a denial names exactly the exchange after which the same request is admitted. The
//! figures were computed by hand.

use std::sync::Arc;

use crate::support::moved_clock::MovedClock;
use crate::support::redis::Server;
use crate::support::{ManualClock, Place, Service, app, exchange, group, order, request_id, user};
use imquota::domain::billing::Item;
use imquota::domain::decision::{Outcome, Violation};
use imquota::domain::exchange::ExchangeOrder;
use imquota::domain::id::AppId;
use imquota::domain::upgrade::{Offer, Upgrade};
use imquota::engine::Decision;
use imquota::engine::admin::{
    ChangeKind, ChangeResult, Changed, EntryFilter, PreviewChange, PreviewRequest,
};
use imquota::ledger::Operation;

const SMALL: &str = include_str!("../support/small.toml");
const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;
/// 2019-02-12 00:00 in Shanghai.
const FEBRUARY_12: i64 = 1_549_900_800_000;

struct World {
    service: Service,
    clock: Arc<ManualClock>,
}

impl World {
    async fn open(place: &Place, clock: Arc<ManualClock>) -> Self {
        clock.set(FEBRUARY_12 + 10 * HOUR);
        let catalog = imquota::catalog::parse(SMALL).expect("a valid catalog");
        Self { service: Service::open_any(place, clock.clone(), catalog).await, clock }
    }

    /// Sets the clock to noon, a number of days after the first one.
    fn noon(&self, days: i64) {
        self.clock.set(FEBRUARY_12 + days * DAY + 12 * HOUR);
    }

    async fn exchange(
        &self,
        app: &AppId,
        request: &str,
        order: ExchangeOrder,
    ) -> Result<Changed, String> {
        self.service.change(app, request, ChangeKind::Exchange(order)).await
    }

    /// The sum of an exchange, and the request and fen of each refund, in a preview.
    async fn preview(
        &self,
        app: &AppId,
        order: ExchangeOrder,
    ) -> Result<(i64, Vec<(String, i64)>), String> {
        let change = Some(PreviewChange::Exchange(order));
        let request = PreviewRequest { change, ..PreviewRequest::default() };
        let shown = self.service.administration.preview(app, request).await;
        let shown = shown.map_err(|error| error.to_string())?;
        let refunds = shown.refunds.iter();
        let refunds = refunds.map(|(id, value)| (id.to_string(), value.refund_fen)).collect();
        Ok((shown.sum_fen, refunds))
    }
}

/// The fen of each refund of a change, with the request that it refunds.
fn refunds(changed: &Changed) -> Vec<(String, i64)> {
    let purchases = &changed.view.record.sales.purchases;
    let figures = changed.exchange.as_ref().expect("figures");
    let refund = |(index, value): &(usize, imquota::domain::refund::Remaining)| {
        (purchases[*index].request_id.to_string(), value.refund_fen)
    };
    figures.refunds.iter().map(refund).collect()
}

fn named(refunds: &[(&str, i64)]) -> Vec<(String, i64)> {
    refunds.iter().map(|(id, fen)| ((*id).to_owned(), *fen)).collect()
}

/// A change of the edition, with two add-ons of which one raises nothing any more.
async fn change_edition(world: &World) {
    let (service, app) = (&world.service, app("changed"));
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 1).await.expect("bought");
    service.buy(&app, "r2", order("groups-per-user-400"), 1).await.expect("bought");
    service.buy(&app, "r3", order("members-6000"), 1).await.expect("bought");
    world.noon(8);
    // 28 days each, of which 9 are used: 19/28 of 999.00 and of 500.00 CNY.
    let change = exchange(None, "premium", 1);
    let expected = named(&[("r1", 67_789), ("r2", 33_929)]);
    let sum = 199_900 - 67_789 - 33_929;
    let previewed = world.preview(&app, change.clone()).await;
    assert_eq!(previewed, Ok((sum, expected.clone())));
    let at_most = |max| ExchangeOrder { max_sum_fen: Some(max), ..exchange(None, "premium", 1) };
    let refused = world.exchange(&app, "r4", at_most(sum - 1)).await.expect_err("too much");
    assert!(refused.contains("the sum to pay is 98182 fen now"), "{refused}");
    let made = world.exchange(&app, "r4", at_most(sum)).await.expect("changed");
    assert_eq!((made.made, refunds(&made)), (ChangeResult::Exchange(3), expected));
    assert_eq!(made.exchange.as_ref().map(|it| it.sum_fen), Some(sum));
    let limits = made.view.schedule.at(made.view.at);
    assert_eq!(limits.edition.as_str(), "premium");
    assert_eq!(limits.add_ons, ["members-6000".into()]);

    // A retry returns the first result, also days later and without the accepted sum.
    world.noon(12);
    let again = world.exchange(&app, "r4", change).await.expect("as before");
    assert_eq!((again.made, &again.exchange), (made.made, &made.exchange));
    assert_eq!(again.view.record, made.view.record);
    for (other, reported) in [
        (exchange(None, "basic", 1), "edition_id was premium and is basic now"),
        (exchange(None, "premium", 2), "months was 1 and is 2 now"),
        (
            exchange(Some("members-6000"), "members-2000", 1),
            "used before for edition \"premium\" for 1 months in exchange for professional, \
             groups-per-user-400",
        ),
    ] {
        let error = world.exchange(&app, "r4", other).await.expect_err("another request");
        assert!(error.contains(reported), "{error}");
    }
    let filter = EntryFilter { app: Some(app.clone()), ..EntryFilter::default() };
    let entries = service.administration.entries(0, 100, &filter).await.expect("entries").entries;
    let last = &entries[4].event;
    assert_eq!((entries.len(), last.action.as_str()), (5, "ChangeEdition"));
    assert_eq!(last.request, r#"{"edition_id":"premium","max_sum_fen":98182,"months":1}"#);
    assert!(last.before.contains(r#""edition":"professional""#), "{}", last.before);
    assert!(last.after.contains(r#""edition":"premium""#), "{}", last.after);

    let statement = service.administration.statement(&app, None).await.expect("a statement");
    let lines = statement.statement.lines.iter();
    let sold = lines.filter(|line| matches!(line.item, Item::Edition | Item::AddOn | Item::Refund));
    let sold: Vec<_> =
        sold.map(|line| (line.item, line.item_id.as_str(), line.amount_fen)).collect();
    assert_eq!(
        sold,
        [
            (Item::Edition, "professional", 99_900),
            (Item::AddOn, "groups-per-user-400", 50_000),
            (Item::AddOn, "members-6000", 100_000),
            (Item::Edition, "premium", 199_900),
            (Item::Refund, "r1", -67_789),
            (Item::Refund, "r2", -33_929),
        ]
    );
    let total = 99_900 + 50_000 + 100_000 + 199_900 - 67_789 - 33_929;
    assert_eq!(statement.statement.total_fen, total);
}

fn befriend(name: &str, count: usize) -> Operation {
    let friends = (0..count).map(|number| user(format!("{name} {number}"))).collect();
    Operation::AddFriends { user: user(name), friends, one_way: true }
}

fn violations(decision: &Decision) -> Vec<Upgrade> {
    let denied = decision.items.iter().find(|item| item.outcome == Outcome::Denied);
    let denied = denied.expect("a denial");
    let violation: &Violation = &denied.violations[0].violation;
    assert!(violation.bound.limit.finite().is_some());
    denied.violations[0].upgrades.clone()
}

/// The exchange that an offer names.
fn offered(upgrades: &[Upgrade]) -> ExchangeOrder {
    let [Upgrade { offer, replaces, .. }] = upgrades else { panic!("one offer: {upgrades:?}") };
    let replaced = replaces.as_ref().expect("it replaces something").as_str();
    match offer {
        Offer::Edition(new) => {
            assert_eq!(replaced, "professional");
            exchange(None, new.as_str(), 1)
        }
        Offer::AddOn(new) => exchange(Some(replaced), new.as_str(), 1),
    }
}

/// Denials whose offers replace what is in force: they are bought, and the same request passes.
async fn follow_offers(world: &World) {
    let (service, app) = (&world.service, app("offered"));
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 3).await.expect("bought");
    service.buy(&app, "r2", order("groups-per-user-400"), 1).await.expect("bought");
    // Seven groups of a user with the add-on; eight with the next one, and under Premium.
    for number in 0..8_i64 {
        let id = group(format!("g{number}"));
        let (kind, members) = ("Public".into(), Vec::new());
        let owner = (number == 0).then(|| user("a"));
        let create = Operation::CreateGroup {
            group: id.clone(),
            group_type: kind,
            owner,
            members,
            max_members: None,
        };
        // Four groups are created in a day.
        world.noon(13 + number / 4);
        assert!(!service.enforce(&app, create).await.denied(), "{number}");
        if number > 0 {
            let join = Operation::JoinGroup { group: id, users: vec![user("a")] };
            let decision = service.enforce(&app, join).await;
            assert_eq!(decision.denied(), number == 7, "{number}");
        }
    }
    let join = || Operation::JoinGroup { group: group("g7"), users: vec![user("a")] };
    let denied = service.enforce(&app, join()).await;
    let order = offered(&violations(&denied));
    assert_eq!(order, exchange(Some("groups-per-user-400"), "groups-per-user-700", 1));
    world.exchange(&app, "r3", order).await.expect("exchanged");
    assert!(!service.enforce(&app, join()).await.denied());

    // Five friends under Professional, seven under Premium; no add-on raises them.
    assert!(!service.enforce(&app, befriend("b", 5)).await.denied());
    let denied = service.enforce(&app, befriend("b", 6)).await;
    let order = offered(&violations(&denied));
    assert_eq!(order, exchange(None, "premium", 1));
    let made = world.exchange(&app, "r4", order).await.expect("changed");
    // The add-on for eight groups raises nothing under an edition with eight.
    let refunded: Vec<_> = refunds(&made).into_iter().map(|(id, _)| id).collect();
    assert_eq!(refunded, ["r1", "r3"]);
    assert!(!service.enforce(&app, befriend("b", 6)).await.denied());
    let error = service.buy(&app, "r5", crate::support::order("groups-per-user-700"), 1).await;
    let error = error.expect_err("it raises nothing");
    assert!(error.contains("which edition \"premium\" sets to 8 already"), "{error}");
}

/// In grace nothing remains, and the service goes on; a smaller edition is paid out.
async fn change_in_grace(world: &World) {
    let (service, app) = (&world.service, app("grace"));
    world.clock.set(FEBRUARY_12 + 40 * DAY);
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("premium"), 1).await.expect("bought");
    // 2019-03-24 through 2019-04-23: 31 days, of which 2 are used.
    world.noon(41);
    let down = exchange(None, "basic", 1);
    let sum = 49_900 - 187_003;
    assert_eq!(world.preview(&app, down.clone()).await, Ok((sum, named(&[("r1", 187_003)]))));
    world.exchange(&app, "r2", down).await.expect("changed");
    // 2019-03-25 through 2019-04-24; the grace until 2019-05-02.
    world.noon(76);
    let state = |changed: &Changed| changed.view.schedule.at(changed.view.at).state;
    let up = world.exchange(&app, "r3", exchange(None, "professional", 1)).await;
    let up = up.expect("changed in grace");
    assert_eq!(refunds(&up), named(&[("r2", 0)]));
    assert_eq!(state(&up).name(), "active");
    let refund = ChangeKind::Refund { purchase: request_id("r2") };
    let error = service.change(&app, "r4", refund).await.expect_err("refunded in the change");
    assert!(error.contains("was refunded by request \"r3\""), "{error}");
    let trial = crate::support::app("trial");
    service.register(&trial, "r0").await.expect("registered");
    let error = world.exchange(&trial, "r1", exchange(None, "premium", 1)).await;
    assert!(error.expect_err("nothing to change").contains("no purchased edition in force"));
}

async fn all_on(place: &Place, clock: Arc<ManualClock>) {
    let world = World::open(place, clock).await;
    change_edition(&world).await;
    follow_offers(&world).await;
    change_in_grace(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_in_memory_are_one_change_each() {
    all_on(&Place::Memory, ManualClock::at(FEBRUARY_12)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_on_disk_are_one_change_each() {
    let directory = tempfile::tempdir().expect("a directory");
    all_on(&Place::directory(directory.path()), ManualClock::at(FEBRUARY_12)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_in_redis_are_one_change_each() {
    let moved = MovedClock::new();
    let server = Server::start_with_clock(&[], &moved);
    let place = Place::Redis(format!("redis://{}/0", server.address()));
    all_on(&place, ManualClock::shared(FEBRUARY_12, &moved.file())).await;
}
