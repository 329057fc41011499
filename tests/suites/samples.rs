//! The sample catalogs of `deploy/catalogs` against the published numbers, which stand in a table
//! that was written by hand: the contents of the files, what a store admits and denies under them,
//! and the published examples of bills that they can express.

mod bills;
mod contents;
mod fill;
mod published;

use std::path::{Path, PathBuf};

use imquota::domain::catalog::Catalog;
use imquota::domain::id::{Name, RequestId};
use imquota::domain::purchase::{Item, Purchase};
use imquota::domain::schedule::{Limits, Schedule};
use imquota::domain::selling::Conditions;
use imquota::domain::time::Timestamp;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/catalogs")
}

/// The text of a sample.
fn text(name: &str) -> String {
    let path = folder().join(format!("{name}.toml"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn sample(name: &str) -> Catalog {
    imquota::catalog::parse(&text(name)).unwrap_or_else(|problems| panic!("{name}: {problems}"))
}

/// The limits of an app of that edition, and with that add-on, right after they were bought.
fn limits_of(catalog: &Catalog, edition: &str, add_on: Option<&str>) -> Limits {
    let at = Timestamp::from_millis(1_550_000_000_000);
    let bought =
        (catalog.default_edition.as_str() != edition).then(|| Item::Edition(edition.into()));
    let add_on = add_on.map(|id| Item::AddOn(Name::from(id)));
    let purchases: Vec<_> = (bought.into_iter().chain(add_on))
        .map(|item| Purchase {
            request_id: RequestId::try_from("r").expect("valid"),
            item,
            months: 1,
            price_fen: 0,
            terms: None,
            conditions: Conditions::default(),
            at,
        })
        .collect();
    let schedule = Schedule::compile(catalog, &purchases.into(), at).expect("the catalog has all");
    let limits = schedule.at(at).clone();
    assert_eq!(limits.edition.as_str(), edition);
    limits
}
