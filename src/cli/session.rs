//! One call, from the request to the printed response and the exit code.

use std::time::Duration;

use clap::Args;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::Exit;
use super::connect::{self, SHARED, Target, TimeoutFlag};
use super::error::{Error, is_lost};
use super::output::{self, Format, Report};
use crate::domain::calendar::Zone;
use crate::grpc::TIME_ZONE_HEADER;

/// Options of every command that makes a call and prints its response.
#[derive(Debug, Clone, Copy, Args)]
pub struct CallFlags {
    #[command(flatten)]
    timeout: TimeoutFlag,
    #[command(flatten)]
    output: OutputFlag,
}

/// Output option of every command.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputFlag {
    /// Format of responses and errors
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    #[arg(value_name = "FORMAT", help_heading = SHARED)]
    output: Format,
}

impl OutputFlag {
    /// Returns the output format.
    pub fn format(self) -> Format {
        self.output
    }
}

impl CallFlags {
    /// Returns the output format.
    pub fn format(self) -> Format {
        self.output.format()
    }
}

/// Returns the catalog's time zone from the metadata of a response, or UTC if it is absent.
pub fn zone_of(metadata: &MetadataMap) -> Zone {
    let name = metadata.get(TIME_ZONE_HEADER).and_then(|name| name.to_str().ok());
    name.and_then(Zone::named).unwrap_or(Zone::UTC)
}

/// A connection, with the options for its calls and their output.
pub struct Session {
    channel: Channel,
    target: Target,
    timeout: Duration,
    format: Format,
}

impl Session {
    /// Connects to the sidecar.
    pub async fn open(target: Target, flags: CallFlags) -> Result<Self, Error> {
        let timeout = flags.timeout.duration();
        let channel = connect::connect(&target, timeout).await?;
        Ok(Self { channel, target, timeout, format: flags.format() })
    }

    /// Returns the channel for a client.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Returns the output format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Creates a request with the deadline and the credentials.
    pub fn request<M>(&self, message: M) -> Request<M> {
        let mut request = self.without_deadline(message);
        request.set_timeout(self.timeout);
        request
    }

    /// Creates a request with the credentials, without a deadline, for a stream of any duration.
    pub fn without_deadline<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(bearer) = &self.target.bearer {
            request.metadata_mut().insert(http::header::AUTHORIZATION.as_str(), bearer.clone());
        }
        request
    }

    /// Prints a response, or returns its error.
    pub fn finish<R: Report>(&self, response: Result<Response<R>, Status>) -> Result<Exit, Error> {
        let explain = |status| {
            let error = self.explain(status);
            if is_read(R::NAME) { error.for_read() } else { error }
        };
        let response = response.map_err(explain)?;
        let zone = zone_of(response.metadata());
        let report = response.into_inner();
        output::show(&report, self.format, zone)?;
        Ok(if report.denied() { Exit::Denied } else { Exit::Done })
    }

    /// Converts the status of a failed call to an error, with a hint if the connection was lost.
    pub fn explain(&self, status: Status) -> Error {
        let lost = is_lost(&status);
        let error = Error::from(status);
        match self.target.hint().filter(|_| lost) {
            Some(hint) => Error::ConnectionLost { error: Box::new(error), hint },
            None => error,
        }
    }
}

/// Returns whether the RPC with this response message is read-only.
fn is_read(response: &str) -> bool {
    ["Get", "List", "Preview", "Export"].iter().any(|verb| response.starts_with(verb))
}
