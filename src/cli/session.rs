//! One call, from the request to the printed answer and the exit code.

use std::time::Duration;

use clap::Args;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::Exit;
use super::connect::{self, Address, CALLING, Patience};
use super::error::Error;
use super::output::{self, Format, Report};

/// Flags of every command that makes a call and prints its answer.
#[derive(Debug, Clone, Copy, Args)]
pub struct Calling {
    #[command(flatten)]
    patience: Patience,
    /// How the answer is printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    #[arg(value_name = "FORMAT", help_heading = CALLING)]
    output: Format,
}

/// A connection, and how its calls are made and shown.
pub struct Session {
    channel: Channel,
    timeout: Duration,
    format: Format,
}

impl Session {
    /// Connects.
    pub async fn open(address: &Address, calling: Calling) -> Result<Self, Error> {
        let timeout = calling.patience.timeout();
        let channel = connect::connect(address, timeout).await?;
        Ok(Self { channel, timeout, format: calling.output })
    }

    /// What a client is made from.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A message with the deadline that the sidecar is told.
    pub fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// Prints an answer, or returns why there is none.
    pub fn finish<R: Report>(&self, answer: Result<Response<R>, Status>) -> Result<Exit, Error> {
        let report = answer?.into_inner();
        output::show(&report, self.format)?;
        Ok(if report.denied() { Exit::Denied } else { Exit::Done })
    }
}
