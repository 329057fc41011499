//! Servers of the store, as their callers find them.

/// A server of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// Its address.
    pub address: String,
    /// Whether it is absent.
    pub is_absent: bool,
    /// What it has refused a short while ago.
    pub refusal: Option<Refusal>,
    /// The servers that hold what its answers rest on.
    pub replication: Replication,
}

/// The servers that hold what the answers of one rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replication {
    /// The rule in force.
    pub standing: Standing,
    /// Replicas that have to confirm an answer.
    pub required: usize,
    /// Replicas that are attached.
    pub attached: usize,
}

/// The servers that hold what an answer rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Standing {
    /// The server, as it was asked for.
    #[default]
    Local,
    /// All replicas that have to confirm it.
    Replicated,
    /// The server alone: it has no replica.
    Alone,
    /// No one: the replicas cannot confirm, and nothing is answered.
    Closed,
}

/// Why a server that answers has refused a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code of its error, such as `OOM`.
    pub code: String,
    /// Its words.
    pub words: String,
}
