//! Previews: the entitlements of an app after a change, and the counts that would be over a limit.

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::overrun_scan::OverrunCount;
use super::pace::SLICE_ITEMS;
use super::service::AdminService;
use super::{AdminError, schedule};
use crate::directory::AppRecord;
use crate::domain::catalog::Catalog;
use crate::domain::decision::{Mode, Subject};
use crate::domain::exchange::{Exchange, ExchangeOrder};
use crate::domain::id::{AppId, GroupId, RequestId, UserId};
use crate::domain::limit::LimitId;
use crate::domain::purchase::{Order, Purchase, Refund, Refusal};
use crate::domain::refund::Remaining;
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::domain::timeline::{EditionEnd, PurchaseRun, Timeline};
use crate::domain::usage::{Counts, Usage, usages};
use crate::ledger::LedgerError;

/// Most slices of subjects whose counts are read concurrently.
const SLICES_IN_FLIGHT_MAX: usize = 4;

/// Placeholder for the id of the request that would make the change.
const PREVIEW: &str = "preview";

/// A change to be previewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviewChange {
    /// A purchase for a number of months, and the agreed price in fen, if there is one.
    Purchase(Order, u32, Option<i64>),
    /// The refund of the purchase that this request made.
    Refund(RequestId),
    /// An exchange.
    Exchange(ExchangeOrder),
}

/// Request of a preview: a change and an instant, and the subjects to check besides the app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviewRequest {
    /// The change, if any.
    pub change: Option<PreviewChange>,
    /// The instant; `None`: now.
    pub at: Option<Timestamp>,
    /// Users whose counts are compared with their limits.
    pub users: Vec<UserId>,
    /// Groups whose counts are compared with their limits.
    pub groups: Vec<GroupId>,
    /// True if all users and groups are scanned too.
    pub overrun_scan: bool,
}

/// A count, with its limit now and at the instant of the preview; `None` is unlimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The limit.
    pub limit_id: LimitId,
    /// The number held.
    pub used: i64,
    /// The number that may be held now.
    pub limit_now: Option<u64>,
    /// The number that may be held at the instant of the preview.
    pub limit_then: Option<u64>,
}

impl Count {
    /// Returns the limit at the instant of the preview, if the count is over it.
    #[must_use]
    pub fn exceeded_limit(&self) -> Option<u64> {
        self.limit_then.filter(|limit| is_over(self.used, *limit))
    }
}

/// The counts of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectCounts {
    /// The subject.
    pub subject: Subject,
    /// Its counts; `None` if the group does not exist.
    pub counts: Option<Vec<Count>>,
}

impl SubjectCounts {
    /// Returns every count that would be over its limit.
    pub fn overruns(&self) -> impl Iterator<Item = Overrun> {
        self.counts.iter().flatten().filter_map(|count| {
            let (subject, limit_id) = (self.subject.clone(), count.limit_id.clone());
            Some(Overrun { subject, limit_id, used: count.used, limit: count.exceeded_limit()? })
        })
    }
}

/// A count that is over its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overrun {
    /// The subject of the count.
    pub subject: Subject,
    /// The limit.
    pub limit_id: LimitId,
    /// The number held.
    pub used: i64,
    /// The number that may be held.
    pub limit: u64,
}

/// Result of a preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The current instant, by the store's clock.
    pub now: Timestamp,
    /// The current limits.
    pub schedule_now: Schedule,
    /// The end of the current edition.
    pub end_now: Option<EditionEnd>,
    /// The instant of the preview.
    pub at: Timestamp,
    /// The limits after the change.
    pub schedule_then: Schedule,
    /// The end of the edition at the instant of the preview.
    pub end_then: Option<EditionEnd>,
    /// The run of the previewed sale; `None` if no sale is previewed.
    pub sale: Option<PurchaseRun>,
    /// The price of the change, in fen; negative for a refund. Of an exchange that of its purchase.
    pub price_fen: i64,
    /// The sum to pay for the change, in fen; negative if it is paid out.
    pub sum_fen: i64,
    /// The purchases that the change refunds, each with the figures.
    pub refunds: Vec<(RequestId, Remaining)>,
    /// The app, the users and the groups, with their counts.
    pub subjects: Vec<SubjectCounts>,
    /// Numbers of all users and groups that would be over a limit; `None` if no scan was requested.
    pub overrun_counts: Option<Vec<OverrunCount>>,
}

