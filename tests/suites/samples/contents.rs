//! Each sample is valid, has a head that says where its numbers are from, and has the numbers of
//! its table.

use std::collections::BTreeSet;

use imquota::catalog::{BUILTIN, builtin, parse};
use imquota::domain::catalog::Catalog;
use imquota::domain::decision::Reason;
use imquota::domain::limit::{Limit, LimitId};
use imquota::domain::meter::{Charge, Free, Meter, PerEdition};

use super::published::{self, AddOn, Edition, Numbers, PUBLISHED, Published};
use super::{folder, limits_of, sample, text};

/// The lines that each head has.
const HEAD: [&str; 5] = ["# Source: ", "# Date: ", "# Prices: ", "# Left out", "# Cannot say: "];

#[test]
fn every_sample_has_a_table_and_every_table_a_sample() {
    let entries = std::fs::read_dir(folder()).expect("the folder exists");
    let names = entries.map(|entry| entry.expect("readable").file_name());
    let files: BTreeSet<String> = names.map(|name| name.into_string().expect("ASCII")).collect();
    let tables: BTreeSet<String> = PUBLISHED.iter().map(|(of, _)| format!("{of}.toml")).collect();
    assert_eq!(files, tables);
    assert_eq!(tables.len(), PUBLISHED.len());
}

#[test]
fn every_sample_says_where_its_numbers_are_from_and_what_it_cannot_say() {
    for (name, _) in PUBLISHED {
        let text = text(name);
        let head: Vec<_> = text.lines().take_while(|line| line.starts_with('#')).collect();
        for beginning in HEAD {
            let found = head.iter().filter(|line| line.starts_with(beginning)).count();
            assert_eq!(found, 1, "{name}: {beginning}");
        }
        let prices = head.iter().find(|line| line.starts_with("# Prices: ")).expect("there");
        let is_priced =
            ["\nprice_fen_per_month = ", "\nprice = "].iter().any(|it| text.contains(it));
        let stated =
            if is_priced { sample(name).currency.code().to_owned() } else { "none.".into() };
        assert!(prices.contains(&stated), "{name}: {prices}");
    }
}

#[test]
fn versions_differ() {
    let versions: BTreeSet<_> = PUBLISHED.iter().map(|(name, _)| sample(name).version).collect();
    assert_eq!(versions.len(), PUBLISHED.len(), "{versions:?}");
}

#[test]
fn the_sample_of_2019_is_the_built_in_catalog() {
    let text = text("tencent-im-2019");
    let (head, body) = text.split_once("\n\n").expect("a head");
    assert!(head.starts_with("# "));
    let advice = "after a change of src/catalog/builtin.toml, copy it below the head";
    assert_eq!(body, BUILTIN, "{advice}");
    assert_eq!(parse(&text).expect("valid"), builtin());
}

fn finite<'a>(limits: impl Iterator<Item = (LimitId, &'a Limit)>) -> Numbers {
    let finite = limits.filter_map(|(id, limit)| match limit {
        Limit::Finite(limit) => Some((id.to_string(), *limit)),
        Limit::Unlimited => None,
    });
    finite.collect()
}

/// The finite rules of a catalog.
fn rules(catalog: &Catalog) -> Numbers {
    let of_types = catalog.group_types.iter().flat_map(|kind| {
        let name = || kind.name.clone();
        [
            (LimitId::MembersPerGroupOfType(name()), &kind.member_cap),
            (LimitId::GroupsPerApp(name()), &kind.per_app),
            (LimitId::GroupsPerDayOfType(name()), &kind.per_day),
        ]
    });
    finite(of_types.chain([(LimitId::GroupsPerDay, &catalog.groups_per_day)]))
}

/// A price in whole CNY or USD.
fn shown_price(minor: i64) -> String {
    assert_eq!(minor % 100, 0, "{minor}");
    if minor == 0 { "free".to_owned() } else { (minor / 100).to_string() }
}

