//! Callbacks of IMs: from a request to the answer that its protocol defines.
//!
//! OpenIM and Tencent Cloud IM call a URL before and after they change something. A before-callback
//! takes, and is refused if a limit denies; an after-callback confirms or releases. What the
//! callers do, and which operation answers which command, is in docs/callbacks.md.
//!
//! - The body is not read before path, app and signature are good ([`Callbacks::route`]).
//! - A request is handled to its end by a task of its own, whether or not its caller still waits
//!   ([`Callbacks::handle`]); the caller gets an answer within the budget.
//! - What has to be remembered between callbacks is in the store, so that any sidecar answers.
//!
//! # Layout
//!
//! - `settings`, `secret`: one `[[callback]]`, its path and its token.
//! - `answer`: the answer independent of a protocol, and denials as clients get them.
//! - `work`: the calls of the engine within the budget; `batch`: takes in parts under holds.
//! - `owed`, `instants`: order of callbacks that overtake each other.
//! - `openim`, `tencent`: requests, mapping to operations, and answers of each protocol.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use hyper::body::Bytes;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::access::Peer;
use crate::clock::Stopwatch;
use crate::domain::id::AppId;
use crate::engine::Engine;
use crate::ledger::callback_notes::CallbackNotes;
use crate::telemetry::{LogLimit, Metrics};

mod answer;
mod batch;
mod instants;
mod openim;
mod owed;
mod secret;
mod settings;
mod tencent;
mod work;

pub use secret::{SecretPath, Token};
pub use settings::{Apps, CallbackSettings, Codes, MappedType, Protocol, Unavailable};

use answer::{Answer, Kind, Undecided};
use openim::Created;
use work::Work;

/// Longest body of a request, in bytes.
pub const BODY_MAX_BYTES: usize = 1024 * 1024;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Time that is kept of the budget for the answer after the last call of the store.
const MARGIN_MAX: Duration = Duration::from_millis(50);
/// Commands that are shown in a log line, in bytes.
const COMMAND_SHOWN_BYTES: usize = 80;

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// JSON, or nothing.
    pub body: Bytes,
}

impl Reply {
    fn of(status: StatusCode) -> Self {
        Self { status, body: Bytes::new() }
    }
}

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path.
    pub path: &'a str,
    /// The query, if there is one.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The caller.
    pub peer: &'a Peer,
}

/// A request whose path, app and signature are good.
#[derive(Debug)]
pub struct Routed {
    endpoint: Arc<Endpoint>,
    app: AppId,
    command: String,
    /// OpenIM's id of the operation; empty if there is none.
    operation_id: String,
    began: Stopwatch,
}

impl Routed {
    /// Returns what is left of the budget.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.endpoint.settings.budget.saturating_sub(self.began.elapsed())
    }
}

/// Reason why the body of a request cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// It is longer than [`BODY_MAX_BYTES`].
    TooLong,
    /// It did not arrive.
    Unread,
    /// The bodies of all requests together take too much memory.
    Memory,
}

/// One `[[callback]]`.
#[derive(Debug)]
struct Endpoint {
    settings: CallbackSettings,
    token: Option<Arc<Token>>,
}

/// The parts behind the listener, once the store is open.
struct Backend {
    engine: Arc<Engine>,
    notes: Arc<dyn CallbackNotes>,
}

/// Answers callbacks.
pub struct Callbacks {
    endpoints: Vec<Arc<Endpoint>>,
    backend: OnceLock<Backend>,
    created: Arc<Created>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    rejected: LogLimit,
    unknown: LogLimit,
    undecided: LogLimit,
}

