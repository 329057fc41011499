//! The WatchEvents stream: the event log from a position on, and as it grows.
//!
//! The log is read for each stream, by number, so that a stream can resume anywhere: at this
//! sidecar after a restart, or at another one of the same store. A slow reader delays only its own
//! stream; if the bounded log dropped events before they were read, the reader gets one event that
//! names their range and kinds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::domain::event::{EventKind, NumberedEvent};
use crate::domain::id::AppId;
use crate::engine::admin::Administration;
use crate::events::{EventLog, Page};
use crate::grpc::admin_status::{of_beyond, of_events};
use crate::grpc::caller::Authorization;
use crate::grpc::connection_age::ConnectionAge;
use crate::grpc::error_reply::of_gone;
use crate::grpc::fields::{Fields, number};
use crate::grpc::pb;
use crate::grpc::permits::Permit;
use crate::grpc::status::{of_invalid, of_shutdown};
use crate::proto::{event, kind, kind_named};

/// Most concurrent streams: each reads the log twice a second.
pub const WATCHERS_MAX: usize = 64;
/// Interval at which the log is read for events of other sidecars.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Events read at a time.
const PAGE: usize = 256;
/// Most answers that wait for a reader.
const ANSWERS_MAX: usize = 16;
/// Advice for the caller of a stream that the sidecar or its connection's age has ended.
const AFTER_AGE: &str = "resume after the last resume_token";
/// Most kinds of a request, as in the proto.
const KINDS_MAX: usize = 32;

/// The answers of one stream.
pub type Answers = ReceiverStream<Result<pb::WatchEventsResponse, Status>>;
type Sender = mpsc::Sender<Result<pb::WatchEventsResponse, Status>>;

/// Filter and position of a watch.
pub struct Wanted {
    /// The number after which to begin; `None`: after the last one at the start.
    after: Option<u64>,
    app: Option<AppId>,
    /// Empty: all.
    kinds: Vec<pb::EventKind>,
}

impl Wanted {
    /// Checks a request.
    pub fn new(request: pb::WatchEventsRequest) -> Result<Self, Status> {
        let mut fields = Fields::default();
        let after = match request.resume_token.as_str() {
            "" => Some(None),
            token => {
                let bad = "must be the resume_token of an answer, or \"0\" for all that is kept";
                fields.check("resume_token", number(token).map(Some).ok_or(bad))
            }
        };
        let app = match request.app_id {
            none if none.is_empty() => Some(None),
            app => fields.app_id(app).map(Some),
        };
        let kinds = kinds(&mut fields, &request.kinds);
        let wanted = after.zip(app).zip(kinds);
        let wanted = wanted.map(|((after, app), kinds)| Self { after, app, kinds });
        fields.finish(wanted).map_err(of_invalid)
    }

    /// Returns whether an event matches. Dropped events match if one of a wanted kind may be among
    /// them, for any app: their apps are not stored.
    fn matches(&self, numbered: &NumberedEvent) -> bool {
        if let EventKind::EventsDropped { kinds, .. } = &numbered.event.what {
            let may_be_wanted = |kind: &pb::EventKind| {
                [pb::EventKind::Unspecified, pb::EventKind::EventsDropped].contains(kind)
                    || self.kinds.contains(kind)
            };
            return self.kinds.is_empty()
                || self.kinds.contains(&pb::EventKind::EventsDropped)
                || kinds.iter().map(|name| kind_named(name)).any(|kind| may_be_wanted(&kind));
        }
        let app = self.app.as_ref();
        app.is_none_or(|app| numbered.event.app.as_ref() == Some(app))
            && (self.kinds.is_empty() || self.kinds.contains(&kind(&numbered.event.what)))
    }
}

fn kinds(fields: &mut Fields, numbers: &[i32]) -> Option<Vec<pb::EventKind>> {
    if numbers.len() > KINDS_MAX {
        fields.wrong("kinds", format!("must have 0-{KINDS_MAX} entries, not {}", numbers.len()));
        return None;
    }
    let mut kinds = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        match pb::EventKind::try_from(*number) {
            Ok(kind) if kind != pb::EventKind::Unspecified => kinds.push(kind),
            _ => fields.wrong(format!("kinds[{index}]"), format!("no kind has number {number}")),
        }
    }
    (kinds.len() == numbers.len()).then_some(kinds)
}

/// A watch with its context.
pub struct Stream {
    /// Filter and position.
    pub wanted: Wanted,
    /// Provides the catalog with the zone, and the engine that signals new events.
    pub administration: Administration,
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The caller's right to continue.
    pub authorization: Authorization,
    /// The age of the caller's connection.
    pub connection_age: ConnectionAge,
    /// Cancelled when the server shuts down.
    pub shutdown: CancellationToken,
    /// The permit of this stream.
    pub permit: Permit,
}

