//! Holds in scripts: takes with a hold, their ends, and the wait for an expiry.
//!
//! An ended hold is written `join_group: confirmed x2, -`, by the kind of its operation, with
//! `expired ` before it if the hold had expired; `-` is a subject that the hold does not have.
//! Several are joined by `; `, and `none` means that there is no record.

use std::sync::Arc;
use std::time::Duration;

use imquota::domain::catalog::Catalog;
use imquota::domain::decision::Subject;
use imquota::domain::hold::{Hold, HoldEnd, HoldOutcome};
use imquota::domain::id::OperationId;
use imquota::domain::limits::Part;
use imquota::domain::time::Timestamp;
use imquota::domain::usage::Counts;
use imquota::ledger::LedgerError;
use imquota::ledger::holds::{EndedHold, Ending, HoldResult};

use super::script::{App, parts, shown_counts, shown_violation};
use crate::support::{group, user};

/// Seconds of a hold that outlasts a case.
pub const LONG: u32 = 600;
/// The interval between looks at the store's clock.
const LOOK: Duration = Duration::from_millis(50);

impl App {
    /// The app, with takes that have a hold for that many seconds.
    pub fn holding(&self, id: &str, seconds: u32) -> Self {
        let hold = Some(Hold::new(id, seconds).expect("a valid id"));
        let mut app = self.clone();
        app.call.take.hold = hold;
        app
    }

    /// The app, with creations that replace a held group.
    pub fn replacing(&self, held: &str) -> Self {
        let mut app = self.clone();
        app.call.take.replaces = Some(group(held));
        app
    }

    /// The app with another catalog.
    pub fn with_catalog(&self, change: impl FnOnce(&mut Catalog)) -> Self {
        let mut catalog = (*self.call.catalog).clone();
        change(&mut catalog);
        let mut app = self.clone();
        app.call.catalog = Arc::new(catalog);
        app
    }

    /// The store's clock.
    pub async fn time(&self) -> Timestamp {
        self.ledger.now().await.expect("the store has a clock")
    }

    /// Waits until every hold of one second that was taken before has expired.
    pub async fn expire(&self) {
        let until = self.time().await + Duration::from_millis(1001);
        while self.time().await <= until {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets other callers go on for some time.
    pub async fn pause(&self) {
        tokio::time::sleep(LOOK).await;
    }

    /// The members of a group who are permanent.
    pub async fn permanent_members(&self, name: &str) -> u64 {
        let of = Subject::Group(group(name));
        let reading = self.ledger.read(self.call.clone(), of).await.expect("read");
        let members = |counts: &Counts| match counts {
            Counts::Group { members, .. } => *members,
            _ => panic!("of a group"),
        };
        members(&reading.counts) - members(&reading.held)
    }

    /// Ends the holds of an operation.
    pub async fn try_end(
        &self,
        part: Part,
        id: &str,
        (end, as_of): (HoldEnd, Option<Timestamp>),
    ) -> Result<Vec<EndedHold>, LedgerError> {
        let id = OperationId::try_from(id).expect("a valid id");
        self.ledger.end_hold(self.call.clone(), Ending { id, part, end, as_of }).await
    }

    async fn end(&self, part: Part, id: &str, how: (HoldEnd, Option<Timestamp>)) -> String {
        match self.try_end(part, id, how).await {
            Ok(ended) if ended.is_empty() => "none".to_owned(),
            Ok(ended) => ended.iter().map(shown_end).collect::<Vec<_>>().join("; "),
            Err(error) => format!("error: {}", error.name()),
        }
    }

    /// Confirms the holds of an operation; checks the results.
    pub async fn confirm(&self, part: Part, id: &str, expected: &str) {
        let got = self.end(part, id, (HoldEnd::Confirm, None)).await;
        assert_eq!(got, expected, "confirmation of {id}");
    }

    /// Confirms the holds of an operation as of an instant; checks the results.
    pub async fn confirm_as_of(&self, part: Part, id: &str, at: Timestamp, expected: &str) {
        let got = self.end(part, id, (HoldEnd::Confirm, Some(at))).await;
        assert_eq!(got, expected, "confirmation of {id} as of {at:?}");
    }

    /// Releases the holds of an operation; checks the results.
    pub async fn release(&self, part: Part, id: &str, expected: &str) {
        let got = self.end(part, id, (HoldEnd::Release, None)).await;
        assert_eq!(got, expected, "release of {id}");
    }

    /// Checks the provisional part of the counts of each subject against its text.
    pub async fn provisional<const N: usize>(&self, lines: [(&str, &str); N]) {
        for (name, expected) in lines {
            let subject = match name.split_once(' ') {
                Some(("user", name)) => Subject::User(user(name)),
                Some((_, name)) => Subject::Group(group(name)),
                None => Subject::App,
            };
            let reading = self.ledger.read(self.call.clone(), subject).await.expect("read");
            assert_eq!(shown_counts(&reading.held), expected, "provisional of {name}");
        }
    }

    /// Groups on the bill of today: the peak, and net new.
    pub async fn billed(&self) -> (u64, i64) {
        let today = self.call.catalog.zone.day_of(self.time().await);
        let figures = self.ledger.figures(&self.call, today, today).await.expect("figures");
        let day = figures.days.first().expect("today");
        (day.groups_peak, day.groups_net_new)
    }
}

fn shown_end(ended: &EndedHold) -> String {
    let item = |result: &Option<HoldResult>| result.as_ref().map_or("-".into(), shown_result);
    let whole = ended.whole.as_ref().map(shown_result);
    let text = parts(whole, ended.items.iter().map(item));
    let mut results = ended.whole.iter().chain(ended.items.iter().flatten());
    let has_violations = results.any(|result| !result.violations.is_empty());
    assert_eq!(ended.limits.is_some(), has_violations, "limits come with violations: {text}");
    let expired = if ended.expired_at.is_some() { "expired " } else { "" };
    format!("{expired}{}: {text}", ended.operation.name())
}

fn shown_result(result: &HoldResult) -> String {
    let outcome = match result.outcome {
        HoldOutcome::Confirmed => "confirmed",
        HoldOutcome::Retaken => "retaken",
        HoldOutcome::Released => "released",
        HoldOutcome::EndedOtherwise => "ended",
        HoldOutcome::Denied => "denied",
    };
    let violations = result.violations.iter().map(shown_violation).collect::<Vec<_>>().join(" + ");
    format!("{outcome} {violations}").trim_end().to_owned()
}
