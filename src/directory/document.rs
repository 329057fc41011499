//! The stored format of app records: JSON of separate types, with a version.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::agreed_codec::{self, StoredAgreed};
use super::details_codec::StoredDetails;
use super::selling_codec::{StoredConditions, is_default};
use super::terms_codec::{self, StoredTerms};
use super::{AppRecord, DirectoryError};
use crate::domain::billing::RetentionChange;
use crate::domain::calendar::Day;
use crate::domain::id::{AppId, InvalidId, RequestId};
use crate::domain::month::{InvalidMonth, Month};
use crate::domain::purchase::{DaysUsed, Item, Purchase, Refund, Sales};
use crate::domain::terms::Terms;
use crate::domain::time::Timestamp;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct StoredApp {
    v: u32,
    app_id: String,
    revision: u64,
    created_at_ms: i64,
    created_by: String,
    purchases: Vec<StoredPurchase>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refunds: Vec<StoredRefund>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retentions: Vec<StoredRetention>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    details: Vec<StoredDetails>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    billed_since: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed_through: Option<String>,
    /// The terms of purchases, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    terms: Vec<StoredTerms>,
}

#[derive(Serialize, Deserialize)]
struct StoredRetention {
    request_id: String,
    days: u32,
    at_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct StoredRefund {
    request_id: String,
    purchase: usize,
    made_after: usize,
    refund_fen: i64,
    in_full: bool,
    at_ms: i64,
    /// Both are absent in records of versions that did not store them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days_used: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct StoredPurchase {
    request_id: String,
    #[serde(flatten)]
    item: StoredItem,
    months: u32,
    price_fen: i64,
    at_ms: i64,
    /// The index of its terms in the document's list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    terms: Option<usize>,
    #[serde(default, skip_serializing_if = "is_default")]
    conditions: StoredConditions,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", content = "item", rename_all = "snake_case")]
enum StoredItem {
    Edition(String),
    Renewal(String),
    Restart(String),
    AddOn(String),
    /// Versions without agreed limits refuse the document.
    Limit(StoredAgreed),
}

/// Encodes a record.
#[must_use]
pub fn encode(record: &AppRecord) -> Vec<u8> {
    let mut terms = Vec::new();
    let purchases = record.sales.purchases.iter();
    let purchases = purchases.map(|purchase| store_purchase(purchase, &mut terms)).collect();
    let stored = StoredApp {
        v: VERSION,
        app_id: record.app.to_string(),
        revision: record.revision,
        created_at_ms: record.created_at.as_millis(),
        created_by: record.created_by.to_string(),
        purchases,
        refunds: record.sales.refunds.iter().map(store_refund).collect(),
        retentions: record.retentions.iter().map(store_retention).collect(),
        details: record.details.iter().map(StoredDetails::from).collect(),
        billed_since: Some(record.billed_since.to_string()),
        closed_through: record.closed_through.map(|month| month.to_string()),
        terms: terms.iter().map(|terms| terms_codec::store(terms)).collect(),
    };
    serde_json::to_vec(&stored).expect("maps with string keys can always be written")
}

fn store_purchase(purchase: &Purchase, terms: &mut Vec<Arc<Terms>>) -> StoredPurchase {
    let place = |carried: &Arc<Terms>| {
        // Most purchases have the same terms as the previous one.
        terms.iter().rposition(|known| known == carried).unwrap_or_else(|| {
            terms.push(carried.clone());
            terms.len() - 1
        })
    };
    StoredPurchase {
        request_id: purchase.request_id.to_string(),
        item: match &purchase.item {
            Item::Edition(name) => StoredItem::Edition(name.to_string()),
            Item::Renewal(name) => StoredItem::Renewal(name.to_string()),
            Item::Restart(name) => StoredItem::Restart(name.to_string()),
            Item::AddOn(name) => StoredItem::AddOn(name.to_string()),
            Item::Limit(agreed) => StoredItem::Limit(agreed_codec::store(agreed)),
        },
        months: purchase.months,
        price_fen: purchase.price_fen,
        at_ms: purchase.at.as_millis(),
        terms: purchase.terms.as_ref().map(place),
        conditions: (&purchase.conditions).into(),
    }
}

fn store_retention(change: &RetentionChange) -> StoredRetention {
    StoredRetention {
        request_id: change.request_id.to_string(),
        days: change.days,
        at_ms: change.at.as_millis(),
    }
}

fn store_refund(refund: &Refund) -> StoredRefund {
    StoredRefund {
        request_id: refund.request_id.to_string(),
        purchase: refund.purchase,
        made_after: refund.made_after,
        refund_fen: refund.refund_fen,
        in_full: refund.in_full,
        at_ms: refund.at.as_millis(),
        days: refund.used.map(|used| used.days),
        days_used: refund.used.map(|used| used.days_used),
    }
}

/// Decodes the record stored under `key`.
pub fn decode(key: &str, bytes: &[u8]) -> Result<AppRecord, DirectoryError> {
    let unreadable = |reason: String| DirectoryError::Unreadable { app: key.to_owned(), reason };
    let mut stored: StoredApp =
        serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    if stored.v != VERSION {
        return Err(unreadable(format!("version {} is not {VERSION}", stored.v)));
    }
    let purchases = stored.purchases.len();
    if let Some(refund) = stored.refunds.iter().find(|refund| refund.purchase >= purchases) {
        return Err(unreadable(format!("a refund of purchase {}", refund.purchase)));
    }
    let month = |text: Option<&str>| {
        let month: Option<Month> = text.map(str::parse).transpose()?;
        Ok::<_, InvalidMonth>(month)
    };
    let months = (|| {
        Ok((month(stored.billed_since.as_deref())?, month(stored.closed_through.as_deref())?))
    })();
    let (billed_since, closed_through) =
        months.map_err(|error: InvalidMonth| unreadable(error.to_string()))?;
    let items = stored.purchases.iter().enumerate().map(|(index, purchase)| {
        load_item(&purchase.item)
            .map_err(|error| format!("the item of its purchase {index}: {error}"))
    });
    let items: Vec<Item> = items.collect::<Result<_, _>>().map_err(unreadable)?;
    let terms = load_terms(&mut stored, &items)
        .map_err(|purchase| unreadable(format!("the terms of its purchase {purchase}")))?;
    let mut record = load(stored, items).map_err(|error| unreadable(error.to_string()))?;
    for (purchase, terms) in record.sales.purchases.iter_mut().zip(terms) {
        purchase.terms = terms;
    }
    let billed_since = billed_since.unwrap_or(record.billed_since);
    Ok(AppRecord { billed_since, closed_through, ..record })
}

/// Returns the terms of each purchase; the index of the purchase if its terms are not in the list
/// or belong to another item.
fn load_terms(stored: &mut StoredApp, items: &[Item]) -> Result<Vec<Option<Arc<Terms>>>, usize> {
    let listed: Vec<Option<Arc<Terms>>> = std::mem::take(&mut stored.terms)
        .into_iter()
        .map(|terms| terms_codec::load(terms).map(Arc::new))
        .collect();
    let purchases = stored.purchases.iter().enumerate();
    let carried = purchases.map(|(index, purchase)| {
        let Some(place) = purchase.terms else { return Ok(None) };
        let terms = listed.get(place).cloned().flatten().ok_or(index)?;
        if terms.are_of(&items[index]) { Ok(Some(terms)) } else { Err(index) }
    });
    carried.collect()
}

fn load_item(stored: &StoredItem) -> Result<Item, String> {
    Ok(match stored {
        StoredItem::Edition(name) => Item::Edition(name.as_str().into()),
        StoredItem::Renewal(name) => Item::Renewal(name.as_str().into()),
        StoredItem::Restart(name) => Item::Restart(name.as_str().into()),
        StoredItem::AddOn(name) => Item::AddOn(name.as_str().into()),
        StoredItem::Limit(agreed) => Item::Limit(agreed_codec::load(agreed)?),
    })
}

fn load(stored: StoredApp, items: Vec<Item>) -> Result<AppRecord, InvalidId> {
    let purchases = stored.purchases.into_iter().zip(items);
    Ok(AppRecord {
        app: AppId::try_from(stored.app_id)?,
        revision: stored.revision,
        created_at: Timestamp::from_millis(stored.created_at_ms),
        created_by: RequestId::try_from(stored.created_by)?,
        sales: Sales {
            purchases: purchases.map(load_purchase).collect::<Result<_, _>>()?,
            refunds: stored.refunds.into_iter().map(load_refund).collect::<Result<_, _>>()?,
        },
        retentions: stored.retentions.into_iter().map(load_retention).collect::<Result<_, _>>()?,
        details: stored.details.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        // The default for records from before metering; the time zone of that month has little
        // effect.
        billed_since: Month::of(Day::of_utc(Timestamp::from_millis(stored.created_at_ms))),
        closed_through: None,
    })
}

fn load_retention(stored: StoredRetention) -> Result<RetentionChange, InvalidId> {
    Ok(RetentionChange {
        request_id: RequestId::try_from(stored.request_id)?,
        days: stored.days,
        at: Timestamp::from_millis(stored.at_ms),
    })
}

fn load_refund(stored: StoredRefund) -> Result<Refund, InvalidId> {
    Ok(Refund {
        request_id: RequestId::try_from(stored.request_id)?,
        purchase: stored.purchase,
        made_after: stored.made_after,
        refund_fen: stored.refund_fen,
        in_full: stored.in_full,
        used: stored
            .days
            .zip(stored.days_used)
            .map(|(days, days_used)| DaysUsed { days, days_used }),
        at: Timestamp::from_millis(stored.at_ms),
    })
}

fn load_purchase((stored, item): (StoredPurchase, Item)) -> Result<Purchase, InvalidId> {
    Ok(Purchase {
        request_id: RequestId::try_from(stored.request_id)?,
        item,
        months: stored.months,
        price_fen: stored.price_fen,
        at: Timestamp::from_millis(stored.at_ms),
        terms: None,
        conditions: stored.conditions.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agreed::AgreedLimit;
    use crate::domain::app_details::{DetailsChange, DetailsUpdate};
    use crate::domain::calendar::LastDay;
    use crate::domain::limit::{Limit, LimitId};
    use crate::domain::selling::{Conditions, FeeRule};

    const GOLDEN: &str = r#"{"v":1,"app_id":"1400000000","revision":3,"created_at_ms":1549900800000,"created_by":"r0","purchases":[{"request_id":"r1","kind":"edition","item":"professional","months":1,"price_fen":99900,"at_ms":1549900800001},{"request_id":"r2","kind":"add_on","item":"members-2000","months":2,"price_fen":100000,"at_ms":1549900800002},{"request_id":"r3","kind":"renewal","item":"professional","months":1,"price_fen":99900,"at_ms":1549900800003},{"request_id":"r4","kind":"restart","item":"professional","months":1,"price_fen":99900,"at_ms":1569900800003}],"refunds":[{"request_id":"r5","purchase":1,"made_after":2,"refund_fen":90000,"in_full":false,"at_ms":1549900800002}],"retentions":[{"request_id":"r6","days":30,"at_ms":1549900800003}],"billed_since":"2019-01","closed_through":"2019-03"}"#;

    fn record() -> AppRecord {
        let purchase = |id: &str, item, months, price_fen, at| Purchase {
            request_id: RequestId::try_from(id).expect("an id"),
            item,
            months,
            price_fen,
            at: Timestamp::from_millis(at),
            terms: None,
            conditions: Conditions::default(),
        };
        AppRecord {
            app: AppId::try_from("1400000000").expect("an id"),
            revision: 3,
            created_at: Timestamp::from_millis(1_549_900_800_000),
            created_by: RequestId::try_from("r0").expect("an id"),
            sales: Sales {
                purchases: vec![
                    purchase(
                        "r1",
                        Item::Edition("professional".into()),
                        1,
                        99_900,
                        1_549_900_800_001,
                    ),
                    purchase(
                        "r2",
                        Item::AddOn("members-2000".into()),
                        2,
                        100_000,
                        1_549_900_800_002,
                    ),
                    purchase(
                        "r3",
                        Item::Renewal("professional".into()),
                        1,
                        99_900,
                        1_549_900_800_003,
                    ),
                    purchase(
                        "r4",
                        Item::Restart("professional".into()),
                        1,
                        99_900,
                        1_569_900_800_003,
                    ),
                ],
                refunds: vec![Refund {
                    request_id: RequestId::try_from("r5").expect("an id"),
                    purchase: 1,
                    made_after: 2,
                    refund_fen: 90_000,
                    in_full: false,
                    used: None,
                    at: Timestamp::from_millis(1_549_900_800_002),
                }],
            },
            retentions: vec![RetentionChange {
                request_id: RequestId::try_from("r6").expect("an id"),
                days: 30,
                at: Timestamp::from_millis(1_549_900_800_003),
            }],
            details: Vec::new(),
            billed_since: "2019-01".parse().expect("a month"),
            closed_through: Some("2019-03".parse().expect("a month")),
        }
    }

    #[test]
    fn records_are_stored_as_the_golden_bytes() {
        assert_eq!(String::from_utf8(encode(&record())).expect("text"), GOLDEN);
        assert_eq!(decode("1400000000", GOLDEN.as_bytes()), Ok(record()));
    }

    /// Parts of the same document whose first two purchases have terms.
    const CARRIED: [&str; 3] = [
        r#""price_fen":99900,"at_ms":1549900800001,"terms":0},"#,
        r#""at_ms":1549900800002,"terms":1},"#,
        r#""terms":[{"edition":{"id":"professional","label":"Professional","price_fen":99900,"add_ons_allowed":true,"postpaid_allowed":true,"limits":[["accounts_per_app",null],["friends_per_user",3000],["groups_per_user",200],["members_per_group",200],["groups_per_app/AVChatRoom",50]]}},{"add_on":{"id":"members-2000","label":"2000 members per group","limit_id":"members_per_group","limit":2000,"price_fen":50000}}]}"#,
    ];

    #[test]
    fn equal_terms_are_stored_once() {
        let catalog = crate::catalog::builtin();
        let mut record = record();
        for purchase in &mut record.sales.purchases {
            purchase.terms = Terms::of(&catalog, &purchase.item);
        }
        let stored = String::from_utf8(encode(&record)).expect("text");
        for part in CARRIED {
            assert!(stored.contains(part), "{part} in {stored}");
        }
        assert_eq!(decode("1400000000", stored.as_bytes()), Ok(record));
        for (from, to) in [("\"terms\":1}", "\"terms\":2}"), ("\"terms\":1}", "\"terms\":0}")] {
            let damaged = stored.replace(from, to);
            let error = decode("1400000000", damaged.as_bytes()).expect_err("damaged").to_string();
            assert!(error.contains("the terms of its purchase 1"), "{error}");
        }
    }

    #[test]
    fn a_record_from_before_metering_is_read() {
        let (older, _) = GOLDEN.split_once(r#","retentions""#).expect("the later fields");
        let older = decode("1400000000", format!("{older}}}").as_bytes());
        let billed_since = "2019-02".parse().expect("the month in which it was registered");
        let expected =
            AppRecord { retentions: Vec::new(), billed_since, closed_through: None, ..record() };
        assert_eq!(older, Ok(expected));
    }

    #[test]
    fn the_figures_of_a_refund_are_stored_after_the_fields_of_earlier_versions() {
        let mut record = record();
        record.sales.refunds[0].used = Some(DaysUsed { days: 28, days_used: 3 });
        let at = r#""in_full":false,"at_ms":1549900800002"#;
        let golden = GOLDEN.replace(at, &format!(r#"{at},"days":28,"days_used":3"#));
        assert_eq!(String::from_utf8(encode(&record)).expect("text"), golden);
        assert_eq!(decode("1400000000", golden.as_bytes()), Ok(record));
    }

    #[test]
    fn changes_of_details_are_stored_without_what_they_left_as_it_was() {
        let mut record = record();
        let change = |id: &str, update| DetailsChange {
            request_id: RequestId::try_from(id).expect("an id"),
            update,
            at: Timestamp::from_millis(1_549_900_800_004),
        };
        let (name, set) = (Some("Acme 有限".to_owned()), Some("chat-v2".to_owned()));
        let first = DetailsUpdate { display_name: name, note: None, im_code_set: set };
        let second = DetailsUpdate { note: Some(String::new()), ..DetailsUpdate::default() };
        record.details = vec![change("r7", first), change("r8", second)];
        let stored = r#""details":[{"request_id":"r7","at_ms":1549900800004,"display_name":"Acme 有限","im_code_set":"chat-v2"},{"request_id":"r8","at_ms":1549900800004,"note":""}],"billed_since""#;
        let golden = GOLDEN.replace("\"billed_since\"", stored);
        assert_eq!(String::from_utf8(encode(&record)).expect("text"), golden);
        assert_eq!(decode("1400000000", golden.as_bytes()), Ok(record));
    }

    #[test]
    fn conditions_of_a_purchase_are_stored_after_the_fields_of_earlier_versions() {
        let mut record = record();
        let (last_day, fee) = (LastDay::Same, FeeRule::CalendarDays);
        record.sales.purchases[0].conditions = Conditions { last_day, fee, is_price_agreed: true };
        let at = r#""price_fen":99900,"at_ms":1549900800001"#;
        let stored =
            r#""conditions":{"last_day":"same","fee":"calendar_days","price_agreed":true}"#;
        let golden = GOLDEN.replace(at, &format!("{at},{stored}"));
        assert_eq!(String::from_utf8(encode(&record)).expect("text"), golden);
        assert_eq!(decode("1400000000", golden.as_bytes()), Ok(record));
    }

    #[test]
    fn agreed_limits_are_stored_as_items_that_earlier_versions_refuse() {
        let item = r#""kind":"add_on","item":"members-2000""#;
        let agreed = |limit, day: Option<&str>| AgreedLimit {
            limit_id: LimitId::GroupsPerApp("Public".into()),
            limit,
            last_day: day.map(|day| Day::parse(day).expect("a day")),
            note: "contract 7".to_owned(),
        };
        let until = agreed(Limit::Finite(500), Some("2019-12-31"));
        for (agreed, stored) in [
            (until, r#""limit":500,"last_day":"2019-12-31","note":"contract 7"}"#),
            (agreed(Limit::Unlimited, None), r#""limit":null,"note":"contract 7"}"#),
        ] {
            let mut record = record();
            record.sales.purchases[1].item = Item::Limit(agreed);
            let stored =
                format!(r#""kind":"limit","item":{{"limit_id":"groups_per_app/Public",{stored}"#);
            let golden = GOLDEN.replace(item, &stored);
            assert_eq!(String::from_utf8(encode(&record)).expect("text"), golden);
            assert_eq!(decode("1400000000", golden.as_bytes()), Ok(record));
            for (from, to, reason) in [
                ("groups_per_app/", "wishes/", "purchase 1: unknown limit \"wishes/Public\""),
                ("2019-12-31", "someday", "purchase 1: the last day \"someday\""),
                // As a version reads it that has no such item.
                (r#""kind":"limit""#, r#""kind":"later""#, "unknown variant `later`"),
            ] {
                let damaged = golden.replace(from, to);
                let error = decode("1400000000", damaged.as_bytes()).map_err(|it| it.to_string());
                let is_damaged = damaged != golden;
                assert!(error.is_err_and(|it| it.contains(reason)) == is_damaged, "{reason}");
            }
        }
    }

    #[test]
    fn a_refund_of_a_missing_purchase_is_refused() {
        let damaged = GOLDEN.replace("\"purchase\":1,", "\"purchase\":4,");
        let error = decode("1400000000", damaged.as_bytes()).expect_err("damaged").to_string();
        assert!(error.contains("refund of purchase 4"), "{error}");
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_with_its_app_id() {
        let newer = GOLDEN.replace("\"v\":1", "\"v\":2");
        let error = decode("1400000000", newer.as_bytes()).expect_err("newer").to_string();
        assert!(error.contains("1400000000") && error.contains("version 2"), "{error}");
    }
}
