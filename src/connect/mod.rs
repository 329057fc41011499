//! The Connect protocol: every RPC by HTTP with JSON, on the listeners and paths of gRPC.
//!
//! A call is checked (`site`: which host and which page it comes from; `head`: method, media type
//! and headers), its messages are translated to gRPC (`json`, `frames`), and the services answer it
//! in process, behind the same layers as a gRPC call. Their answer is translated back: `unary` for
//! one message, `streams` for more, `error` for a status. `openapi` describes the calls of unary
//! RPCs.
//!
//! Deliberately not here: connections, memory of unfinished requests and metrics, which are those
//! of gRPC (`server`). No other protocol is served: no GET but that of the description, no CORS.

mod error;
mod frames;
mod head;
mod headers;
mod json;
mod methods;
pub mod openapi;
mod serve;
mod shape;
mod site;
mod streams;
mod unary;

pub use error::Refusal;
pub use head::{Accepted, CallHead, accept, is_grpc};
pub use site::Site;
