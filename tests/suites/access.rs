//! Authorization: every RPC of the admin listener by every role over every transport, and changes
//! of credentials while the sidecar runs.

mod calls;
mod certificates;
mod command_line;
mod connection;
mod force;
mod matrix;
mod refused;
mod repeated;
mod revoked;
mod rotation;
mod sidecar;
mod transport;
