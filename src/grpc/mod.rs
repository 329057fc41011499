//! The gRPC services: protobuf in, domain values through the engine, protobuf out.
//!
//! `fields` validates the input and names every bad field; `request` and `answer` translate;
//! `status` and `admin_status` are the one table from errors to gRPC codes, and `error_reason` has
//! their reasons; the services only connect them.

mod admin;
mod admin_status;
pub(crate) mod agreed;
mod answer;
mod apply;
pub(crate) mod caller;
pub(crate) mod codec;
pub(crate) mod connection_age;
pub(crate) mod deadline;
mod denied_as_error;
mod entry_count;
pub(crate) mod error_reason;
mod error_reply;
mod fields;
mod health;
// Public for the fuzz targets only.
#[doc(hidden)]
pub mod holds;
pub(crate) mod memory;
mod metering;
mod permits;
mod quota;
// Public for the fuzz targets only.
#[doc(hidden)]
pub mod request;
mod room;
pub(crate) mod status;

pub use admin::{AdminApi, audit_entry};
pub use caller::authenticate;
pub use health::HealthApi;
pub use metering::{MeteringApi, Plane};
pub use quota::QuotaApi;

/// The messages and stubs of `proto/imquota/v1`.
#[allow(missing_docs, clippy::pedantic)]
pub mod pb {
    pub use crate::proto::pb::*;

    include!(concat!(env!("OUT_DIR"), "/services/imquota.v1.rs"));
}

/// Name of the data plane for health and reflection.
pub const QUOTA_SERVICE: &str = "imquota.v1.QuotaService";
/// Name of the admin service for health and reflection.
pub const ADMIN_SERVICE: &str = "imquota.v1.AdminService";

/// Name of the metering service for health and reflection.
pub const METERING_SERVICE: &str = "imquota.v1.MeteringService";

/// Header with the time zone of the catalog in responses of the admin service and of GetUsage, so
/// that clients can show instants in it.
pub const TIME_ZONE_HEADER: &str = "imquota-time-zone";

/// Largest request that is decoded: the longest ids in the largest batch that a catalog may allow
/// fit (`IdRules::batch_max`).
pub(crate) const REQUEST_MAX_BYTES: usize = 1024 * 1024;

/// Largest message of Reconcile: the longest ids in the longest list of a user or group fit, since
/// no list is split.
pub(crate) const RECONCILE_MAX_BYTES: usize = 6 * 1024 * 1024;

/// Most entries of a longer message of Reconcile: thrice the facts of one, whose entries may each
/// have a list, an id and a type, and more than the longest list.
const RECONCILE_MAX_ENTRIES: usize = 40_000;

/// Largest request of health and reflection, which any client that reaches a listener can call: the
/// longest name of a service or symbol fits many times.
pub const OPEN_REQUEST_MAX_BYTES: usize = 4 * 1024;
