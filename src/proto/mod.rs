//! The messages of `proto/imquota/v1`, and values of the domain rendered as them.
//!
//! Below the services, so that a webhook posts the same text as the admin service streams: `event`
//! renders events, `values` the parts that many messages have, and `json` any message as text.

pub(crate) mod descriptors;
mod event;
pub(crate) mod json;
mod values;

pub use event::event_json;
pub(crate) use event::{event, kind, kind_named};
pub(crate) use values::{currency, reason, source, subject, timestamp};

/// The messages, generated.
#[allow(missing_docs, clippy::pedantic)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/messages/imquota.v1.rs"));

    /// All descriptors, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/imquota.binpb"));
}
