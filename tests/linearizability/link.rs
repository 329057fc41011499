//! One Apply stream that many clients share, each with one operation in flight.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use imquota::grpc::pb::{self, apply_request::Operation, apply_response::Answer};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::sidecar::Client;

/// More than the clients of one stream, so that no client waits to send.
const SENT_MAX: usize = 1024;

/// The waiting clients by tag; `None` once the stream has ended.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>>;

/// The result of one operation.
#[derive(Debug)]
pub enum Reply {
    Answer(Answer),
    /// The stream ended after the operation was sent.
    Lost,
    /// The stream had ended before it was sent.
    NotSent,
}

#[derive(Debug)]
pub struct Link {
    requests: mpsc::Sender<pb::ApplyRequest>,
    waiting: Waiting,
    next_tag: AtomicU64,
}

impl Link {
    /// Opens the stream.
    pub async fn open(mut client: Client) -> Self {
        let (requests, receiver) = mpsc::channel(SENT_MAX);
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let answers = client.apply(ReceiverStream::new(receiver)).await;
        let mut answers = answers.expect("the stream opens").into_inner();
        let waiters = waiting.clone();
        tokio::spawn(async move {
            while let Ok(Some(response)) = answers.message().await {
                let waiter = with(&waiters, |waiting| waiting.as_mut()?.remove(&response.tag));
                if let (Some(waiter), Some(answer)) = (waiter, response.answer) {
                    // The client waits for its result.
                    let _ = waiter.send(answer);
                }
            }
            // The drop of their senders ends all waits.
            with(&waiters, Option::take);
        });
        Self { requests, waiting, next_tag: AtomicU64::new(1) }
    }

    /// Sends an operation and waits for its result.
    pub async fn call(&self, operation: Operation, timeout_ms: u32) -> Reply {
        let tag = self.next_tag.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let is_open = with(&self.waiting, |waiting| {
            waiting.as_mut().map(|waiting| waiting.insert(tag, sender)).is_some()
        });
        let request = pb::ApplyRequest { tag, timeout_ms, operation: Some(operation) };
        if !is_open || self.requests.send(request).await.is_err() {
            return Reply::NotSent;
        }
        receiver.await.map_or(Reply::Lost, Reply::Answer)
    }
}

fn with<T>(
    waiting: &Waiting,
    act: impl FnOnce(&mut Option<HashMap<u64, oneshot::Sender<Answer>>>) -> T,
) -> T {
    act(&mut waiting.lock().unwrap_or_else(PoisonError::into_inner))
}
