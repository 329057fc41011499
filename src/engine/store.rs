//! Calls of the ledger: measured, and traced if their caller has a trace.

use tracing::{Instrument as _, Span};

use super::Engine;
use crate::clock::Stopwatch;
use crate::domain::id::AppId;
use crate::ledger::LedgerError;
use crate::store::StoreError;
use crate::telemetry::trace;

impl Engine {
    /// Runs a call and records it under the name `call`.
    pub(super) async fn measured<T>(
        &self,
        call: &'static str,
        app: &AppId,
        run: impl Future<Output = Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        self.measured_in(trace::of_store(call, app), call, run).await
    }

    /// Runs a call within a span and records it under the name `call`.
    pub(super) async fn measured_in<T>(
        &self,
        span: Span,
        call: &'static str,
        run: impl Future<Output = Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        let watch = Stopwatch::start();
        let answer = run.instrument(span.clone()).await;
        let error = answer.as_ref().err().map(LedgerError::name);
        span.record("outcome", error.unwrap_or("ok"));
        self.metrics.store_called(call, watch, error);
        if let Err(LedgerError::Store(StoreError::Overloaded(why))) = &answer {
            self.metrics.condition.shed(*why);
        }
        answer
    }
}
