//! `imquota admin watch-events`: prints events as they arrive, until the command is stopped.
//!
//! If the stream fails, the error contains the token to resume after, so that no event is missed
//! or repeated. A stream that ends because its connection reached its maximum age is resumed
//! without a message.

use clap::Args;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::Exit;
use super::error::Error;
use super::output;
use super::session::{Session, zone_of};
use crate::grpc::error_reason::ErrorReason;
use crate::grpc::pb::admin_service_client::AdminServiceClient;
use crate::grpc::pb::{EventKind, WatchEventsRequest};

/// Arguments of `imquota admin watch-events`.
#[derive(Debug, Args)]
pub struct Watch {
    /// Only events of this app
    #[arg(long, value_name = "APP", default_value = "")]
    app: String,
    /// Only events of this kind, such as limit-passed, denied or ending; may be repeated
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<EventKind>,
    /// Resume after this token, which is at the end of each line; 0 for all stored events
    /// [default: only new events]
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    after: String,
}

fn kind(text: &str) -> Result<EventKind, String> {
    let name = format!("EVENT_KIND_{}", text.to_ascii_uppercase().replace('-', "_"));
    let kind = EventKind::from_str_name(&name).filter(|kind| *kind != EventKind::Unspecified);
    kind.ok_or_else(|| format!("must be one of {}", kinds().join(", ")))
}

fn kinds() -> Vec<String> {
    let numbers = 1..;
    let kinds = numbers.map_while(|number| EventKind::try_from(number).ok());
    kinds.map(output::kind_name).collect()
}

impl Watch {
    /// Prints events until a signal, or until the reader of stdout closes it.
    pub async fn run(self, session: &Session) -> Result<Exit, Error> {
        let mut token = self.after.clone();
        let end = self.follow(session, &mut token).await;
        // To resume with a token that is refused would not help.
        end.map_err(|error| match token.as_str() {
            "" => error,
            _ if error.is_of(&[Code::InvalidArgument, Code::OutOfRange]) => error,
            _ => Error::Watch { error: Box::new(error), token },
        })
    }

    async fn follow(self, session: &Session, token: &mut String) -> Result<Exit, Error> {
        let mut client = AdminServiceClient::new(session.channel());
        let mut is_resumed = false;
        loop {
            let request = WatchEventsRequest {
                resume_token: token.clone(),
                app_id: self.app.clone(),
                kinds: self.kinds.iter().copied().map(i32::from).collect(),
            };
            let responses = client.watch_events(session.without_deadline(request)).await;
            let responses = responses.map_err(|status| session.explain(status).for_read())?;
            let zone = zone_of(responses.metadata());
            let mut responses = responses.into_inner();
            loop {
                let response = match responses.message().await {
                    Ok(Some(response)) => response,
                    Ok(None) => return Ok(Exit::Done),
                    Err(status) if is_connection_age(&status) => break,
                    // There were responses: no hint at a wrong address is needed.
                    Err(status) => return Err(status.into()),
                };
                // The first response states the position, which a resumed stream has already.
                let is_shown = !is_resumed || response.event.is_some();
                let line = || output::event_text(&response, session.format(), zone);
                if is_shown && !output::print_more(&line())? {
                    return Ok(Exit::Done);
                }
                *token = response.resume_token;
            }
            is_resumed = true;
        }
    }
}

/// Returns whether a stream ended because its connection reached its maximum age.
fn is_connection_age(status: &Status) -> bool {
    let details = status.get_error_details();
    details.error_info().is_some_and(|info| info.reason == ErrorReason::ConnectionAge.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_parsed_by_the_names_in_event_lines() {
        for name in kinds() {
            assert_eq!(kind(&name).map(output::kind_name), Ok(name));
        }
        assert_eq!(kinds().len(), 20);
        assert_eq!(kind("LIMIT_PASSED"), Ok(EventKind::LimitPassed));
        let error = kind("unspecified").expect_err("no kind");
        assert!(error.contains("limit-passed, denied"), "{error}");
    }
}
