//! Agreed limits and prices through the admin service, on every store, with a fake clock: joins up
//! to the agreed number are admitted and one more is denied with the request as its source, also
//! after a restart; the preview, the audit log, retries, refunds, the events and the statement. The
//! figures were computed by hand.

use std::sync::Arc;

use crate::support::moved_clock::MovedClock;
use crate::support::redis::Server;
use crate::support::{ManualClock, Place, Service, app, exchange, group, order, request_id, user};
use imquota::domain::agreed::AgreedOrder;
use imquota::domain::billing::Item;
use imquota::domain::calendar::Day;
use imquota::domain::exchange::ExchangeOrder;
use imquota::domain::id::AppId;
use imquota::domain::limit::{Bound, Limit, Source};
use imquota::domain::purchase::Order;
use imquota::engine::admin::{
    ChangeKind, ChangeResult, EntryFilter, PreviewChange, PreviewRequest,
};
use imquota::ledger::Operation;

const SMALL: &str = include_str!("../support/small.toml");
const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;
/// 2019-02-12 00:00 in Shanghai.
const FEBRUARY_12: i64 = 1_549_900_800_000;

/// An agreed limit until a day, or for months.
fn limit(limit_id: &str, limit: Limit, until: Option<&str>) -> Order {
    Order::Limit(AgreedOrder {
        limit_id: limit_id.to_owned(),
        limit,
        last_day: until.map(|day| Day::parse(day).expect("a day")),
        note: "contract 7".to_owned(),
    })
}

fn grant(order: Order, months: u32, price_fen: Option<i64>) -> ChangeKind {
    ChangeKind::Purchase { order, months, price_fen }
}

struct World {
    place: Place,
    service: Service,
    clock: Arc<ManualClock>,
}

impl World {
    async fn open(place: Place, clock: Arc<ManualClock>) -> Self {
        clock.set(FEBRUARY_12 + 10 * HOUR);
        let service = Service::open_any(&place, clock.clone(), Self::catalog()).await;
        Self { place, service, clock }
    }

    fn catalog() -> imquota::domain::catalog::Catalog {
        imquota::catalog::parse(SMALL).expect("a valid catalog")
    }

    /// Opens the store anew, as a restart does; what is in memory is gone with its process.
    async fn restart(self) -> Self {
        let Self { place, service, clock } = self;
        if matches!(place, Place::Memory) {
            return Self { place, service, clock };
        }
        service.close().await;
        let service = Service::open_any(&place, clock.clone(), Self::catalog()).await;
        Self { place, service, clock }
    }

    /// Sets the clock to noon, a number of days after the first one.
    fn noon(&self, days: i64) {
        self.clock.set(FEBRUARY_12 + days * DAY + 12 * HOUR);
    }

    /// Joins users to a group until one is denied: the number of members, and the limit.
    async fn fill(&self, app: &AppId, id: &str) -> (u64, Bound) {
        for number in 0..100 {
            let users = vec![user(format!("{id} {number}"))];
            let join = Operation::JoinGroup { group: group(id), users };
            let decision = self.service.enforce(app, join).await;
            if let Some(denial) = decision.items[0].violations.first() {
                assert_eq!(denial.violation.used, number);
                assert_eq!(denial.upgrades, [], "an agreed limit has no offer");
                return (number, denial.violation.bound.clone());
            }
        }
        panic!("{id} is not limited");
    }

    async fn create(&self, app: &AppId, id: &str, kind: &str) {
        let create = Operation::CreateGroup {
            group: group(id),
            group_type: kind.into(),
            owner: None,
            members: Vec::new(),
            max_members: None,
        };
        assert!(!self.service.enforce(app, create).await.denied(), "{id}");
    }
}

fn agreed(number: u64, request: &str) -> Bound {
    Bound { limit: Limit::Finite(number), source: Source::Agreed(request_id(request)) }
}

