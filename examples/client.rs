//! A client in Rust: take before the commit of the IM's database, release after it.
//!
//! `cargo run --example client -- http://127.0.0.1:50051`, beside a sidecar. A page of the
//! documents, docs/clients.md, shows its middle part.

#![allow(clippy::print_stdout, reason = "an example for the command line")]

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use imquota::grpc::pb::quota_service_client::QuotaServiceClient;
use imquota::grpc::pb::{CreateGroupRequest, JoinGroupRequest, LeaveGroupRequest, Outcome};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Deadline of a call. Beyond it the outcome is unknown, and the same call may be repeated.
const CALL_TIMEOUT: Duration = Duration::from_millis(500);

/// An IM with a database in memory.
struct Im {
    quota: QuotaServiceClient<Channel>,
    members: BTreeSet<(String, String)>,
}

impl Im {
    /// Takes a slot and then commits. Returns the IM code of a denial, for the IM's client.
    async fn join(&mut self, group: &str, user: &str) -> Result<Option<i32>, Status> {
        let join = JoinGroupRequest {
            app_id: "demo".into(),
            group_id: group.into(),
            user_ids: vec![user.into()],
            ..Default::default()
        };
        let results = self.quota.join_group(with_deadline(join)).await?.into_inner().results;
        let denied = results.iter().find(|result| result.outcome() == Outcome::Denied);
        if let Some(denial) = denied.and_then(|result| result.denials.first()) {
            return Ok(Some(denial.im_error_code));
        }
        self.members.insert((group.into(), user.into())); // the commit
        Ok(None)
    }

    /// Commits and then releases the slot.
    async fn leave(&mut self, group: &str, user: &str) -> Result<(), Status> {
        self.members.remove(&(group.into(), user.into())); // the commit
        let leave = LeaveGroupRequest {
            app_id: "demo".into(),
            group_id: group.into(),
            user_ids: vec![user.into()],
        };
        self.quota.leave_group(with_deadline(leave)).await.map(drop)
    }
}

/// The sidecar does nothing for a request whose deadline has passed.
fn with_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:50051".into());
    let quota = QuotaServiceClient::connect(address).await?;
    let mut im = Im { quota, members: BTreeSet::new() };

    let create = CreateGroupRequest {
        app_id: "demo".into(),
        group_id: "lobby".into(),
        r#type: "Public".into(),
        owner_id: Some("ann".into()),
        max_members: Some(2),
        ..Default::default()
    };
    im.quota.create_group(with_deadline(create)).await?;
    assert_eq!(im.join("lobby", "bob").await?, None, "the second of two members");
    assert_eq!(im.join("lobby", "carl").await?, Some(10014), "the group is full");
    im.leave("lobby", "bob").await?;
    assert_eq!(im.join("lobby", "carl").await?, None, "there is room again");
    println!("members in the database, beside the owner: {:?}", im.members);
    Ok(())
}
