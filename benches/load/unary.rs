//! Load by one call per operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use imquota::grpc::pb::apply_request::Operation;
use imquota::grpc::pb::apply_response::Answer;
use imquota::grpc::pb::quota_service_client::QuotaServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::drive::Shared;
use super::mix::Plan;
use super::pacer::Due;
use super::results::{Recorder, outcome_of, outcome_of_error};

/// A connection.
pub type Client = QuotaServiceClient<Channel>;

/// Keeps that number of calls of one connection in flight.
pub fn closed(
    tasks: &mut JoinSet<()>,
    client: &Client,
    in_flight: usize,
    shared: &Arc<Shared>,
    recorder: &Arc<Recorder>,
) {
    for _ in 0..in_flight {
        let (client, shared, recorder) = (client.clone(), shared.clone(), recorder.clone());
        tasks.spawn(async move {
            while !shared.is_stopped() {
                let operation = shared.plan.operation(shared.numbers.next());
                let sent = Instant::now();
                let outcome = call(&client, operation).await;
                recorder.note(outcome, sent.elapsed());
            }
        });
    }
}

/// A connection on which calls are made when they are due.
pub struct Paced {
    client: Client,
    recorder: Arc<Recorder>,
    in_flight: Arc<AtomicUsize>,
    in_flight_max: usize,
}

impl Paced {
    pub fn new(client: Client, recorder: Arc<Recorder>, in_flight_max: usize) -> Self {
        Self { client, recorder, in_flight: Arc::default(), in_flight_max }
    }

    pub fn send(&self, due: Due, plan: &Plan) {
        if self.in_flight.load(Ordering::Relaxed) >= self.in_flight_max {
            self.recorder.note_not_sent();
            return;
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let operation = plan.operation(due.number);
        let (client, recorder) = (self.client.clone(), self.recorder.clone());
        let in_flight = self.in_flight.clone();
        recorder.note_lateness(due.at.elapsed());
        tokio::spawn(async move {
            let outcome = call(&client, operation).await;
            recorder.note(outcome, due.at.elapsed());
            in_flight.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Makes the call, and returns its outcome.
pub async fn call(client: &Client, operation: Operation) -> &'static str {
    let mut client = client.clone();
    let answer = match operation {
        Operation::JoinGroup(it) => answer(client.join_group(it).await, Answer::JoinGroup),
        Operation::LeaveGroup(it) => answer(client.leave_group(it).await, Answer::LeaveGroup),
        Operation::AddFriends(it) => answer(client.add_friends(it).await, Answer::AddFriends),
        Operation::RemoveFriends(it) => {
            answer(client.remove_friends(it).await, Answer::RemoveFriends)
        }
        Operation::GetUsage(it) => answer(client.get_usage(it).await, Answer::GetUsage),
        Operation::CreateAccounts(it) => {
            answer(client.create_accounts(it).await, Answer::CreateAccounts)
        }
        Operation::DeleteAccounts(it) => {
            answer(client.delete_accounts(it).await, Answer::DeleteAccounts)
        }
        Operation::CreateGroup(it) => answer(client.create_group(it).await, Answer::CreateGroup),
        Operation::DissolveGroup(it) => {
            answer(client.dissolve_group(it).await, Answer::DissolveGroup)
        }
        _ => unreachable!("no mix contains it"),
    };
    match answer {
        Ok(answer) => outcome_of(Some(&answer)),
        Err(status) => outcome_of_error(&status),
    }
}

/// Returns the response of a call in the form of one on a stream.
fn answer<T>(
    response: Result<Response<T>, Status>,
    of: impl Fn(T) -> Answer,
) -> Result<Answer, Status> {
    response.map(|response| of(response.into_inner()))
}
