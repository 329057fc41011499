//! The model's own record of purchases, and their limits at an instant.

use super::agreed::{self, Agreed, AgreedRun};
use super::allowed::Allowed;
use super::calendar::{DAY_MILLIS, day_of, first_day_after, start_of};
use super::conditions::{Conditions, FREELY};
use super::rules::{GRACE_DAYS, Raises, Rules};

/// Within that number of days after the purchase a refund is the whole price, once.
const FULL_REFUND_DAYS: i64 = 5;

/// One accepted purchase or refund.
#[derive(Debug, Clone, Copy)]
enum Bought {
    Edition {
        at: i64,
        months: u32,
        edition: usize,
    },
    Renewal {
        at: i64,
        months: u32,
    },
    AddOn {
        at: i64,
        months: u32,
        add_on: usize,
    },
    Agreed {
        at: i64,
        months: u32,
        agreed: Agreed,
    },
    /// Ends a purchase, by its number.
    Refund {
        purchase: usize,
        at: i64,
    },
}

/// The state of a purchase.
#[derive(Debug, Clone, Copy)]
struct Sold {
    at: i64,
    months: u32,
    price_fen: i64,
    from: i64,
    until: i64,
    refunded: bool,
}

/// An order, before it is checked; editions and add-ons by their indices in the rules.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    Edition(usize),
    Renewal,
    AddOn(usize),
}

/// An exchange, before it is checked.
#[derive(Debug, Clone, Copy)]
pub enum Swap {
    /// The edition in force for this one.
    Edition(usize),
    /// The first add-on for the second one.
    AddOn(usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Active,
    Grace,
    Stopped,
}

/// An edition and its renewals; instants in milliseconds.
#[derive(Debug, Clone)]
struct Run {
    edition: usize,
    anchor: i64,
    months: u32,
    from: i64,
    until: i64,
    stops_at: i64,
    /// The numbers of its purchases.
    parts: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct AddOnRun {
    add_on: usize,
    purchase: usize,
    from: i64,
    until: i64,
}

/// All purchases of an app.
#[derive(Debug, Clone, Default)]
pub struct Purchases {
    all: Vec<Bought>,
    sold: Vec<Sold>,
    runs: Vec<Run>,
    add_ons: Vec<AddOnRun>,
    agreed: Vec<AgreedRun>,
    refunded_in_full: bool,
}

impl Purchases {
    /// Accepts an order, or returns a part of the expected error.
    pub fn order(
        &mut self,
        rules: &Rules,
        order: Order,
        months: u32,
        at: i64,
    ) -> Result<(), &'static str> {
        let bought = match order {
            Order::Edition(edition) if !rules.editions[edition].conditions.for_sale => {
                return Err("is not for sale");
            }
            Order::Edition(_) if self.in_force(at) => return Err("renew it instead"),
            Order::Renewal if self.runs.is_empty() => return Err("purchase one instead"),
            Order::Renewal if self.in_force(at) => Bought::Renewal { at, months },
            Order::Renewal if !rules.editions[self.last_edition()].conditions.for_sale => {
                return Err("is not for sale");
            }
            // After the stop a renewal starts a new run.
            Order::Renewal => Bought::Edition { at, months, edition: self.last_edition() },
            Order::Edition(edition) => Bought::Edition { at, months, edition },
            Order::AddOn(add_on) => {
                self.check_add_on(rules, add_on, at)?;
                Bought::AddOn { at, months, add_on }
            }
        };
        self.check_conditions(rules, bought)?;
        self.all.push(bought);
        self.work_out(rules);
        Ok(())
    }

    /// Agrees a limit.
    pub fn agree(&mut self, rules: &Rules, agreed: Agreed, months: u32, at: i64) {
        self.all.push(Bought::Agreed { at, months, agreed });
        self.work_out(rules);
    }

    /// The number of purchases.
    pub fn count(&self) -> usize {
        self.sold.len()
    }

