//! Decodes a TOML document to a [`Catalog`], and checks every rule of a catalog.
//!
//! Every problem is reported to the document, so that all of them are listed together; a rule that
//! relates entries to one another is only checked if those entries could be read. Editions and
//! add-ons are read in [`super::offers`], IM codes in [`super::im_codes`].

use crate::diagnostics::join_quoted;
use crate::diagnostics::toml::{Document, Table, Value};
use crate::domain::calendar::{LastDay, Zone};
use crate::domain::catalog::{AfterGrace, Batch, Catalog, UnknownApps, Validity};
use crate::domain::currency::{Currency, MINOR_DIGITS_MAX};
use crate::domain::group_type::GroupType;
use crate::domain::hold::HoldRules;
use crate::domain::id::{NAME_MAX_BYTES, Name};
use crate::domain::id_rules::{ID_MAX_BYTES, IdCharset, IdRules};
use crate::domain::im_code::ImCodes;
use crate::domain::limit::{LIMIT_MAX, Limit};
use crate::domain::selling::{FeeRule, RefundRule};

use super::failure;
use super::im_codes;
use super::offers;
use super::postpaid;

/// Version of the file layout that this program reads.
pub(super) const SCHEMA: i64 = 1;
/// Longest version, in bytes: it is a label of metrics.
const VERSION_MAX_BYTES: usize = 64;
/// Longest label, in characters: it is part of messages.
const LABEL_MAX_CHARS: usize = 64;
/// Most ids in one call, so that an operation stays one short step of the store.
const BATCH_MAX: i64 = 10_000;
/// Greatest bound on unregistered apps: the same as the greatest limit.
const UNKNOWN_APPS_MAX: i64 = 1_000_000_000;
/// Longest grace: a year.
const GRACE_MAX_DAYS: i64 = 366;
/// Most refunds in full of one app: as many as it can make purchases.
const FULL_REFUNDS_MAX: i64 = 10_000;
/// Most group types: several times the number that IM clouds have.
const GROUP_TYPES_MAX: usize = 64;
/// The longest hold that a catalog may admit, in seconds.
const HOLD_SECONDS_MAX: i64 = 3600;
/// Most hours for which a catalog may keep the records of holds.
const HOLD_KEPT_HOURS_MAX: i64 = 31 * 24;
/// Most facts in the records of holds that a catalog may admit.
const HOLD_FACTS_MAX: i64 = 100_000_000;

/// Decodes the catalog of a document; `None` if it has problems.
pub(super) fn catalog(document: &Document<'_>) -> Option<Catalog> {
    let root = document.root();
    let schema = root.required("schema");
    if let Some(schema) = &schema
        && schema.as_integer() != Some(SCHEMA)
    {
        // Other layouts have other rules, so the rest is not checked.
        return schema.or_wrong(None, &format!("{SCHEMA}, the layout that this version reads"));
    }
    let version = root.required("version").and_then(|value| version(&value));
    let zone = root.required("time_zone").and_then(|value| zone(&value));
    let currency = currency(&root);
    let validity = section(&root, "validity", validity);
    let groups_per_day = section(&root, "groups", |groups| required_limit(groups, "per_day", 0));
    let ids = match root.optional("ids") {
        Some(_) => section(&root, "ids", ids),
        // Catalogs of the previous version have no such section.
        None => Some(IdRules::default()),
    };
    let batch = section(&root, "batch", |table| batch(table, ids));
    let failure = section(&root, "failure", failure::failure);
    let unknown_apps = match root.optional("unknown_apps") {
        Some(_) => section(&root, "unknown_apps", unknown_apps),
        // Nor one like this.
        None => Some(UnknownApps::default()),
    };
    let holds = match root.optional("holds") {
        Some(_) => section(&root, "holds", holds),
        // A catalog of the previous version has no such section.
        None => Some(HoldRules::default()),
    };
    let im_codes = section(&root, "im_codes", im_codes::im_codes);
    let im_code_sets = im_codes::sets(&root);
    let types = root
        .required("group_types")
        .and_then(|value| value.tables(1..=GROUP_TYPES_MAX))
        .unwrap_or_default();
    let type_names = Names::of_types(&types);
    let codes_of_types: Vec<_> = types.iter().map(im_codes::of_type).collect();
    let group_types: Vec<_> = types.into_iter().map(group_type).collect();
    let sold = offers::sold(&root, &type_names);
    let editions = sold.editions.as_deref();
    let postpaid = section(&root, "metering", |table| postpaid::postpaid(table, editions));
    root.finish();
    schema?;
    Some(Catalog {
        version: version?,
        zone: zone?,
        currency: currency?,
        default_edition: sold.default_edition?,
        editions: sold.editions?,
        add_ons: sold.add_ons?,
        group_types: group_types.into_iter().collect::<Option<_>>()?,
        groups_per_day: groups_per_day?,
        validity: validity?,
        postpaid: postpaid?,
        failure: failure?,
        unknown_apps: unknown_apps?,
        ids: ids?,
        holds: holds?,
        batch: batch?,
        im_codes: ImCodes {
            by_type: codes_of_types.into_iter().collect::<Option<Vec<_>>>()?.concat(),
            sets: im_code_sets?,
            ..im_codes?
        },
    })
}