/// A catalog as a table has it.
fn contents(catalog: &Catalog) -> Published {
    let editions = catalog.editions.iter().map(|edition| Edition {
        id: edition.id.to_string(),
        price: match edition.price_fen_per_month {
            None => "-".to_owned(),
            Some(_) if !edition.selling.is_for_sale => "request".to_owned(),
            Some(price) => shown_price(price),
        },
        limits: finite(edition.limits.iter().map(|(id, limit)| (id.clone(), limit))),
    });
    let add_ons = catalog.add_ons.iter().map(|add_on| AddOn {
        id: add_on.id.to_string(),
        limit_id: add_on.limit_id.to_string(),
        limit: add_on.limit.finite(),
        price: shown_price(add_on.price_fen_per_month),
    });
    let charged = catalog.editions.iter().filter(|edition| edition.postpaid_allowed);
    Published {
        editions: editions.collect(),
        rules: rules(catalog),
        add_ons: add_ons.collect(),
        charged: charged.map(|edition| edition.id.to_string()).collect(),
        meters: catalog.postpaid.meters.iter().map(meter).collect(),
    }
}

/// A row as a table has it.
fn meter(meter: &Meter) -> String {
    let free = match &meter.free {
        Free::Number(PerEdition::All(free)) => free.to_string(),
        Free::Number(PerEdition::Each(each)) => {
            let each: Vec<_> = each.iter().map(|(id, free)| format!("{id} {free}")).collect();
            each.join(" ")
        }
        Free::ShareOf { meter, percent } => format!("{percent} % of {meter}"),
    };
    let Charge::Price(price) = &meter.charge else { panic!("{} has no one price", meter.id) };
    let rounding =
        if meter.unit == 1 { String::new() } else { format!(" {}", meter.rounding.word()) };
    let name = meter.of.name().map_or_else(String::new, |name| format!(" {name}"));
    let aggregate = meter.aggregate.expect("it counts by days").word();
    assert_eq!((meter.from_day, meter.round_each_day), (1, false), "{}", meter.id);
    let (id, of, unit) = (&meter.id, meter.of.word(), meter.unit);
    format!("{id} {of}{name} {aggregate} free {free} unit {unit}{rounding} price {price}")
}

/// The built-in catalog has sections in place of rows, which have tests of their own.
#[test]
fn no_sample_but_the_built_in_catalog_has_sections_of_metered_usage() {
    for (name, _) in PUBLISHED {
        let rules = sample(name).postpaid;
        let has_sections = rules.dau.is_some() || rules.groups.is_some();
        let has_others = rules.history.is_some() || !rules.regions.is_empty();
        assert_eq!(has_sections, *name == "tencent-im-2019", "{name}");
        assert_eq!(has_others, *name == "tencent-im-2019", "{name}");
    }
}

#[test]
fn every_finite_limit_and_price_is_the_published_one() {
    for (name, _) in PUBLISHED {
        assert_eq!(contents(&sample(name)), published::of(name), "{name}");
    }
}

#[test]
fn what_has_no_published_price_is_not_sold_and_costs_nothing() {
    for (name, _) in PUBLISHED {
        for edition in &sample(name).editions {
            if !edition.selling.is_for_sale {
                assert_eq!(edition.price_fen_per_month, Some(0), "{name} {}", edition.id);
            }
        }
    }
}

#[test]
fn a_number_of_all_types_does_not_cap_a_type_without_a_published_one() {
    let agora = sample("agora-chat-2026");
    let limits = limits_of(&agora, "enterprise", None);
    let cap = |name| agora.group_type(name).expect(name).member_bound(&limits, None).limit;
    assert_eq!([cap("chatgroup"), cap("chatroom")], [Limit::Finite(5000), Limit::Unlimited]);
}

#[test]
fn published_lengths_of_ids_and_codes_are_in_their_samples() {
    assert_eq!(sample("easemob-2023").ids.user_max_bytes, 64);
    let community = sample("community");
    for (reason, group_type, code) in [
        (Reason::GroupsPerUser, Some("guild"), 30001),
        (Reason::MyFriends, None, 30002),
        (Reason::MembersPerGroup, Some("group-dm"), 30004),
        (Reason::GroupsPerApp, Some("channel"), 30013),
    ] {
        assert_eq!(community.im_code(reason, group_type, None), code.into(), "{reason:?}");
    }
}
