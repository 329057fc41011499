//! The stored format of activated catalogs: the parts that determine prices and limits.
//!
//! The content is JSON of separate types, with a version, in a canonical form, so that its SHA-256
//! identifies it: comments, white space and the order of keys in the source file have no effect,
//! and neither do the parts that each sidecar reads from its own file (the policy while the store
//! is unavailable, the rules of ids, the sizes of batches, the codes of IM clients).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::DirectoryError;
use super::metering_codec::{self, StoredMetering};
use super::selling_codec::{StoredRules, is_default};
use super::terms_codec::{self, StoredAddOn, StoredEdition};
use crate::domain::calendar::Zone;
use crate::domain::catalog::{AfterGrace, Catalog, Validity};
use crate::domain::currency::Currency;
use crate::domain::group_type::GroupType;
use crate::domain::limit::Limit;
use crate::domain::text::hex;
use crate::domain::time::Timestamp;

const VERSION: u32 = 1;

/// An activated catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogRecord {
    /// The number of the record in the store, from 1.
    pub number: u64,
    /// The instant from which it is in force, until the next record.
    pub since: Timestamp,
    /// The id of the request that activated it; empty if a sidecar loaded it from its file.
    pub request_id: String,
    /// SHA-256 of the content, in hexadecimal digits.
    pub hash: String,
    /// The catalog.
    pub catalog: Arc<Catalog>,
}

#[derive(Serialize, Deserialize)]
struct StoredRecord {
    v: u32,
    number: u64,
    since_ms: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    request_id: String,
    hash: String,
    content: StoredCatalog,
}

