//! The two forms of cells of logins in Redis, byte by byte, and the format of the store with cells
//! of the second form: what a sidecar does that reads only the first one.

use std::sync::Arc;
use std::time::Duration;

use imquota::clock::{Clock as _, SystemClock};
use imquota::domain::calendar::Day;
use imquota::domain::catalog::Catalog;
use imquota::domain::decision::Mode;
use imquota::domain::id::AppId;
use imquota::domain::metering::{Login, MeterOutcome};
use imquota::domain::month::Month;
use imquota::ledger::Call;
use imquota::ledger::metering::Figures;

use crate::support::redis::Standalone;
use crate::support::{Place, Service, app, user};

/// The script of the version before, with its shared parts.
const BEFORE: &str = include_str!("../support/scripts_before/record_logins.lua");
/// The bits of a mask.
const MASK_BITS: u32 = 33;
/// What a cell with months has in front.
const WITH_MONTHS: u64 = 1 << 52;

/// A catalog that counts users by month, in a zone whose day does not end while the test runs.
fn catalog(counts_months: bool) -> Catalog {
    let near_midnight = (15..=16).contains(&(SystemClock.now().as_millis() / 3_600_000 % 24));
    let zone = if near_midnight { "UTC" } else { "Asia/Shanghai" };
    let small = include_str!("../support/small.toml");
    let text = small.replace("\"Asia/Shanghai\"", &format!("\"{zone}\""));
    let limits = "accounts_per_app = 6\nactive_users_per_month = \"unlimited\"";
    let text = if counts_months { text.replacen("accounts_per_app = 6", limits, 1) } else { text };
    imquota::catalog::parse(&text).expect("a catalog")
}

struct World {
    redis: Standalone,
    service: Service,
    app: AppId,
    with: Arc<Catalog>,
}

impl World {
    async fn start() -> Self {
        let redis = Standalone::start();
        let place = Place::Redis(redis.url());
        let service = Service::open_any(&place, Arc::new(SystemClock), catalog(false)).await;
        Self { redis, service, app: app("cells"), with: Arc::new(catalog(true)) }
    }

    fn today(&self) -> i32 {
        self.with.zone.day_of(SystemClock.now()).number()
    }

    fn call(&self, counts_months: bool) -> Call {
        let call = self.service.call(&self.app);
        if counts_months { Call { catalog: self.with.clone(), ..call } } else { call }
    }

    async fn log_in(&self, counts_months: bool, names: &[&str]) -> Vec<MeterOutcome> {
        let logins = names.iter().map(|name| Login { user: user(*name), at: None }).collect();
        let metered = self.service.ledger.record_logins(self.call(counts_months), logins).await;
        metered.expect("metered").outcomes
    }

    async fn figures(&self) -> Figures {
        let today = Day::from_number(self.today());
        self.service.ledger.figures(&self.call(true), today, today).await.expect("figures")
    }

    fn key(&self, rest: &str) -> String {
        let ids = self.service.fingerprints();
        format!("q1{{{:016x}/accounts}}{rest}", ids.app(&self.app))
    }

    /// The key of the bucket of a user, and the field of its cell.
    fn place(&self, name: &str) -> (String, String) {
        let cell = self.service.fingerprints().user(&user(name));
        (self.key(&format!("l{:04x}", cell >> 49)), cell.cast_signed().to_string())
    }

    fn cell(&self, name: &str) -> String {
        let (key, field) = self.place(name);
        self.redis.server.cli(&["HGET", &key, &field])
    }

    fn put_cell(&self, name: &str, cell: u64) {
        let (key, field) = self.place(name);
        self.redis.server.cli(&["HSET", &key, &field, &cell.to_string()]);
    }

    fn identity(&self, field: &str) -> String {
        self.redis.server.cli(&["HGET", "imquota:identity", field])
    }

