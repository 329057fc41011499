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
}

/// Why a server that answers has refused a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code of its error, such as `OOM`.
    pub code: String,
    /// Its words.
    pub words: String,
}