impl Preview {
    /// Returns every count that would be over its limit, in the order of the subjects.
    #[must_use]
    pub fn overruns(&self) -> Vec<Overrun> {
        self.subjects.iter().flat_map(SubjectCounts::overruns).collect()
    }
}

impl AdminService {
    pub(super) async fn preview(
        &self,
        app: &AppId,
        request: PreviewRequest,
    ) -> Result<Preview, AdminError> {
        let PreviewRequest { change, at, users, groups, overrun_scan } = request;
        let record = self.directory.app(app).await?;
        let record = record.ok_or_else(|| AdminError::UnknownApp(app.clone()))?;
        let (catalog, now) = (self.engine.catalog(), self.engine.now().await?);
        let at = at.unwrap_or(now).max(now);
        let schedule_now = schedule(&catalog, &record, now)?;
        let end_now = Timeline::new(&catalog, &record.sales).edition_end(now);
        let is_sale =
            matches!(change, Some(PreviewChange::Purchase(..) | PreviewChange::Exchange(_)));
        let made = self.changed_by(record, change, now)?;
        let Made { record: then, price_fen, sum_fen, refunds } = made;
        let schedule_then = schedule(&catalog, &then, now)?;
        let timeline = Timeline::new(&catalog, &then.sales);
        let sale = timeline.last_purchase().filter(|_| is_sale);
        let subjects = std::iter::once(Subject::App)
            .chain(users.into_iter().map(Subject::User))
            .chain(groups.into_iter().map(Subject::Group));
        let subjects: Vec<Subject> = subjects.collect();
        let compared = Compared { now, schedule_now: &schedule_now, at, schedule: &schedule_then };
        let subjects = self.counts_of_all(app, &subjects, compared).await?;
        let overrun_counts = if overrun_scan {
            Some(self.overrun_counts(app, &catalog, &schedule_then, at).await?)
        } else {
            None
        };
        let end_then = timeline.edition_end(at);
        Ok(Preview {
            now,
            schedule_now,
            end_now,
            at,
            schedule_then,
            end_then,
            sale,
            price_fen,
            sum_fen,
            refunds,
            subjects,
            overrun_counts,
        })
    }

    fn changed_by(
        &self,
        mut record: AppRecord,
        change: Option<PreviewChange>,
        now: Timestamp,
    ) -> Result<Made, AdminError> {
        let catalog = self.engine.catalog();
        let at = record.sales.last_at().map_or(now, |last| now.max(last));
        let request_id = RequestId::try_from(PREVIEW).expect("it is printable and short");
        let refunded_before = record.sales.refunds.len();
        let sales = &mut record.sales;
        let (price_fen, sum_fen) = match change {
            None => (0, 0),
            Some(PreviewChange::Purchase(order, months, price_fen)) => {
                let bought = Purchase::of_order(&catalog, sales, request_id, &order, months, at)?;
                let bought = bought.at_price(price_fen);
                let price_fen = bought.price_fen;
                sales.purchases.push(bought);
                (price_fen, price_fen)
            }
            Some(PreviewChange::Refund(of)) => {
                let made = Refund::of_purchase(&catalog, sales, request_id, &of, at)?;
                let refund_fen = made.refund_fen;
                sales.refunds.push(made);
                (-refund_fen, -refund_fen)
            }
            Some(PreviewChange::Exchange(order)) => {
                let exchange = Exchange::of_order(&catalog, sales, &request_id, &order, at)?;
                let figures = (exchange.purchase.price_fen, exchange.sum_fen());
                exchange.add_to(sales);
                figures
            }
        };
        let sales = &record.sales;
        let figures = |index: usize| {
            let of = &sales.purchases[sales.refunds[index].purchase];
            Ok::<_, Refusal>((of.request_id.clone(), Remaining::of_made(&catalog, sales, index)?))
        };
        let refunds = (refunded_before..sales.refunds.len()).map(figures);
        let refunds = refunds.collect::<Result<_, _>>()?;
        Ok(Made { record, price_fen, sum_fen, refunds })
    }

