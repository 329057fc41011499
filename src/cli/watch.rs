//! `imquota admin watch-events`: events as they come, until the command is stopped.
//!
//! Where the stream ends early, the error says after which token to begin again, so that nothing
//! is missed and nothing comes twice. A stream that ends because its connection has reached its age
//! is begun again without a word.

use clap::Args;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::Exit;
use super::error::Error;
use super::output;
use super::session::{Session, zone_of};
use crate::grpc::error_reason::ErrorReason;
use crate::grpc::pb::admin_service_client::AdminServiceClient;
use crate::grpc::pb::{EventKind, WatchEventsRequest};

/// What is watched for.
#[derive(Debug, Args)]
pub struct Watch {
    /// Only events of this app
    #[arg(long, value_name = "APP", default_value = "")]
    app: String,
    /// Only events of this kind, such as limit-passed, denied or ending; may be repeated
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<EventKind>,
    /// Begin after this token, which stands at the end of each line; 0 for all that is kept
    /// [default: from now on]
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
    /// Prints events until a signal, or until nobody reads them.
    pub async fn run(self, session: &Session) -> Result<Exit, Error> {
        let mut token = self.after.clone();
        let end = self.follow(session, &mut token).await;
        end.map_err(|error| match token.as_str() {
            "" => error,
            _ => Error::Watch { error: Box::new(error), token },
        })
    }

    async fn follow(self, session: &Session, token: &mut String) -> Result<Exit, Error> {
        let mut client = AdminServiceClient::new(session.channel());
        let mut goes_on = false;
        loop {
            let request = WatchEventsRequest {
                resume_token: token.clone(),
                app_id: self.app.clone(),
                kinds: self.kinds.iter().copied().map(i32::from).collect(),
            };
            let answers = client.watch_events(session.endless(request)).await;
            let answers = answers.map_err(|status| session.explained(status))?;
            let zone = zone_of(answers.metadata());
            let mut answers = answers.into_inner();
            loop {
                let answer = match answers.message().await {
                    Ok(Some(answer)) => answer,
                    Ok(None) => return Ok(Exit::Done),
                    Err(status) if is_of_age(&status) => break,
                    // There were answers, so that the address is right.
                    Err(status) => return Err(status.into()),
                };
                // The first answer says where the stream begins, which is known if it goes on.
                let is_shown = !goes_on || answer.event.is_some();
                let line = || output::watched(&answer, session.format(), zone);
                if is_shown && !output::emit_more(&line())? {
                    return Ok(Exit::Done);
                }
                *token = answer.resume_token;
            }
            goes_on = true;
        }
    }
}

/// Whether a stream ended because its connection reached its age.
fn is_of_age(status: &Status) -> bool {
    let details = status.get_error_details();
    details.error_info().is_some_and(|info| info.reason == ErrorReason::ConnectionAge.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_lines_show_them() {
        for name in kinds() {
            assert_eq!(kind(&name).map(output::kind_name), Ok(name));
        }
        assert_eq!(kinds().len(), 18);
        assert_eq!(kind("LIMIT_PASSED"), Ok(EventKind::LimitPassed));
        let error = kind("unspecified").expect_err("no kind");
        assert!(error.contains("limit-passed, denied"), "{error}");
    }
}
