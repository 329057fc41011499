//! Events about servers of the store that are reachable and refuse calls.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::EventPublisher;
use crate::clock::Stopwatch;
use crate::domain::event::{Event, EventKind};
use crate::store::ServerState;

/// Interval at which the servers are checked: well within the time for which a refusal is reported.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Time between two events about the same error code of the same server.
const PUBLISHED_EVERY: Duration = Duration::from_secs(60);

/// Recently published refusals: server, error code, and the time since.
#[derive(Default)]
struct Published(Vec<(String, String, Stopwatch)>);

impl EventPublisher {
    /// Publishes refusals until `stopped` is cancelled.
    pub(super) async fn publish_refusals(&self, stopped: &CancellationToken) {
        let mut published = Published::default();
        loop {
            tokio::select! {
                () = sleep(POLL_EVERY) => {}
                () = stopped.cancelled() => return,
            }
            for what in published.due(self.engine.ledger.servers()) {
                let at = self.engine.local_now();
                self.engine.event_buffer().record_event(Event { at, app: None, what });
            }
        }
    }
}

impl Published {
    /// Returns the refusals of these servers that have to be published now.
    fn due(&mut self, servers: Vec<ServerState>) -> Vec<EventKind> {
        self.0.retain(|(_, _, since)| since.elapsed() < PUBLISHED_EVERY);
        let mut due = Vec::new();
        for ServerState { address: server, refusal, .. } in servers {
            let Some(refusal) = refusal else { continue };
            let is_published = |(of, code, _): &(String, String, Stopwatch)| {
                *of == server && *code == refusal.code
            };
            if !self.0.iter().any(is_published) {
                self.0.push((server.clone(), refusal.code, Stopwatch::start()));
                due.push(EventKind::StoreRefuses { server, why: refusal.words });
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Refusal, Replication};

    #[test]
    fn a_refusal_is_published_once_a_minute_for_each_server_and_code() {
        let mut published = Published::default();
        let server = |address: &str, code: &str| {
            let words = format!("{code} words");
            let refusal = Some(Refusal { code: code.to_owned(), words });
            let (address, replication) = (address.to_owned(), Replication::default());
            ServerState { address, is_absent: false, refusal, replication }
        };
        let silent = ServerState { refusal: None, ..server("a", "") };
        assert_eq!(published.due(vec![silent]), []);
        let of = |server: &str, why: &str| EventKind::StoreRefuses {
            server: server.to_owned(),
            why: why.to_owned(),
        };
        assert_eq!(
            published.due(vec![server("a", "OOM"), server("b", "OOM")]),
            [of("a", "OOM words"), of("b", "OOM words")]
        );
        assert_eq!(published.due(vec![server("a", "OOM"), server("b", "OOM")]), []);
        assert_eq!(published.due(vec![server("a", "READONLY")]), [of("a", "READONLY words")]);
        assert_eq!(published.due(vec![server("a", "OOM")]), [], "codes that take turns");
    }
}