impl Callbacks {
    /// Creates the callbacks of these settings. Until [`Callbacks::open`] no request is decided.
    /// Returns the problem of a token that cannot be read.
    pub fn new(settings: &[CallbackSettings], metrics: Arc<Metrics>) -> Result<Arc<Self>, String> {
        let endpoint = |settings: &CallbackSettings| {
            let token = settings.token_file.clone().map(Token::open).transpose()?;
            let (settings, token) = (settings.clone(), token.map(Arc::new));
            let commands = commands(settings.protocol);
            let (answers, undecided) = (&Kind::LABELS, &Undecided::NAMES);
            metrics.callbacks.follow(settings.protocol.name(), commands, answers, undecided);
            Ok(Arc::new(Endpoint { settings, token }))
        };
        let endpoints: Result<_, String> = settings.iter().map(endpoint).collect();
        Ok(Arc::new(Self {
            endpoints: endpoints?,
            backend: OnceLock::new(),
            created: Arc::default(),
            metrics,
            tasks: TaskTracker::new(),
            rejected: LogLimit::default(),
            unknown: LogLimit::default(),
            undecided: LogLimit::default(),
        }))
    }

    /// Returns the tokens, which may change.
    pub fn tokens(&self) -> impl Iterator<Item = Arc<Token>> {
        self.endpoints.iter().filter_map(|endpoint| endpoint.token.clone())
    }

    /// Decides requests from now on.
    pub fn open(&self, engine: Arc<Engine>, notes: Arc<dyn CallbackNotes>) {
        // It is opened once.
        let _ = self.backend.set(Backend { engine, notes });
    }

    /// Waits until every request that was begun is handled.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Checks the head of a request; an error is the response.
    pub fn route(&self, head: Head<'_>) -> Result<Routed, Reply> {
        // Only a browser sends these, for a page with the path.
        if head.headers.contains_key(ORIGIN) || head.headers.contains_key(FETCH_SITE) {
            self.reject(head.peer, None, "browser");
            return Err(Reply::of(StatusCode::FORBIDDEN));
        }
        let began = Stopwatch::start();
        let (parent, last) = head.path.rsplit_once('/').unwrap_or_default();
        let (mut at_path, mut below) = (None, None);
        // All are compared, so that the time does not depend on which one matches.
        for endpoint in &self.endpoints {
            if endpoint.settings.path.matches(head.path) {
                at_path = Some(endpoint);
            }
            if endpoint.settings.path.matches(parent) {
                below = Some(endpoint);
            }
        }
        let below = below.filter(|endpoint| endpoint.settings.protocol == Protocol::OpenIm);
        let endpoint = match (at_path, below, head.method) {
            (Some(_), _, &(Method::GET | Method::HEAD)) => return Err(Reply::of(StatusCode::OK)),
            (Some(endpoint), _, &Method::POST)
                if endpoint.settings.protocol == Protocol::Tencent =>
            {
                endpoint
            }
            (_, Some(endpoint), &Method::POST) => endpoint,
            (None, None, _) => return Err(self.reject(head.peer, None, "path")),
            _ => return Err(Reply::of(StatusCode::METHOD_NOT_ALLOWED)),
        };
        let protocol = endpoint.settings.protocol;
        let identified = match protocol {
            Protocol::OpenIm => openim::identify(&endpoint.settings, last, head.headers),
            Protocol::Tencent => self.identify_tencent(endpoint, head),
        };
        let identified =
            identified.map_err(|why| self.reject(head.peer, Some(protocol.name()), why))?;
        let (app, command, operation_id) = identified;
        Ok(Routed { endpoint: endpoint.clone(), app, command, operation_id, began })
    }

