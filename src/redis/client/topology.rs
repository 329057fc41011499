//! Routes calls to the servers of the three topologies, and decides which calls are sent again.

use std::sync::Arc;
use std::time::Duration;

use redis::{ServerError, Value};

use super::clock::ServerClock;
use super::cluster::Cluster;
use super::node::Node;
use super::retry::{Deadline, RetryBudget};
use super::sentinel::Watched;
use super::{CallError, Command, Failure, PendingCall, Request, reply};
use crate::redis::options::HostPort;

/// Least remaining time for another attempt after a refusal: with less, the reply would hardly
/// arrive in time, and the outcome of a call that certainly had no effect would become unknown.
const ATTEMPT_MIN: Duration = Duration::from_millis(10);
/// Divisor of the time of a call that fails fast: this part is kept for returning that the server
/// refused the call.
const RESERVED_PART: u32 = 8;

/// The servers of one topology.
pub(super) enum Servers {
    /// A single server.
    Single(Arc<Node>),
    /// The master that the Sentinels name.
    Sentinel(Watched),
    /// The nodes of a cluster, by slot.
    Cluster(Cluster),
}

/// The action after a failed attempt.
enum RetryAction {
    /// Send the call once more, to that node if given.
    RetryImmediately(Option<HostPort>),
    /// Send the call once more after a pause; the error is returned if no time is left.
    WaitAndRetry(CallError),
    /// The call was not sent and has already waited: try once more; the error is returned if no
    /// time is left.
    Again(CallError),
    /// Return the error to the caller.
    NoRetry(CallError),
}

