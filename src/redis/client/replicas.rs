//! The replicas of one master that have to confirm a reply: a pure state machine over the lists of
//! replicas that the master returns. The caller reads the clock.
//!
//! A replica is *required* once the master lists it and it has caught up. One that is detached, or
//! has not confirmed for the allowed time, may have been promoted: it stays required, and no call
//! can be answered, until the authority was queried after that and still names this master.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::reply::ReplicationState;

/// Most replicas left behind whose names are kept; of more, only their existence matters.
const LEFT_MAX: usize = 1024;

/// The name of a replica in its master's list: address and port, and a number if several share
/// them.
pub(super) type Replica = String;

/// The rule for how many replicas have to confirm a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// This many of the listed replicas; `None`: all that are required.
    pub(super) fewer: Option<usize>,
    /// True if the master may have no replica at all.
    pub(super) may_be_alone: bool,
    /// Longest time for a replica to confirm.
    pub(super) lag_max: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Required {
    is_detached: bool,
    /// The offset that it has not confirmed, and the time since then.
    behind: Option<(u64, Duration)>,
    /// The time since which it is detached or has been silent for too long.
    missing_since: Option<Duration>,
}

/// Permission to send calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gate {
    /// Not yet, or not now, for this reason.
    Closed(String),
    /// The replicas have to confirm.
    Confirmed,
    /// There is no replica that could confirm.
    Alone,
}

/// The state machine: see the module's head.
#[derive(Debug, Clone)]
pub(super) struct Replicas {
    rule: Rule,
    required: BTreeMap<Replica, Required>,
    /// Replicas that were required once and no longer are.
    left: BTreeSet<Replica>,
    /// True once the authority has named this master.
    is_approved: bool,
    /// The reason why the authority did not name this master when it was last queried.
    doubt: Option<String>,
    /// When the master's list was first read.
    listed_since: Option<Duration>,
    /// The master's offset in its last list.
    offset: Option<u64>,
    /// The number of replicas that are listed now, and how many of them are not required.
    attached: usize,
    catching_up: usize,
}

