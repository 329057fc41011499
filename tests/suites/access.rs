//! Who may call: every RPC of the administration by every role over every transport, and what
//! happens to credentials while the sidecar runs.

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