/// Joins under an agreed limit on trial, whose edition allows 4 members.
async fn joins(world: World) -> World {
    let app = app("joins");
    world.service.register(&app, "r0").await.expect("registered");
    let members = |most| limit("members_per_group", Limit::Finite(most), None);
    world.service.change(&app, "r1", grant(members(7), 1, None)).await.expect("agreed");
    world.create(&app, "room", "ChatRoom").await;
    assert_eq!(world.fill(&app, "room").await, (7, agreed(7, "r1")));

    // The type's own cap is 5, below the agreed number.
    world.create(&app, "lounge", "Lounge").await;
    let (members_held, bound) = world.fill(&app, "lounge").await;
    assert_eq!((members_held, bound.source), (5, Source::GroupType("Lounge".into())));

    // The last one granted counts, higher or lower, also after a restart.
    world.service.change(&app, "r2", grant(members(9), 2, None)).await.expect("agreed");
    let world = world.restart().await;
    world.create(&app, "later", "ChatRoom").await;
    assert_eq!(world.fill(&app, "later").await, (9, agreed(9, "r2")));
    world.service.change(&app, "r3", grant(members(3), 1, None)).await.expect("agreed");
    world.create(&app, "last", "ChatRoom").await;
    assert_eq!(world.fill(&app, "last").await, (3, agreed(3, "r3")));

    // On 2019-03-12 the third one has ended, and the second one has not.
    world.noon(28);
    world.create(&app, "march", "ChatRoom").await;
    assert_eq!(world.fill(&app, "march").await, (9, agreed(9, "r2")));
    world
}

/// A change of the edition keeps it; the service has to run.
async fn survives(world: &World) {
    let (service, app) = (&world.service, app("survives"));
    world.noon(28);
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 1).await.expect("bought");
    let members = limit("members_per_group", Limit::Finite(11), Some("2019-12-31"));
    service.change(&app, "r2", grant(members, 0, Some(36_500))).await.expect("agreed");
    let changed = service.change(&app, "r3", ChangeKind::Exchange(exchange(None, "basic", 1)));
    let changed = changed.await.expect("changed");
    let refunds = changed.exchange.expect("figures").refunds;
    assert_eq!(refunds.iter().map(|(purchase, _)| *purchase).collect::<Vec<_>>(), [0]);
    world.create(&app, "room", "ChatRoom").await;
    assert_eq!(world.fill(&app, "room").await, (11, agreed(11, "r2")));
    // An add-on on the same limit would have no effect.
    service.change(&app, "r4", ChangeKind::Exchange(exchange(None, "premium", 1))).await.expect("");
    let error = service.buy(&app, "r5", order("members-6000"), 1).await.expect_err("useless");
    assert!(
        error.contains("an agreed limit (request \"r2\") sets to 11 until 2020-01-01"),
        "{error}"
    );
    // The edition ends on 2019-04-12, and its grace on 2019-04-19.
    world.noon(70);
    let users = vec![user("late")];
    let join = Operation::JoinGroup { group: group("room"), users };
    let decision = service.enforce(&app, join).await;
    assert_eq!(decision.items[0].violations[0].violation.limit_id.to_string(), "service");
}