#[derive(Serialize, Deserialize)]
struct StoredCatalog {
    version: String,
    time_zone: String,
    /// Absent where it is the default, as in records of earlier versions.
    #[serde(default, skip_serializing_if = "is_default")]
    currency: StoredCurrency,
    default_edition: String,
    editions: Vec<StoredEdition>,
    add_ons: Vec<StoredAddOn>,
    group_types: Vec<StoredGroupType>,
    groups_per_day: Option<u64>,
    validity: StoredValidity,
    metering: StoredMetering,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct StoredCurrency {
    code: String,
    minor_digits: u32,
}

impl Default for StoredCurrency {
    fn default() -> Self {
        Currency::default().into()
    }
}

impl From<Currency> for StoredCurrency {
    fn from(currency: Currency) -> Self {
        Self { code: currency.code().to_owned(), minor_digits: currency.minor_digits() }
    }
}

#[derive(Serialize, Deserialize)]
struct StoredGroupType {
    name: String,
    label: String,
    member_cap: Option<u64>,
    members_tracked: bool,
    counts_towards_user: bool,
    per_app: Option<u64>,
    per_day: Option<u64>,
    reclaim_empty: bool,
    per_app_im_code: i32,
}

#[derive(Serialize, Deserialize)]
struct StoredValidity {
    edition_grace_days: u32,
    add_on_grace_days: u32,
    after_grace: StoredAfterGrace,
    full_refund_days: u32,
    full_refunds_per_app: usize,
    /// Absent where they are the default, as in records of earlier versions.
    #[serde(default, skip_serializing_if = "is_default")]
    rules: StoredRules,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredAfterGrace {
    Stop,
    DefaultEdition,
}

/// Returns the SHA-256 of a catalog's content, in hexadecimal digits.
#[must_use]
pub fn hash(catalog: &Catalog) -> String {
    hash_of(&store(catalog))
}

fn hash_of(content: &StoredCatalog) -> String {
    hex(&Sha256::digest(written(content)))
}

fn written<T: Serialize>(stored: &T) -> Vec<u8> {
    serde_json::to_vec(stored).expect("structs of texts and numbers can always be written")
}

/// Encodes a record.
#[must_use]
pub fn encode(record: &CatalogRecord) -> Vec<u8> {
    let content = store(&record.catalog);
    written(&StoredRecord {
        v: VERSION,
        number: record.number,
        since_ms: record.since.as_millis(),
        request_id: record.request_id.clone(),
        hash: hash_of(&content),
        content,
    })
}

/// Decodes the record with that number; parts that are not stored are taken from `own`.
pub fn decode(number: u64, bytes: &[u8], own: &Catalog) -> Result<CatalogRecord, DirectoryError> {
    let unreadable = |reason: String| DirectoryError::UnreadableCatalog { number, reason };
    let stored: StoredRecord =
        serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    if stored.v != VERSION {
        return Err(unreadable(format!("version {} is not {VERSION}", stored.v)));
    }
    if hash_of(&stored.content) != stored.hash {
        return Err(unreadable("its hash does not match its content".to_owned()));
    }
    let catalog = load(stored.content, own);
    Ok(CatalogRecord {
        number,
        since: Timestamp::from_millis(stored.since_ms),
        request_id: stored.request_id,
        hash: stored.hash,
        catalog: Arc::new(catalog.ok_or_else(|| {
            unreadable("its time zone, its currency, one of its limits or of its meters".to_owned())
        })?),
    })
}

fn store(catalog: &Catalog) -> StoredCatalog {
    let Validity {
        edition_grace_days,
        add_on_grace_days,
        after_grace,
        full_refund_days,
        full_refunds_per_app,
        last_day,
        refund,
        fee,
    } = catalog.validity;
    StoredCatalog {
        version: catalog.version.clone(),
        time_zone: catalog.zone.name().to_owned(),
        currency: catalog.currency.into(),
        default_edition: catalog.default_edition.to_string(),
        editions: catalog.editions.iter().map(terms_codec::store_edition).collect(),
        add_ons: catalog.add_ons.iter().map(terms_codec::store_add_on).collect(),
        group_types: catalog.group_types.iter().map(store_group_type).collect(),
        groups_per_day: catalog.groups_per_day.finite(),
        validity: StoredValidity {
            edition_grace_days,
            add_on_grace_days,
            after_grace: match after_grace {
                AfterGrace::Stop => StoredAfterGrace::Stop,
                AfterGrace::DefaultEdition => StoredAfterGrace::DefaultEdition,
            },
            full_refund_days,
            full_refunds_per_app,
            rules: StoredRules {
                last_day: last_day.into(),
                refund: refund.into(),
                fee: fee.into(),
            },
        },
        metering: metering_codec::store(&catalog.postpaid),
    }
}

fn store_group_type(kind: &GroupType) -> StoredGroupType {
    StoredGroupType {
        name: kind.name.to_string(),
        label: kind.label.clone(),
        member_cap: kind.member_cap.finite(),
        members_tracked: kind.members_tracked,
        counts_towards_user: kind.counts_towards_user,
        per_app: kind.per_app.finite(),
        per_day: kind.per_day.finite(),
        reclaim_empty: kind.reclaim_empty,
        per_app_im_code: kind.per_app_im_code,
    }
}

fn load(stored: StoredCatalog, own: &Catalog) -> Option<Catalog> {
    let StoredValidity {
        edition_grace_days,
        add_on_grace_days,
        after_grace,
        full_refund_days,
        full_refunds_per_app,
        rules,
    } = stored.validity;
    Some(Catalog {
        version: stored.version,
        zone: Zone::named(&stored.time_zone)?,
        currency: Currency::new(&stored.currency.code, stored.currency.minor_digits)?,
        default_edition: stored.default_edition.as_str().into(),
        editions: stored
            .editions
            .into_iter()
            .map(terms_codec::load_edition)
            .collect::<Option<_>>()?,
        add_ons: stored.add_ons.into_iter().map(terms_codec::load_add_on).collect::<Option<_>>()?,
        group_types: stored.group_types.into_iter().map(load_group_type).collect(),
        groups_per_day: limit(stored.groups_per_day),
        validity: Validity {
            edition_grace_days,
            add_on_grace_days,
            after_grace: match after_grace {
                StoredAfterGrace::Stop => AfterGrace::Stop,
                StoredAfterGrace::DefaultEdition => AfterGrace::DefaultEdition,
            },
            full_refund_days,
            full_refunds_per_app,
            last_day: rules.last_day.into(),
            refund: rules.refund.into(),
            fee: rules.fee.into(),
        },
        postpaid: metering_codec::load(stored.metering)?,
        failure: own.failure.clone(),
        unknown_apps: own.unknown_apps,
        ids: own.ids,
        holds: own.holds,
        batch: own.batch,
        im_codes: own.im_codes.clone(),
    })
}

fn load_group_type(stored: StoredGroupType) -> GroupType {
    GroupType {
        name: stored.name.as_str().into(),
        label: stored.label,
        member_cap: limit(stored.member_cap),
        members_tracked: stored.members_tracked,
        counts_towards_user: stored.counts_towards_user,
        per_app: limit(stored.per_app),
        per_day: limit(stored.per_day),
        reclaim_empty: stored.reclaim_empty,
        per_app_im_code: stored.per_app_im_code,
    }
}

fn limit(stored: Option<u64>) -> Limit {
    stored.map_or(Limit::Unlimited, Limit::Finite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::LastDay;
    use crate::domain::selling::{FeeRule, RefundRule, Selling};

    /// The record of a catalog with one entry of each kind.
    const GOLDEN: &str = include_str!("catalog_golden.json");

    fn small() -> Catalog {
        let builtin = crate::catalog::builtin();
        let editions = builtin.editions[..2].to_vec();
        let (add_ons, group_types) =
            (builtin.add_ons[..1].to_vec(), builtin.group_types[..1].to_vec());
        Catalog { editions, add_ons, group_types, ..builtin }
    }

    fn record() -> CatalogRecord {
        let catalog = small();
        CatalogRecord {
            number: 7,
            since: Timestamp::from_millis(1_549_900_800_000),
            request_id: "r1".to_owned(),
            hash: hash(&catalog),
            catalog: Arc::new(catalog),
        }
    }

    #[test]
    fn catalogs_are_stored_as_the_golden_bytes() {
        assert_eq!(String::from_utf8(encode(&record())).expect("text"), GOLDEN.trim_end());
        assert_eq!(decode(7, GOLDEN.trim_end().as_bytes(), &small()), Ok(record()));
    }

    #[test]
    fn conditions_of_sale_are_stored_after_the_fields_of_earlier_versions() {
        let mut catalog = small();
        catalog.currency = Currency::new("JPY", 0).expect("a currency");
        catalog.validity.last_day = LastDay::Same;
        catalog.validity.refund = RefundRule::Nothing;
        catalog.validity.fee = FeeRule::CalendarDays;
        catalog.editions[1].selling = Selling {
            is_for_sale: false,
            months_max: Some(12),
            is_once_per_app: true,
            price_of_months: vec![(3, 280_000), (12, 999_000)],
        };
        catalog.add_ons[0].selling.is_for_sale = false;
        let hash = hash(&catalog);
        let changed = CatalogRecord { hash, catalog: Arc::new(catalog), ..record() };
        let stored = String::from_utf8(encode(&changed)).expect("text");
        for part in [
            r#""time_zone":"Asia/Shanghai","currency":{"code":"JPY","minor_digits":0},"#,
            r#""full_refunds_per_app":1,"rules":{"last_day":"same","refund":"none","fee":"calendar_days"}}"#,
            r#""selling":{"not_for_sale":true,"months_max":12,"once_per_app":true,"price_of_months":[[3,280000],[12,999000]]}}"#,
            r#""price_fen":50000,"selling":{"not_for_sale":true}}"#,
        ] {
            assert!(stored.contains(part), "{part} in {stored}");
        }
        assert_ne!(changed.hash, record().hash);
        assert_eq!(decode(7, stored.as_bytes(), &small()), Ok(changed));
    }

    #[test]
    fn only_prices_and_limits_determine_the_hash_of_a_catalog() {
        let text = crate::catalog::BUILTIN;
        let same = format!("# Another comment.\n{}", text.replace("\n\n", "\n\n\n"));
        let parse = |text: &str| crate::catalog::parse(text).expect("a catalog");
        assert_eq!(hash(&parse(&same)), hash(&parse(text)));
        for (from, to) in [
            ("service_stopped = 60020", "service_stopped = 60021"),
            ("user_max_bytes = 32", "user_max_bytes = 255"),
        ] {
            let own = text.replace(from, to);
            assert_ne!(own, text);
            assert_eq!(hash(&parse(&own)), hash(&parse(text)));
        }
        let renamed = text.replace("version = \"2019-08-09\"", "version = \"2019-08-10\"");
        assert_ne!(hash(&parse(&renamed)), hash(&parse(text)));
    }

    #[test]
    fn a_damaged_record_is_refused_by_its_number() {
        for (from, to, reason) in [
            ("{\"v\":1", "{\"v\":2", "version 2"),
            ("\"final_day\":3", "\"final_day\":4", "its hash"),
            ("\"number\"", "\"numbr\"", "number"),
        ] {
            let damaged = GOLDEN.replacen(from, to, 1);
            assert_ne!(damaged, GOLDEN, "{from}");
            let error = decode(7, damaged.as_bytes(), &small()).expect_err("damaged").to_string();
            assert!(error.contains("record 7") && error.contains(reason), "{error}");
        }
    }
}
