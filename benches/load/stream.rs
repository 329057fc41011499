//! Load by one Apply stream per connection. A tag is the number of a slot; there is one slot for
//! each operation that may be in flight.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use imquota::grpc::pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::drive::Shared;
use super::mix::Plan;
use super::pacer::Due;
use super::results::{Recorder, outcome_of, outcome_of_error};
use super::unary::Client;

fn slot_of(answer: &pb::ApplyResponse) -> usize {
    usize::try_from(answer.tag).expect("a slot's number")
}

/// Returns the next response; if the stream ends with an error, that is counted.
async fn next(
    answers: &mut Streaming<pb::ApplyResponse>,
    recorder: &Recorder,
) -> Option<pb::ApplyResponse> {
    match answers.message().await {
        Ok(answer) => answer,
        Err(status) => {
            recorder.note(outcome_of_error(&status), Duration::ZERO);
            None
        }
    }
}

/// Keeps that number of operations of one stream in flight.
pub async fn closed(
    mut client: Client,
    in_flight: usize,
    shared: Arc<Shared>,
    recorder: Arc<Recorder>,
) {
    let request = |slot: usize| pb::ApplyRequest {
        tag: slot as u64,
        operation: Some(shared.plan.operation(shared.numbers.next())),
        ..Default::default()
    };
    let (requests, receiver) = mpsc::channel(in_flight.max(1));
    let mut sent = vec![Instant::now(); in_flight];
    for slot in 0..in_flight {
        // The channel has room for all of them.
        let _ = requests.try_send(request(slot));
    }
    let answers = client.apply(ReceiverStream::new(receiver)).await;
    let mut answers = match answers {
        Ok(answers) => answers.into_inner(),
        Err(status) => return recorder.note(outcome_of_error(&status), Duration::ZERO),
    };
    let mut left = in_flight;
    while left > 0 {
        let Some(answer) = next(&mut answers, &recorder).await else { return };
        let slot = slot_of(&answer);
        recorder.note(outcome_of(answer.answer.as_ref()), sent[slot].elapsed());
        if shared.is_stopped() {
            left -= 1;
            continue;
        }
        sent[slot] = Instant::now();
        if requests.send(request(slot)).await.is_err() {
            return;
        }
    }
}

/// The slots of operations in flight.
struct Slots {
    due: Vec<Instant>,
    free: Vec<usize>,
}

/// A stream on which operations are sent when they are due.
pub struct Paced {
    requests: mpsc::Sender<pb::ApplyRequest>,
    slots: Arc<Mutex<Slots>>,
    recorder: Arc<Recorder>,
}

impl Paced {
    pub fn new(mut client: Client, recorder: Arc<Recorder>, in_flight_max: usize) -> Self {
        let (requests, receiver) = mpsc::channel(in_flight_max);
        let due = vec![Instant::now(); in_flight_max];
        let slots = Arc::new(Mutex::new(Slots { due, free: (0..in_flight_max).collect() }));
        let (answered, counted) = (slots.clone(), recorder.clone());
        tokio::spawn(async move {
            let answers = client.apply(ReceiverStream::new(receiver)).await;
            let mut answers = match answers {
                Ok(answers) => answers.into_inner(),
                Err(status) => return counted.note(outcome_of_error(&status), Duration::ZERO),
            };
            while let Some(answer) = next(&mut answers, &counted).await {
                let slot = slot_of(&answer);
                let due = {
                    let mut slots = answered.lock().expect("no panic while locked");
                    slots.free.push(slot);
                    slots.due[slot]
                };
                counted.note(outcome_of(answer.answer.as_ref()), due.elapsed());
            }
        });
        Self { requests, slots, recorder }
    }

    pub fn send(&self, due: Due, plan: &Plan) {
        let slot = {
            let mut slots = self.slots.lock().expect("no panic while locked");
            let slot = slots.free.pop();
            if let Some(slot) = slot {
                slots.due[slot] = due.at;
            }
            slot
        };
        let Some(slot) = slot else { return self.recorder.note_not_sent() };
        let operation = Some(plan.operation(due.number));
        let request = pb::ApplyRequest { tag: slot as u64, operation, ..Default::default() };
        self.recorder.note_lateness(due.at.elapsed());
        if self.requests.try_send(request).is_err() {
            self.recorder.note_not_sent();
        }
    }
}
