//! The stored format of a catalog's postpaid usage, as a part of [`super::catalog_codec`].
//!
//! Parts that a catalog leaves out are not written, so the record of a catalog of an earlier
//! version has the bytes that it had.

use serde::{Deserialize, Serialize};

use crate::domain::id::Name;
use crate::domain::meter::{Aggregate, Band, Charge, Free, Meter, PerEdition, Rounding, Source};
use crate::domain::postpaid::{GroupsTier, MessageHistory, PostPaid, Region, Tier};
use crate::domain::price::Price;

#[derive(Serialize, Deserialize)]
pub(super) struct StoredMetering {
    final_day: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dau: Option<StoredTier>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<StoredTier>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups_first_day: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history_free_days: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    history_free_days_of: Vec<(String, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history_days_max: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<StoredTier>,
    regions: Vec<StoredRegion>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    meters: Vec<StoredMeter>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct StoredTier {
    free: u64,
    unit: u64,
    price_fen: i64,
}

#[derive(Serialize, Deserialize)]
struct StoredRegion {
    id: String,
    label: String,
    price_fen: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct StoredMeter {
    id: String,
    label: String,
    of: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aggregate: Option<String>,
    from_day: u32,
    unit: u64,
    rounding: String,
    round_each_day: bool,
    free: StoredFree,
    charge: StoredCharge,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredFree {
    Number(StoredPerEdition<u64>),
    ShareOf { meter: String, percent: u32 },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredPerEdition<T> {
    All(T),
    Each(Vec<(String, T)>),
}

/// Prices are decimal text.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredCharge {
    Price(String),
    Regions(Vec<(String, Option<String>)>),
    Fees(Vec<StoredBand<StoredPerEdition<String>>>),
    Prices(Vec<StoredBand<String>>),
}

#[derive(Serialize, Deserialize)]
struct StoredBand<T> {
    up_to: Option<u64>,
    value: T,
}

pub(super) fn store(rules: &PostPaid) -> StoredMetering {
    let region = |region: &Region| StoredRegion {
        id: region.id.to_string(),
        label: region.label.clone(),
        price_fen: region.price_fen_per_mbps_day,
    };
    let history = rules.history.as_ref();
    let free_days_of = |history: &MessageHistory| {
        let each = history.free_days_of.iter().map(|(of, days)| (of.to_string(), *days));
        each.collect::<Vec<_>>()
    };
    StoredMetering {
        final_day: rules.final_day,
        dau: rules.dau.map(store_tier),
        groups: rules.groups.map(|groups| store_tier(groups.tier)),
        groups_first_day: rules.groups.map(|groups| groups.first_day),
        history_free_days: history.map(|history| history.free_days),
        history_free_days_of: history.into_iter().flat_map(free_days_of).collect(),
        history_days_max: history.map(|history| history.days_max),
        history: history.map(|history| store_tier(history.tier)),
        regions: rules.regions.iter().map(region).collect(),
        meters: rules.meters.iter().map(store_meter).collect(),
    }
}

fn store_tier(tier: Tier) -> StoredTier {
    StoredTier { free: tier.free, unit: tier.unit, price_fen: tier.price_fen_per_unit }
}

fn store_meter(meter: &Meter) -> StoredMeter {
    StoredMeter {
        id: meter.id.to_string(),
        label: meter.label.clone(),
        of: meter.of.word().to_owned(),
        name: meter.of.name().map(ToString::to_string),
        aggregate: meter.aggregate.map(|it| it.word().to_owned()),
        from_day: meter.from_day,
        unit: meter.unit,
        rounding: meter.rounding.word().to_owned(),
        round_each_day: meter.round_each_day,
        free: match &meter.free {
            Free::Number(free) => StoredFree::Number(store_each(free, |free| *free)),
            Free::ShareOf { meter, percent } => {
                StoredFree::ShareOf { meter: meter.to_string(), percent: *percent }
            }
        },
        charge: store_charge(&meter.charge),
    }
}

fn store_charge(charge: &Charge) -> StoredCharge {
    let text = |price: &Price| price.to_string();
    match charge {
        Charge::Price(price) => StoredCharge::Price(text(price)),
        Charge::Regions(regions) => {
            let region =
                |(id, price): &(Name, Option<Price>)| (id.to_string(), price.as_ref().map(text));
            StoredCharge::Regions(regions.iter().map(region).collect())
        }
        Charge::Fees(bands) => StoredCharge::Fees(store_bands(bands, |fee| store_each(fee, text))),
        Charge::Prices(bands) => StoredCharge::Prices(store_bands(bands, text)),
    }
}

fn store_bands<T, U>(bands: &[Band<T>], store: impl Fn(&T) -> U) -> Vec<StoredBand<U>> {
    let band = |band: &Band<T>| StoredBand { up_to: band.up_to, value: store(&band.value) };
    bands.iter().map(band).collect()
}

fn store_each<T, U>(values: &PerEdition<T>, store: impl Fn(&T) -> U) -> StoredPerEdition<U> {
    match values {
        PerEdition::All(value) => StoredPerEdition::All(store(value)),
        PerEdition::Each(values) => {
            let each = values.iter().map(|(edition, it)| (edition.to_string(), store(it)));
            StoredPerEdition::Each(each.collect())
        }
    }
}

/// Returns the rules; `None` if one of them is unknown to this version.
pub(super) fn load(stored: StoredMetering) -> Option<PostPaid> {
    let region = |region: StoredRegion| Region {
        id: region.id.as_str().into(),
        label: region.label,
        price_fen_per_mbps_day: region.price_fen,
    };
    let groups = together(stored.groups, stored.groups_first_day)?;
    let days = together(stored.history_free_days, stored.history_days_max)?;
    let history = together(stored.history, days)?;
    let of = stored.history_free_days_of.iter().map(|(of, days)| (of.as_str().into(), *days));
    let free_days_of = of.collect();
    Some(PostPaid {
        final_day: stored.final_day,
        dau: stored.dau.map(load_tier),
        groups: groups.map(|(tier, first_day)| GroupsTier { first_day, tier: load_tier(tier) }),
        history: history.map(|(tier, (free_days, days_max))| MessageHistory {
            free_days,
            free_days_of,
            days_max,
            tier: load_tier(tier),
        }),
        regions: stored.regions.into_iter().map(region).collect(),
        meters: stored.meters.into_iter().map(load_meter).collect::<Option<_>>()?,
    })
}

/// Returns two parts that stand together or not at all; the outer `None` if one is missing.
#[allow(clippy::option_option, reason = "absent, and invalid, are different")]
fn together<A, B>(one: Option<A>, other: Option<B>) -> Option<Option<(A, B)>> {
    (one.is_some() == other.is_some()).then(|| one.zip(other))
}

fn load_tier(tier: StoredTier) -> Tier {
    Tier { free: tier.free, unit: tier.unit, price_fen_per_unit: tier.price_fen }
}

fn load_meter(stored: StoredMeter) -> Option<Meter> {
    let aggregate = |word: String| Aggregate::ALL.into_iter().find(|it| it.word() == word);
    let name = stored.name.as_deref().map(Name::from);
    Some(Meter {
        id: stored.id.as_str().into(),
        label: stored.label,
        of: Source::of(&stored.of, name)?,
        aggregate: match stored.aggregate {
            Some(word) => Some(aggregate(word)?),
            None => None,
        },
        from_day: stored.from_day,
        unit: stored.unit,
        rounding: Rounding::ALL.into_iter().find(|it| it.word() == stored.rounding)?,
        round_each_day: stored.round_each_day,
        free: match stored.free {
            StoredFree::Number(free) => Free::Number(load_each(free, Some)?),
            StoredFree::ShareOf { meter, percent } => {
                Free::ShareOf { meter: meter.as_str().into(), percent }
            }
        },
        charge: load_charge(stored.charge)?,
    })
}

fn load_charge(stored: StoredCharge) -> Option<Charge> {
    let price = |text: String| text.parse::<Price>().ok();
    Some(match stored {
        StoredCharge::Price(text) => Charge::Price(price(text)?),
        StoredCharge::Regions(regions) => {
            let region = |(id, text): (String, Option<String>)| {
                let price = match text {
                    Some(text) => Some(price(text)?),
                    None => None,
                };
                Some((id.as_str().into(), price))
            };
            Charge::Regions(regions.into_iter().map(region).collect::<Option<_>>()?)
        }
        StoredCharge::Fees(bands) => Charge::Fees(load_bands(bands, |fee| load_each(fee, price))?),
        StoredCharge::Prices(bands) => Charge::Prices(load_bands(bands, price)?),
    })
}

fn load_bands<T, U>(
    bands: Vec<StoredBand<U>>,
    load: impl Fn(U) -> Option<T>,
) -> Option<Vec<Band<T>>> {
    let band = |band: StoredBand<U>| Some(Band { up_to: band.up_to, value: load(band.value)? });
    bands.into_iter().map(band).collect()
}

fn load_each<T, U>(
    stored: StoredPerEdition<U>,
    load: impl Fn(U) -> Option<T>,
) -> Option<PerEdition<T>> {
    Some(match stored {
        StoredPerEdition::All(value) => PerEdition::All(load(value)?),
        StoredPerEdition::Each(values) => {
            let each = values.into_iter();
            let each = each.map(|(edition, it)| Some((edition.as_str().into(), load(it)?)));
            PerEdition::Each(each.collect::<Option<_>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of each kind.
    const ROWS: &str = r#"
[metering]
final_day = 3

[[metering.meters]]
id = "mau"
label = "Users of the month"
of = "logins"
aggregate = "month_distinct"
free = { professional = 5000 }
price = "0.0150"

[[metering.meters]]
id = "connections"
label = "Connections"
of = "gauge"
name = "connections"
aggregate = "month_peak"
from_day = 4
free_share_of = { meter = "mau", percent = 5 }
tiers = [{ up_to = 2000, price = "1" }, { price = "0.5" }]

[[metering.meters]]
id = "plan"
label = "Plan"
of = "meter"
name = "mau"
tiers = [{ up_to = 2000, fee = "300" }, { fee = { professional = "500" } }]

[[metering.meters]]
id = "mbps"
label = "Bandwidth"
of = "bandwidth"
aggregate = "daily_peak_sum"
unit = 1000
rounding = "up"
round_each_day = true
price_by = "region"
prices = { mainland = "2", overseas = "not_charged" }
"#;

    const GOLDEN: &str = concat!(
        r#"{"final_day":3,"regions":[],"meters":["#,
        r#"{"id":"mau","label":"Users of the month","of":"logins","aggregate":"month_distinct","#,
        r#""from_day":1,"unit":1,"rounding":"up","round_each_day":false,"#,
        r#""free":{"number":{"each":[["professional",5000]]}},"charge":{"price":"0.015"}},"#,
        r#"{"id":"connections","label":"Connections","of":"gauge","name":"connections","#,
        r#""aggregate":"month_peak","from_day":4,"unit":1,"rounding":"up","#,
        r#""round_each_day":false,"free":{"share_of":{"meter":"mau","percent":5}},"#,
        r#""charge":{"prices":[{"up_to":2000,"value":"1"},{"up_to":null,"value":"0.5"}]}},"#,
        r#"{"id":"plan","label":"Plan","of":"meter","name":"mau","from_day":1,"unit":1,"#,
        r#""rounding":"up","round_each_day":false,"free":{"number":{"all":0}},"#,
        r#""charge":{"fees":[{"up_to":2000,"value":{"all":"300"}},"#,
        r#"{"up_to":null,"value":{"each":[["professional","500"]]}}]}},"#,
        r#"{"id":"mbps","label":"Bandwidth","of":"bandwidth","aggregate":"daily_peak_sum","#,
        r#""from_day":1,"unit":1000,"rounding":"up","round_each_day":true,"#,
        r#""free":{"number":{"all":0}},"#,
        r#""charge":{"regions":[["mainland","2"],["overseas",null]]}}]}"#,
    );

    #[test]
    fn rows_are_stored_as_the_golden_bytes() {
        let builtin = crate::catalog::BUILTIN;
        let (head, _) = builtin.split_once("\n[metering]\n").expect("a section");
        let (_, tail) = builtin.split_once("\n[ids]\n").expect("a section");
        let text = format!("{head}{ROWS}[ids]\n{tail}");
        let rules = crate::catalog::parse(&text).expect("a catalog").postpaid;
        let stored = serde_json::to_string(&store(&rules)).expect("can be written");
        assert_eq!(stored, GOLDEN);
        let read = |text: &str| load(serde_json::from_str(text).expect("of these types"));
        assert_eq!(read(&stored), Some(rules));
        for (from, to) in [
            (r#""month_distinct""#, r#""year_distinct""#),
            (r#""of":"gauge""#, r#""of":"stars""#),
            (r#""rounding":"up""#, r#""rounding":"even""#),
            (r#"{"price":"0.015"}"#, r#"{"price":"1e3"}"#),
            (r#"{"final_day":3,"#, r#"{"final_day":3,"groups_first_day":4,"#),
        ] {
            let other = GOLDEN.replacen(from, to, 1);
            assert_ne!(other, GOLDEN, "{from}");
            assert_eq!(read(&other), None, "{to}");
        }
    }

    #[test]
    fn free_days_of_editions_are_kept_and_no_others_are_written() {
        let mut rules = crate::catalog::builtin().postpaid;
        let text = |rules: &PostPaid| serde_json::to_string(&store(rules)).expect("text");
        assert!(!text(&rules).contains("free_days_of"));
        rules.history.as_mut().expect("there").free_days_of = vec![("professional".into(), 30)];
        let stored = text(&rules);
        assert!(stored.contains(r#""history_free_days_of":[["professional",30]]"#), "{stored}");
        assert_eq!(load(serde_json::from_str(&stored).expect("readable")), Some(rules));
    }
}
