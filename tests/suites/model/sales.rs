//! Purchases, refunds and exchanges, in the engine and in the model.

use imquota::domain::agreed::AgreedOrder;
use imquota::domain::exchange::ExchangeOrder;
use imquota::domain::limit::Limit;
use imquota::domain::purchase as ordered;
use imquota::engine::admin::{ChangeKind, PreviewChange, PreviewRequest};

use super::agreed::Agreed;
use super::driver::Run;
use super::entitlement::{Order, State, Swap};
use super::plan;
use super::rules::FREE;
use crate::support;

impl Run {
    /// Occasionally makes a purchase in the engine and in the model.
    pub async fn buy(&mut self) {
        for index in 0..self.apps.len() {
            if self.rng.below(250) == 0 {
                self.moods[index] = *self.rng.pick(self.setup.universe.moods);
            }
            self.requests += 1;
            let request = format!("request {}", self.requests);
            if !self.apps[index].registered {
                if index >= self.setup.universe.apps_on_trial && self.rng.percent(1) {
                    let done = self.service.register(&self.ids[index], &request).await;
                    assert_eq!(done, Ok(()), "{}", self.place(index));
                    self.apps[index].registered = true;
                }
                continue;
            }
            let now = self.now();
            let (app, editions) = (&self.apps[index], self.setup.rules.editions.len());
            if let Some((order, months)) = plan::order(&mut self.rng, app, editions, now) {
                self.order(index, &request, order, months).await;
            } else if let Some((swap, months)) = plan::exchange(&mut self.rng, app, editions, now) {
                self.exchange(index, &request, swap, months).await;
            } else if let Some((agreed, months)) = plan::agreed(&mut self.rng, self.setup.rules) {
                self.agree(index, &request, agreed, months).await;
            } else if let Some(number) = plan::refund(&mut self.rng, &self.apps[index]) {
                self.refund(index, &request, number).await;
            }
        }
    }

    async fn agree(&mut self, index: usize, request: &str, agreed: Agreed, months: u32) {
        let (now, rules) = (self.now(), self.setup.rules);
        self.apps[index].purchases.agree(rules, agreed, months, now);
        let order = ordered::Order::Limit(AgreedOrder {
            limit_id: agreed.limit.id(rules),
            limit: if agreed.number == FREE {
                Limit::Unlimited
            } else {
                Limit::Finite(agreed.number)
            },
            last_day: None,
            note: "agreed".to_owned(),
        });
        let change = ChangeKind::Purchase { order, months, price_fen: Some(agreed.fen) };
        let done = self.service.change(&self.ids[index], request, change).await;
        assert!(done.is_ok(), "{}: {agreed:?}: {done:?}", self.place(index));
        self.sold[index].push(request.to_owned());
        self.coverage.hit("limit agreed");
    }

    async fn refund(&mut self, index: usize, request: &str, number: usize) {
        let (now, rules) = (self.now(), self.setup.rules);
        let (_, before) = self.apps[index].purchases.edition_at(now);
        let expected = self.apps[index].purchases.refund(rules, number, now);
        let (_, after) = self.apps[index].purchases.edition_at(now);
        let purchase = support::request_id(&self.sold[index][number]);
        let done =
            self.service.change(&self.ids[index], request, ChangeKind::Refund { purchase }).await;
        let done = done.map(|changed| changed.remaining.expect("figures").refund_fen);
        let place = self.place(index);
        match (&expected, &done) {
            (Ok(fen), Ok(paid)) if fen == paid => {}
            (Err(words), Err(error)) if error.contains(words) => {}
            _ => panic!("{place}: refund of {number}: expected {expected:?}, got {done:?}"),
        }
        self.coverage.hit(match expected {
            Err(_) => "refund refused",
            Ok(_) if before != after => "refund that stops the service",
            Ok(0) => "refund of nothing",
            Ok(_) => "refund that leaves the edition",
        });
    }

