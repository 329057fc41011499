//! Who may call: every RPC of the administration by every role over every transport, and what
//! happens to credentials while the sidecar runs.

#[path = "access/calls.rs"]
mod calls;
#[path = "access/certificates.rs"]
mod certificates;
#[path = "access/command_line.rs"]
mod command_line;
#[path = "access/connection.rs"]
mod connection;
#[path = "access/force.rs"]
mod force;
#[path = "access/matrix.rs"]
mod matrix;
#[path = "access/refused.rs"]
mod refused;
#[path = "access/repeated.rs"]
mod repeated;
#[path = "access/revoked.rs"]
mod revoked;
#[path = "access/rotation.rs"]
mod rotation;
#[path = "access/sidecar.rs"]
mod sidecar;
#[path = "access/transport.rs"]
mod transport;

mod support;
