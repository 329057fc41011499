//! Metering on behalf of callers: logins, bandwidth, and their recent history.

use super::Engine;
use crate::domain::decision::Mode;
use crate::domain::history::{History, first_shown, histories};
use crate::domain::id::AppId;
use crate::domain::metering::{Login, Sample};
use crate::domain::time::Timestamp;
use crate::ledger::metering::Metered;
use crate::ledger::{Call, LedgerError};

impl Engine {
    /// Counts users who logged in.
    pub async fn record_logins(
        &self,
        app: AppId,
        logins: Vec<Login>,
        deadline: Timestamp,
    ) -> Result<Metered, LedgerError> {
        let (call, _) = self.call(app.clone(), Mode::Enforce, deadline);
        let call = Call { fail_fast: true, ..call };
        self.meter("record_logins", &app, self.ledger.record_logins(call, logins)).await
    }

    /// Records samples of bandwidth.
    pub async fn report_bandwidth(
        &self,
        app: AppId,
        samples: Vec<Sample>,
        deadline: Timestamp,
    ) -> Result<Metered, LedgerError> {
        let (call, _) = self.call(app.clone(), Mode::Enforce, deadline);
        let call = Call { fail_fast: true, ..call };
        self.meter("report_bandwidth", &app, self.ledger.report_bandwidth(call, samples)).await
    }

    async fn meter(
        &self,
        operation: &'static str,
        app: &AppId,
        work: impl Future<Output = Result<Metered, LedgerError>>,
    ) -> Result<Metered, LedgerError> {
        let measure = self.metrics.measure(operation, Mode::Enforce);
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