impl PendingCall<'_> {
    /// Builds the command for that server.
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
    /// Sends the call until it has a reply, is refused, its outcome is unknown, or its time is
    /// over.
    pub(super) async fn call(
        &self,
        pending: PendingCall<'_>,
        deadline: Deadline,
        retries: &RetryBudget,
    ) -> Result<(Value, Arc<ServerClock>), CallError> {
        let mut asking = None;
        let mut attempts = 0;
        let reserved =
            if deadline.fail_fast { deadline.within / RESERVED_PART } else { ATTEMPT_MIN };
        let until = deadline.less(reserved.max(ATTEMPT_MIN));
        loop {
            let next = match self.node(pending.slot, asking.as_ref()) {
                None => {
                    self.refresh(false);
                    let why = format!("no node of the cluster serves slot {}", pending.slot);
                    RetryAction::WaitAndRetry(CallError::Refused(why))
                }
                Some(node) => {
                    if deadline.fail_fast && node.is_absent() {
                        return Err(absent(&node, false));
                    }
                    let request = pending.request(&node, deadline).await;
                    match node.call(&request, asking.is_some(), deadline).await {
                        Ok(value) => return Ok((value, Arc::clone(&node.clock))),
                        Err(failure) => self.next(failure, &node, &request, deadline).await,
                    }
                }
            };
            // Redirections that lead nowhere end with the call's time like every other attempt.
            let why = match next {
                RetryAction::NoRetry(error) => return Err(error),
                // Another server may be the master by now.
                RetryAction::Again(why) if until.is_over() => return Err(why),
                RetryAction::Again(_) => {
                    asking = None;
                    continue;
                }
                RetryAction::RetryImmediately(target) => {
                    asking = target;
                    CallError::Refused("redirected from server to server".to_owned())
                }
                RetryAction::WaitAndRetry(why) => {
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

    /// Sends the call to the server of that address, without regard to slots.
    pub(super) async fn call_at(
        &self,
        address: &str,
        request: &Request,
        deadline: Deadline,
        retries: &RetryBudget,
    ) -> Result<Value, CallError> {
        let mut attempts = 0;
        loop {
            let has_address = |node: &Arc<Node>| node.address.to_string() == address;
            let Some(node) = self.nodes().into_iter().find(has_address) else {
                return Err(CallError::Refused(format!("{address} is no longer a master")));
            };
            let why = match node.call(request, false, deadline).await {
                Ok(value) => return Ok(value),
                Err(failure) => match self.next(failure, &node, request, deadline).await {
                    RetryAction::NoRetry(error) => return Err(error),
                    RetryAction::RetryImmediately(_) => {
                        CallError::Refused(format!("{address} redirected the call"))
                    }
                    RetryAction::WaitAndRetry(why) | RetryAction::Again(why) => why,
                },
            };
            retries.rest(attempts, deadline).await;
            attempts += 1;
            if deadline.left() < ATTEMPT_MIN {
                return Err(why);
            }
        }
    }

    /// Returns the server of that slot, or the one of that address.
    pub(super) fn node(&self, slot: u16, asking: Option<&HostPort>) -> Option<Arc<Node>> {
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

    /// Returns whether the server of that slot is absent.
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
    ) -> RetryAction {
        match failure {
            Failure::Overloaded(why) => RetryAction::NoRetry(CallError::Overloaded(why)),
            Failure::Closing => RetryAction::NoRetry(CallError::Closing),
            Failure::Absent { is_sent } => RetryAction::NoRetry(absent(node, is_sent)),
            Failure::Unconfirmed(why) => {
                RetryAction::NoRetry(CallError::Unconfirmed(format!("{}: {why}", node.address)))
            }
            Failure::OutcomeUnknown(why) => {
                RetryAction::NoRetry(CallError::OutcomeUnknown(format!("{}: {why}", node.address)))
            }
            Failure::Broken(why) => {
                RetryAction::NoRetry(CallError::Broken(format!("{}: {why}", node.address)))
            }
            Failure::NotSent(why) => {
                RetryAction::WaitAndRetry(CallError::Refused(format!("{}: {why}", node.address)))
            }
            Failure::Unconfirmable(why) => {
                RetryAction::Again(CallError::Unconfirmable(format!("{}: {why}", node.address)))
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
    ) -> RetryAction {
        let why = format!("{}: {}", node.address, reply::words(error));
        let redirection =
            error.details().and_then(|details| reply::redirection(details, node.host()));
        match (error.code(), self, redirection) {
            ("NOSCRIPT", _, _) => {
                // If loading fails, the call is refused in the same way once more.
                let _ = node.load_script(request.script, deadline).await;
                RetryAction::WaitAndRetry(CallError::Refused(why))
            }
            ("MOVED", Self::Cluster(cluster), Some((slot, address))) => {
                cluster.moved(slot, &address);
                RetryAction::WaitAndRetry(CallError::Refused(why))
            }
            // Each part of the call may have all of its keys at one of the two servers.
            ("ASK" | "TRYAGAIN", _, _) if deadline.is_divisible => {
                RetryAction::NoRetry(CallError::Refused(why))
            }
            ("ASK", Self::Cluster(_), Some((_, address))) => {
                RetryAction::RetryImmediately(Some(address))
            }
            ("CLOCKSKEW", _, _) => RetryAction::NoRetry(CallError::ClockSkew(leading_number(
                error.details().unwrap_or(""),
            ))),
            ("STORELOST", _, _) => RetryAction::NoRetry(CallError::StoreLost(why)),
            (code, _, _) if reply::is_transient(code) => {
                self.refresh(code == "READONLY");
                RetryAction::WaitAndRetry(CallError::Refused(why))
            }
            _ if reply::lacks_permission(error) => {
                RetryAction::NoRetry(CallError::OutcomeUnknown(why))
            }
            _ if reply::is_from_within_a_script(error) => {
                RetryAction::NoRetry(CallError::Failed(why))
            }
            _ => RetryAction::NoRetry(CallError::Refused(why)),
        }
    }

    /// Returns every server that serves calls.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        match self {
            Self::Single(node) => vec![Arc::clone(node)],
            Self::Sentinel(watched) => vec![watched.master()],
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// Refreshes the topology, since the server may no longer be the right one.
    fn refresh(&self, is_replica: bool) {
        match self {
            Self::Single(node) if is_replica => node.reconnect(),
            Self::Sentinel(watched) if is_replica => watched.refresh(),
            Self::Single(_) | Self::Sentinel(_) => {}
            Self::Cluster(cluster) => cluster.refresh(),
        }
    }
}

/// Returns the error of a call whose server is absent.
fn absent(node: &Node, may_be_done: bool) -> CallError {
    CallError::Absent { why: format!("{} does not answer", node.address), may_be_done }
}

/// Parses the number at the start of a text; 0 if there is none.
fn leading_number(text: &str) -> u64 {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().unwrap_or(0)
}
