//! One call, from the request to the printed answer and the exit code.

use std::time::Duration;

use clap::Args;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::Exit;
use super::connect::{self, CALLING, Patience, Target};
use super::error::{Error, is_lost};
use super::output::{self, Format, Report};
use crate::domain::calendar::Zone;
use crate::grpc::TIME_ZONE_HEADER;

/// Flags of every command that makes a call and prints its answer.
#[derive(Debug, Clone, Copy, Args)]
pub struct Calling {
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    output: OutputFlag,
}

/// How every command prints.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputFlag {
    /// How answers and errors are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    #[arg(value_name = "FORMAT", help_heading = CALLING)]
    output: Format,
}

impl OutputFlag {
    /// What was chosen.
    pub fn format(self) -> Format {
        self.output
    }
}

impl Calling {
    /// How the answer is printed.
    pub fn format(self) -> Format {
        self.output.format()
    }
}

/// The time zone of the catalog that an answer goes by; UTC where the sidecar does not say.
pub fn zone_of(metadata: &MetadataMap) -> Zone {
    let name = metadata.get(TIME_ZONE_HEADER).and_then(|name| name.to_str().ok());
    name.and_then(Zone::named).unwrap_or(Zone::UTC)
}

/// A connection, and how its calls are made and shown.
pub struct Session {
    channel: Channel,
    target: Target,
    timeout: Duration,
    format: Format,
}

impl Session {
    /// Connects.
    pub async fn open(target: Target, calling: Calling) -> Result<Self, Error> {
        let timeout = calling.patience.timeout();
        let channel = connect::connect(&target, timeout).await?;
        Ok(Self { channel, target, timeout, format: calling.format() })
    }

    /// What a client is made from.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// How answers are printed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// A message with the deadline that the sidecar is told, and with what shows who calls.
    pub fn request<M>(&self, message: M) -> Request<M> {
        let mut request = self.endless(message);
        request.set_timeout(self.timeout);
        request
    }

    /// The same without a deadline, for a stream that lasts as long as it has to.
    pub fn endless<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(bearer) = &self.target.bearer {
            request.metadata_mut().insert(http::header::AUTHORIZATION.as_str(), bearer.clone());
        }
        request
    }

    /// Prints an answer, or returns why there is none.
    pub fn finish<R: Report>(&self, answer: Result<Response<R>, Status>) -> Result<Exit, Error> {
        let explained = |status| {
            let error = self.explained(status);
            if is_read(R::NAME) { error.of_read() } else { error }
        };
        let answer = answer.map_err(explained)?;
        let zone = zone_of(answer.metadata());
        let report = answer.into_inner();
        output::show(&report, self.format, zone)?;
        Ok(if report.denied() { Exit::Denied } else { Exit::Done })
    }

    /// Why a call came to nothing, with what may be wrong on the way there.
    pub fn explained(&self, status: Status) -> Error {
        let lost = is_lost(&status);
        let error = Error::from(status);
        match self.target.doubt().filter(|_| lost) {
            Some(doubt) => Error::Lost { error: Box::new(error), doubt },
            None => error,
        }
    }
}

/// Whether the RPC with that answer changes nothing.
fn is_read(answer: &str) -> bool {
    ["Get", "List", "Preview", "Export"].iter().any(|verb| answer.starts_with(verb))
}
