//! Rows of metered usage: the reports about mistakes in them, and what follows from them.

use imquota::domain::id::Name;
use imquota::domain::limit::Limit;

use super::broken::with;

const BANDWIDTH: &str = "[[metering.bandwidth]]\nregion = \"mainland\"\nlabel = \"Mainland\"\n\
                         price_fen_per_mbps_day = 2\n";
/// A valid row, which stands above the one of the table, and one by region.
const ABOVE: &str = "[[metering.meters]]\nid = \"base\"\nlabel = \"Base\"\nof = \"logins\"\n\
                     aggregate = \"day_distinct_peak\"\nprice = \"1\"\n\
                     [[metering.meters]]\nid = \"net\"\nlabel = \"Net\"\nof = \"bandwidth\"\n\
                     aggregate = \"month_peak\"\nprice_by = \"region\"\nprices = { all = \"1\" }\n";

/// The report about a row with these keys; empty if it is valid.
fn report(keys: &str) -> String {
    let row = format!("[[metering.meters]]\nid = \"row\"\nlabel = \"Row\"\n{keys}\n");
    with(&[(BANDWIDTH, &format!("{BANDWIDTH}{ABOVE}{row}"))]).err().unwrap_or_default()
}

const USERS: &str = "of = \"logins\"\naggregate = \"day_distinct_peak\"\n";
const SUM: &str = "of = \"gauge\"\nname = \"g\"\naggregate = \"daily_peak_sum\"\n";