/// Names of a list's entries.
pub(super) struct Names {
    pub(super) known: Vec<Name>,
    /// Those of group types whose members are not tracked.
    pub(super) untracked: Vec<Name>,
    /// True if every entry's name could be read, so that a name which is not here does not exist.
    pub(super) complete: bool,
}

impl Names {
    /// Reads the name of each entry under `key`; duplicates are problems.
    pub(super) fn of(entries: &[Table<'_>], key: &str) -> Self {
        let (known, untracked) = (Vec::new(), Vec::new());
        let mut names = Self { known, untracked, complete: !entries.is_empty() };
        for entry in entries {
            let value = entry.required(key);
            let Some((value, name)) = value.and_then(|value| Some((value.clone(), name(&value)?)))
            else {
                names.complete = false;
                continue;
            };
            if names.known.contains(&name) {
                value.problem(format!("\"{name}\" is the {key} of an entry above"));
            }
            names.known.push(name);
        }
        names
    }

    /// Reads the names of group types.
    fn of_types(types: &[Table<'_>]) -> Self {
        let is_untracked = |of: &&Table<'_>| {
            of.optional("members_tracked").and_then(|it| it.as_boolean()) == Some(false)
        };
        let untracked = types.iter().filter(is_untracked);
        let names = untracked.filter_map(|of| Some(Name::from(of.optional("name")?.as_str()?)));
        let untracked = names.collect();
        Self { untracked, ..Self::of(types, "name") }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.known.iter().any(|other| other.as_str() == name)
    }

    pub(super) fn listed(&self) -> String {
        join_quoted(self.known.iter())
    }
}

/// Reads the name of an entry: its characters are harmless in ids, keys and commands.
pub(super) fn name(value: &Value<'_>) -> Option<Name> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let good = value
        .as_str()
        .filter(|text| (1..=NAME_MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed));
    value.or_wrong(good, "1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'").map(Name::from)
}

pub(super) fn label(entry: &Table<'_>) -> Option<String> {
    let value = entry.required("label")?;
    let good = value.as_str().filter(|text| {
        (1..=LABEL_MAX_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    });
    value
        .or_wrong(good, "1 to 64 characters, none of them control characters")
        .map(ToOwned::to_owned)
}

pub(super) fn required_limit(table: &Table<'_>, key: &str, least: u64) -> Option<Limit> {
    table.required(key).and_then(|value| limit(&value, least))
}

/// Reads a number or "unlimited"; 0 means that nothing is allowed, if `least` admits it.
pub(super) fn limit(value: &Value<'_>, least: u64) -> Option<Limit> {
    let limit = match value.as_str() {
        Some("unlimited") => Some(Limit::Unlimited),
        _ => value
            .as_integer()
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| (least..=LIMIT_MAX).contains(number))
            .map(Limit::Finite),
    };
    let expected = format!("a whole number from {least} to {LIMIT_MAX} or \"unlimited\"");
    value.or_wrong(limit, &expected)
}

pub(super) fn required_boolean(table: &Table<'_>, key: &str) -> Option<bool> {
    table.required(key).and_then(|value| value.boolean())
}

pub(super) fn section<T>(
    root: &Table<'_>,
    key: &str,
    read: impl FnOnce(&Table<'_>) -> Option<T>,
) -> Option<T> {
    let table = root.required(key)?.table()?;
    let section = read(&table);
    table.finish();
    section
}

fn version(value: &Value<'_>) -> Option<String> {
    let good = value.as_str().filter(|text| {
        (1..=VERSION_MAX_BYTES).contains(&text.len())
            && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
    });
    value.or_wrong(good, "1 to 64 characters of printable ASCII").map(ToOwned::to_owned)
}

/// Reads `currency` and `minor_digits`; catalogs of the previous version have neither.
fn currency(root: &Table<'_>) -> Option<Currency> {
    let Some(code) = root.optional("currency") else {
        if let Some(digits) = root.optional("minor_digits") {
            digits.problem("needs a `currency`");
            return None;
        }
        return Some(Currency::default());
    };
    let digits = root.required("minor_digits");
    let digits = digits.and_then(|digits| digits.integer(0..=i64::from(MINOR_DIGITS_MAX)));
    let currency = code.as_str().and_then(|code| Currency::new(code, digits.unwrap_or_default()));
    let expected = "three capital letters of ISO 4217, such as \"USD\"";
    code.or_wrong(currency, expected).filter(|_| digits.is_some())
}

fn zone(value: &Value<'_>) -> Option<Zone> {
    let zone = value.as_str().and_then(Zone::named);
    value.or_wrong(zone, "the name of an IANA time zone, such as \"Asia/Shanghai\"")
}

fn validity(table: &Table<'_>) -> Option<Validity> {
    let days = |key| table.required(key).and_then(|value| value.integer(0..=GRACE_MAX_DAYS));
    let (edition_grace_days, add_on_grace_days) =
        (days("edition_grace_days"), days("add_on_grace_days"));
    let after_grace = table.required("after_grace").and_then(|value| {
        word(&value, [("stop", AfterGrace::Stop), ("default_edition", AfterGrace::DefaultEdition)])
    });
    let full_refund_days = days("full_refund_days");
    let full_refunds_per_app = table
        .required("full_refunds_per_app")
        .and_then(|value| value.integer(0..=FULL_REFUNDS_MAX));
    // Catalogs of the previous version have none of these.
    let last_days = [("before", LastDay::Before), ("same", LastDay::Same)];
    let last_day = optional_word(table, "last_day", last_days);
    let refund =
        optional_word(table, "refund", [("days", RefundRule::Days), ("none", RefundRule::Nothing)]);
    let fees = [("months", FeeRule::Months), ("calendar_days", FeeRule::CalendarDays)];
    let fee = optional_word(table, "fee", fees);
    Some(Validity {
        edition_grace_days: edition_grace_days?,
        add_on_grace_days: add_on_grace_days?,
        after_grace: after_grace?,
        full_refund_days: full_refund_days?,
        full_refunds_per_app: full_refunds_per_app?,
        last_day: last_day?,
        refund: refund?,
        fee: fee?,
    })
}

/// Reads one of two words.
fn word<T>(value: &Value<'_>, words: [(&str, T); 2]) -> Option<T> {
    let expected = format!("\"{}\" or \"{}\"", words[0].0, words[1].0);
    let mut words = words.into_iter();
    let found = words.find(|(word, _)| value.as_str() == Some(word));
    value.or_wrong(found.map(|(_, meaning)| meaning), &expected)
}

/// Reads one of two words; the default if the key is absent.
fn optional_word<T: Default>(table: &Table<'_>, key: &str, words: [(&str, T); 2]) -> Option<T> {
    table.optional(key).map_or_else(|| Some(T::default()), |value| word(&value, words))
}

/// Reads the sizes of batches, of which a request must hold the longest ids.
fn batch(table: &Table<'_>, ids: Option<IdRules>) -> Option<Batch> {
    let max = |key| {
        let value = table.required(key)?;
        let most: usize = value.integer(1..=BATCH_MAX)?;
        if let Some(ids) = ids
            && most > ids.batch_max()
        {
            let (fitting, bytes) = (ids.batch_max(), ids.user_max_bytes);
            value.problem(format!(
                "must be at most {fitting} with user ids of {bytes} bytes, so that a request holds \
                 them, not {most}"
            ));
        }
        Some(most)
    };
    let (accounts_max, members_max, friends_max) =
        (max("accounts_max"), max("members_max"), max("friends_max"));
    Some(Batch {
        accounts_max: accounts_max?,
        members_max: members_max?,
        friends_max: friends_max?,
    })
}

fn unknown_apps(table: &Table<'_>) -> Option<UnknownApps> {
    let bound = |key| table.required(key).and_then(|value| value.integer(0..=UNKNOWN_APPS_MAX));
    let (max, facts_per_app_max) = (bound("max"), bound("facts_per_app_max"));
    Some(UnknownApps { max: max?, facts_per_app_max: facts_per_app_max? })
}

fn ids(table: &Table<'_>) -> Option<IdRules> {
    let longest = i64::try_from(ID_MAX_BYTES).unwrap_or(i64::MAX);
    let max = |key| table.required(key).and_then(|value| value.integer(1..=longest));
    let (user_max_bytes, group_max_bytes) = (max("user_max_bytes"), max("group_max_bytes"));
    let charset = table.required("charset").and_then(|value| {
        let all = [IdCharset::Ascii, IdCharset::Utf8];
        let charset = all.into_iter().find(|it| value.as_str() == Some(it.name()));
        value.or_wrong(charset, "\"ascii\" or \"utf8\"")
    });
    Some(IdRules {
        user_max_bytes: user_max_bytes?,
        group_max_bytes: group_max_bytes?,
        charset: charset?,
    })
}

fn holds(table: &Table<'_>) -> Option<HoldRules> {
    let seconds = table.required("seconds_max").and_then(|it| it.integer(1..=HOLD_SECONDS_MAX));
    let hours = table.required("kept_hours").and_then(|it| it.integer(1..=HOLD_KEPT_HOURS_MAX));
    let facts = table.required("facts_max").and_then(|it| it.integer(0..=HOLD_FACTS_MAX));
    Some(HoldRules { seconds_max: seconds?, kept_hours: hours?, facts_max: facts? })
}

fn group_type(table: Table<'_>) -> Option<GroupType> {
    // Problems of the name were reported with the names of all types.
    let name = table.optional("name").and_then(|value| value.as_str()).map(Name::from);
    let label = label(&table);
    let members_tracked = required_boolean(&table, "members_tracked");
    let member_cap = required_limit(&table, "member_cap", 1);
    let counts_towards_user = required_boolean(&table, "counts_towards_user");
    let per_app = required_limit(&table, "per_app", 0);
    let per_day = required_limit(&table, "per_day", 0);
    let reclaim_empty = required_boolean(&table, "reclaim_empty");
    let per_app_im_code = im_codes::required_number(&table, "per_app_im_code");
    if members_tracked == Some(false) {
        for (key, is_valid, expected) in [
            ("member_cap", member_cap.map(|cap| cap == Limit::Unlimited), "\"unlimited\""),
            ("counts_towards_user", counts_towards_user.map(|counts| !counts), "false"),
            ("reclaim_empty", reclaim_empty.map(|reclaim| !reclaim), "false"),
        ] {
            if let (Some(false), Some(value)) = (is_valid, table.optional(key)) {
                value.problem(format!("must be {expected} where members_tracked is false"));
            }
        }
    }
    table.finish();
    Some(GroupType {
        name: name?,
        label: label?,
        member_cap: member_cap?,
        members_tracked: members_tracked?,
        counts_towards_user: counts_towards_user?,
        per_app: per_app?,
        per_day: per_day?,
        reclaim_empty: reclaim_empty?,
        per_app_im_code: per_app_im_code?,
    })
}
