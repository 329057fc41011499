//! The call of a comparison: sends the parts of the export and receives responses in order.
//!
//! At most a fixed number of messages await their responses. The whole call has no timeout, since
//! it may take hours, but it fails if a response is missing for a minute.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::receiver::{RequestPart, ResponseReceiver};
use super::sender::{Part, PendingFile, send_files};
use crate::cli::error::Error;
use crate::cli::session::Session;
use crate::grpc::pb::admin_service_client::AdminServiceClient;
use crate::grpc::pb::reconcile_request::Part as Message;
use crate::grpc::pb::{ReconcileBegin, ReconcileEnd, ReconcileRequest, ReconcileResponse};

/// Most messages that await their responses: enough to hide the round trip time.
const IN_FLIGHT_MAX: usize = 64;
/// Most parts that were read from the files and wait to be sent.
const READ_AHEAD: usize = 8;
/// Longest time without a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest response: for a group of 20,000 exported members that has as many others in the store.
const RESPONSE_MAX_BYTES: usize = 64 * 1024 * 1024;

const TIMED_OUT: &str = "the sidecar has not responded for 60 s";
const ENDED_EARLY: &str = "the sidecar ended the stream before the last response";
const UNEXPECTED: &str = "the sidecar sent a response without a request";
const STOPPED: &str = "stopped by a signal";

/// Compares all files. The results so far are in `receiver`, also after an error.
pub async fn compare(
    session: &Session,
    begin: ReconcileBegin,
    files: Vec<PendingFile>,
    receiver: &mut ResponseReceiver,
) -> Result<(), Error> {
    let (read, parts) = mpsc::channel(READ_AHEAD);
    // Reading files blocks. It ends when `parts` is dropped.
    tokio::task::spawn_blocking(move || send_files(&files, &read));
    // Has room for every message that awaits its response, so that sending never blocks.
    let (requests, outgoing) = mpsc::channel(IN_FLIGHT_MAX);
    let mut exchange = Exchange { requests: Some(requests), in_flight: VecDeque::new(), receiver };
    exchange.send(Message::Begin(begin), RequestPart::Begin);
    let mut client = AdminServiceClient::new(session.channel());
    client = client.max_decoding_message_size(RESPONSE_MAX_BYTES);
    let call = client.reconcile(session.without_deadline(ReceiverStream::new(outgoing)));
    let responses =
        timeout(RESPONSE_TIMEOUT, call).await.map_err(|_| Error::Interrupted(TIMED_OUT))?;
    let responses = responses.map_err(|status| session.explain(status))?.into_inner();
    exchange.run(session, parts, responses).await
}

/// State of the call.
struct Exchange<'a> {
    /// Channel for messages; `None` after the end was sent.
    requests: Option<Sender<ReconcileRequest>>,
    /// Requests that await their responses, oldest first.
    in_flight: VecDeque<RequestPart>,
    receiver: &'a mut ResponseReceiver,
}

impl Exchange<'_> {
    fn send(&mut self, message: Message, part: RequestPart) {
        if let Some(requests) = &self.requests {
            // It is closed if the sidecar has ended the call; the responses have the error.
            let _ = requests.try_send(ReconcileRequest { part: Some(message) });
            self.in_flight.push_back(part);
        }
    }

    /// Sends the parts and receives the responses, until the sidecar has finished.
    async fn run(
        &mut self,
        session: &Session,
        mut parts: Receiver<Result<Part, Error>>,
        mut responses: Streaming<ReconcileResponse>,
    ) -> Result<(), Error> {
        let mut silence = pin!(sleep(RESPONSE_TIMEOUT));
        let mut signal = pin!(stop_signal()?);
        loop {
            let may_send = self.requests.is_some() && self.in_flight.len() < IN_FLIGHT_MAX;
            tokio::select! {
                part = parts.recv(), if may_send => {
                    if self.in_flight.is_empty() {
                        silence.set(sleep(RESPONSE_TIMEOUT));
                    }
                    if let Some(Part { message, content, .. }) = part.transpose()? {
                        self.send(Message::Facts(message), RequestPart::Facts(content));
                    } else {
                        self.send(Message::End(ReconcileEnd {}), RequestPart::End);
                        self.requests = None;
                    }
                }
                response = responses.message() => {
                    let response = response.map_err(|status| session.explain(status))?;
                    if self.receive(&response.ok_or(Error::Interrupted(ENDED_EARLY))?)? {
                        return Ok(());
                    }
                    silence.set(sleep(RESPONSE_TIMEOUT));
                }
                () = &mut silence, if !self.in_flight.is_empty() => {
                    return Err(Error::Interrupted(TIMED_OUT));
                }
                () = &mut signal => return Err(Error::Interrupted(STOPPED)),
            }
        }
    }

    /// Receives a response; returns `true` after the last one.
    fn receive(&mut self, response: &ReconcileResponse) -> Result<bool, Error> {
        let part = *self.in_flight.front().ok_or(Error::Interrupted(UNEXPECTED))?;
        // The end has several responses, until everything was compared.
        if part != RequestPart::End {
            self.in_flight.pop_front();
        }
        self.receiver.add(response, part)?;
        match (response.finished, part) {
            (true, RequestPart::End) => Ok(true),
            (true, _) => Err(Error::Interrupted(ENDED_EARLY)),
            (false, _) => Ok(false),
        }
    }
}

/// Returns a future that completes on SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
