//! The state of the store's servers.

/// A server of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// Its address.
    pub address: String,
    /// True if it is absent.
    pub is_absent: bool,
    /// Its most recent refusal, if that was a short while ago.
    pub refusal: Option<Refusal>,
    /// The servers that hold the data behind its replies.
    pub replication: Replication,
}

/// The servers that hold the data behind one server's replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replication {
    /// The rule in force.
    pub standing: Standing,
    /// The number of replicas that have to confirm a reply.
    pub required: usize,
    /// The number of replicas that are attached.
    pub attached: usize,
}

/// The set of servers that hold the data behind a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Standing {
    /// The server only, as configured.
    #[default]
    Local,
    /// The server and all replicas that have to confirm it.
    Replicated,
    /// The server only, since it has no replica.
    Alone,
    /// None: the replicas cannot confirm, so every call is refused.
    Closed,
}

/// The refusal of a call by a server that is reachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code of its error, such as `OOM`.
    pub code: String,
    /// The text of its error.
    pub words: String,
}
