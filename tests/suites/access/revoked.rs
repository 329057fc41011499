//! Open streams whose caller loses the role for them.

use imquota::access::{Role, line_of, make_token};
use imquota::grpc::pb;
use imquota::grpc::pb::reconcile_request::Part;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use super::connection::{Client, client, plain};
use super::sidecar::{Sidecar, TokenFile, WAIT_MAX, flag};

/// The app whose export is compared; it is not registered.
const APP: &str = "compared";

type Watch = Streaming<pb::WatchEventsResponse>;

/// An open WatchEvents stream.
async fn watch(mut client: Client) -> Watch {
    let request = pb::WatchEventsRequest::default();
    let mut stream = client.watch_events(request).await.expect("it may").into_inner();
    stream.message().await.expect("it has begun").expect("a first answer");
    stream
}

/// A Reconcile stream that waits for the next part, and the sender of the parts.
struct Comparison {
    parts: mpsc::Sender<pb::ReconcileRequest>,
    answers: Streaming<pb::ReconcileResponse>,
}

impl Comparison {
    async fn begin(mut client: Client) -> Self {
        let mode = pb::ReconcileMode::Import.into();
        let begin =
            pb::ReconcileBegin { app_id: APP.into(), mode, has_accounts: true, ..<_>::default() };
        let (parts, requests) = mpsc::channel(1);
        let begin = pb::ReconcileRequest { part: Some(Part::Begin(begin)) };
        parts.send(begin).await.expect("open");
        let answers = client.reconcile(ReceiverStream::new(requests)).await.expect("it may");
        let mut answers = answers.into_inner();
        answers.message().await.expect("it has begun").expect("a first answer");
        Self { parts, answers }
    }
}

/// The error that ends a stream, after any further messages.
async fn end<T>(stream: &mut Streaming<T>) -> Status {
    let ended = timeout(WAIT_MAX, async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without an error"),
                Err(status) => return status,
            }
        }
    });
    ended.await.expect("it ends")
}

fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().expect("an ErrorInfo");
    assert_eq!(info.domain, "imquota.v1");
    info.reason.clone()
}

/// Registers an app as the owner, and waits until a stream delivers the event.
async fn keeps_working(stream: &mut Watch, owner: &mut Client, app: &str) {
    let request_id = format!("create {app}");
    let request = pb::CreateAppRequest { app_id: app.into(), request_id, effective_at: None };
    owner.create_app(request).await.expect("an owner may");
    let shown = timeout(WAIT_MAX, async {
        loop {
            let answer = stream.message().await.expect("it goes on").expect("it goes on");
            if answer.event.is_some_and(|event| event.app_id == app) {
                return;
            }
        }
    });
    shown.await.expect("the event arrives");
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_and_no_others() {
    let file = TokenFile::new();
    let sidecar = Sidecar::start(&[flag("admin-tokens-file", file.path())]).await;
    let channel = plain(sidecar.admin).await;
    let by = |token: &str| client(channel.clone(), Some(token));
    let mut owner = by(file.token(Role::Owner));
    // A second token of the same caller stays valid.
    let second = make_token().expect("random");
    let second_line = line_of("viewer", Role::Viewer, &second) + "\n";
    file.write(&(file.lines() + &second_line));
    sidecar.reload().await;
    let mut kept = loop {
        let list = by(&second).list_apps(pb::ListAppsRequest::default()).await;
        if list.is_ok() {
            break [watch(by(&second)).await, watch(owner.clone()).await];
        }
    };
    let mut watched = watch(by(file.token(Role::Viewer))).await;
    let mut comparison = Comparison::begin(by(file.token(Role::Operator))).await;
    // A reload that changes nothing, and one that is refused, end nothing.
    sidecar.reload().await;
    file.write("not a line of tokens\n");
    sidecar.reload().await;
    keeps_working(&mut watched, &mut owner, "a").await;
    // Without a reload signal: the sidecar polls the file.
    let owner_line = line_of("owner", Role::Owner, file.token(Role::Owner)) + "\n";
    file.write(&(owner_line + &second_line));
    for (status, what) in [
        (end(&mut watched).await, "WatchEvents"),
        (end(&mut comparison.answers).await, "Reconcile"),
    ] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        let message = "was ended: the token was revoked; call again with valid credentials";
        assert_eq!(status.message(), format!("{what} {message}"));
        assert_eq!(reason(&status), "CREDENTIALS_REVOKED");
    }
    for stream in &mut kept {
        keeps_working(stream, &mut owner, "b").await;
    }
    drop(comparison.parts);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_lower_role_ends_the_streams_that_need_the_higher_one() {
    let file = TokenFile::new();
    let sidecar = Sidecar::start(&[flag("admin-tokens-file", file.path())]).await;
    let channel = plain(sidecar.admin).await;
    let token = file.token(Role::Operator);
    let operator = client(channel.clone(), Some(token));
    let mut owner = client(channel, Some(file.token(Role::Owner)));
    let mut watched = watch(operator.clone()).await;
    let mut comparison = Comparison::begin(operator).await;
    let owner_line = line_of("owner", Role::Owner, file.token(Role::Owner));
    let lowered = line_of("operator", Role::Viewer, token);
    file.write(&format!("{owner_line}\n{lowered}\n"));
    sidecar.reload().await;
    let status = end(&mut comparison.answers).await;
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::PermissionDenied, "CREDENTIALS_REVOKED")
    );
    assert_eq!(
        status.message(),
        "Reconcile was ended: it needs the role operator, and the token now has viewer"
    );
    keeps_working(&mut watched, &mut owner, "a").await;
    // The audit log has the changes of the reconciliation until then.
    let all = pb::ListAuditEventsRequest { page_size: 1000, ..Default::default() };
    let entries = owner.list_audit_events(all).await.expect("an owner may").into_inner().events;
    let of_run = entries.iter().filter(|entry| entry.app_id == APP).count();
    assert_eq!(of_run, 2, "start and abort: {entries:?}");
    sidecar.stop().await;
}