impl Replicas {
    /// The state before the master's first list.
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            required: BTreeMap::new(),
            left: BTreeSet::new(),
            is_approved: false,
            doubt: None,
            listed_since: None,
            offset: None,
            attached: 0,
            catching_up: 0,
        }
    }

    /// Records the list of the master.
    pub(super) fn listed(&mut self, state: &ReplicationState, now: Duration) {
        // A master that was restarted may count from zero.
        let is_counted_anew = self.offset.is_some_and(|before| state.offset < before);
        let caught_up = self.offset.map_or(state.offset, |before| before.min(state.offset));
        self.offset = Some(state.offset);
        self.listed_since.get_or_insert(now);
        self.attached = state.replicas.len();
        for (replica, required) in &mut self.required {
            required.behind = required.behind.filter(|_| !is_counted_anew);
            match state.replicas.get(replica) {
                // This includes a replica that was silent before: it may have been promoted since.
                None if !required.is_detached => {
                    required.is_detached = true;
                    required.missing_since = Some(now);
                }
                None => {}
                Some(confirmed) => required.confirmed(*confirmed, caught_up),
            }
        }
        for (replica, confirmed) in &state.replicas {
            if *confirmed >= caught_up && !self.required.contains_key(replica) {
                self.required.insert(replica.clone(), Required::default());
                self.left.remove(replica);
            }
        }
        let is_catching_up = |replica: &&Replica| !self.required.contains_key(*replica);
        self.catching_up = state.replicas.keys().filter(is_catching_up).count();
    }

    /// Checks whether a reply is confirmed that rests on the master's writes up to `offset`, and
    /// whose call was sent at `sent_at`. Returns the replicas that have not confirmed it.
    pub(super) fn confirm(
        &mut self,
        offset: u64,
        state: &ReplicationState,
        sent_at: Duration,
        now: Duration,
    ) -> Result<(), Vec<Replica>> {
        self.listed(state, now);
        let has = |replica: &Replica| {
            state.replicas.get(replica).is_some_and(|confirmed| *confirmed >= offset)
        };
        if let Some(fewer) = self.rule.fewer {
            let confirmed = state.replicas.keys().filter(|replica| has(replica)).count();
            let late = || state.replicas.keys().filter(|replica| !has(replica)).cloned().collect();
            return if confirmed >= self.needed(fewer) { Ok(()) } else { Err(late()) };
        }
        for (replica, required) in &mut self.required {
            if required.missing_since.is_none() && !has(replica) {
                required.waited(offset, sent_at, now, self.rule.lag_max);
            }
        }
        let late: Vec<_> = self.required.keys().filter(|replica| !has(replica)).cloned().collect();
        let is_enough = self.rule.may_be_alone || !self.required.is_empty();
        if late.is_empty() && is_enough && self.is_approved { Ok(()) } else { Err(late) }
    }

    /// Returns whether the authority is to be queried: it has not named this master yet, or a
    /// replica has been missing for that time.
    pub(super) fn is_in_doubt(&self, missing_for: Duration, now: Duration) -> bool {
        let is_due = |since: Duration| since.saturating_add(missing_for) <= now;
        if self.required.values().filter_map(|it| it.missing_since).any(is_due) {
            return true;
        }
        // A replica that is already attached is given time to catch up, so that it is required from
        // the first reply on.
        let Some(since) = self.listed_since else { return false };
        !self.is_approved && (self.catching_up == 0 || since + self.rule.lag_max <= now)
    }

    /// Records that the authority, queried at `queried_at`, names this master. Replicas that had
    /// been missing for `missing_for` at that time are no longer required, and are returned.
    pub(super) fn approved(&mut self, queried_at: Duration, missing_for: Duration) -> Vec<Replica> {
        self.is_approved = true;
        self.doubt = None;
        let stays = |it: &Required| {
            it.missing_since.is_none_or(|since| since.saturating_add(missing_for) > queried_at)
        };
        let (kept, left) =
            std::mem::take(&mut self.required).into_iter().partition(|(_, it)| stays(it));
        self.required = kept;
        let left: Vec<Replica> = BTreeMap::into_keys(left).collect();
        let room = LEFT_MAX.saturating_sub(self.left.len());
        self.left.extend(left.iter().take(room).cloned());
        left
    }

    /// Records the reason why the authority did not name this master when it was queried.
    pub(super) fn doubted(&mut self, why: String) {
        self.doubt = Some(why);
    }

    /// Records that no majority of the authority answered, and that the ones that did count
    /// `replicas`. If all of them are attached, none was promoted.
    pub(super) fn approved_if_complete(&mut self, replicas: usize) {
        let attached = self.required.values().filter(|it| it.missing_since.is_none()).count();
        if replicas > 0 && attached >= replicas {
            self.is_approved = true;
        }
    }

    /// Returns whether calls may be sent. `has_majority`: a majority of the authority names this
    /// master now.
    pub(super) fn gate(&self, has_majority: bool) -> Gate {
        if let Some(fewer) = self.rule.fewer {
            return match self.attached {
                _ if self.listed_since.is_none() => Gate::Closed(UNNAMED.to_owned()),
                _ if !has_majority => Gate::Closed(self.with_doubt(NO_MAJORITY)),
                0 if self.rule.may_be_alone => Gate::Alone,
                attached if attached >= self.needed(fewer) => Gate::Confirmed,
                attached => Gate::Closed(format!("{attached} of {fewer} replicas are attached")),
            };
        }
        let missing: Vec<_> = self
            .required
            .iter()
            .filter_map(|(replica, it)| it.missing_since.map(|_| replica.as_str()))
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            let why =
                format!("replica {missing} is detached or silent, and may have been promoted");
            return Gate::Closed(self.with_doubt(&why));
        }
        if !self.is_approved {
            return Gate::Closed(self.with_doubt(UNNAMED));
        }
        if !has_majority && (self.required.is_empty() || !self.left.is_empty()) {
            return Gate::Closed(self.with_doubt(NO_MAJORITY));
        }
        match self.required.is_empty() {
            false => Gate::Confirmed,
            true if self.rule.may_be_alone => Gate::Alone,
            true => Gate::Closed("no replica is attached that could confirm".to_owned()),
        }
    }

    /// Appends what the authority returned to a reason.
    fn with_doubt(&self, why: &str) -> String {
        let doubt = self.doubt.as_ref();
        doubt.map_or_else(|| why.to_owned(), |doubt| format!("{why} ({doubt})"))
    }

    /// Returns how many replicas have to confirm if `fewer` are configured.
    fn needed(&self, fewer: usize) -> usize {
        if self.rule.may_be_alone { fewer.min(self.attached) } else { fewer }
    }

    /// Returns the longest time for a replica to confirm.
    pub(super) fn lag_max(&self) -> Duration {
        self.rule.lag_max
    }

    /// Returns whether a replica was left behind and has not caught up since.
    pub(super) fn has_left_any(&self) -> bool {
        !self.left.is_empty()
    }

    /// Returns the numbers of replicas that have to confirm, and that are listed.
    pub(super) fn count(&self) -> (usize, usize) {
        let required = self.rule.fewer.map_or(self.required.len(), |fewer| self.needed(fewer));
        (required, self.attached)
    }
}

/// The reason why no call is answered at first.
const UNNAMED: &str = "waiting until the Sentinels, or the cluster, name this server as the master";
/// The reason why no call is answered if another server may be the master.
const NO_MAJORITY: &str =
    "no majority of the Sentinels can be queried, and not all replicas confirm";

impl Required {
    /// Records that the master lists it with that offset.
    fn confirmed(&mut self, offset: u64, caught_up: u64) {
        self.is_detached = false;
        if self.behind.is_some_and(|(behind, _)| offset >= behind) {
            self.behind = None;
        }
        if self.missing_since.is_some() && offset >= caught_up && self.behind.is_none() {
            self.missing_since = None;
        }
    }

    /// Records that it has not confirmed that offset of a call that was sent at `sent_at`.
    fn waited(&mut self, offset: u64, sent_at: Duration, now: Duration, lag_max: Duration) {
        let (_, since) = *self.behind.get_or_insert((offset, sent_at));
        if now.saturating_sub(since) >= lag_max {
            self.missing_since = Some(now);
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
