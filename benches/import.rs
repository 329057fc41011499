//! The rate of an initial load of an IM: `imquota reconcile --import`, below the network.
//!
//! An export of accounts, friends and groups, from a fixed seed, is passed to the administration in
//! parts of about 1000 facts, 64 at a time, like a Reconcile stream does. The embedded store writes
//! to a file on disk, and a Redis is started for the run. Each is compared with a floor without
//! quota logic that writes the same facts: bare redb, the same rows in the order of their keys,
//! 16,384 facts per durable commit; and Redis through pipelines of bare SADD, two per fact except
//! for accounts, 1000 commands each, two pipelines in flight.
//!
//! `cargo bench --bench import`; without `--bench`, as under `cargo test`, or with `--quick`, it
//! runs small: that checks that it works, and its figures are meaningless.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock; nothing here decides")]
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use imquota::clock::SystemClock;
use imquota::domain::id::UserId;
use imquota::engine::admin::reconcile::{Begin, ExportedGroup, Part};
use imquota::ledger::reconcile::{Repair, Section};
use shared::SEED;
use support::redis::Standalone;
use support::{Place, Rng, Service, actor, app, group, user};

#[path = "import/floor.rs"]
mod floor;
#[path = "shared/mod.rs"]
mod shared;
#[path = "../tests/support/mod.rs"]
mod support;

/// The approximate number of facts of one part.
const PART: usize = 1000;
/// The number of parts that are compared concurrently, as in a stream.
const AT_ONCE: usize = 64;
/// The number of members of a group, and of friends of a user.
const LIST: usize = 25;

/// An export; users and groups by number.
pub struct Export {
    /// Users.
    pub accounts: Vec<u32>,
    /// Users with their friends.
    pub friends: Vec<(u32, Vec<u32>)>,
    /// Groups with their members.
    pub groups: Vec<(u32, Vec<u32>)>,
}

impl Export {
    fn new(users: u32) -> Self {
        let mut rng = Rng::new(SEED);
        let count = users as usize;
        let mut list = |not: Option<u32>| {
            let mut list: Vec<u32> = Vec::with_capacity(LIST);
            while list.len() < LIST.min(count - 1) {
                let one = u32::try_from(rng.below(count)).expect("below a u32");
                if Some(one) != not && !list.contains(&one) {
                    list.push(one);
                }
            }
            list
        };
        Self {
            accounts: (0..users).collect(),
            friends: (0..users).map(|user| (user, list(Some(user)))).collect(),
            groups: (0..users).map(|group| (group, list(None))).collect(),
        }
    }

    /// Returns the number of facts of each section.
    fn facts(&self) -> [(Section, usize); 3] {
        let listed =
            |lists: &[(u32, Vec<u32>)]| lists.iter().map(|(_, it)| it.len()).sum::<usize>();
        [
            (Section::Groups, self.groups.len() + listed(&self.groups)),
            (Section::Friends, listed(&self.friends)),
            (Section::Accounts, self.accounts.len()),
        ]
    }

    fn parts(&self, section: Section) -> Vec<Part> {
        let of_lists = PART / LIST;
        match section {
            Section::Accounts => {
                let parts = self.accounts.chunks(PART);
                parts.map(|it| Part { accounts: users(it), ..Part::default() }).collect()
            }
            Section::Friends => {
                let lists = self.friends.chunks(of_lists);
                let one = |(of, list): &(u32, Vec<u32>)| (named(*of), users(list));
                lists
                    .map(|it| Part { friends: it.iter().map(one).collect(), ..Part::default() })
                    .collect()
            }
            Section::Groups => {
                let lists = self.groups.chunks(of_lists);
                let one = |(of, list): &(u32, Vec<u32>)| ExportedGroup {
                    group: group(format!("group-{of:08}")),
                    group_type: "Public".into(),
                    max_members: None,
                    members: users(list),
                };
                lists
                    .map(|it| Part { groups: it.iter().map(one).collect(), ..Part::default() })
                    .collect()
            }
        }
    }
}

fn named(number: u32) -> UserId {
    user(format!("user-{number:08}"))
}

fn users(numbers: &[u32]) -> Vec<UserId> {
    numbers.iter().map(|number| named(*number)).collect()
}

fn main() {
    let quick = shared::is_quick();
    let count = if quick { 400 } else { 40_000 };
    let export = Export::new(count);
    shared::print_head("import", quick);
    println!("{count} users with {LIST} friends, {count} groups of {LIST}");
    println!("\n| store | section | facts | facts/s | floor, facts/s | ratio |");
    println!("|---|---|---:|---:|---:|---:|");

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // In the build folder, since the folder for temporary files is often in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let bare = floor::Embedded::create(&folder.path().join("floor.redb"), SEED);
    let place = Place::directory(&folder.path().join("ledger"));
    runtime.block_on(measure("embedded", &place, &export, |section| bare.write(&export, section)));

    let (redis, bare) = (Standalone::start(), Standalone::start());
    let bare = floor::Redis::connect(&bare.url(), SEED);
    let place = Place::Redis(redis.url());
    runtime.block_on(measure("Redis", &place, &export, |section| bare.write(&export, section)));
}

async fn measure(name: &str, place: &Place, export: &Export, floor: impl Fn(Section) -> Duration) {
    let catalog = imquota::catalog::builtin();
    let service = Service::open_any(place, Arc::new(SystemClock), catalog).await;
    for (section, facts) in export.facts() {
        let parts = export.parts(section);
        let bare = floor(section);
        let begin = Begin {
            app: app("demo"),
            repair: Repair::Add,
            as_of: None,
            sections: vec![section],
            names: false,
        };
        let start = Instant::now();
        let import =
            service.administration.reconcile(begin, actor()).await.expect("the import begins");
        let compared = parts.into_iter().map(|part| import.compare(part));
        let mut compared = stream::iter(compared).buffered(AT_ONCE);
        let mut added = 0;
        while let Some(compared) = compared.next().await {
            let found = import.name(compared.expect("compared"));
            added += found.counts.iter().map(|(_, count)| count).sum::<u64>();
        }
        let took = start.elapsed();
        assert_eq!(added, facts as u64, "every fact is added once");
        let count = f64::from(u32::try_from(facts).expect("fits"));
        let per_second = |took: Duration| count / took.as_secs_f64();
        println!(
            "| {name} | {} | {facts} | {:.0} | {:.0} | {:.2} |",
            section.name(),
            per_second(took),
            per_second(bare),
            bare.as_secs_f64() / took.as_secs_f64(),
        );
    }
    service.close().await;
}
