//! Two sidecars over one store, and an IM that sends callbacks to either.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use imquota::access::{Credential, Peer};
use imquota::callbacks::{
    Apps, CallbackSettings, Callbacks, Codes, Head, MappedType, Protocol, Reply, SecretPath,
    Unavailable,
};
use imquota::catalog;
use imquota::clock::SystemClock;
use imquota::domain::decision::Subject;
use imquota::domain::id::{AppId, GroupId, Name, UserId};
use imquota::ledger::callback_notes::CallbackNotes;
use imquota::ledger::memory::Memory;
use imquota::server::Stores;
use imquota::telemetry::Metrics;
use serde_json::{Value, json};

use crate::support::Service;

pub const OPENIM: &str = "/openim/secret-1";
pub const TENCENT: &str = "/tencent/secret-1";

/// A sidecar that answers callbacks.
pub struct Sidecar {
    pub service: Service,
    pub callbacks: Arc<Callbacks>,
}

fn settings(protocol: Protocol, shadow: bool) -> CallbackSettings {
    let types = ["Private", "Public", "ChatRoom", "AVChatRoom", "BChatRoom"];
    let mapped = |name: &str| MappedType { name: Name::from(name), source: "here".to_owned() };
    let (path, of_im): (_, &[&str]) = match protocol {
        Protocol::OpenIm => (OPENIM, &["0", "1", "2", "3", "4"]),
        Protocol::Tencent => (TENCENT, &types),
    };
    let group_types = of_im.iter().zip(types).map(|(key, name)| ((*key).to_owned(), mapped(name)));
    CallbackSettings {
        protocol,
        path: SecretPath::parse(path).expect("a path"),
        apps: Apps::One(AppId::try_from("demo").expect("an id")),
        group_types: group_types.collect(),
        default_group_type: None,
        codes: Codes {
            by_im_code: BTreeMap::from([(10014, 20014), (10037, 20037), (70398, 20398)]),
            unavailable: 20999,
        },
        unavailable: Unavailable::Refuse,
        budget: Duration::from_secs(30),
        shadow,
        token_file: None,
    }
}

impl Sidecar {
    /// Opens a sidecar over stores. `notes` may stand before those of the store.
    pub fn open(
        stores: Stores,
        shadow: bool,
        notes: impl FnOnce(Arc<dyn CallbackNotes>) -> Arc<dyn CallbackNotes>,
    ) -> Self {
        let Stores { ledger, directory, callback_notes, .. } = stores;
        let service = Service::over(ledger, directory, Arc::new(SystemClock), catalog::builtin());
        let settings = Protocol::ALL.map(|protocol| settings(protocol, shadow));
        let callbacks = Callbacks::new(&settings, Arc::new(Metrics::new())).expect("no token");
        callbacks.open(service.engine.clone(), notes(callback_notes));
        Self { service, callbacks }
    }

    /// Opens a sidecar over a store of its own.
    pub fn alone(shadow: bool) -> Self {
        Self::open(stores(), shadow, |notes| notes)
    }

    /// Sends a request, and returns its response.
    pub async fn send(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        operation_id: &str,
        body: &Value,
    ) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert("operationid", HeaderValue::from_str(operation_id).expect("ASCII"));
        let (from, proof) = ("test".into(), Credential::None);
        let peer = Peer { from, proof, listener_is_local: true };
        let head = Head { method, path, query, headers: &headers, peer: &peer };
        match self.callbacks.route(head) {
            Ok(routed) => self.callbacks.handle(routed, Ok(body.to_string().into())).await,
            Err(reply) => reply,
        }
    }

    /// Sends a command of OpenIM.
    pub async fn openim(&self, operation_id: &str, command: &str, body: Value) -> Value {
        let path = format!("{OPENIM}/{command}");
        let reply = self.send(&Method::POST, &path, None, operation_id, &body).await;
        assert_eq!(reply.status, StatusCode::OK);
        serde_json::from_slice(&reply.body).expect("JSON")
    }

    /// Sends a command of Tencent's IM.
    pub async fn tencent(&self, command: &str, body: Value) -> Value {
        let query = format!("SdkAppid=1400&CallbackCommand={command}");
        let reply = self.send(&Method::POST, TENCENT, Some(&query), "", &body).await;
        assert_eq!(reply.status, StatusCode::OK);
        serde_json::from_slice(&reply.body).expect("JSON")
    }

    /// Returns the count of a subject against a limit.
    pub async fn used(&self, subject: Subject, limit: &str) -> i64 {
        let app = AppId::try_from("demo").expect("an id");
        let report = self.service.usage(&app, subject).await;
        let usage = report.usages.iter().find(|usage| usage.limit_id.to_string() == limit);
        usage.map_or(0, |usage| usage.used)
    }

    /// Returns the number of groups of a user.
    pub async fn groups_of(&self, user: &str) -> i64 {
        let user = UserId::try_from(user).expect("an id");
        self.used(Subject::User(user), "groups_per_user").await
    }

    /// Returns the number of members of a group that exists.
    pub async fn members_of(&self, group: &str) -> i64 {
        let group = GroupId::try_from(group).expect("an id");
        self.used(Subject::Group(group), "members_per_group").await
    }
}

/// Opens stores in memory.
pub fn stores() -> Stores {
    Memory::open(Arc::new(SystemClock)).expect("the store opens").into()
}

/// Returns a list of members as OpenIM writes it.
pub fn listed(users: &[&str]) -> Value {
    users.iter().map(|user| json!({ "userID": user })).collect()
}

/// Returns a list of members as Tencent's IM writes it.
pub fn accounts(users: &[&str]) -> Value {
    users.iter().map(|user| json!({ "Member_Account": user })).collect()
}

/// Returns that number of ids.
pub fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}