/// Keys of a row, and a part of the report.
const BROKEN: &[(&str, &str, &str)] = &[
    ("", "price = '1'", "\"of\" is missing"),
    (
        "",
        "of = 'login'",
        "must be one of \"logins\", \"groups\", \"bandwidth\", \"gauge\" and \"meter\", not \"lo",
    ),
    (
        "",
        "of = 'logins'\naggregate = 'count_peak'",
        "must be one of \"day_distinct_peak\" and \"month_distinct\", not \"count_peak\"",
    ),
    ("", "of = 'groups'\naggregate = 'month_peak'", "must be \"count_peak\", not \"month_peak\""),
    ("", "of = 'groups'\nprice = '1'", "\"aggregate\" is missing"),
    ("", "of = 'gauge'\nprice = '1'", "\"name\" is missing, which is that of the gauge"),
    ("", "of = 'meter'\nprice = '1'", "\"name\" is missing, which is that of the meter"),
    ("", "of = 'gauge'\nname = 'a b'", "name: must be 1 to 64 of"),
    (
        "",
        "of = 'meter'\nname = 'row'\nprice = '1'",
        "no entry above has the id \"row\"; those above: \"base\" and \"net\"",
    ),
    ("", "of = 'meter'\nname = 'net'", "\"net\" has a figure for each region, not one"),
    (
        "",
        "of = 'meter'\nname = 'base'\naggregate = 'month_peak'",
        "aggregate: has no effect with of",
    ),
    (USERS, "name = 'g'\nprice = '1'", "name: has no effect with of = \"logins\"; leave it out"),
    (USERS, "price = '1'\nfrom_day = 29", "from_day: must be a whole number from 1 to 28, not 29"),
    ("", "of = 'meter'\nname = 'base'\nprice = '1'\nfrom_day = 2", "from_day: has no effect"),
    (
        "",
        "of = 'logins'\naggregate = 'month_distinct'\nprice = '1'\nfrom_day = 2",
        "from_day: has no effect without days; leave it out",
    ),
    (USERS, "price = '1'\nunit = 0", "unit: must be a whole number from 1 to 1000000000000, not 0"),
    (USERS, "price = '1'\nunit = 2", "\"rounding\" is missing, since a unit is more than 1"),
    (USERS, "price = '1'\nrounding = 'half'", "must be one of \"up\", \"down\" and \"exact\""),
    (USERS, "price = '1'\nround_each_day = true", "round_each_day: has no effect without the sum"),
    (
        SUM,
        "price = '1'\nunit = 2\nrounding = 'exact'\nround_each_day = true",
        "round_each_day: has no effect with rounding \"exact\"",
    ),
    (USERS, "", "\"price\" is missing; there may be \"tiers\" in its place"),
    (
        USERS,
        "price = 1",
        "price: must be a price as text, such as \"0.015\", with at most 6 decimals",
    ),
    (USERS, "price = '0.0000001'", "with at most 6 decimals, not \"0.0000001\""),
    (USERS, "price = '-1'", "not \"-1\""),
    (USERS, "price = '1'\ntiers = [{ fee = '1' }]", "tiers: cannot stand with \"price\""),
    (
        USERS,
        "price_by = 'region'\nprices = { all = '1' }",
        "price_by: is for of = \"bandwidth\" alone",
    ),
    (USERS, "prices = { all = '1' }", "prices: is for of = \"bandwidth\" alone"),
    (
        "of = 'bandwidth'\naggregate = 'month_peak'\n",
        "price = '1'",
        "\"prices\" is missing: of = \"bandwidth\" has price_by = \"region\" and \"prices\" alone",
    ),
    (
        "of = 'bandwidth'\naggregate = 'month_peak'\nprice_by = 'region'\n",
        "prices = { 'a b' = '1' }",
        "the region must be 1 to 64 of",
    ),
    (
        "of = 'bandwidth'\naggregate = 'month_peak'\nprice_by = 'region'\n",
        "prices = {}",
        "prices: must have 1 to 64 regions, not 0",
    ),
    (
        USERS,
        "price = '1'\nfree = -1",
        "free: must be a whole number from 0 to 1000000000000, not -1",
    ),
    (
        USERS,
        "price = '1'\nfree = { free = 1 }",
        "\"paid\" is missing, an edition with postpaid_allowed",
    ),
    (USERS, "price = '1'\nfree = { paid = 1, pay = 1 }", "free.pay: unknown key"),
    (
        USERS,
        "price = '1'\nfree = 1\nfree_share_of = { meter = 'base', percent = 5 }",
        "free_share_of: cannot stand with \"free\"",
    ),
    (
        USERS,
        "price = '1'\nfree_share_of = { meter = 'base', percent = 101 }",
        "free_share_of.percent: must be a whole number from 1 to 100, not 101",
    ),
    (
        USERS,
        "price = '1'\nfree_share_of = { meter = 'later', percent = 5 }",
        "free_share_of.meter: no entry above has the id \"later\"",
    ),
    (USERS, "tiers = []", "tiers: must have 1 to 32 entries, not 0"),
    (USERS, "tiers = [{ fee = '1', up_to = 5 }]", "up_to: the last band has no end; leave it out"),
    (USERS, "tiers = [{ fee = '1' }, { fee = '2' }]", "\"up_to\" is missing; only the last band"),
    (
        USERS,
        "tiers = [{ fee = '1', up_to = 5 }, { fee = '2', up_to = 5 }, { fee = '3' }]",
        "tiers[1].up_to: must be more than 5, that of the band before",
    ),
    (
        USERS,
        "tiers = [{ fee = '1', up_to = 5 }, { price = '2' }]",
        "tiers[1].price: the first band has a fee, so each has one",
    ),
    (
        USERS,
        "tiers = [{ price = '1', up_to = 5 }, { fee = '2' }]",
        "tiers[1].fee: the first band has a price, so each has one",
    ),
    (USERS, "tiers = [{ fee = { free = '1' } }]", "\"paid\" is missing, an edition with"),
    (USERS, "tiers = [{ fee = '1' }]\nunit = 5", "unit: has no effect with fees; leave it out"),
    (USERS, "tiers = [{ fee = '1' }]\nrounding = 'up'", "rounding: has no effect with fees"),
    (USERS, "tiers = [{ fee = '1' }]\nfree = 5", "free: has no effect with fees; give the first"),
    (
        USERS,
        "tiers = [{ fee = '1' }]\nfree_share_of = { meter = 'base', percent = 5 }",
        "free_share_of: has no effect with fees",
    ),
    (USERS, "price = '1'\nfre = 5", "fre: unknown key; did you mean \"free\"?"),
];

