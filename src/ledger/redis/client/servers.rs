//! The three topologies behind one call, and what is repeated.

use std::sync::Arc;
use std::time::Duration;

use redis::{ServerError, Value};

use super::clock::ServerClock;
use super::cluster::Cluster;
use super::node::Node;
use super::pace::{Deadline, Retries};
use super::sentinel::Watched;
use super::{CallError, Command, Failure, Request, Wanted, reply};
use crate::ledger::redis::options::HostPort;

/// A call that was refused is not sent again with less time than this: its reply would hardly come
/// in time, and what is known to be undone would be told as lost.
const ATTEMPT_MIN: Duration = Duration::from_millis(10);
/// The part of the time of a call that fails fast which is kept for the answer that the server
/// refused it.
const KEPT_PART: u32 = 8;

/// Where the servers are.
pub(super) enum Servers {
    /// Always the same one.
    Single(Arc<Node>),
    /// The one that Sentinels name.
    Sentinel(Watched),
    /// The one that serves the slot.
    Cluster(Cluster),
}

/// What to do after an error.
enum Next {
    /// Send it once more, there.
    Now(Option<HostPort>),
    /// Send it once more after a pause; otherwise that is the outcome.
    Later(CallError),
    /// It was not sent, and has waited already: try once more; otherwise that is the outcome.
    Again(CallError),
    /// Tell the caller.
    Stop(CallError),
}

impl Wanted<'_> {
    /// The call as that server is to carry it out.
    async fn request(&self, node: &Node, deadline: Deadline) -> Request {
        let command = match &self.command {
            Command::Fixed(command) => Arc::clone(command),
            Command::Timed(command, clock) => {
                Arc::new(command(node.clock_offset_ms(*clock, deadline).await))
            }
        };
        Request { script: self.script, turn: self.turn, command }
    }
}

impl Servers {
    /// Sends the call until it is answered, refused or lost, or its time is up.
    pub(super) async fn call(
        &self,
        wanted: Wanted<'_>,
        deadline: Deadline,
        retries: &Retries,
    ) -> Result<(Value, Arc<ServerClock>), CallError> {
        let mut asking = None;
        let mut attempts = 0;
        let kept = if deadline.hurried { deadline.within / KEPT_PART } else { ATTEMPT_MIN };
        let until = deadline.less(kept.max(ATTEMPT_MIN));
        loop {
            let next = match self.node(wanted.slot, asking.as_ref()) {
                None => {
                    self.doubt(false);
                    let why = format!("no node of the cluster serves slot {}", wanted.slot);
                    Next::Later(CallError::Refused(why))
                }
                Some(node) => {
                    if deadline.hurried && node.is_absent() {
                        return Err(absent(&node, false));
                    }
                    let request = wanted.request(&node, deadline).await;
                    match node.call(&request, asking.is_some(), deadline).await {
                        Ok(value) => return Ok((value, Arc::clone(&node.clock))),
                        Err(failure) => self.next(failure, &node, &request, deadline).await,
                    }
                }
            };
            // A redirection that leads nowhere ends with the call's time like everything else.
            let why = match next {
                Next::Stop(error) => return Err(error),
                // Another server may be the master by now.
                Next::Again(why) if until.is_over() => return Err(why),
                Next::Again(_) => {
                    asking = None;
                    continue;
                }
                Next::Now(place) => {
                    asking = place;
                    CallError::Refused("it was sent from server to server".to_owned())
                }
                Next::Later(why) => {
                    asking = None;
                    why
                }
            };
            if asking.is_none() || attempts > 2 {
                retries.rest(attempts, until).await;
            }
            attempts += 1;
            if until.is_over() {
                return Err(why);
            }
        }
    }

    /// The same, at the server of that address, wherever slots are.
    pub(super) async fn call_at(
        &self,
        address: &str,
        request: &Request,
        deadline: Deadline,
        retries: &Retries,
    ) -> Result<Value, CallError> {
        let mut attempts = 0;
        loop {
            let is_it = |node: &Arc<Node>| node.address.to_string() == address;
            let Some(node) = self.nodes().into_iter().find(is_it) else {
                return Err(CallError::Refused(format!("{address} is no master any more")));
            };
            let why = match node.call(request, false, deadline).await {
                Ok(value) => return Ok(value),
                Err(failure) => match self.next(failure, &node, request, deadline).await {
                    Next::Stop(error) => return Err(error),
                    Next::Now(_) => {
                        CallError::Refused(format!("{address} sent the call elsewhere"))
                    }
                    Next::Later(why) | Next::Again(why) => why,
                },
            };
            retries.rest(attempts, deadline).await;
            attempts += 1;
            if deadline.left() < ATTEMPT_MIN {
                return Err(why);
            }
        }
    }

