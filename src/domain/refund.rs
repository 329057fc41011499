//! Amount of a refund (pricing rules, section 5).
//!
//! The price less the used share of it by days, the running day counting as used, or nothing, as
//! the catalog has it; soon after the purchase the whole price, as often as the catalog allows. A
//! renewal that has not begun counts as unused. An exchange pays back by days alone.

use super::calendar::Zone;
use super::catalog::Catalog;
use super::id::RequestId;
use super::purchase::{DaysUsed, Period, Refund, Refusal, Sales};
use super::selling::RefundRule;
use super::text::quoted_names;
use super::time::Timestamp;
use super::timeline::Timeline;

/// A possible refund, with its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Price paid, in fen.
    pub price_fen: i64,
    /// Days of the purchase's period.
    pub days: i64,
    /// Days of it that are used, the running one included.
    pub days_used: i64,
    /// True if the whole price is paid back, used or not.
    pub in_full: bool,
    /// Amount paid back, in fen, rounded half up.
    pub refund_fen: i64,
}

impl Remaining {
    /// Returns the figures of a recorded refund; computed anew if its record does not have them.
    pub fn of_made(catalog: &Catalog, sales: &Sales, index: usize) -> Result<Self, Refusal> {
        let made = &sales.refunds[index];
        let DaysUsed { days, days_used } = if let Some(used) = made.used {
            used
        } else {
            let before = Sales {
                purchases: sales.purchases[..made.made_after].to_vec(),
                refunds: sales.refunds[..index].to_vec(),
            };
            refund(catalog, &before, made.purchase, made.at)?.used()
        };
        let price_fen = sales.purchases[made.purchase].price_fen;
        let (in_full, refund_fen) = (made.in_full, made.refund_fen);
        Ok(Self { price_fen, days, days_used, in_full, refund_fen })
    }

    /// Returns the remaining value, at an instant, of a purchase with this price and period: by
    /// days alone, and nothing once the period has ended.
    pub(super) fn by_days(zone: Zone, price_fen: i64, valid: Period, at: Timestamp) -> Self {
        let day = |at| i64::from(zone.day_of(at).number());
        let last = day(Timestamp::from_millis(valid.until.as_millis() - 1));
        let days = last - day(valid.from) + 1;
        let days_used = if at < valid.from { 0 } else { days.min(day(at) - day(valid.from) + 1) };
        let refund_fen = share(price_fen, days - days_used, days);
        Self { price_fen, days, days_used, in_full: false, refund_fen }
    }

    /// Returns the days that the record of the refund stores.
    #[must_use]
    pub fn used(&self) -> DaysUsed {
        DaysUsed { days: self.days, days_used: self.days_used }
    }
}

impl Refund {
    /// Returns the refund, at an instant, of the purchase that a request made; adds nothing to the
    /// sales.
    pub fn of_purchase(
        catalog: &Catalog,
        sales: &Sales,
        request_id: RequestId,
        bought_by: &RequestId,
        at: Timestamp,
    ) -> Result<Self, Refusal> {
        let found = sales.purchases.iter().position(|made| made.request_id == *bought_by);
        let purchase = found.ok_or_else(|| {
            let made = sales.purchases.iter().rev().map(|made| made.request_id.as_str());
            Refusal::UnknownPurchase { id: bought_by.to_string(), known: quoted_names(made) }
        })?;
        let remaining = refund(catalog, sales, purchase, at)?;
        Ok(Self::with_figures(sales, request_id, purchase, remaining, at))
    }

    /// Returns the refund of a purchase, by its index, with these figures.
    pub(super) fn with_figures(
        sales: &Sales,
        request_id: RequestId,
        purchase: usize,
        remaining: Remaining,
        at: Timestamp,
    ) -> Self {
        Self {
            request_id,
            purchase,
            made_after: sales.purchases.len(),
            refund_fen: remaining.refund_fen,
            in_full: remaining.in_full,
            used: Some(remaining.used()),
            at,
        }
    }
}

/// Computes the refund of a purchase, by its index, at an instant.
pub fn refund(
    catalog: &Catalog,
    sales: &Sales,
    index: usize,
    at: Timestamp,
) -> Result<Remaining, Refusal> {
    let purchase = &sales.purchases[index];
    let request_id = || purchase.request_id.clone();
    if let Some(refund) = sales.refund_of(index) {
        let by = refund.request_id.clone();
        return Err(Refusal::Refunded { purchase: request_id(), by });
    }
    let timeline = Timeline::new(catalog, sales);
    if let Some(renewal) = timeline.renewed_by(index) {
        let by = sales.purchases[renewal].request_id.clone();
        return Err(Refusal::RenewedSince { purchase: request_id(), by });
    }
    let (zone, valid) = (catalog.zone, timeline.valid[index]);
    if valid.until <= at {
        return Err(Refusal::NothingLeft { purchase: request_id(), until: zone.show(valid.until) });
    }
    let figures = Remaining::by_days(zone, purchase.price_fen, valid, at);
    let rules = catalog.validity;
    // A renewal that has not begun is refunded in full because all of its days are left. That does
    // not use up any of the full refunds that are granted soon after a purchase, although records
    // of older versions may be marked as if it did.
    let begun = |of: usize, at| timeline.valid[of].from <= at;
    let was_whole = |made: &&Refund| made.in_full && begun(made.purchase, made.at);
    let made_in_full = sales.refunds.iter().filter(was_whole).count();
    let is_soon = at < purchase.at + rules.full_refund_within();
    let in_full = begun(index, at) && is_soon && made_in_full < rules.full_refunds_per_app;
    let refund_fen = match rules.refund {
        _ if in_full => figures.price_fen,
        RefundRule::Nothing if figures.days_used > 0 => 0,
        RefundRule::Days | RefundRule::Nothing => figures.refund_fen,
    };
    Ok(Remaining { in_full, refund_fen, ..figures })
}

/// `price * left / days`, rounded half up.
fn share(price: i64, left: i64, days: i64) -> i64 {
    let (price, left, days) = (i128::from(price), i128::from(left), i128::from(days));
    let rounded = (2 * price * left + days).div_euclid(2 * days);
    i64::try_from(rounded).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_fen_is_rounded_up() {
        // Price, days left, days of the period, computed by hand.
        for (price, left, days, refund) in [
            (99_900, 27, 28, 96_332), // 96,332.14
            (99_900, 0, 28, 0),
            (99_900, 28, 28, 99_900),
            (1, 1, 2, 1),  // 0.5
            (1, 1, 3, 0),  // 0.33
            (5, 3, 10, 2), // 1.5
        ] {
            assert_eq!(share(price, left, days), refund, "{price} * {left} / {days}");
        }
    }
}