    async fn exchange(&mut self, index: usize, request: &str, swap: Swap, months: u32) {
        let (now, rules) = (self.now(), self.setup.rules);
        let (before, state) = self.apps[index].purchases.edition_at(now);
        let id = |add_on: usize| rules.add_ons[add_on].id;
        let mut order = match swap {
            Swap::Edition(edition) => support::exchange(None, rules.editions[edition].id, months),
            Swap::AddOn(replaced, add_on) => {
                support::exchange(Some(id(replaced)), id(add_on), months)
            }
        };
        let mut purchases = self.apps[index].purchases.clone();
        let expected = purchases.exchange(rules, swap, months, now, i64::MAX);
        self.preview_exchange(index, &order, expected).await;
        // The sum is accepted exactly, or one more fen than the caller accepts.
        let sum_max = match expected {
            Ok(sum) => *self.rng.pick(&[i64::MAX, sum, sum - 1]),
            Err(_) => i64::MAX,
        };
        order.max_sum_fen = Some(sum_max);
        let purchases = &mut self.apps[index].purchases;
        let expected = purchases.exchange(rules, swap, months, now, sum_max);
        let (after, _) = purchases.edition_at(now);
        let change = ChangeKind::Exchange(order);
        let done = self.service.change(&self.ids[index], request, change).await;
        let done = done.map(|changed| changed.exchange.expect("figures").sum_fen);
        let place = self.place(index);
        match (&expected, &done) {
            (Ok(sum), Ok(paid)) if sum == paid => {}
            (Err(words), Err(error)) if error.contains(words) => {}
            _ => panic!("{place}: {swap:?} for {months}: expected {expected:?}, got {done:?}"),
        }
        match expected {
            Ok(_) => self.sold[index].push(request.to_owned()),
            Err(words) => self.coverage.hit(format!("refused: {words}")),
        }
        self.coverage.hit(match (swap, expected) {
            (_, Err("preview the")) => "exchange above the sum",
            (_, Err(_)) => "exchange refused",
            (Swap::Edition(_), Ok(_)) if state == State::Grace => "edition changed in grace",
            (Swap::Edition(_), Ok(_)) if before < after => "edition changed to a later one",
            (Swap::Edition(_), Ok(_)) => "edition changed to an earlier one",
            (Swap::AddOn(..), Ok(..=0)) => "add-on exchanged for a cheaper one",
            (Swap::AddOn(..), Ok(_)) => "add-on exchanged",
        });
    }

    /// Compares the preview of an exchange with the expected sum.
    async fn preview_exchange(
        &self,
        index: usize,
        order: &ExchangeOrder,
        expected: Result<i64, &str>,
    ) {
        let change = Some(PreviewChange::Exchange(order.clone()));
        let preview = PreviewRequest { change, ..PreviewRequest::default() };
        let shown = self.service.administration.preview(&self.ids[index], preview).await;
        let shown = shown.map(|preview| preview.sum_fen).map_err(|error| error.to_string());
        match (&expected, &shown) {
            (Ok(sum), Ok(paid)) if sum == paid => {}
            (Err(words), Err(error)) if error.contains(words) => {}
            _ => panic!("{}: preview: {expected:?}, got {shown:?}", self.place(index)),
        }
    }

    async fn order(&mut self, index: usize, request: &str, order: Order, months: u32) {
        let (now, rules) = (self.now(), self.setup.rules);
        let before = self.apps[index].purchases.edition_at(now);
        let expected = self.apps[index].purchases.order(rules, order, months, now);
        let what = match order {
            Order::Edition(edition) => rules.editions[edition].id,
            Order::Renewal => "renew",
            Order::AddOn(add_on) => rules.add_ons[add_on].id,
        };
        let ordered = support::order(what);
        let done = self.service.buy(&self.ids[index], request, ordered, months).await;
        let place = self.place(index);
        match (&expected, &done) {
            (Ok(()), Ok(())) => {}
            (Err(words), Err(error)) if error.contains(words) => {}
            _ => panic!("{place}: {order:?} for {months}: expected {expected:?}, got {done:?}"),
        }
        match expected {
            Ok(()) => self.sold[index].push(request.to_owned()),
            Err(words) => self.coverage.hit(format!("refused: {words}")),
        }
        self.coverage.hit(match (order, before, expected) {
            (_, _, Err(_)) => "order refused",
            (Order::Edition(_), (1.., State::Stopped), _) => "bought anew after the stop",
            (Order::Edition(_), ..) => "edition bought",
            (Order::Renewal, (_, State::Grace), _) => "renewed in grace",
            (Order::Renewal, (_, State::Stopped), _) => "renewed after the stop",
            (Order::AddOn(_), (_, State::Grace), _) => "add-on bought in grace",
            (Order::Renewal, ..) => "renewed in time",
            (Order::AddOn(_), ..) => "add-on bought",
        });
    }
}
