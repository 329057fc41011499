//! The cases that a run has covered. A run without a case proves nothing about it, and fails.

use std::collections::BTreeMap;

use imquota::domain::decision::{Mode, Outcome, Reason};

use super::allowed::Allowed;
use super::endings::{End, Ended};
use super::entitlement::State;
use super::operation::{Fault, OpResult};

#[derive(Debug, Default)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    pub fn hit(&mut self, what: impl Into<String>) {
        self.add(what, 1);
    }

    pub fn add(&mut self, what: impl Into<String>, times: u64) {
        *self.0.entry(what.into()).or_default() += times;
    }

    pub fn times(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Records an answer that was equal to the expected one.
    pub fn note(&mut self, mode: Mode, allowed: &Allowed, told: &Result<OpResult, Fault>) {
        self.hit(format!("mode {mode:?}"));
        self.hit(format!("state {:?}", allowed.state));
        if allowed.raised {
            self.hit("add-on raises");
        }
        if allowed.agreed {
            self.hit("agreed limit in force");
        }
        let told = match told {
            Ok(told) => told,
            Err(fault) => return self.hit(format!("fault {fault:?}")),
        };
        for said in told.whole.iter().chain(&told.items) {
            self.hit(format!("outcome {:?}", said.outcome));
            let day = |reason: &&Reason| **reason == Reason::GroupsPerDay;
            let reasons: Vec<Reason> = said.blocked.iter().map(|one| one.reason).collect();
            for reason in &reasons {
                self.hit(format!("reason {reason:?}"));
                if mode == Mode::Shadow {
                    self.hit("let through by shadow");
                }
                if mode == Mode::CheckOnly && said.outcome == Outcome::Denied {
                    self.hit("denied by check only");
                }
                if allowed.state == State::Grace && said.outcome == Outcome::Denied {
                    self.hit("denied in grace");
                }
            }
            if reasons.iter().filter(day).count() == 2 {
                self.hit("both daily limits at once");
            }
            if said.blocked.iter().any(|one| one.used > one.limit && one.limit > 0) {
                self.hit("count above a limit that shrank");
            }
            if reasons.len() > 1 {
                self.hit("several limits at once");
            }
        }
    }

    /// Records holds that a caller ended.
    pub fn note_end(&mut self, end: End, ended: &[Ended]) {
        if ended.is_empty() {
            self.hit("hold not found");
        }
        for one in ended {
            if one.expired_at.is_some() && !end.confirms {
                self.hit("released after its expiry");
            }
            for item in one.whole.iter().chain(one.items.iter().flatten()) {
                self.hit(format!("fate {:?}", item.fate));
                if end.as_of.is_some() {
                    self.hit(format!("fate {:?} as of an earlier instant", item.fate));
                }
            }
        }
    }

    /// Fails if a case was covered less often than required.
    pub fn require(&self, seed: u64, least: &[(&str, u64)]) {
        let missing: Vec<String> = least
            .iter()
            .filter(|(what, times)| self.times(what) < *times)
            .map(|(what, times)| format!("{what}: {} of {times}", self.times(what)))
            .collect();
        assert!(
            missing.is_empty(),
            "void: the run with IMQUOTA_SEED={seed} came by these too rarely: {missing:#?}\n\
             it came by: {:#?}",
            self.0
        );
    }
}