    /// A login of today by a sidecar of the version before; returns its letter.
    fn log_in_before(&self, name: &str) -> String {
        let (bucket, field) = self.place(name);
        let own = ["limits", "logins"].map(|rest| self.key(rest));
        let last = ["tracked", "closed", "holds", "expiry", "writes"].map(|rest| self.key(rest));
        let mark = "q1{0}mark".to_owned();
        let keys: Vec<String> = own.into_iter().chain([bucket]).chain(last).chain([mark]).collect();
        let now = SystemClock.now();
        let deadline = (now + Duration::from_secs(5)).as_millis().to_string();
        let today = self.today();
        let days = format!("{} 0 0 9000000000000 9000000000000 0 9000000000000 0 0", today - 1);
        let line = "0 0 0;9007199254740991 0 6;";
        let arguments = ["E", &deadline, line, "31", "300000", "400", &days, "", "", &field];
        let (generation, now) = (self.identity("generation"), now.as_millis().to_string());
        let count = keys.len().to_string();
        let words = ["EVAL", BEFORE, &count].into_iter().chain(keys.iter().map(String::as_str));
        let words: Vec<&str> =
            words.chain(arguments).chain([generation.as_str(), now.as_str()]).collect();
        let printed = self.redis.server.cli(&words);
        printed.lines().nth(2).unwrap_or(&printed).to_owned()
    }
}

/// A cell without months.
fn plain(day: i32, mask: u64) -> u64 {
    (u64::try_from(day).expect("after the epoch") << MASK_BITS) + mask
}

