//! Purchases and refunds, in the engine and in the model.

use imquota::engine::admin::ChangeKind;

use super::driver::Run;
use super::entitlement::{Order, State};
use super::plan;
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
            if let Some((order, months)) = plan::order(&mut self.rng, &self.apps[index], now) {
                self.order(index, &request, order, months).await;
            } else if let Some(number) = plan::refund(&mut self.rng, &self.apps[index]) {
                self.refund(index, &request, number).await;
            }
        }
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

    async fn order(&mut self, index: usize, request: &str, order: Order, months: u32) {
        let (now, rules) = (self.now(), self.setup.rules);
        let before = self.apps[index].purchases.edition_at(now);
        let expected = self.apps[index].purchases.order(rules, order, months, now);
        let what = match order {
            Order::Edition => rules.editions[1].id,
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
        if expected.is_ok() {
            self.sold[index].push(request.to_owned());
        }
        self.coverage.hit(match (order, before, expected) {
            (_, _, Err(_)) => "order refused",
            (Order::Edition, (1, State::Stopped), _) => "bought anew after the stop",
            (Order::Edition, ..) => "edition bought",
            (Order::Renewal, (_, State::Grace), _) => "renewed in grace",
            (Order::Renewal, (_, State::Stopped), _) => "renewed after the stop",
            (Order::AddOn(_), (_, State::Grace), _) => "add-on bought in grace",
            (Order::Renewal, ..) => "renewed in time",
            (Order::AddOn(_), ..) => "add-on bought",
        });
    }
}
