//! `imquota catalog`: shows and validates catalogs, without a sidecar.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::error::Error;
use super::output::Format;
use super::session::OutputFlag;
use super::{Exit, output};
use crate::catalog::{BUILTIN, load};
use crate::domain::catalog::Catalog as Loaded;

/// Arguments of `imquota catalog`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  imquota catalog show")]
pub struct Catalog {
    #[command(flatten)]
    output: OutputFlag,
    #[command(subcommand)]
    command: CatalogCommand,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    /// Print the built-in catalog, or a file if it is valid.
    #[command(after_help = "Example:\n  imquota catalog show")]
    Show {
        /// A catalog in TOML [default: the built-in catalog]
        file: Option<PathBuf>,
    },
    /// Validate a catalog; problems are printed with line and column.
    #[command(after_help = "Example:\n  imquota catalog check catalog.toml")]
    Check {
        /// A catalog in TOML
        file: PathBuf,
    },
}

impl Catalog {
    /// Returns the output format.
    pub fn format(&self) -> Format {
        self.output.format()
    }
}

/// Shows or validates a catalog.
pub fn run(args: Catalog) -> Result<Exit, Error> {
    let format = args.format();
    match args.command {
        CatalogCommand::Show { file } => {
            let text = match file {
                None => BUILTIN.to_owned(),
                Some(path) => {
                    valid(&path)?;
                    fs::read_to_string(&path).map_err(|error| Error::Read { path, error })?
                }
            };
            output::show_other(&text, &json!({"toml": text}), format)?;
        }
        CatalogCommand::Check { file } => {
            let catalog = valid(&file)?;
            output::show_other(&summary(&file, &catalog), &object(&file, &catalog), format)?;
        }
    }
    Ok(Exit::Done)
}

fn valid(path: &Path) -> Result<Loaded, Error> {
    load(path).map_err(|error| Error::Catalog(error.to_string()))
}

fn summary(path: &Path, catalog: &Loaded) -> String {
    format!(
        "{}: valid; version {}, {}, {}, {}\n",
        path.display(),
        catalog.version,
        output::count(catalog.editions.len(), "edition"),
        output::count(catalog.add_ons.len(), "add-on"),
        output::count(catalog.group_types.len(), "group type"),
    )
}

fn object(path: &Path, catalog: &Loaded) -> Value {
    json!({
        "file": path.display().to_string(),
        "version": catalog.version.as_str(),
        "editions": catalog.editions.len(),
        "add_ons": catalog.add_ons.len(),
        "group_types": catalog.group_types.len(),
    })
}
