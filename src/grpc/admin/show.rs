//! Apps, purchases and the audit log as messages.

use crate::directory::UnreadableApp;
use crate::domain::agreed::AgreedLimit;
use crate::domain::app_details::AppDetails;
use crate::domain::audit::{Actor, Entry, Event, Head};
use crate::domain::catalog::Catalog;
use crate::domain::decision::Subject;
use crate::domain::id::{AppId, Name, RequestId};
use crate::domain::limit::{Bound, LimitId, Source};
use crate::domain::purchase::{Item, Period, Purchase, Refund};
use crate::domain::refund::Remaining;
use crate::domain::schedule::{Limits, Schedule};
use crate::domain::time::Timestamp;
use crate::domain::timeline::{EditionEnd, PurchaseRun, ServiceState};
use crate::domain::usage::entitled;
use crate::engine::admin::{
    AppView, ExchangeFigures, Overrun, OverrunCount, Preview, SubjectCounts,
};
use crate::grpc::pb;
use crate::proto::{currency, source, timestamp};

/// Converts an app with its purchases and timeline.
pub fn app(catalog: &Catalog, view: &AppView) -> pb::App {
    let sales = &view.record.sales;
    let purchases = sales.purchases.iter().zip(&view.valid).enumerate();
    let purchases = purchases
        .map(|(index, (purchase, valid))| bought(catalog, purchase, *valid, sales.refund_of(index)))
        .collect();
    pb::App { purchases, timeline: timeline(&view.schedule, view.at), ..listed(catalog, view) }
}

/// Converts an app without purchases and timeline.
pub fn listed(catalog: &Catalog, view: &AppView) -> pb::App {
    let AppDetails { display_name, note, im_code_set } = AppDetails::after(&view.record.details);
    pb::App {
        app_id: view.record.app.to_string(),
        created_at: Some(timestamp(view.record.created_at)),
        purchases: Vec::new(),
        entitlement: Some(entitlement(catalog, &view.schedule, view.at, view.edition_end)),
        timeline: Vec::new(),
        pending: view.pending,
        display_name,
        note,
        im_code_set: im_code_set.map_or_else(String::new, |set| set.to_string()),
    }
}

/// Converts an app that cannot be shown.
pub fn unreadable(app: UnreadableApp) -> pb::UnreadableApp {
    pb::UnreadableApp { app_id: app.app, reason: app.reason }
}

/// Converts the entitlement of a schedule at an instant, and the end of its edition.
pub fn entitlement(
    catalog: &Catalog,
    schedule: &Schedule,
    at: Timestamp,
    end: Option<EditionEnd>,
) -> pb::Entitlement {
    let limits = schedule.at(at);
    pb::Entitlement {
        edition_id: limits.edition.to_string(),
        state: state(limits).into(),
        add_on_ids: limits.add_ons.iter().map(Name::to_string).collect(),
        limits: entitled(catalog, limits).iter().map(limit).collect(),
        changes_at: schedule.next_change(at).map(timestamp),
        valid_until: end.map(|end| timestamp(end.valid_until)),
        stops_at: end.map(|end| timestamp(end.stops_at)),
        agreed_limit_ids: agreed_ids(limits),
    }
}

fn agreed_ids(limits: &Limits) -> Vec<String> {
    limits.agreed().map(|(id, _)| id.to_string()).collect()
}

fn timeline(schedule: &Schedule, at: Timestamp) -> Vec<pb::Period> {
    // A running period has no beginning to be shown.
    let mut from = None;
    let segments = schedule.segments().iter().filter(|segment| segment.until > at);
    let period = |segment: &crate::domain::schedule::Segment| {
        let limits = &segment.limits;
        let period = pb::Period {
            from: from.map(timestamp),
            until: (segment.until != Timestamp::MAX).then(|| timestamp(segment.until)),
            edition_id: limits.edition.to_string(),
            state: state(limits).into(),
            add_on_ids: limits.add_ons.iter().map(Name::to_string).collect(),
            agreed_limit_ids: agreed_ids(limits),
        };
        from = Some(segment.until);
        period
    };
    segments.map(period).collect()
}

