//! Decisions from the domain to protobuf.

use super::pb;
use super::request::Ids;
use crate::domain::decision::{ItemResult, Outcome};
use crate::domain::history::History;
use crate::domain::limit::Limit;
use crate::domain::metering::MeterOutcome;
use crate::domain::time::Timestamp;
use crate::domain::upgrade::{Offer, Upgrade};
use crate::domain::usage::Usage;
use crate::engine::{Decision, Degradation, Denial, UsageReport};
use crate::ledger::metering::Metered;
use crate::proto::{currency, reason, source, subject, timestamp};

/// A response that is made of a decision and the request's ids.
pub trait FromDecision {
    /// Makes the response.
    fn from_decision(decision: Decision, ids: Ids) -> Self;
}

macro_rules! results_per_item {
    ($($answer:ident),*) => {$(
        impl FromDecision for pb::$answer {
            fn from_decision(decision: Decision, ids: Ids) -> Self {
                let info = Some(info(&decision));
                Self { results: results(ids.items, decision.items), decision: info }
            }
        }
    )*};
}

results_per_item!(
    CreateAccountsResponse,
    DeleteAccountsResponse,
    AddFriendsResponse,
    RemoveFriendsResponse,
    JoinGroupResponse
);

impl FromDecision for pb::LeaveGroupResponse {
    fn from_decision(decision: Decision, ids: Ids) -> Self {
        Self {
            decision: Some(info(&decision)),
            group_reclaimed: decision.group_reclaimed,
            results: results(ids.items, decision.items),
        }
    }
}

impl FromDecision for pb::CreateGroupResponse {
    fn from_decision(decision: Decision, ids: Ids) -> Self {
        Self {
            decision: Some(info(&decision)),
            group: decision.whole.map(|item| result(ids.whole, item)),
            members: results(ids.items, decision.items),
        }
    }
}

impl FromDecision for pb::UpdateGroupResponse {
    fn from_decision(decision: Decision, ids: Ids) -> Self {
        Self {
            decision: Some(info(&decision)),
            result: decision.whole.map(|item| result(ids.whole, item)),
        }
    }
}

impl FromDecision for pb::DissolveGroupResponse {
    fn from_decision(decision: Decision, ids: Ids) -> Self {
        Self {
            decision: Some(info(&decision)),
            members_released: decision.members_released,
            result: decision.whole.map(|item| result(ids.whole, item)),
        }
    }
}

impl From<UsageReport> for pb::GetUsageResponse {
    fn from(report: UsageReport) -> Self {
        Self {
            usages: report
                .usages
                .iter()
                .zip(report.held)
                .map(|(it, held)| usage(it, held))
                .collect(),
            service_stopped: report.stopped,
            decision: Some(exact_at(report.read_at)),
            history: report.history.into_iter().map(history).collect(),
        }
    }
}

impl From<Metered<Denial>> for pb::RecordLoginsResponse {
    fn from(metered: Metered<Denial>) -> Self {
        let outcomes = metered.outcomes.into_iter().map(meter_outcome).collect();
        let denied = metered.violations.into_iter().map(|(index, denials)| pb::LoginDenials {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            denials: denials.into_iter().map(denial).collect(),
        });
        Self { outcomes, decision: Some(exact_at(metered.at)), denied: denied.collect() }
    }
}

macro_rules! from_metered {
    ($($response:ident)*) => {$(
        impl From<Metered> for pb::$response {
            fn from(metered: Metered) -> Self {
                let outcomes = metered.outcomes.into_iter().map(meter_outcome).collect();
                Self { outcomes, decision: Some(exact_at(metered.at)) }
            }
        }
    )*};
}

from_metered! { ReportBandwidthResponse ReportGaugeResponse }

fn meter_outcome(outcome: MeterOutcome) -> i32 {
    let outcome = match outcome {
        MeterOutcome::Counted => pb::MeterOutcome::Counted,
        MeterOutcome::AlreadyCounted => pb::MeterOutcome::AlreadyCounted,
        MeterOutcome::TooLate => pb::MeterOutcome::TooLate,
        MeterOutcome::InFuture => pb::MeterOutcome::InFuture,
        MeterOutcome::Denied => pb::MeterOutcome::Denied,
    };
    outcome.into()
}