#[test]
fn each_mistake_in_a_row_has_its_report_and_no_other() {
    for (begin, keys, expected) in BROKEN {
        let report = report(&format!("{begin}{keys}"));
        assert!(report.contains(expected), "{begin}{keys}: {report}");
        assert_eq!(report.lines().count(), 1, "{begin}{keys}: {report}");
        assert!(report.contains("metering.meters[2]"), "{report}");
    }
}

#[test]
fn rows_have_ids_of_their_own() {
    let report = report(
        "of = 'groups'\naggregate = 'count_peak'\nprice = '1'\n\
                         [[metering.meters]]\nid = 'base'\nlabel = 'Again'\nof = 'groups'\n\
                         aggregate = 'count_peak'\nprice = '1'",
    );
    assert!(report.contains("\"base\" is the id of an entry above"), "{report}");
}

#[test]
fn a_catalog_lists_the_gauges_and_regions_of_its_rows() {
    let row = |id: &str, of: &str| {
        format!("[[metering.meters]]\nid = \"{id}\"\nlabel = \"Row\"\n{of}price = \"1\"\n")
    };
    let month = "of = \"logins\"\naggregate = \"month_distinct\"\n";
    let rows = [row("a", SUM), row("b", &SUM.replace("\"g\"", "\"h\"")), row("c", USERS)].concat();
    let small = |more: &str| {
        with(&[(BANDWIDTH, &format!("{BANDWIDTH}{ABOVE}{rows}{more}"))]).expect("valid").postpaid
    };
    let rules = small("");
    assert_eq!(rules.gauges().map(Name::as_str).collect::<Vec<_>>(), ["g", "h"]);
    let regions: Vec<_> = rules.bandwidth_regions().map(Name::as_str).collect();
    assert_eq!(regions, ["mainland", "all"]);
    assert!(!rules.needs_month_users());
    assert!(small(&row("d", month)).needs_month_users());
}

#[test]
fn what_is_left_out_is_not_charged_and_binds_nothing() {
    let groups =
        "[metering.groups]\nfirst_day = 4\nfree = 10\nunit = 10\nprice_fen_per_unit = 100\n";
    let dau = "[metering.dau]\nfree = 10\nunit = 10\nprice_fen_per_unit = 100\n";
    let history = "[metering.message_history]\nfree_days = 7\ndays_max = 30\nunit = 10\n\
                   price_fen_per_unit = 100\n";
    let catalog = with(&[]).expect("valid");
    assert_eq!(catalog.allowance(&catalog.editions[0]), Some(Limit::Finite(10)));
    let absent = [(groups, ""), (dau, ""), (history, ""), (BANDWIDTH, "")];
    let catalog = with(&absent).expect("valid");
    assert_eq!(catalog.allowance(&catalog.editions[0]), None);
    let rules = &catalog.postpaid;
    assert!(rules.dau.is_none() && rules.groups.is_none() && rules.history.is_none());
    assert!(rules.regions.is_empty() && rules.meters.is_empty());
}

#[test]
fn editions_may_have_free_days_of_messages_of_their_own() {
    let line = "free_days = 7\n";
    let own = |text: &str| with(&[(line, &format!("{line}free_days_of = {text}\n"))]);
    let history = own("{ paid = 30 }").expect("valid").postpaid.history.expect("it is charged");
    assert_eq!(["free", "paid"].map(|it| history.free_days(&it.into())), [7, 30]);
    for (text, problem) in [
        ("{ pad = 30 }", "free_days_of.pad: unknown key; did you mean \"paid\"?"),
        ("{ paid = 31 }", "days_max: must be at least the free days, which are 31"),
        ("{ paid = 0 }", "free_days_of.paid: must be a whole number from 1 to 3650, not 0"),
        ("30", "free_days_of: must be a table, not 30"),
    ] {
        let found = own(text).expect_err(text);
        assert!(found.contains(problem), "{text}: {found}");
    }
}