fn state(limits: &Limits) -> pb::ServiceState {
    match limits.state {
        ServiceState::Active => pb::ServiceState::Active,
        ServiceState::Grace => pb::ServiceState::Grace,
        ServiceState::Stopped => pb::ServiceState::Stopped,
    }
}

fn bought(
    catalog: &Catalog,
    purchase: &Purchase,
    valid: Period,
    refund: Option<&Refund>,
) -> pb::Purchase {
    use pb::purchase::Item as Bought;
    let (item, renewal) = match &purchase.item {
        Item::Edition(name) => (Bought::EditionId(name.to_string()), false),
        Item::Renewal(name) | Item::Restart(name) => (Bought::EditionId(name.to_string()), true),
        Item::AddOn(name) => (Bought::AddOnId(name.to_string()), false),
        Item::Limit(AgreedLimit { limit_id, limit, last_day, note }) => {
            let agreed = pb::AgreedLimit {
                limit_id: limit_id.to_string(),
                limit: limit.finite(),
                note: note.clone(),
                until_date: last_day.map(|day| day.to_string()).unwrap_or_default(),
            };
            (Bought::AgreedLimit(agreed), false)
        }
    };
    pb::Purchase {
        request_id: purchase.request_id.to_string(),
        item: Some(item),
        renewal,
        months: purchase.months,
        price_fen: purchase.price_fen,
        purchased_at: Some(timestamp(purchase.at)),
        valid_from: Some(timestamp(valid.from)),
        valid_until: Some(timestamp(valid.until)),
        refund: refund.map(|refund| pb::Refund {
            request_id: refund.request_id.to_string(),
            refund_fen: refund.refund_fen,
            in_full: refund.in_full,
            refunded_at: Some(timestamp(refund.at)),
        }),
        price_agreed: purchase.agreed_price_fen().is_some(),
        currency: Some(currency(catalog.currency)),
    }
}

/// Converts the calculation of a refund.
pub fn remaining(catalog: &Catalog, remaining: Remaining) -> pb::RemainingValue {
    let Remaining { price_fen, days, days_used, in_full, refund_fen } = remaining;
    let currency = Some(currency(catalog.currency));
    pb::RemainingValue { price_fen, days, days_used, in_full, refund_fen, currency }
}

/// Converts the figures of an exchange: its refunds, with their purchases in the app, and its sum.
pub fn exchange(
    catalog: &Catalog,
    app: Option<&pb::App>,
    figures: Option<ExchangeFigures>,
) -> (Vec<pb::RefundedPurchase>, i64) {
    let Some(ExchangeFigures { refunds, sum_fen }) = figures else { return (Vec::new(), 0) };
    let purchase = |index: usize| app.and_then(|app| app.purchases.get(index)).cloned();
    let refund = |(index, value)| pb::RefundedPurchase {
        purchase: purchase(index),
        value: Some(remaining(catalog, value)),
    };
    (refunds.into_iter().map(refund).collect(), sum_fen)
}

fn limit((limit_id, bound): &(LimitId, Bound)) -> pb::EntitledLimit {
    let (source, source_id) = source(&bound.source);
    pb::EntitledLimit {
        limit_id: limit_id.to_string(),
        limit: bound.limit.finite(),
        source: source.into(),
        source_id,
    }
}

/// Converts a preview.
pub fn preview(catalog: &Catalog, preview: &Preview) -> pb::PreviewEntitlementResponse {
    let Preview { now, schedule_now, end_now, at, schedule_then, end_then, .. } = preview;
    pb::PreviewEntitlementResponse {
        now: Some(entitlement(catalog, schedule_now, *now, *end_now)),
        then: Some(entitlement(catalog, schedule_then, *at, *end_then)),
        at: Some(timestamp(*at)),
        price_fen: preview.price_fen,
        overruns: preview.overruns().iter().map(overrun).collect(),
        everybody: preview.overrun_counts.is_some(),
        overrun_counts: preview.overrun_counts.iter().flatten().map(counted).collect(),
        sale: preview.sale.map(sale),
        subjects: preview.subjects.iter().map(subject_counts).collect(),
        refunds: preview.refunds.iter().map(|it| previewed_refund(catalog, it)).collect(),
        sum_fen: preview.sum_fen,
        currency: Some(currency(catalog.currency)),
    }
}

