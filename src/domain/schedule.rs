//! Schedule: the limits of an app over time.
//!
//! The ledger stores a schedule next to the facts: segments in the order of time, each with the
//! limits that apply until its end. A decision only has to look up the segment of its instant; it
//! needs nothing else about purchases.

use super::catalog::{AddOn, Catalog};
use super::id::Name;
use super::limit::{Bound, Limit, LimitId, Source};
use super::purchase::Sales;
use super::time::Timestamp;
use super::timeline::{AgreedRun, ServiceState, Timeline};

/// Entitlements of an app during one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The edition in force, or the one that stopped.
    pub edition: Name,
    /// State of that edition's service.
    pub state: ServiceState,
    /// The add-ons in force.
    pub add_ons: Vec<Name>,
    /// Limits set by edition and add-ons, or agreed instead.
    pub sold: Vec<(LimitId, Bound)>,
    /// The set of IM codes that the app has chosen, by its name in the catalog.
    pub im_code_set: Option<Name>,
}

/// Limits that apply until an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// First instant after the segment; [`Timestamp::MAX`] for the last one.
    pub until: Timestamp,
    /// The limits until then.
    pub limits: Limits,
}

/// Limits from an instant on, without end. Never empty; the last segment has no end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    segments: Vec<Segment>,
}

/// Error of a schedule that cannot be computed: no catalog describes a purchased item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} \"{name}\" was bought, but no catalog that is kept describes it")]
pub struct MissingItem {
    /// `edition` or `add-on`.
    pub what: &'static str,
    /// Its id.
    pub name: Name,
}

impl Limits {
    /// Returns the value that edition or add-ons set for a limit; `None` if it is not sold.
    #[must_use]
    pub fn sold(&self, id: &LimitId) -> Option<&Bound> {
        self.sold.iter().find(|(of, _)| of == id).map(|(_, bound)| bound)
    }

    /// Returns the value that edition or add-ons set for a limit; unlimited if it is not sold.
    #[must_use]
    pub fn sold_or_unlimited(&self, id: &LimitId) -> Bound {
        self.sold(id).cloned().unwrap_or_else(|| self.unlimited())
    }

    /// Returns the agreed limits that are in force.
    pub fn agreed(&self) -> impl Iterator<Item = (&LimitId, Limit)> {
        let is_agreed = |bound: &Bound| matches!(bound.source, Source::Agreed(_));
        let agreed = self.sold.iter().filter(move |(_, bound)| is_agreed(bound));
        agreed.map(|(id, bound)| (id, bound.limit))
    }

    /// Returns the agreed value of a limit; `None` if none is in force.
    #[must_use]
    pub fn agreed_limit(&self, id: &LimitId) -> Option<Limit> {
        self.agreed().find(|(of, _)| *of == id).map(|(_, limit)| limit)
    }

    /// Sorts the values by the order of the table, in which types keep theirs.
    pub fn sort(&mut self) {
        self.sold.sort_by_key(|(id, _)| id.kind());
    }

    /// The value of a limit that is not sold.
    pub(super) fn unlimited(&self) -> Bound {
        Bound { limit: Limit::Unlimited, source: Source::Edition(self.edition.clone()) }
    }

    /// Returns whether the service is stopped, so that every operation that takes is denied.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.state == ServiceState::Stopped
    }

    fn at(
        catalog: &Catalog,
        sales: &Sales,
        timeline: &Timeline,
        at: Timestamp,
    ) -> Result<Self, MissingItem> {
        let (name, state) = timeline.edition_at(at);
        let edition = match sales.edition(catalog, &name, at) {
            Some(edition) => edition,
            // Every take is denied, so an edition that has ended may be gone from all catalogs.
            None if state == ServiceState::Stopped => return Ok(Self::stopped_without(name)),
            None => return Err(MissingItem { what: "edition", name }),
        };
        let mut limits = Self {
            edition: name,
            state,
            add_ons: Vec::new(),
            im_code_set: None,
            sold: edition
                .limits
                .iter()
                .map(|(id, limit)| {
                    let source = Source::Edition(edition.id.clone());
                    (id.clone(), Bound { limit: *limit, source })
                })
                .collect(),
        };
        if let Some(limit) = catalog.allowance(edition) {
            let source = Source::Edition(edition.id.clone());
            limits.sold.push((LimitId::GroupsAllowance, Bound { limit, source }));
            limits.sort();
        }
        if edition.add_ons_allowed && !limits.stopped() {
            for run in timeline.add_ons.iter().filter(|run| run.in_force.contains(at)) {
                limits.raise(sales.add_on(catalog, &run.add_on, at), &run.add_on)?;
            }
        }
        if !limits.stopped() {
            for run in timeline.agreed.iter().filter(|run| run.in_force.contains(at)) {
                limits.agree(run);
            }
        }
        Ok(limits)
    }

    /// Sets an agreed limit instead of what edition and add-ons set. Runs are in the order of their
    /// grants, so that the last one counts.
    fn agree(&mut self, run: &AgreedRun) {
        let AgreedRun { limit_id, bound, .. } = run;
        match self.sold.iter_mut().find(|(id, _)| id == limit_id) {
            Some((_, before)) => {
                if let Source::AddOn(name) = &before.source {
                    self.add_ons.retain(|add_on| add_on != name);
                }
                *before = bound.clone();
            }
            None => self.sold.push((limit_id.clone(), bound.clone())),
        }
        // The free number of groups is for apps without a number of their own.
        if *limit_id == LimitId::GroupsPerAppOfAllTypes {
            self.sold.retain(|(id, _)| *id != LimitId::GroupsAllowance);
        }
        self.sort();
    }

    /// Returns the limits of a stopped edition that no catalog describes: none.
    fn stopped_without(edition: Name) -> Self {
        let state = ServiceState::Stopped;
        Self { edition, state, add_ons: Vec::new(), sold: Vec::new(), im_code_set: None }
    }

    /// Applies an add-on. Add-ons of one kind do not stack: the highest counts, and only if it
    /// raises the limit.
    fn raise(&mut self, add_on: Option<&AddOn>, name: &Name) -> Result<(), MissingItem> {
        let add_on = add_on.ok_or_else(|| MissingItem { what: "add-on", name: name.clone() })?;
        if let Some((_, bound)) = self.sold.iter_mut().find(|(id, _)| *id == add_on.limit_id)
            && add_on.limit > bound.limit
        {
            if let Source::AddOn(lower) = &bound.source {
                self.add_ons.retain(|name| name != lower);
            }
            *bound = Bound { limit: add_on.limit, source: Source::AddOn(add_on.id.clone()) };
            self.add_ons.push(add_on.id.clone());
        }
        Ok(())
    }
}