    /// Returns the subjects' counts with their limits, in the order of the subjects.
    async fn counts_of_all(
        &self,
        app: &AppId,
        subjects: &[Subject],
        compared: Compared<'_>,
    ) -> Result<Vec<SubjectCounts>, AdminError> {
        let slices = subjects.chunks(SLICE_ITEMS).enumerate();
        let slices: Vec<_> = slices
            .map(|(index, slice)| self.counts_of_slice(app, index, slice, compared))
            .collect();
        let slices = stream::iter(slices).buffered(SLICES_IN_FLIGHT_MAX);
        let each: Vec<Vec<SubjectCounts>> = slices.try_collect().await?;
        Ok(each.into_iter().flatten().collect())
    }

    async fn counts_of_slice(
        &self,
        app: &AppId,
        index: usize,
        slice: &[Subject],
        compared: Compared<'_>,
    ) -> Result<Vec<SubjectCounts>, AdminError> {
        let _reading = match index {
            0 => None,
            _ => Some(self.pace.next_reads().await),
        };
        let each = slice.iter().map(|subject| self.counts_of(app, subject, compared));
        try_join_all(each.collect::<Vec<_>>()).await
    }

    async fn counts_of(
        &self,
        app: &AppId,
        subject: &Subject,
        compared: Compared<'_>,
    ) -> Result<SubjectCounts, AdminError> {
        let deadline = self.engine.local_now() + super::READ_TIMEOUT;
        let (call, catalog) = self.engine.call(app.clone(), Mode::CheckOnly, deadline);
        let counts = match self.engine.ledger.read(call, subject.clone()).await {
            Ok(reading) => Some(compared.counts(&catalog, &reading.counts)),
            Err(LedgerError::GroupNotFound(_)) => None,
            Err(error) => return Err(AdminError::Unread(error)),
        };
        Ok(SubjectCounts { subject: subject.clone(), counts })
    }
}

/// An app after the previewed change.
struct Made {
    record: AppRecord,
    price_fen: i64,
    sum_fen: i64,
    refunds: Vec<(RequestId, Remaining)>,
}

/// The two schedules whose limits counts are compared with.
#[derive(Clone, Copy)]
struct Compared<'a> {
    now: Timestamp,
    schedule_now: &'a Schedule,
    at: Timestamp,
    schedule: &'a Schedule,
}

impl Compared<'_> {
    /// Returns each count with both limits; a limit in one schedule only is unlimited in the other.
    fn counts(self, catalog: &Catalog, counts: &Counts) -> Vec<Count> {
        let now = usages(catalog, self.schedule_now, counts, self.now);
        let then = usages(catalog, self.schedule, counts, self.at);
        let limit = |usages: &[Usage], id: &LimitId| {
            usages.iter().find(|usage| usage.limit_id == *id)?.bound.limit.finite()
        };
        let only_now = now.iter().filter(|it| then.iter().all(|its| its.limit_id != it.limit_id));
        let count = |Usage { limit_id, used, .. }: &Usage| Count {
            limit_now: limit(&now, limit_id),
            limit_then: limit(&then, limit_id),
            limit_id: limit_id.clone(),
            used: *used,
        };
        then.iter().chain(only_now).map(count).collect()
    }
}

fn is_over(used: i64, limit: u64) -> bool {
    u64::try_from(used).is_ok_and(|used| used > limit)
}

/// Returns the counts that are over their limits at an instant, each with its limit.
pub(super) fn over(
    catalog: &Catalog,
    schedule: &Schedule,
    counts: &Counts,
    at: Timestamp,
) -> impl Iterator<Item = (Usage, u64)> {
    usages(catalog, schedule, counts, at).into_iter().filter_map(|usage| {
        let limit = usage.bound.limit.finite()?;
        is_over(usage.used, limit).then_some((usage, limit))
    })
}