/// One purchase: preview, audit log, retries, refund and statement.
async fn is_a_purchase(world: &World) {
    let (service, app) = (&world.service, app("sold"));
    world.clock.set(FEBRUARY_12 + 100 * DAY);
    service.register(&app, "r0").await.expect("registered");
    let rooms = |most| limit("groups_per_app/AVChatRoom", most, Some("2019-06-01"));
    let order = rooms(Limit::Unlimited);
    let change = Some(PreviewChange::Purchase(order.clone(), 0, Some(10_000)));
    let request = PreviewRequest { change, ..PreviewRequest::default() };
    let preview = service.administration.preview(&app, request).await.expect("a preview");
    assert_eq!((preview.price_fen, preview.sum_fen), (10_000, 10_000));
    let sale = preview.sale.expect("a sale");
    // Through 2019-06-01, from 2019-05-23: ten days, without grace.
    assert_eq!(sale.valid.until, sale.stops_at);
    assert_eq!(sale.valid.until.as_millis(), FEBRUARY_12 + 110 * DAY);

    let made = service.change(&app, "r1", grant(order.clone(), 0, Some(10_000))).await;
    let made = made.expect("agreed");
    assert_eq!(made.made, ChangeResult::Purchase(0));
    let limits = made.view.schedule.at(made.view.at);
    let shown: Vec<_> = limits.agreed().map(|(id, limit)| format!("{id} {limit}")).collect();
    assert_eq!(shown, ["groups_per_app/AVChatRoom unlimited"]);
    world.noon(102);
    let again = service.change(&app, "r1", grant(order.clone(), 0, Some(10_000))).await;
    assert_eq!(again.expect("as before").view.record, made.view.record);
    let other_day = limit("groups_per_app/AVChatRoom", Limit::Unlimited, Some("2019-06-02"));
    let other_limit = limit("groups_per_user", Limit::Unlimited, Some("2019-06-01"));
    for (other, months, price, differs) in [
        (order.clone(), 0, None, "price_fen was 10000 and is none now"),
        (order.clone(), 0, Some(1), "price_fen was 10000 and is 1 now"),
        (rooms(Limit::Finite(9)), 0, Some(10_000), "limit was unlimited and is 9 now"),
        (other_day, 0, Some(10_000), "until_date was 2019-06-01 and is 2019-06-02 now"),
        (
            other_limit,
            0,
            Some(10_000),
            "limit_id was groups_per_app/AVChatRoom and is groups_per_user now",
        ),
        (order.clone(), 1, Some(10_000), "months was 0 and is 1 now"),
    ] {
        let error = service.change(&app, "r1", grant(other, months, price)).await;
        let error = error.expect_err("another request");
        assert!(error.contains(differs), "{error}");
    }
    is_logged(world, &app).await;

    // 2019-05-25: three of ten days are used, and the grant is not older than five days.
    let refund = |request: &str| ChangeKind::Refund { purchase: request_id(request) };
    let paid_back = |changed: imquota::engine::admin::Changed| {
        let value = changed.remaining.expect("figures");
        (value.days, value.days_used, value.in_full, value.refund_fen)
    };
    let members = limit("members_per_group", Limit::Finite(3), None);
    service.change(&app, "r2", grant(members, 1, Some(3100))).await.expect("agreed");
    let first = service.change(&app, "r3", refund("r1")).await.expect("refunded");
    assert_eq!(paid_back(first), (10, 3, true, 10_000));
    world.noon(103);
    // 2019-05-25 through 2019-06-24; the one full refund is used up.
    let second = service.change(&app, "r4", refund("r2")).await.expect("refunded");
    let limits = second.view.schedule.at(second.view.at);
    assert_eq!(limits.agreed().count(), 0);
    assert_eq!(paid_back(second), (31, 2, false, 2900));
    is_billed(world, &app).await;
}

async fn is_logged(world: &World, app: &AppId) {
    let filter = EntryFilter { app: Some(app.clone()), ..EntryFilter::default() };
    let entries = world.service.administration.entries(0, 100, &filter).await.expect("entries");
    let last = &entries.entries.last().expect("entries").event;
    assert_eq!((entries.entries.len(), last.action.as_str()), (2, "GrantLimit"));
    assert_eq!(
        last.request,
        r#"{"limit":"unlimited","limit_id":"groups_per_app/AVChatRoom","note":"contract 7","price_fen":10000,"until_date":"2019-06-01"}"#
    );
    assert!(!last.before.contains("agreed_limits"), "{}", last.before);
    let after = r#""agreed_limits":{"groups_per_app/AVChatRoom":"unlimited"}"#;
    assert!(last.after.contains(after), "{}", last.after);
}