/// A cell with months.
fn with_months(day: i32, months: u64, mask: u64) -> u64 {
    WITH_MONTHS
        + (((u64::try_from(day).expect("after the epoch") << 3) + months) << MASK_BITS)
        + mask
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_have_months_only_once_a_catalog_needs_them() {
    let world = World::start().await;
    let today = world.today();
    assert_eq!(world.log_in(false, &["a"]).await, [MeterOutcome::Counted]);
    assert_eq!(world.cell("a"), plain(today, 1).to_string());
    assert_eq!(world.identity("format"), "1");
    for key in ["months", "counting"] {
        assert_eq!(world.redis.server.cli(&["EXISTS", &world.key(key)]), "0", "{key}");
    }
    assert!(world.figures().await.month_users.is_empty());
    assert_eq!(world.log_in(true, &["b"]).await, [MeterOutcome::Counted]);
    assert_eq!(world.identity("format"), "2");
    assert_eq!(world.cell("b"), with_months(today, 1, 1).to_string());
    let month = Month::of(Day::from_number(today));
    assert_eq!(world.figures().await.month_users, [(month, 2)]);
    assert_eq!(world.cell("a"), with_months(today, 1, 1).to_string());
    // A sidecar whose catalog does not count by month goes on counting.
    assert_eq!(world.log_in(false, &["c", "a"]).await[0], MeterOutcome::Counted);
    assert_eq!(world.cell("c"), with_months(today, 1, 1).to_string());
    assert_eq!(world.figures().await.month_users, [(month, 3)]);
    world.service.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_without_months_gets_them_from_its_mask() {
    let world = World::start().await;
    let today = world.today();
    world.log_in(false, &["seen"]).await;
    // Each from its latest day and the days before, in order of their users' buckets or not.
    let month_of = |day: i32| Month::of(Day::from_number(day));
    let back = |months: u32| {
        (0..=32).filter(move |back| month_of(today).months_after(month_of(today - back)) == months)
    };
    let mask = |days: Vec<i32>| days.into_iter().map(|back| 1_u64 << back).sum::<u64>();
    let all = mask((0..=32).collect());
    let oldest = mask(back(1).collect());
    world.put_cell("all", plain(today, all));
    world.put_cell("once", plain(today, 1));
    world.put_cell("touched", plain(today, 1 | oldest));
    assert_eq!(world.log_in(true, &["touched", "new"]).await[0], MeterOutcome::AlreadyCounted);
    let bits = |mask: u64| {
        let is_set = |months: &u32| back(*months).any(|back| mask >> back & 1 == 1);
        (0..3).filter(is_set).map(|months| 1_u64 << months).sum::<u64>()
    };
    let figures = world.figures().await;
    assert_eq!(figures.month_users, [(month_of(today), 5)]);
    for (name, mask) in [("all", all), ("once", 1), ("touched", 1 | oldest), ("new", 1)] {
        assert_eq!(world.cell(name), with_months(today, bits(mask), mask).to_string(), "{name}");
    }
    world.service.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_of_the_version_before_changes_no_cell_with_months() {
    let world = World::start().await;
    let today = world.today();
    assert_eq!(world.log_in_before("a"), "A");
    assert_eq!(world.log_in_before("a"), "H");
    assert_eq!(world.cell("a"), plain(today, 1).to_string());
    world.log_in(true, &["a", "b"]).await;
    // Until it looks at the store's format, it takes the cell for one of a day far ahead: it
    // answers that the login is too late, and changes nothing.
    for name in ["a", "b"] {
        let before = world.cell(name);
        assert_eq!(world.log_in_before(name), "O", "{name}");
        assert_eq!(world.cell(name), before, "{name}");
    }
    // It counts a new user on the day alone; the month follows with their next login.
    world.figures().await;
    assert_eq!(world.log_in_before("late"), "A");
    let month = Month::of(Day::from_number(today));
    assert_eq!(world.figures().await.month_users, [(month, 2)]);
    assert_eq!(world.log_in(false, &["late"]).await, [MeterOutcome::AlreadyCounted]);
    let figures = world.figures().await;
    assert_eq!((figures.month_users, figures.days[0].dau), (vec![(month, 3)], 3));
    world.service.close().await;
}

/// A login of the same month may still come, as a repetition.
#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_kept_while_its_month_may_get_a_late_login() {
    let world = World::start().await;
    let today = world.today();
    world.log_in(true, &["first"]).await;
    let ids = world.service.fingerprints();
    // Every hundredth new user has their bucket swept.
    let sweeps =
        |name: &String| ids.user(&user(name.as_str())).cast_signed().to_string().ends_with("00");
    let sweeper = (0..100_000).map(|number| format!("u{number}")).find(sweeps).expect("one");
    let (bucket, _) = world.place(&sweeper);
    let kept_since = Month::of(Day::from_number(today - 31)).first_day().number();
    for (who, day) in [("1", kept_since - 1), ("2", kept_since), ("3", today - 100), ("4", today)] {
        let cell = with_months(day, 1, 1).to_string();
        world.redis.server.cli(&["HSET", &bucket, who, &cell]);
    }
    world.log_in(true, &[&sweeper]).await;
    let left = world.redis.server.cli(&["HKEYS", &bucket]);
    let left: Vec<&str> = left.split_whitespace().collect();
    assert!(left.len() == 3 && left.contains(&"2") && left.contains(&"4"), "{left:?}");
    world.service.close().await;
}

/// As a sidecar of the version before that runs does with the format of this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_sidecar_refuses_a_store_whose_format_rises_above_its_own() {
    let world = World::start().await;
    world.log_in(true, &["a"]).await;
    world.redis.server.cli(&["HSET", "imquota:identity", "format", "3"]);
    let refused = async {
        loop {
            let login = vec![Login { user: user("a"), at: None }];
            let deadline = world.service.deadline();
            let engine = &world.service.engine;
            let said =
                engine.record_logins(world.app.clone(), Mode::Enforce, login, deadline).await;
            if let Err(error) = said {
                return error.to_string();
            }
        }
    };
    let said = tokio::time::timeout(Duration::from_secs(30), refused).await.expect("refused");
    assert!(said.contains("its data has format \"3\""), "{said}");
    world.service.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_that_was_lost_is_given_again() {
    let world = World::start().await;
    world.log_in(true, &["a"]).await;
    // As after a failover to a replica that had not received it.
    world.redis.server.cli(&["HSET", "imquota:identity", "format", "1"]);
    let given = async {
        while world.identity("format") != "2" {
            world.log_in(true, &["a"]).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), given).await.expect("given again");
    world.service.close().await;
}
