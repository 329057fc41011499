//! `imquota statement`: the statement of an app for a month.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::Exit;
use super::connect::AdminAddress;
use super::error::Error;
use super::output;
use super::output::Format;
use super::session::{CallFlags, Session};
use crate::grpc::pb::metering_service_client::MeteringServiceClient;
use crate::grpc::pb::{self, StatementFormat};
use crate::private_file;

const EXAMPLE: &str = "\
Example:
  imquota statement --app demo --month 2019-08
  imquota statement --app demo --export html --out statement.html";

/// Arguments of `imquota statement`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct Statement {
    /// The app
    #[arg(long)]
    app: String,
    /// The month, such as 2019-08 [default: the current month]
    #[arg(long, default_value = "", hide_default_value = true)]
    month: String,
    /// Export the statement as a document instead of a table
    #[arg(long, value_enum, value_name = "KIND")]
    export: Option<Export>,
    /// The file to write; a new file is readable only by its owner, an existing one is replaced
    /// [default: standard output]
    #[arg(long, value_name = "FILE", requires = "export")]
    out: Option<PathBuf>,
    #[command(flatten)]
    to: AdminAddress,
    #[command(flatten)]
    flags: CallFlags,
}

impl Statement {
    /// Returns the output format.
    pub fn format(&self) -> Format {
        self.flags.format()
    }
}

/// Format of an exported statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Export {
    /// The JSON document that the hash is computed over
    Json,
    /// One row for each line of the statement
    Csv,
    /// A page with charts, for viewing and printing
    Html,
}

/// Makes the call and prints the statement, or writes it to a file.
pub async fn run(args: Statement) -> Result<Exit, Error> {
    let session = Session::open(args.to.target()?, args.flags).await?;
    let mut client = MeteringServiceClient::new(session.channel());
    let (app_id, month) = (args.app, args.month);
    let Some(export) = args.export else {
        let request = session.request(pb::GetStatementRequest { app_id, month });
        return session.finish(client.get_statement(request).await);
    };
    let format = match export {
        Export::Json => StatementFormat::Json,
        Export::Csv => StatementFormat::Csv,
        Export::Html => StatementFormat::Html,
    };
    let request = pb::ExportStatementRequest { app_id, month, format: format.into() };
    let response = client.export_statement(session.request(request)).await;
    let content =
        response.map_err(|status| session.explain(status).for_read())?.into_inner().content;
    let text = String::from_utf8_lossy(&content);
    match args.out {
        Some(path) => {
            write(&path, &content)?;
            let object = json!({"file": path.display().to_string(), "bytes": content.len()});
            output::show_other("", &object, session.format())?;
        }
        // The JSON export is already an object.
        None if export == Export::Json => output::print(&text)?,
        None => output::show_other(&text, &json!({"content": text}), session.format())?,
    }
    Ok(Exit::Done)
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    private_file::write(path, content)
        .map_err(|error| Error::WriteFile { path: path.to_owned(), error })
}