    fn identify_tencent(
        &self,
        endpoint: &Endpoint,
        head: Head<'_>,
    ) -> Result<(AppId, String, String), &'static str> {
        let now = self.backend.get().map(|backend| backend.engine.local_now());
        let token = endpoint.token.as_deref();
        tencent::identify(&endpoint.settings.apps, token, now, head)
    }

    /// Refuses a request: its path is unknown, or its caller is not the IM.
    fn reject(&self, peer: &Peer, protocol: Option<&'static str>, why: &'static str) -> Reply {
        self.metrics.callbacks.rejected(protocol, why);
        if let Some(unlogged) = self.rejected.permit() {
            warn!(peer = %peer.from, protocol, reason = why, unlogged, "callback rejected");
        }
        let is_caller = protocol.is_some();
        Reply::of(if is_caller { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND })
    }

    /// Handles a request, and returns the response within the budget.
    pub async fn handle(&self, routed: Routed, body: Result<Bytes, BodyFault>) -> Reply {
        let left = routed.left();
        let Routed { endpoint, app, command, operation_id, began } = routed;
        let settings = &endpoint.settings;
        let protocol = settings.protocol;
        let answer = match (body, self.backend.get()) {
            (Err(_), _) => Answer::undecided(Undecided::Malformed),
            (Ok(_), None) => {
                Answer::undecided(Undecided::Store("the store is not open yet".into()))
            }
            (Ok(body), Some(backend)) => {
                let work = self.work(backend, &endpoint, app, left);
                let (command, created) = (command.clone(), self.created.clone());
                self.in_time(left, async move {
                    match protocol {
                        Protocol::OpenIm => {
                            openim::decide(&work, &created, &command, &operation_id, &body).await
                        }
                        Protocol::Tencent => tencent::decide(&work, &command, &body).await,
                    }
                })
                .await
            }
        };
        let known = commands(protocol).iter().find(|it| **it == command);
        if known.is_none()
            && let Some(unlogged) = self.unknown.permit()
        {
            let shown: String = command.chars().take(COMMAND_SHOWN_BYTES).collect();
            warn!(protocol = protocol.name(), command = shown, unlogged, "callback not used");
        }
        let is_before = known.is_some_and(|command| is_before(protocol, command));
        let of_metric = known.copied().ok_or(command.as_str());
        self.report(settings, of_metric, is_before, &answer, began.elapsed());
        let body = match protocol {
            Protocol::OpenIm => openim::render(settings, is_before, answer),
            Protocol::Tencent => tencent::render(settings, &command, is_before, answer),
        };
        Reply { status: StatusCode::OK, body: body.to_string().into() }
    }

    fn work(
        &self,
        backend: &Backend,
        endpoint: &Arc<Endpoint>,
        app: AppId,
        left: Duration,
    ) -> Work {
        let (engine, notes) = (backend.engine.clone(), backend.notes.clone());
        // The store's own answer comes before the end of the budget.
        let deadline = engine.local_now() + left.saturating_sub((left / 10).min(MARGIN_MAX));
        let (metrics, endpoint) = (self.metrics.clone(), endpoint.clone());
        Work { engine, notes, metrics, endpoint, app, deadline }
    }

    /// Runs the handling as a task, which is not cancelled with the caller's connection, and waits
    /// for it for the rest of the budget.
    async fn in_time(
        &self,
        left: Duration,
        work: impl Future<Output = Result<Answer, Undecided>> + Send + 'static,
    ) -> Answer {
        match timeout(left, self.tasks.spawn(work)).await {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(undecided))) => Answer::undecided(undecided),
            Ok(Err(_panic)) => Answer::undecided(Undecided::Store("the handling panicked".into())),
            Err(_) => Answer::undecided(Undecided::Late),
        }
    }

    fn report(
        &self,
        settings: &CallbackSettings,
        command: Result<&'static str, &str>,
        is_before: bool,
        answer: &Answer,
        took: Duration,
    ) {
        let protocol = settings.protocol.name();
        let label = answer.kind.label(is_before, settings.shadow);
        self.metrics.callbacks.answered(protocol, command, label, took, settings.budget);
        if let Kind::Undecided(why) = &answer.kind {
            self.metrics.callbacks.undecided(protocol, why.name());
            if let Some(unlogged) = self.undecided.permit() {
                let command = command.unwrap_or_default();
                warn!(protocol, command, reason = %why, unlogged, "callback not decided");
            }
        }
    }
}

/// Returns the commands that are used.
fn commands(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::OpenIm => &openim::COMMANDS,
        Protocol::Tencent => &tencent::COMMANDS,
    }
}

/// Returns whether the IM obeys the answer to a command.
fn is_before(protocol: Protocol, command: &str) -> bool {
    match protocol {
        Protocol::OpenIm => command.starts_with("callbackBefore"),
        Protocol::Tencent => {
            ["CallbackBefore", "CallbackPrev"].iter().any(|it| command.contains(it))
        }
    }
}