impl Schedule {
    /// Creates a schedule from stored segments; `None` unless they are in order and the last has no
    /// end.
    #[must_use]
    pub fn from_segments(segments: Vec<Segment>) -> Option<Self> {
        let ordered = segments.windows(2).all(|pair| pair[0].until < pair[1].until);
        let endless = segments.last().is_some_and(|last| last.until == Timestamp::MAX);
        (ordered && endless).then_some(Self { segments })
    }

    /// Computes the schedule of an app that has bought nothing.
    pub fn default_of(catalog: &Catalog) -> Result<Self, MissingItem> {
        Self::compile(catalog, &Sales::default(), Timestamp::from_millis(0))
    }

    /// Computes the limits from the beginning of time on, so that they apply whatever a clock
    /// reads. Segments that ended by `now` and cannot be computed, since the catalog no longer has
    /// the item, are left out: the segment after them then applies to their time too.
    pub fn whole(catalog: &Catalog, sales: &Sales, now: Timestamp) -> Result<Self, MissingItem> {
        let timeline = Timeline::new(catalog, sales);
        let later = Self::from_instant(catalog, sales, &timeline, now)?;
        let past = timeline.boundaries().into_iter().take_while(|boundary| *boundary <= now);
        let starts: Vec<_> = std::iter::once(Timestamp::from_millis(0)).chain(past).collect();
        let ends = starts.iter().skip(1).copied().chain([now]);
        let mut segments: Vec<Segment> = Vec::new();
        for (start, until) in starts.iter().zip(ends) {
            match Limits::at(catalog, sales, &timeline, *start) {
                Ok(limits) => join(&mut segments, Segment { until, limits }),
                Err(_) => segments.clear(),
            }
        }
        for segment in later.segments {
            join(&mut segments, segment);
        }
        Ok(Self { segments })
    }

    /// Computes the limits from `now` on.
    pub fn compile(catalog: &Catalog, sales: &Sales, now: Timestamp) -> Result<Self, MissingItem> {
        Self::from_instant(catalog, sales, &Timeline::new(catalog, sales), now)
    }

    fn from_instant(
        catalog: &Catalog,
        sales: &Sales,
        timeline: &Timeline,
        now: Timestamp,
    ) -> Result<Self, MissingItem> {
        let mut segments: Vec<Segment> = Vec::new();
        let starts = std::iter::once(now)
            .chain(timeline.boundaries().into_iter().filter(|boundary| *boundary > now));
        for start in starts {
            let limits = Limits::at(catalog, sales, timeline, start)?;
            if segments.last().is_some_and(|last| last.limits == limits) {
                continue;
            }
            if let Some(last) = segments.last_mut() {
                last.until = start;
            }
            segments.push(Segment { until: Timestamp::MAX, limits });
        }
        Ok(Self { segments })
    }

    /// Returns the schedule with IM codes of that set, for all time.
    #[must_use]
    pub fn with_im_codes(mut self, set: Option<&Name>) -> Self {
        for segment in &mut self.segments {
            segment.limits.im_code_set = set.cloned();
        }
        self
    }

    /// Returns the segments, in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the limits at an instant.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> &Limits {
        &self.segment_and_later(at).0.limits
    }

    /// Returns the segment at an instant, and those after it.
    #[must_use]
    pub fn segment_and_later(&self, at: Timestamp) -> (&Segment, &[Segment]) {
        let index = self.segments.partition_point(|segment| segment.until <= at);
        let index = index.min(self.segments.len() - 1);
        (&self.segments[index], &self.segments[index + 1..])
    }

    /// Returns the instant of the next change after an instant; `None` if there is no change.
    #[must_use]
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        let until = self.segment_and_later(at).0.until;
        (until != Timestamp::MAX).then_some(until)
    }

    /// Returns the instant after `at` at which the value that `pick` reads from the limits changes
    /// next, and the limits from then on; `None` if it never changes.
    #[must_use]
    pub fn next_change_of<T: PartialEq>(
        &self,
        at: Timestamp,
        pick: impl Fn(&Limits) -> T,
    ) -> Option<(Timestamp, &Limits)> {
        let (current, later) = self.segment_and_later(at);
        let now = pick(&current.limits);
        let mut from = current.until;
        for segment in later {
            if pick(&segment.limits) != now {
                return Some((from, &segment.limits));
            }
            from = segment.until;
        }
        None
    }
}

/// Appends a segment; extends the last one instead if it has the same limits.
fn join(segments: &mut Vec<Segment>, next: Segment) {
    match segments.last_mut() {
        Some(last) if last.limits == next.limits => last.until = next.until,
        _ => segments.push(next),
    }
}
