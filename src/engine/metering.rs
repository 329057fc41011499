//! Metering on behalf of callers: logins, samples, and their recent history.

use super::Engine;
use super::denial::{self, Denial};
use crate::domain::decision::{ItemResult, Mode, Outcome};
use crate::domain::history::{History, first_shown, histories};
use crate::domain::id::AppId;
use crate::domain::metering::{Login, Sample, Sampled};
use crate::domain::time::Timestamp;
use crate::ledger::metering::Metered;
use crate::ledger::{Call, LedgerError};

impl Engine {
    /// Counts users who logged in, within the limits of the app.
    pub async fn record_logins(
        &self,
        app: AppId,
        mode: Mode,
        logins: Vec<Login>,
        deadline: Timestamp,
    ) -> Result<Metered<Denial>, LedgerError> {
        let (call, _) = self.call(app.clone(), mode, deadline);
        let (call, catalog) = (Call { fail_fast: true, ..call }, self.catalog());
        let metered = self
            .meter("record_logins", mode, &app, self.ledger.record_logins(call, logins))
            .await?;
        let Metered { at, outcomes, violations, limits } = metered;
        let denials = |(index, violations)| {
            let result = ItemResult { outcome: Outcome::Denied, violations };
            (index, denial::complete(&catalog, limits.as_ref(), result).violations)
        };
        let violations = violations.into_iter().map(denials).collect();
        Ok(Metered { at, outcomes, violations, limits })
    }

    /// Records samples.
    pub async fn report_samples(
        &self,
        app: AppId,
        of: Sampled,
        samples: Vec<Sample>,
        deadline: Timestamp,
    ) -> Result<Metered, LedgerError> {
        let (call, _) = self.call(app.clone(), Mode::Enforce, deadline);
        let call = Call { fail_fast: true, ..call };
        let operation = match of {
            Sampled::Bandwidth => "report_bandwidth",
            Sampled::Gauge => "report_gauge",
        };
        self.meter(operation, Mode::Enforce, &app, self.ledger.report_samples(call, of, samples))
            .await
    }

    async fn meter(
        &self,
        operation: &'static str,
        mode: Mode,
        app: &AppId,
        work: impl Future<Output = Result<Metered, LedgerError>>,
    ) -> Result<Metered, LedgerError> {
        let measure = self.metrics.measure(operation, mode);
        let metered = self.measured("record", app, work).await;
        match &metered {
            Ok(metered) => measure.metered(&metered.outcomes),
            Err(error) => measure.failed(error.name()),
        }
        metered
    }

    /// Returns the metering of an app in the last days before an instant.
    pub(super) async fn history(
        &self,
        call: &Call,
        at: Timestamp,
    ) -> Result<Vec<History>, LedgerError> {
        let today = call.catalog.zone.day_of(at);
        let figures = self.ledger.figures(call, first_shown(today), today).await?;
        Ok(histories(&figures.days))
    }
}
