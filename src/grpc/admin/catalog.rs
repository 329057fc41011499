//! The catalog as a message.

use crate::domain::calendar::LastDay;
use crate::domain::catalog::{AddOn, Catalog, Edition};
use crate::domain::group_type::GroupType;
use crate::domain::id::Name;
use crate::domain::limit::{Limit, LimitId};
use crate::domain::meter::{Charge, Free, Meter, PerEdition};
use crate::domain::postpaid::{MessageHistory, PostPaid, Region, Tier};
use crate::domain::price::Price;
use crate::domain::selling::{FeeRule, RefundRule, Selling};
use crate::grpc::pb;
use crate::proto::currency;

/// Converts all items and limits of the catalog.
pub fn catalog(catalog: &Catalog) -> pb::GetCatalogResponse {
    let validity = catalog.validity;
    pb::GetCatalogResponse {
        version: catalog.version.clone(),
        time_zone: catalog.zone.name().to_owned(),
        default_edition_id: catalog.default_edition.to_string(),
        editions: catalog.editions.iter().map(edition).collect(),
        add_ons: catalog.add_ons.iter().map(add_on).collect(),
        group_types: catalog.group_types.iter().map(group_type).collect(),
        edition_grace_days: validity.edition_grace_days,
        add_on_grace_days: validity.add_on_grace_days,
        full_refund_days: validity.full_refund_days,
        full_refunds_per_app: u32::try_from(validity.full_refunds_per_app).unwrap_or(u32::MAX),
        metering: Some(metering(&catalog.postpaid)),
        last_day: match validity.last_day {
            LastDay::Before => pb::LastDay::Before,
            LastDay::Same => pb::LastDay::Same,
        }
        .into(),
        refund_rule: match validity.refund {
            RefundRule::Days => pb::RefundRule::Days,
            RefundRule::Nothing => pb::RefundRule::None,
        }
        .into(),
        fee_rule: match validity.fee {
            FeeRule::Months => pb::FeeRule::Months,
            FeeRule::CalendarDays => pb::FeeRule::CalendarDays,
        }
        .into(),
        currency: Some(currency(catalog.currency)),
    }
}

fn metering(postpaid: &PostPaid) -> pb::CatalogMetering {
    let history = postpaid.history.as_ref();
    let free_days_of = |history: &MessageHistory| {
        let own = |(edition, days): &(Name, u32)| pb::CatalogFreeDays {
            edition_id: edition.to_string(),
            days: *days,
        };
        history.free_days_of.iter().map(own).collect::<Vec<_>>()
    };
    pb::CatalogMetering {
        final_day: postpaid.final_day,
        dau: postpaid.dau.as_ref().map(tier),
        groups: postpaid.groups.map(|groups| tier(&groups.tier)),
        groups_first_day: postpaid.groups.map_or(0, |groups| groups.first_day),
        history_free_days: history.map_or(0, |history| history.free_days),
        history_days_max: history.map_or(0, |history| history.days_max),
        history: history.map(|history| tier(&history.tier)),
        history_free_days_of: history.into_iter().flat_map(free_days_of).collect(),
        regions: postpaid.regions.iter().map(region).collect(),
        meters: postpaid.meters.iter().map(meter).collect(),
    }
}