    /// Refunds a purchase: returns the amount, or a part of the expected error.
    pub fn refund(&mut self, rules: &Rules, purchase: usize, at: i64) -> Result<i64, &'static str> {
        let Sold { at: bought_at, price_fen, from, until, refunded, .. } = self.sold[purchase];
        let middle =
            |run: &Run| run.parts.contains(&purchase) && run.parts.last() != Some(&purchase);
        if refunded {
            return Err("was refunded by request");
        } else if self.runs.iter().any(middle) {
            return Err("refund that first");
        } else if until <= at {
            return Err("nothing of it is left");
        }
        // A purchase that has not begun is refunded in full anyway.
        let soon = from <= at && at - bought_at < FULL_REFUND_DAYS * DAY_MILLIS;
        let paid_back = if soon && !self.refunded_in_full {
            self.refunded_in_full = true;
            price_fen
        } else if !rules.sale.refunds && from <= at {
            0
        } else {
            let days = day_of(until - 1) - day_of(from) + 1;
            let left = days - (day_of(at) - day_of(from) + 1).max(0);
            let (whole, rest) = (price_fen * left / days, price_fen * left % days);
            whole + i64::from(rest * 2 >= days)
        };
        self.all.push(Bought::Refund { purchase, at });
        self.work_out(rules);
        Ok(paid_back)
    }

