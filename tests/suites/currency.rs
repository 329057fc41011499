//! The currency of a store: amounts are written in it, and it cannot be changed once there are
//! apps. On every store, with a fake clock.

use std::sync::Arc;

use crate::catalog::broken;
use crate::support::moved_clock::MovedClock;
use crate::support::redis::Server;
use crate::support::{ManualClock, Place, Service, actor, app, order, request_id};
use imquota::domain::catalog::Catalog;
use imquota::domain::currency::Currency;
use imquota::engine::admin::{Activation, AdminError};

/// 2019-08-01 00:00 in Shanghai.
const AUGUST: i64 = 1_564_588_800_000;
const LINE: &str = "time_zone = \"Asia/Shanghai\"\n";

/// The built-in catalog in a currency, with a version of its own.
fn catalog_in(code: &str, minor_digits: u32) -> Catalog {
    Catalog {
        version: format!("{code}{minor_digits}"),
        currency: Currency::new(code, minor_digits).expect("a currency"),
        ..imquota::catalog::builtin()
    }
}

#[test]
fn a_catalog_has_both_code_and_decimals_or_neither() {
    for (lines, expected) in [
        ("", Ok(("CNY", 2))),
        ("currency = \"USD\"\nminor_digits = 2\n", Ok(("USD", 2))),
        ("currency = \"JPY\"\nminor_digits = 0\n", Ok(("JPY", 0))),
        ("currency = \"KWD\"\nminor_digits = 3\n", Ok(("KWD", 3))),
        ("currency = \"USD\"\n", Err("\"minor_digits\" is missing")),
        ("minor_digits = 2\n", Err("4:16: minor_digits: needs a `currency`")),
        (
            "currency = \"usd\"\nminor_digits = 2\n",
            Err(
                "currency: must be three capital letters of ISO 4217, such as \"USD\", not \"usd\"",
            ),
        ),
        (
            "currency = \"USD\"\nminor_digits = 5\n",
            Err("minor_digits: must be a whole number from 0 to 4, not 5"),
        ),
        ("currency = 1\nminor_digits = 2\n", Err("currency: must be three capital letters")),
    ] {
        let found = broken::with(&[(LINE, &format!("{LINE}{lines}"))]);
        match expected {
            Ok((code, digits)) => {
                let expected = Currency::new(code, digits).expect("a currency");
                assert_eq!(found.map(|it| it.currency), Ok(expected), "{lines}");
            }
            Err(problem) => {
                let found = found.expect_err(lines);
                assert!(found.contains(problem), "{lines}: {found}");
            }
        }
    }
}

async fn a_currency_stays(place: &Place, clock: Arc<ManualClock>) {
    let service = Service::open_any(place, clock, imquota::catalog::builtin()).await;
    let (administration, app) = (&service.administration, app("abroad"));
    let builtin = imquota::catalog::builtin();
    administration.change_catalog(builtin.clone()).await.expect("the first one");
    // A store without apps may take another one.
    administration.change_catalog(catalog_in("USD", 2)).await.expect("there are no apps");
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 1).await.expect("bought");
    for other in [catalog_in("EUR", 2), catalog_in("USD", 3)] {
        let given = other.currency;
        let error = administration.change_catalog(other).await.expect_err("another currency");
        let stored = Currency::new("USD", 2).expect("a currency");
        assert_eq!(error, AdminError::CurrencyInUse { stored, given });
    }
    // Nor may an owner return to one that was in force before there were apps.
    let back =
        Activation { request_id: request_id("back"), version: builtin.version.clone(), hash: None };
    let error = administration.activate_catalog(back, actor()).await.expect_err("in CNY");
    assert!(
        error.to_string().contains(
            "whose purchases are in USD with 2 decimals, and the catalog is in CNY with 2 decimals"
        ),
        "{error}"
    );
    let renamed = Catalog { version: "again".to_owned(), ..catalog_in("USD", 2) };
    administration.change_catalog(renamed).await.expect("the same currency");
    let statement = administration.statement(&app, None).await.expect("a statement");
    assert_eq!(statement.statement.currency.money(statement.statement.total_fen), "999.00 USD");
    let text = String::from_utf8(statement.json).expect("text");
    assert!(text.contains(r#""currency":"USD""#) && !text.contains("minor_digits"), "{text}");
    service.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_currency_stays_in_memory() {
    a_currency_stays(&Place::Memory, ManualClock::at(AUGUST)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_currency_stays_on_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    a_currency_stays(&Place::directory(directory.path()), ManualClock::at(AUGUST)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_currency_stays_in_redis() {
    let moved = MovedClock::new();
    let server = Server::start_with_clock(&[], &moved);
    let place = Place::Redis(format!("redis://{}/0", server.address()));
    a_currency_stays(&place, ManualClock::shared(AUGUST, &moved.file())).await;
}
