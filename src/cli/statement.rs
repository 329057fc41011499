//! `imquota statement`: what an app has to pay for a month.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::Exit;
use super::connect::AdminAddress;
use super::error::Error;
use super::output;
use super::output::Format;
use super::session::{Calling, Session};
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
    /// The month, such as 2019-08 [default: the running one]
    #[arg(long, default_value = "", hide_default_value = true)]
    month: String,
    /// As a file instead of a table
    #[arg(long, value_enum, value_name = "KIND")]
    export: Option<Export>,
    /// The file to write, for you alone if it is new; an existing one is replaced [default:
    /// standard output]
    #[arg(long, value_name = "FILE", requires = "export")]
    out: Option<PathBuf>,
    #[command(flatten)]
    to: AdminAddress,
    #[command(flatten)]
    calling: Calling,
}

impl Statement {
    /// How the answer is printed.
    pub fn format(&self) -> Format {
        self.calling.format()
    }
}

/// What file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Export {
    /// What the hash is made over
    Json,
    /// A row a line, for tables
    Csv,
    /// A page with charts, to be looked at and printed
    Html,
}

/// Makes the call and prints the statement, or writes it to a file.
pub async fn run(args: Statement) -> Result<Exit, Error> {
    let session = Session::open(args.to.target()?, args.calling).await?;
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
    let answer = client.export_statement(session.request(request)).await;
    let content =
        answer.map_err(|status| session.explained(status).of_read())?.into_inner().content;
    let text = String::from_utf8_lossy(&content);
    match args.out {
        Some(path) => {
            write(&path, &content)?;
            let object = json!({"file": path.display().to_string(), "bytes": content.len()});
            output::show_other("", &object, session.format())?;
        }
        // The export as JSON is an object already.
        None if export == Export::Json => output::print(&text)?,
        None => output::show_other(&text, &json!({"content": text}), session.format())?,
    }
    Ok(Exit::Done)
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    private_file::write(path, content)
        .map_err(|error| Error::WriteFile { path: path.to_owned(), error })
}