    /// Exchanges what runs for something else: returns the sum to pay, or a part of the expected
    /// error. Nothing is exchanged if the sum is above the highest accepted one.
    pub fn exchange(
        &mut self,
        rules: &Rules,
        swap: Swap,
        months: u32,
        at: i64,
        sum_max: i64,
    ) -> Result<i64, &'static str> {
        let before = self.clone();
        let done = self.exchange_any(rules, swap, months, at);
        let done = done.and_then(|sum| if sum > sum_max { Err("preview the") } else { Ok(sum) });
        if done.is_err() {
            *self = before;
        }
        done
    }

    fn exchange_any(
        &mut self,
        rules: &Rules,
        swap: Swap,
        months: u32,
        at: i64,
    ) -> Result<i64, &'static str> {
        let mut paid_back = 0;
        match swap {
            Swap::Edition(edition) => {
                if !rules.editions[edition].conditions.for_sale {
                    return Err("is not for sale");
                } else if !self.in_force(at) {
                    return Err("no purchased edition in force");
                } else if self.last_edition() == edition {
                    return Err("renew it instead");
                }
                let parts = self.runs.last().expect("it is in force").parts.clone();
                // Whole renewals that have not begun, and what remains of the last one that has.
                let begun = parts.iter().rposition(|part| self.sold[*part].from <= at);
                for part in parts[begun.expect("the first one has begun")..].iter().rev() {
                    paid_back += self.pay_back(rules, *part, at);
                }
                let bought = Bought::Edition { at, months, edition };
                self.check_conditions(rules, bought)?;
                self.all.push(bought);
                for run in self.add_ons.clone() {
                    let useless = !rules.raises(edition, run.add_on);
                    if run.from <= at && at < run.until && useless {
                        paid_back += self.pay_back(rules, run.purchase, at);
                    }
                }
            }
            Swap::AddOn(replaced, add_on) => {
                if !rules.add_ons[add_on].conditions.for_sale {
                    return Err("is not for sale");
                }
                let mut runs = self.add_ons.iter().rev();
                let run = runs.find(|it| it.add_on == replaced && it.from <= at && at < it.until);
                let purchase = run.ok_or("cannot be exchanged")?.purchase;
                paid_back += self.pay_back(rules, purchase, at);
                self.check_add_on(rules, add_on, at)?;
                let bought = Bought::AddOn { at, months, add_on };
                self.check_conditions(rules, bought)?;
                self.all.push(bought);
            }
        }
        self.work_out(rules);
        Ok(self.sold.last().expect("just bought").price_fen - paid_back)
    }

    /// Refunds a purchase by its days alone.
    fn pay_back(&mut self, rules: &Rules, purchase: usize, at: i64) -> i64 {
        let Sold { price_fen, from, until, .. } = self.sold[purchase];
        let days = day_of(until - 1) - day_of(from) + 1;
        let used = (day_of(at) - day_of(from) + 1).clamp(0, days);
        self.all.push(Bought::Refund { purchase, at });
        self.work_out(rules);
        let (whole, rest) = (price_fen * (days - used) / days, price_fen * (days - used) % days);
        whole + i64::from(rest * 2 >= days)
    }

    /// The number of months, and what is sold once.
    fn check_conditions(&self, rules: &Rules, bought: Bought) -> Result<(), &'static str> {
        let is_same = |other: &Bought| match (bought, other) {
            (Bought::Edition { edition, .. }, Bought::Edition { edition: other, .. }) => {
                edition == *other
            }
            (Bought::AddOn { add_on, .. }, Bought::AddOn { add_on: other, .. }) => add_on == *other,
            // Only what was bought is renewed.
            _ => matches!(bought, Bought::Renewal { .. }),
        };
        let (months, conditions) = match bought {
            Bought::Edition { months, edition, .. } => (months, rules.editions[edition].conditions),
            Bought::AddOn { months, add_on, .. } => (months, rules.add_ons[add_on].conditions),
            Bought::Renewal { months, .. } => {
                (months, rules.editions[self.last_edition()].conditions)
            }
            Bought::Agreed { .. } | Bought::Refund { .. } => return Ok(()),
        };
        conditions.check(months, self.all.iter().any(is_same))
    }

    fn check_add_on(&self, rules: &Rules, add_on: usize, at: i64) -> Result<(), &'static str> {
        if !rules.add_ons[add_on].conditions.for_sale {
            return Err("is not for sale");
        }
        match self.edition_at(at) {
            (_, State::Stopped) => return Err("renew it first"),
            (edition, _) if !rules.editions[edition].add_ons => {
                return Err("does not allow add-ons");
            }
            _ => {}
        }
        if agreed::hides(&self.agreed, rules.add_ons[add_on].raises, at) {
            return Err("which an agreed limit");
        }
        if !rules.raises(self.last_edition(), add_on) {
            return Err("already");
        }
        let kind = rules.add_ons[add_on].raises;
        let same_kind = |run: &AddOnRun| rules.add_ons[run.add_on].raises == kind;
        if self.add_ons.iter().any(|run| at < run.until && same_kind(run)) {
            return Err("of the same kind is in force, stops at");
        }
        Ok(())
    }

    /// All runs, from the list of purchases.
    fn work_out(&mut self, rules: &Rules) {
        self.runs.clear();
        self.add_ons.clear();
        self.agreed.clear();
        self.sold.clear();
        for bought in self.all.clone() {
            let number = self.sold.len();
            let (at, months, (fen, conditions), from, until) = match bought {
                Bought::Edition { at, months, edition } => {
                    let run = Run::new(rules, edition, (day_of(at), months), at, vec![number]);
                    let until = run.until;
                    self.runs.push(run);
                    (at, months, rules.editions[edition].price(), at, until)
                }
                Bought::Renewal { at, months } => {
                    let run = self.runs.pop().expect("renewed only where an edition ran");
                    let (from, mut parts) = (run.until, run.parts);
                    parts.push(number);
                    let price = rules.editions[run.edition].price();
                    let months_of_all = run.months + months;
                    let of_all = (run.anchor, months_of_all);
                    let run = Run::new(rules, run.edition, of_all, run.from, parts);
                    let until = run.until;
                    self.runs.push(run);
                    (at, months, price, from, until)
                }
                Bought::AddOn { at, months, add_on } => {
                    let until = start_of(first_day_after(day_of(at), months, rules.sale.same_day));
                    self.add_ons.push(AddOnRun { add_on, purchase: number, from: at, until });
                    (at, months, rules.add_ons[add_on].price(), at, until)
                }
                Bought::Agreed { at, months, agreed } => {
                    let until = start_of(first_day_after(day_of(at), months, rules.sale.same_day));
                    self.agreed.push(AgreedRun { agreed, purchase: number, from: at, until });
                    // Its price is for the whole time.
                    let conditions = Conditions { price_of: Some((1, agreed.fen)), ..FREELY };
                    (at, 1, (agreed.fen, conditions), at, until)
                }
                Bought::Refund { purchase, at } => {
                    self.take_back(rules, purchase, at);
                    continue;
                }
            };
            let price_fen = conditions.price(rules.sale, fen, months, (from, until));
            self.sold.push(Sold { at, months, price_fen, from, until, refunded: false });
        }
    }

    fn take_back(&mut self, rules: &Rules, purchase: usize, at: i64) {
        let sold = &mut self.sold[purchase];
        sold.refunded = true;
        if let Some(run) = self.add_ons.iter_mut().find(|run| run.purchase == purchase) {
            run.until = at;
            return;
        }
        if let Some(run) = self.agreed.iter_mut().find(|run| run.purchase == purchase) {
            run.until = at;
            return;
        }
        let mut runs = self.runs.iter_mut();
        let run = runs.find(|run| run.parts.last() == Some(&purchase)).expect("of an edition");
        run.parts.pop();
        if at < sold.from {
            // It has not begun, so the edition runs as if it had never been bought.
            let months = run.months - sold.months;
            let parts = run.parts.clone();
            *run = Run::new(rules, run.edition, (run.anchor, months), run.from, parts);
        } else {
            // In grace, in which only an exchange is possible, its validity has ended before.
            run.until = at.min(run.until);
            run.stops_at = at;
        }
    }

    /// True if a purchased edition is in force.
    pub fn in_force(&self, at: i64) -> bool {
        self.runs.last().is_some_and(|run| at < run.stops_at)
    }

    /// The edition of the last run; the default one without any.
    fn last_edition(&self) -> usize {
        self.runs.last().map_or(0, |run| run.edition)
    }

    /// The add-ons in force.
    pub fn add_ons_in_force(&self, at: i64) -> Vec<usize> {
        let runs = self.add_ons.iter().filter(|run| run.from <= at && at < run.until);
        runs.map(|run| run.add_on).collect()
    }

    /// The edition, by its index in the rules, and its state.
    pub fn edition_at(&self, at: i64) -> (usize, State) {
        match self.runs.iter().rfind(|run| run.from <= at) {
            None => (0, State::Active),
            Some(run) if at < run.until => (run.edition, State::Active),
            Some(run) if at < run.stops_at => (run.edition, State::Grace),
            Some(run) => (run.edition, State::Stopped),
        }
    }

    pub fn allowed(&self, rules: &Rules, at: i64) -> Allowed {
        let (edition, state) = self.edition_at(at);
        let rule = &rules.editions[edition];
        let mut allowed = Allowed {
            state,
            raised: false,
            agreed: false,
            accounts: rule.accounts,
            friends: rule.friends,
            groups: rule.groups,
            members: rule.members,
            av_rooms: rule.av_rooms,
            all_groups: rule.all_groups,
            qualified: rule.qualified,
        };
        if rule.add_ons && state != State::Stopped {
            for run in self.add_ons.iter().filter(|run| run.from <= at && at < run.until) {
                let add_on = &rules.add_ons[run.add_on];
                let limit = match add_on.raises {
                    Raises::Groups => &mut allowed.groups,
                    Raises::Members => &mut allowed.members,
                    Raises::MembersOf(kind) => match &mut allowed.qualified.members[kind] {
                        Some(limit) => limit,
                        None => continue,
                    },
                    Raises::AvRooms => &mut allowed.av_rooms,
                };
                allowed.raised |= add_on.to > *limit;
                *limit = add_on.to.max(*limit);
            }
        }
        if state != State::Stopped {
            agreed::apply(&self.agreed, &mut allowed, at);
        }
        allowed
    }

    /// Every current end: instant, and `grace`, `end` or the add-on's id.
    #[allow(dead_code, reason = "one of the tests that share the model uses it")]
    pub fn ends(&self, rules: &Rules) -> Vec<(i64, String)> {
        let mut ends = Vec::new();
        for (number, run) in self.runs.iter().enumerate() {
            // A refund ends it without grace.
            if run.until < run.stops_at {
                ends.push((run.until, "grace".to_owned()));
            }
            // If it was bought again by then, nothing stops.
            if !self.runs[number + 1..].iter().any(|later| later.from <= run.stops_at) {
                ends.push((run.stops_at, "end".to_owned()));
            }
        }
        for run in self.add_ons.iter().filter(|run| !self.sold[run.purchase].refunded) {
            ends.push((run.until, rules.add_ons[run.add_on].id.to_owned()));
        }
        ends
    }

    /// The instants after `at` at which anything may change, in order.
    pub fn boundaries(&self, at: i64) -> Vec<i64> {
        let editions = self.runs.iter().flat_map(|run| [run.until, run.stops_at]);
        let all = editions.chain(self.add_ons.iter().map(|run| run.until));
        let all = all.chain(self.agreed.iter().map(|run| run.until));
        let mut later: Vec<i64> = all.filter(|boundary| *boundary > at).collect();
        later.sort_unstable();
        later
    }
}

impl Run {
    fn new(
        rules: &Rules,
        edition: usize,
        (anchor, months): (i64, u32),
        from: i64,
        parts: Vec<usize>,
    ) -> Self {
        let end = first_day_after(anchor, months, rules.sale.same_day);
        let (until, stops_at) = (start_of(end), start_of(end + GRACE_DAYS));
        Self { edition, anchor, months, from, until, stops_at, parts }
    }
}