fn history(history: History) -> pb::UsageHistory {
    pb::UsageHistory {
        measure: history.measure.to_string(),
        today: history.days.last().copied().unwrap_or(0),
        month_peak: history.month_peak,
        days: history.days,
        first_day: history.first.to_string(),
    }
}

fn info(decision: &Decision) -> pb::DecisionInfo {
    info_of(decision.decided_at, decision.degradation)
}

/// Returns the metadata of a decision.
pub fn info_of(at: Timestamp, degradation: Option<Degradation>) -> pb::DecisionInfo {
    let degradation = degradation.map(Degradation::sentence).unwrap_or_default();
    pb::DecisionInfo { degradation: degradation.to_owned(), ..exact_at(at) }
}

fn exact_at(at: Timestamp) -> pb::DecisionInfo {
    pb::DecisionInfo { decided_at: Some(timestamp(at)), degradation: String::new() }
}

fn results(ids: Vec<String>, items: Vec<ItemResult<Denial>>) -> Vec<pb::Result> {
    ids.into_iter().zip(items).map(|(id, item)| result(id, item)).collect()
}

fn result(id: String, item: ItemResult<Denial>) -> pb::Result {
    let outcome = match item.outcome {
        Outcome::Applied | Outcome::Repeated => pb::Outcome::Applied,
        Outcome::AlreadyHeld => pb::Outcome::AlreadyHeld,
        Outcome::NotHeld => pb::Outcome::NotHeld,
        Outcome::Denied => pb::Outcome::Denied,
        Outcome::Aborted => pb::Outcome::Aborted,
    };
    let denials = item.violations.into_iter().map(denial).collect();
    let repeated = item.outcome == Outcome::Repeated;
    pb::Result { id, outcome: outcome.into(), denials, repeated }
}

/// Converts a denial.
pub fn denial(denial: Denial) -> pb::Denial {
    let violation = denial.violation;
    let (source, source_id) = source(&violation.bound.source);
    pb::Denial {
        reason: reason(violation.reason).into(),
        limit_id: violation.limit_id.to_string(),
        subject: Some(subject(&violation.subject)),
        used: violation.used,
        limit: violation.bound.limit.finite().unwrap_or(u64::MAX),
        requested: 1,
        source: source.into(),
        source_id,
        im_error_code: denial.im_code.number,
        im_error_name: denial.im_code.name.map_or_else(String::new, |name| name.to_string()),
        message: denial.message,
        upgrades: denial.upgrades.into_iter().map(upgrade).collect(),
    }
}

fn upgrade(upgrade: Upgrade) -> pb::Upgrade {
    use pb::upgrade::Item;
    let replaced = upgrade.replaces.map_or_else(String::new, |name| name.to_string());
    let (item, replaces_edition_id, replaces_add_on_id) = match upgrade.offer {
        Offer::Edition(name) => (Item::EditionId(name.to_string()), replaced, String::new()),
        Offer::AddOn(name) => (Item::AddOnId(name.to_string()), String::new(), replaced),
    };
    pb::Upgrade {
        item: Some(item),
        new_limit: upgrade.new_limit.finite(),
        price_fen_per_month: upgrade.price_fen_per_month,
        replaces_add_on_id,
        replaces_edition_id,
        currency: Some(currency(upgrade.currency)),
    }
}

fn usage(usage: &Usage, held: u64) -> pb::Usage {
    let (source, source_id) = source(&usage.bound.source);
    pb::Usage {
        limit_id: usage.limit_id.to_string(),
        used: usage.used,
        held,
        limit: usage.bound.limit.finite(),
        source: source.into(),
        source_id,
        changes_at: usage.change.map(|change| timestamp(change.at)),
        future_limit: usage.change.map(|change| pb::FutureLimit {
            limit: if change.stopped { None } else { Limit::finite(change.limit) },
            service_stopped: change.stopped,
        }),
    }
}
