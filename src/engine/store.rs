//! Calls of the ledger: measured, and a part of the trace where their caller has one.

use tracing::Instrument as _;

use super::Engine;
use crate::clock::Stopwatch;
use crate::domain::id::AppId;
use crate::ledger::LedgerError;
use crate::telemetry::trace;

impl Engine {
    /// Makes a call, known by that name.
    pub(super) async fn measured<T>(
        &self,
        call: &'static str,
        app: &AppId,
        work: impl Future<Output = Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        let span = trace::of_store(call, app);
        let watch = Stopwatch::start();
        let answer = work.instrument(span.clone()).await;
        let error = answer.as_ref().err().map(LedgerError::name);
        span.record("outcome", error.unwrap_or("ok"));
        self.metrics.store_called(call, watch, error);
        if let Err(LedgerError::Overloaded(why)) = &answer {
            self.metrics.condition.shed(*why);
        }
        answer
    }
}