fn previewed_refund(
    catalog: &Catalog,
    (purchase, value): &(RequestId, Remaining),
) -> pb::PreviewedRefund {
    let purchase_request_id = purchase.to_string();
    pb::PreviewedRefund { purchase_request_id, value: Some(remaining(catalog, *value)) }
}

fn sale(PurchaseRun { valid, stops_at }: PurchaseRun) -> pb::PreviewedSale {
    pb::PreviewedSale {
        valid_from: Some(timestamp(valid.from)),
        valid_until: Some(timestamp(valid.until)),
        stops_at: Some(timestamp(stops_at)),
    }
}

fn subject_counts(of: &SubjectCounts) -> pb::PreviewedSubject {
    let counts = of.counts.iter().flatten().map(|count| pb::PreviewedCount {
        limit_id: count.limit_id.to_string(),
        used: count.used,
        limit_now: count.limit_now,
        limit_then: count.limit_then,
        over: count.exceeded_limit().is_some(),
    });
    pb::PreviewedSubject {
        subject: Some(subject(&of.subject)),
        not_found: of.counts.is_none(),
        counts: counts.collect(),
    }
}

fn subject(subject: &Subject) -> pb::Subject {
    use pb::subject::Kind;
    let kind = match subject {
        Subject::App => Kind::App(pb::AppSubject {}),
        Subject::User(user) => Kind::UserId(user.to_string()),
        Subject::Group(group) => Kind::GroupId(group.to_string()),
    };
    pb::Subject { kind: Some(kind) }
}

fn overrun(overrun: &Overrun) -> pb::Overrun {
    pb::Overrun {
        subject: Some(subject(&overrun.subject)),
        limit_id: overrun.limit_id.to_string(),
        used: overrun.used,
        limit: overrun.limit,
    }
}

/// Converts the number of subjects that would be over the same limit.
fn counted(count: &OverrunCount) -> pb::OverrunCount {
    let (source, source_id) = match &count.source {
        // Many groups, none of them named.
        Source::Group(_) => (pb::LimitSource::Group, String::new()),
        named => source(named),
    };
    pb::OverrunCount {
        limit_id: count.limit_id.to_string(),
        group_type: count.group_type.as_ref().map(Name::to_string).unwrap_or_default(),
        limit: count.limit,
        source: source.into(),
        source_id,
        subjects: count.subjects,
        highest_used: count.highest_used,
    }
}

/// Converts an entry of the audit log.
pub fn audit_event(entry: Entry) -> pb::AuditEvent {
    let Entry { head, previous, event } = entry;
    pb::AuditEvent {
        number: head.number,
        made_at: Some(timestamp(event.at)),
        actor: event.actor.name,
        from: event.actor.from,
        action: event.action,
        request: event.request,
        app_id: event.app.map(|app| app.to_string()).unwrap_or_default(),
        request_id: event.request_id,
        before: event.before,
        after: event.after,
        previous_hash: previous,
        hash: head.hash,
    }
}

/// Parses an entry of the audit log from its message; the error is the problem.
pub fn audit_entry(message: pb::AuditEvent) -> Result<Entry, String> {
    let app = Some(message.app_id).filter(|app| !app.is_empty()).map(AppId::try_from);
    let at = message.made_at.unwrap_or_default();
    Ok(Entry {
        head: Head { number: message.number, hash: message.hash },
        previous: message.previous_hash,
        event: Event {
            at: Timestamp::from_millis(at.seconds * 1000 + i64::from(at.nanos) / 1_000_000),
            actor: Actor { name: message.actor, from: message.from },
            action: message.action,
            request: message.request,
            app: app.transpose().map_err(|error| error.to_string())?,
            request_id: message.request_id,
            before: message.before,
            after: message.after,
        },
    })
}