fn meter(meter: &Meter) -> pb::CatalogMeter {
    let text = |price: &Price| price.to_string();
    let (free, share) = match &meter.free {
        Free::Number(free) => (values(free), None),
        Free::ShareOf { meter, percent } => (Vec::new(), Some((meter.to_string(), *percent))),
    };
    let (free_share_of, free_share_percent) = share.unwrap_or_default();
    let (mut price, mut regions, mut bands) = (None, Vec::new(), Vec::new());
    match &meter.charge {
        Charge::Price(of_unit) => price = Some(text(of_unit)),
        Charge::Regions(all) => {
            regions.extend(all.iter().map(|(region, price)| pb::CatalogMeterRegion {
                region: region.to_string(),
                price: price.as_ref().map(text),
            }));
        }
        Charge::Fees(all) => bands.extend(all.iter().map(|band| pb::CatalogMeterBand {
            up_to: band.up_to,
            price: None,
            fees: values(&band.value),
        })),
        Charge::Prices(all) => bands.extend(all.iter().map(|band| pb::CatalogMeterBand {
            up_to: band.up_to,
            price: Some(text(&band.value)),
            fees: Vec::new(),
        })),
    }
    pb::CatalogMeter {
        meter_id: meter.id.to_string(),
        label: meter.label.clone(),
        of: meter.of.word().to_owned(),
        name: meter.of.name().map_or_else(String::new, ToString::to_string),
        aggregate: meter.aggregate.map_or_else(String::new, |it| it.word().to_owned()),
        from_day: meter.from_day,
        unit: meter.unit,
        rounding: meter.rounding.word().to_owned(),
        round_each_day: meter.round_each_day,
        free,
        free_share_of,
        free_share_percent,
        price,
        regions,
        bands,
    }
}

fn values<T: ToString>(values: &PerEdition<T>) -> Vec<pb::CatalogMeterValue> {
    let value = |edition_id: String, value: &T| pb::CatalogMeterValue {
        edition_id,
        value: value.to_string(),
    };
    match values {
        PerEdition::All(all) => vec![value(String::new(), all)],
        PerEdition::Each(each) => each.iter().map(|(id, it)| value(id.to_string(), it)).collect(),
    }
}

fn tier(tier: &Tier) -> pb::CatalogTier {
    let Tier { free, unit, price_fen_per_unit } = *tier;
    pb::CatalogTier { free, unit, price_fen_per_unit }
}

fn region(region: &Region) -> pb::CatalogRegion {
    pb::CatalogRegion {
        region: region.id.to_string(),
        label: region.label.clone(),
        price_fen_per_mbps_day: region.price_fen_per_mbps_day,
    }
}

fn edition(edition: &Edition) -> pb::CatalogEdition {
    pb::CatalogEdition {
        edition_id: edition.id.to_string(),
        label: edition.label.clone(),
        price_fen_per_month: edition.price_fen_per_month,
        add_ons_allowed: edition.add_ons_allowed,
        limits: edition.limits.iter().map(|(id, limit)| limit_of(id, *limit)).collect(),
        postpaid_allowed: edition.postpaid_allowed,
        selling: selling(&edition.selling),
    }
}

fn add_on(add_on: &AddOn) -> pb::CatalogAddOn {
    pb::CatalogAddOn {
        add_on_id: add_on.id.to_string(),
        label: add_on.label.clone(),
        price_fen_per_month: add_on.price_fen_per_month,
        raises: Some(limit_of(&add_on.limit_id, add_on.limit)),
        selling: selling(&add_on.selling),
    }
}

/// Converts conditions of sale; `None` if there are none.
fn selling(selling: &Selling) -> Option<pb::CatalogSelling> {
    let price = |(months, price_fen): &(u32, i64)| pb::CatalogPriceOfMonths {
        months: *months,
        price_fen: *price_fen,
    };
    (*selling != Selling::default()).then(|| pb::CatalogSelling {
        not_for_sale: !selling.is_for_sale,
        months_max: selling.months_max,
        once_per_app: selling.is_once_per_app,
        price_of_months: selling.price_of_months.iter().map(price).collect(),
    })
}

fn group_type(kind: &GroupType) -> pb::CatalogGroupType {
    pb::CatalogGroupType {
        name: kind.name.to_string(),
        label: kind.label.clone(),
        member_cap: kind.member_cap.finite(),
        members_tracked: kind.members_tracked,
        counts_towards_user: kind.counts_towards_user,
        per_app: kind.per_app.finite(),
        per_day: kind.per_day.finite(),
        reclaim_empty: kind.reclaim_empty,
    }
}

fn limit_of(id: &LimitId, limit: Limit) -> pb::CatalogLimit {
    pb::CatalogLimit { limit_id: id.to_string(), limit: limit.finite() }
}
