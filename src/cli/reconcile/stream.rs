//! The conversation with the sidecar: parts of the export go out, answers come back in order.
//!
//! Sending runs ahead of the answers by a bounded number of messages. Nothing bounds the whole,
//! which may take hours, but a sidecar that owes an answer and is silent for a minute is given up.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::receiver::{Asked, Findings};
use super::sender::{Part, Share, feed};
use crate::cli::error::Error;
use crate::cli::session::Session;
use crate::grpc::pb::admin_service_client::AdminServiceClient;
use crate::grpc::pb::reconcile_request::Part as Message;
use crate::grpc::pb::{ReconcileBegin, ReconcileEnd, ReconcileRequest, ReconcileResponse};

/// Messages that wait for their answers: enough that the way there and back costs no time.
const IN_FLIGHT_MAX: usize = 64;
/// Parts that were read from the files and wait to be sent.
const READ_AHEAD: usize = 8;
/// How long an answer may take.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Largest answer that is read: a group of 20,000 exported members that has as many others here.
const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;

const SILENT: &str = "the sidecar has owed an answer for 60 s";
const CUT_OFF: &str = "the sidecar ended its answers before the last one";
const UNASKED: &str = "the sidecar answered what it was not asked";
const STOPPED: &str = "stopped by a signal";

/// Compares all of it. What was found until then is in `findings`, also after an error.
pub async fn converse(
    session: &Session,
    begin: ReconcileBegin,
    shares: Vec<Share>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let (read, parts) = mpsc::channel(READ_AHEAD);
    // Reading files blocks. It ends when `parts` is dropped.
    tokio::task::spawn_blocking(move || feed(&shares, &read));
    // Has room for every message that waits for its answer, so that sending never waits.
    let (requests, outgoing) = mpsc::channel(IN_FLIGHT_MAX);
    let mut conversation =
        Conversation { requests: Some(requests), in_flight: VecDeque::new(), findings };
    conversation.send(Message::Begin(begin), Asked::Begin);
    let mut client = AdminServiceClient::new(session.channel());
    client = client.max_decoding_message_size(ANSWER_MAX_BYTES);
    let call = client.reconcile(session.endless(ReceiverStream::new(outgoing)));
    let answers = timeout(SILENCE_MAX, call).await.map_err(|_| Error::CutOff(SILENT))?;
    let answers = answers.map_err(|status| session.explained(status))?.into_inner();
    conversation.go_on(session, parts, answers).await
}

struct Conversation<'a> {
    /// Where messages go; `None` once the end was sent.
    requests: Option<Sender<ReconcileRequest>>,
    /// What was asked, the oldest first.
    in_flight: VecDeque<Asked>,
    findings: &'a mut Findings,
}

impl Conversation<'_> {
    fn send(&mut self, message: Message, asked: Asked) {
        if let Some(requests) = &self.requests {
            // It is closed when the sidecar has ended the call; why, the answers say.
            let _ = requests.try_send(ReconcileRequest { part: Some(message) });
            self.in_flight.push_back(asked);
        }
    }

    /// Sends what is read and takes in what is answered, until the sidecar has finished.
    async fn go_on(
        &mut self,
        session: &Session,
        mut parts: Receiver<Result<Part, Error>>,
        mut answers: Streaming<ReconcileResponse>,
    ) -> Result<(), Error> {
        let mut silence = pin!(sleep(SILENCE_MAX));
        let mut signal = pin!(stop_signal()?);
        loop {
            let may_send = self.requests.is_some() && self.in_flight.len() < IN_FLIGHT_MAX;
            tokio::select! {
                part = parts.recv(), if may_send => {
                    if self.in_flight.is_empty() {
                        silence.set(sleep(SILENCE_MAX));
                    }
                    if let Some(Part { message, content, .. }) = part.transpose()? {
                        self.send(Message::Facts(message), Asked::Facts(content));
                    } else {
                        self.send(Message::End(ReconcileEnd {}), Asked::End);
                        self.requests = None;
                    }
                }
                answer = answers.message() => {
                    let answer = answer.map_err(|status| session.explained(status))?;
                    if self.take(&answer.ok_or(Error::CutOff(CUT_OFF))?)? {
                        return Ok(());
                    }
                    silence.set(sleep(SILENCE_MAX));
                }
                () = &mut silence, if !self.in_flight.is_empty() => {
                    return Err(Error::CutOff(SILENT));
                }
                () = &mut signal => return Err(Error::CutOff(STOPPED)),
            }
        }
    }

    /// Takes an answer in; `true` after the last one.
    fn take(&mut self, answer: &ReconcileResponse) -> Result<bool, Error> {
        let asked = *self.in_flight.front().ok_or(Error::CutOff(UNASKED))?;
        // The end is answered until everything was looked at.
        if asked != Asked::End {
            self.in_flight.pop_front();
        }
        self.findings.add(answer, asked)?;
        match (answer.finished, asked) {
            (true, Asked::End) => Ok(true),
            (true, _) => Err(Error::CutOff(CUT_OFF)),
            (false, _) => Ok(false),
        }
    }
}

/// Ready when the process is told to end.
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