    fn node(&self, slot: u16, asking: Option<&HostPort>) -> Option<Arc<Node>> {
        match (self, asking) {
            (Self::Single(node), _) => Some(Arc::clone(node)),
            (Self::Sentinel(watched), _) => Some(watched.master()),
            (Self::Cluster(cluster), Some(address)) => Some(cluster.at(address)),
            (Self::Cluster(cluster), None) => {
                let node = cluster.node(slot)?;
                node.serves(slot);
                Some(node)
            }
        }
    }

    /// Whether the server of that slot is absent.
    pub(super) fn is_absent(&self, slot: u16) -> bool {
        match self {
            Self::Single(node) => node.is_absent(),
            Self::Sentinel(watched) => watched.master().is_absent(),
            Self::Cluster(cluster) => cluster.node(slot).is_some_and(|node| node.is_absent()),
        }
    }

    async fn next(
        &self,
        failure: Failure,
        node: &Node,
        request: &Request,
        deadline: Deadline,
    ) -> Next {
        match failure {
            Failure::Overloaded(why) => Next::Stop(CallError::Overloaded(why)),
            Failure::Closing => Next::Stop(CallError::Closing),
            Failure::Absent { is_sent } => Next::Stop(absent(node, is_sent)),
            Failure::Unconfirmed(why) => {
                Next::Stop(CallError::Unconfirmed(format!("{}: {why}", node.address)))
            }
            Failure::Lost(why) => Next::Stop(CallError::Lost(format!("{}: {why}", node.address))),
            Failure::Broken(why) => {
                Next::Stop(CallError::Broken(format!("{}: {why}", node.address)))
            }
            Failure::Unsent(why) => {
                Next::Later(CallError::Refused(format!("{}: {why}", node.address)))
            }
            Failure::Unconfirmable(why) => {
                Next::Again(CallError::Unconfirmable(format!("{}: {why}", node.address)))
            }
            Failure::Server(error) => self.next_after(&error, node, request, deadline).await,
        }
    }

    async fn next_after(
        &self,
        error: &ServerError,
        node: &Node,
        request: &Request,
        deadline: Deadline,
    ) -> Next {
        let why = format!("{}: {}", node.address, reply::words(error));
        let redirection =
            error.details().and_then(|details| reply::redirection(details, node.host()));
        match (error.code(), self, redirection) {
            ("NOSCRIPT", _, _) => {
                // Without it the call is refused the same way once more.
                let _ = node.load_script(request.script, deadline).await;
                Next::Later(CallError::Refused(why))
            }
            ("MOVED", Self::Cluster(cluster), Some((slot, address))) => {
                cluster.moved(slot, &address);
                Next::Later(CallError::Refused(why))
            }
            ("ASK", Self::Cluster(_), Some((_, address))) => Next::Now(Some(address)),
            ("CLOCKSKEW", _, _) => {
                Next::Stop(CallError::ClockSkew(leading_number(error.details().unwrap_or(""))))
            }
            ("STORELOST", _, _) => Next::Stop(CallError::StoreLost(why)),
            (code, _, _) if reply::is_transient(code) => {
                self.doubt(code == "READONLY");
                Next::Later(CallError::Refused(why))
            }
            _ if reply::lacks_permission(error) => Next::Stop(CallError::Lost(why)),
            _ if reply::is_from_within_a_script(error) => Next::Stop(CallError::Failed(why)),
            _ => Next::Stop(CallError::Refused(why)),
        }
    }

    /// Every server that calls are sent to.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        match self {
            Self::Single(node) => vec![Arc::clone(node)],
            Self::Sentinel(watched) => vec![watched.master()],
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// Has looked up anew which server it is.
    fn doubt(&self, is_replica: bool) {
        match self {
            Self::Single(node) if is_replica => node.distrust(),
            Self::Sentinel(watched) if is_replica => watched.doubt(),
            Self::Single(_) | Self::Sentinel(_) => {}
            Self::Cluster(cluster) => cluster.doubt(),
        }
    }
}

/// The error of a call whose server is absent.
fn absent(node: &Node, may_be_done: bool) -> CallError {
    CallError::Absent { why: format!("{} does not answer", node.address), may_be_done }
}

/// The number that a text begins with; 0 where there is none.
fn leading_number(text: &str) -> u64 {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().unwrap_or(0)
}