impl Stream {
    /// Starts the watch. An error before the first answer is the call's.
    pub async fn answer(self) -> Result<Answers, Status> {
        let page = self.log.read(0, 0).await;
        let after = begin(self.wanted.after, &page.map_err(|error| of_events(&error))?)?;
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        let first =
            pb::WatchEventsResponse { event: None, resume_token: after.to_string(), missed: 0 };
        // The channel is empty and open.
        let _ = answers.try_send(Ok(first));
        tokio::spawn(async move {
            let mut authorization = self.authorization.clone();
            let end = tokio::select! {
                end = self.follow(after, &answers) => end,
                () = answers.closed() => return,
                () = self.shutdown.cancelled() => of_shutdown(AFTER_AGE),
                status = authorization.revoked() => status,
                status = self.connection_age.reached(AFTER_AGE) => status,
            };
            // A reader who has gone away does not need the status.
            let _ = answers.send(Err(end)).await;
            drop(self.permit);
        });
        Ok(ReceiverStream::new(receiver))
    }

    /// Sends new events until they cannot be read or the caller has gone away.
    async fn follow(&self, mut after: u64, answers: &Sender) -> Status {
        loop {
            let page = match self.log.read(after, PAGE).await {
                Ok(page) => page,
                Err(error) => return of_events(&error),
            };
            let more = page.events.len() >= PAGE;
            let conventions = self.administration.catalog().conventions();
            for numbered in page.events {
                after = numbered.number;
                if !self.wanted.matches(&numbered) {
                    continue;
                }
                let answer = pb::WatchEventsResponse {
                    event: Some(event(&numbered, conventions)),
                    resume_token: after.to_string(),
                    missed: missed(&numbered),
                };
                if answers.send(Ok(answer)).await.is_err() {
                    return of_gone();
                }
            }
            if more {
                self.administration.pace().next_slice().await;
            } else {
                tokio::select! {
                    () = self.administration.events_appended() => {}
                    () = sleep(POLL_INTERVAL) => {}
                }
            }
        }
    }
}

/// Returns the number after which a stream begins.
fn begin(resume_after: Option<u64>, page: &Page) -> Result<u64, Status> {
    match resume_after {
        None => Ok(page.head),
        Some(0) => Ok(page.oldest.saturating_sub(1)),
        Some(after) if after > page.head => Err(of_beyond(after, page.head)),
        Some(after) => Ok(after),
    }
}

/// Returns the number of dropped events that an event reports.
fn missed(numbered: &NumberedEvent) -> u64 {
    match numbered.event.what {
        EventKind::EventsDropped { first, last, .. } => {
            last.saturating_sub(first).saturating_add(1)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Event;
    use crate::domain::time::Timestamp;

    #[test]
    fn a_stream_begins_at_its_resume_token() {
        let page = |oldest, head| Page { events: Vec::new(), oldest, head };
        for (resume_after, page, wanted) in [
            (None, page(1, 0), 0),
            (None, page(11, 20), 20),
            (Some(0), page(1, 0), 0),
            (Some(0), page(11, 20), 10),
            (Some(20), page(11, 20), 20),
            (Some(10), page(11, 20), 10),
            (Some(9), page(11, 20), 9),
            (Some(1), page(11, 20), 1),
        ] {
            assert_eq!(begin(resume_after, &page).expect("begins"), wanted, "{resume_after:?}");
        }
        let beyond = begin(Some(21), &page(11, 20)).expect_err("beyond the end");
        assert_eq!(beyond.code(), tonic::Code::OutOfRange);
        assert!(beyond.message().contains("resume_token 21"), "{beyond}");
    }

    #[test]
    fn dropped_events_are_sent_if_a_wanted_one_may_be_among_them() {
        let of = |kinds: &[pb::EventKind], app_id: &str| {
            let kinds = kinds.iter().map(|kind| (*kind).into()).collect();
            let app_id = app_id.to_owned();
            let request = pb::WatchEventsRequest { kinds, app_id, ..Default::default() };
            Wanted::new(request).unwrap_or_else(|status| panic!("{status}"))
        };
        let dropped = |kinds: &[&str]| {
            let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
            let what = EventKind::EventsDropped { first: 4, last: 9, kinds };
            let event = Event { at: Timestamp::from_millis(7), app: None, what };
            NumberedEvent { number: 9, event }
        };
        let limits = dropped(&["denied", "limit_passed"]);
        assert_eq!(missed(&limits), 6);
        for (kinds, app, wanted) in [
            (&[][..], "", true),
            (&[], "demo", true),
            (&[pb::EventKind::Denied], "demo", true),
            (&[pb::EventKind::EventsDropped], "", true),
            (&[pb::EventKind::Purchased, pb::EventKind::Refunded], "", false),
        ] {
            assert_eq!(of(kinds, app).matches(&limits), wanted, "{kinds:?} {app}");
            assert!(of(kinds, app).matches(&dropped(&["?"])), "{kinds:?} {app}");
        }
    }

    #[test]
    fn errors_name_the_field_of_a_request() {
        for token in ["x", "-1", "+1", "01", "1 ", "99999999999999999999"] {
            let request =
                pb::WatchEventsRequest { resume_token: token.into(), ..Default::default() };
            let Err(status) = Wanted::new(request) else { panic!("{token:?} was accepted") };
            assert!(status.message().contains("resume_token"), "{status}");
        }
        let request = pb::WatchEventsRequest { kinds: vec![1, 0, 99], ..Default::default() };
        let Err(status) = Wanted::new(request) else { panic!("kinds were accepted") };
        assert!(status.message().contains("kinds[1]"), "{status}");
    }
}
