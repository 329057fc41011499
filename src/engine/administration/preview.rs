//! What an app would be entitled to, and who would be over.

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::everybody::OverrunCount;
use super::office::Office;
use super::pace::SLICE_ITEMS;
use super::{AdminError, schedule};
use crate::directory::AppRecord;
use crate::domain::catalog::Catalog;
use crate::domain::decision::{Mode, Subject};
use crate::domain::id::{AppId, GroupId, RequestId, UserId};
use crate::domain::limit::LimitId;
use crate::domain::purchase::{Order, Purchase, Refund};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::domain::usage::{Counts, Usage, usages};
use crate::ledger::LedgerError;

/// Slices of subjects whose counts are read side by side.
const SLICES_AT_ONCE: usize = 4;

/// Stands for the request that would make the change.
const PREVIEW: &str = "preview";

/// A change that is only looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Previewed {
    /// A purchase for so many months.
    Buy(Order, u32),
    /// The refund of the purchase that this request made.
    Refund(RequestId),
}

/// What is to be looked at, and whose counts besides those of the app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// The change; `None`: none.
    pub change: Option<Previewed>,
    /// The instant; `None`: now.
    pub at: Option<Timestamp>,
    /// Users whose counts are compared with their limits.
    pub users: Vec<UserId>,
    /// Groups whose counts are compared with their limits.
    pub groups: Vec<GroupId>,
    /// Whether all users and groups are gone through too.
    pub everybody: bool,
}

/// A count that is over its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overrun {
    /// Whose.
    pub subject: Subject,
    /// Which limit.
    pub limit_id: LimitId,
    /// What is held.
    pub used: i64,
    /// What may be held.
    pub limit: u64,
}

/// What a preview shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Now, by the store's clock.
    pub now: Timestamp,
    /// The limits as they are.
    pub schedule_now: Schedule,
    /// The instant that is looked at.
    pub at: Timestamp,
    /// The limits as they would be.
    pub schedule_then: Schedule,
    /// What the change would cost, in fen; negative where money is paid back.
    pub price_fen: i64,
    /// Every count that would be over its limit.
    pub overruns: Vec<Overrun>,
    /// How many of all users and groups would be over theirs; `None`: nobody asked.
    pub overrun_counts: Option<Vec<OverrunCount>>,
}

impl Office {
    pub(super) async fn preview(
        &self,
        app: &AppId,
        question: Question,
    ) -> Result<Preview, AdminError> {
        let Question { change, at, users, groups, everybody } = question;
        let record = self.directory.app(app).await?;
        let record = record.ok_or_else(|| AdminError::UnknownApp(app.clone()))?;
        let (catalog, now) = (self.engine.catalog(), self.engine.now().await?);
        let at = at.unwrap_or(now).max(now);
        let schedule_now = schedule(&catalog, &record, now)?;
        let (then, price_fen) = self.changed_by(record, change, now)?;
        let schedule_then = schedule(&catalog, &then, now)?;
        let subjects = std::iter::once(Subject::App)
            .chain(users.into_iter().map(Subject::User))
            .chain(groups.into_iter().map(Subject::Group));
        let subjects: Vec<Subject> = subjects.collect();
        let overruns = self.overruns_of_all(app, &subjects, &schedule_then, at).await?;
        let overrun_counts = if everybody {
            Some(self.overrun_counts(app, &catalog, &schedule_then, at).await?)
        } else {
            None
        };
        Ok(Preview { now, schedule_now, at, schedule_then, price_fen, overruns, overrun_counts })
    }

    fn changed_by(
        &self,
        mut record: AppRecord,
        change: Option<Previewed>,
        now: Timestamp,
    ) -> Result<(AppRecord, i64), AdminError> {
        let catalog = self.engine.catalog();
        let at = record.sales.last_at().map_or(now, |last| now.max(last));
        let request_id = RequestId::try_from(PREVIEW).expect("it is printable and short");
        let sales = &mut record.sales;
        let price_fen = match change {
            None => 0,
            Some(Previewed::Buy(order, months)) => {
                let bought = Purchase::of_order(&catalog, sales, request_id, &order, months, at)?;
                let price_fen = bought.price_fen;
                sales.purchases.push(bought);
                price_fen
            }
            Some(Previewed::Refund(of)) => {
                let made = Refund::of_purchase(&catalog, sales, request_id, &of, at)?;
                let refund_fen = made.refund_fen;
                sales.refunds.push(made);
                -refund_fen
            }
        };
        Ok((record, price_fen))
    }

    /// The subjects' counts that are over what the schedule allows at an instant, in the order of
    /// the subjects.
    async fn overruns_of_all(
        &self,
        app: &AppId,
        subjects: &[Subject],
        schedule: &Schedule,
        at: Timestamp,
    ) -> Result<Vec<Overrun>, AdminError> {
        let slices = subjects.chunks(SLICE_ITEMS).enumerate();
        let slices: Vec<_> = slices
            .map(|(index, slice)| self.overruns_of_slice(app, index, slice, schedule, at))
            .collect();
        let slices = stream::iter(slices).buffered(SLICES_AT_ONCE);
        let each: Vec<Vec<Overrun>> = slices.try_collect().await?;
        Ok(each.into_iter().flatten().collect())
    }

    async fn overruns_of_slice(
        &self,
        app: &AppId,
        index: usize,
        slice: &[Subject],
        schedule: &Schedule,
        at: Timestamp,
    ) -> Result<Vec<Overrun>, AdminError> {
        let _reading = match index {
            0 => None,
            _ => Some(self.pace.next_reads().await),
        };
        let each = slice.iter().map(|subject| self.overruns(app, subject, schedule, at));
        let each = try_join_all(each.collect::<Vec<_>>()).await?;
        Ok(each.into_iter().flatten().collect())
    }

    /// The subject's counts that are over what the schedule allows at an instant.
    async fn overruns(
        &self,
        app: &AppId,
        subject: &Subject,
        schedule: &Schedule,
        at: Timestamp,
    ) -> Result<Vec<Overrun>, AdminError> {
        let deadline = self.engine.local_now() + super::PATIENCE;
        let (call, catalog) = self.engine.call(app.clone(), Mode::CheckOnly, deadline);
        let counts = match self.engine.ledger.read(call, subject.clone()).await {
            Ok(reading) => reading.counts,
            // A group that does not exist is over nothing.
            Err(LedgerError::GroupNotFound(_)) => return Ok(Vec::new()),
            Err(error) => return Err(AdminError::Unread(error)),
        };
        let overrun = |(Usage { limit_id, used, .. }, limit)| {
            let subject = subject.clone();
            Overrun { subject, limit_id, used, limit }
        };
        Ok(over(&catalog, schedule, &counts, at).map(overrun).collect())
    }
}

/// The counts that are over their limits at an instant, each with what may be held.
pub(super) fn over(
    catalog: &Catalog,
    schedule: &Schedule,
    counts: &Counts,
    at: Timestamp,
) -> impl Iterator<Item = (Usage, u64)> {
    usages(catalog, schedule, counts, at).into_iter().filter_map(|usage| {
        let limit = usage.bound.limit.finite()?;
        let is_over = u64::try_from(usage.used).is_ok_and(|used| used > limit);
        is_over.then_some((usage, limit))
    })
}