async fn is_billed(world: &World, app: &AppId) {
    let statement = world.service.administration.statement(app, None).await.expect("a statement");
    let lines = statement.statement.lines.iter();
    let sold = lines.filter(|line| matches!(line.item, Item::AgreedLimit | Item::Refund));
    let sold: Vec<_> = sold.map(|line| (line.item_id.as_str(), line.amount_fen)).collect();
    let rooms = "groups_per_app/AVChatRoom";
    let expected = [(rooms, 10_000), ("members_per_group", 3100), ("r1", -10_000), ("r2", -2900)];
    assert_eq!(sold, expected);
    let line = &statement.statement.lines[0];
    assert_eq!(
        line.description,
        "Agreed limit groups_per_app/AVChatRoom: unlimited, through 2019-06-01, bought 2019-05-23"
    );
    assert_eq!((line.formula.as_str(), line.quantity), ("the agreed price", 1));
    assert!(line.inputs.contains(&("note".to_owned(), "contract 7".to_owned())));
    assert!(statement.statement.lines[1].description.contains(": 3, 1 month, bought 2019-05-25"));
}

/// A sale and an exchange at agreed prices.
async fn agreed_prices(world: &World) {
    let (service, app) = (&world.service, app("priced"));
    world.clock.set(FEBRUARY_12 + 150 * DAY);
    service.register(&app, "r0").await.expect("registered");
    let edition = |price_fen| grant(order("professional"), 2, price_fen);
    let bought = service.change(&app, "r1", edition(Some(60_000))).await.expect("bought");
    let purchase = &bought.view.record.sales.purchases[0];
    assert_eq!((purchase.price_fen, purchase.agreed_price_fen()), (60_000, Some(60_000)));
    service.change(&app, "r1", edition(Some(60_000))).await.expect("as before");
    let error = service.change(&app, "r1", edition(None)).await.expect_err("another price");
    assert!(error.contains("price_fen was 60000 and is none now"), "{error}");
    let order = ExchangeOrder { price_fen: Some(70_000), ..exchange(None, "premium", 1) };
    let change = Some(PreviewChange::Exchange(order.clone()));
    let request = PreviewRequest { change, ..PreviewRequest::default() };
    let preview = service.administration.preview(&app, request).await.expect("a preview");
    // 2019-07-12 through 2019-09-11: 62 days, of which one is used: 59,032.26.
    assert_eq!((preview.price_fen, preview.sum_fen), (70_000, 70_000 - 59_032));
    let changed = service.change(&app, "r2", ChangeKind::Exchange(order.clone())).await;
    assert_eq!(changed.expect("changed").exchange.expect("figures").sum_fen, 70_000 - 59_032);
    let other = ExchangeOrder { price_fen: Some(1), ..order };
    let error = service.change(&app, "r2", ChangeKind::Exchange(other)).await;
    assert!(error.expect_err("another price").contains("price_fen was 70000 and is 1 now"));
    let filter = EntryFilter { app: Some(app.clone()), ..EntryFilter::default() };
    let entries = service.administration.entries(0, 100, &filter).await.expect("entries").entries;
    let requests: Vec<_> = entries[1..].iter().map(|it| it.event.request.as_str()).collect();
    let expected = [
        r#"{"edition_id":"professional","months":2,"price_fen":60000}"#,
        r#"{"edition_id":"premium","months":1,"price_fen":70000}"#,
    ];
    assert_eq!(requests, expected);
    let statement = service.administration.statement(&app, None).await.expect("a statement");
    let lines = statement.statement.lines.iter().take(2);
    let lines: Vec<_> = lines.map(|it| (it.formula.as_str(), it.quantity, it.amount_fen)).collect();
    assert_eq!(lines, [("the agreed price", 1, 60_000), ("the agreed price", 1, 70_000)]);
}

async fn all_on(place: Place, clock: Arc<ManualClock>) {
    let world = joins(World::open(place, clock).await).await;
    survives(&world).await;
    is_a_purchase(&world).await;
    agreed_prices(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agreed_limits_are_purchases_that_decide_in_memory() {
    all_on(Place::Memory, ManualClock::at(FEBRUARY_12)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agreed_limits_are_purchases_that_decide_on_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    all_on(Place::directory(directory.path()), ManualClock::at(FEBRUARY_12)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agreed_limits_are_purchases_that_decide_in_redis() {
    let moved = MovedClock::new();
    let server = Server::start_with_clock(&[], &moved);
    let place = Place::Redis(format!("redis://{}/0", server.address()));
    all_on(place, ManualClock::shared(FEBRUARY_12, &moved.file())).await;
}
