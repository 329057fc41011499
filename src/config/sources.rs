//! Sources of settings: flags take precedence over the environment, the file and the default, in
//! this order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::diagnostics::toml::{Document, Value};
use crate::diagnostics::{LoadError, read_file, text_of};
use crate::telemetry::LogFormat;

use super::callbacks::{ReadCallbacks, read_tables};
use super::environment::Environment;
use super::error::{ConfigError, ConfigErrors};
use super::retired::RETIRED;
use super::settings::{CONFIG, Flags, Kind, SETTINGS, Setting};

/// A text given for a setting.
#[derive(Debug)]
struct Given {
    text: String,
    /// The source, as errors name it.
    origin: String,
}

/// Values of the file, by key.
type FileValues = BTreeMap<&'static str, Vec<Given>>;

/// All sources, and their problems so far.
pub(super) struct Sources<'a> {
    flags: &'a Flags,
    env: &'a Environment,
    file: FileValues,
    /// Tables of callbacks, which only the file can hold.
    pub(super) callbacks: ReadCallbacks,
    errors: Vec<ConfigError>,
    /// Keys of settings that were given with a mistake, so that their intended values are not
    /// available.
    mistaken: BTreeSet<&'static str>,
}

impl<'a> Sources<'a> {
    /// Reads the file that the flag or environment variable names.
    pub(super) fn open(flags: &'a Flags, env: &'a Environment) -> Self {
        let (file, errors, mistaken) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        let callbacks = ReadCallbacks::default();
        let mut sources = Self { flags, env, file, callbacks, errors, mistaken };
        for refused in env.refused() {
            sources.report(refused.name, refused.message);
            sources.mistaken.extend(refused.key);
        }
        if let Some((path, origin)) = sources.optional(&CONFIG, super::values::path) {
            sources.read(&path, &origin);
        }
        if sources.mistaken.contains(CONFIG.key) {
            // The file might have set any of them.
            sources.mistaken.extend(SETTINGS.iter().map(|setting| setting.key));
        }
        sources
    }

    pub(super) fn report(&mut self, origin: &str, message: String) {
        self.errors.push(ConfigError { source: origin.to_owned(), message });
    }

    /// Reports that settings conflict, unless one of those that it depends on is mistaken: then the
    /// conflict may follow from that mistake alone.
    pub(super) fn report_conflict(&mut self, origin: &str, message: String, with: &[&Setting]) {
        if !with.iter().any(|setting| self.mistaken.contains(setting.key)) {
            self.report(origin, message);
        }
    }

    /// Returns the value.
    pub(super) fn one<T>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        // The default also stands in for a refused value, so that reading continues.
        let value = self.given(setting, &parse).and_then(|mut given| given.pop());
        value.map_or_else(|| default_of(setting, parse), |(value, _)| value)
    }

    /// Returns the value and its source, if it was set.
    pub(super) fn optional<T>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<(T, String)> {
        self.given(setting, parse)?.pop()
    }

    /// Returns the values, each with its source. Refused ones are left out.
    pub(super) fn list<T>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<(T, String)> {
        self.given(setting, &parse).unwrap_or_else(|| {
            if self.mistaken.contains(setting.key) {
                return Vec::new();
            }
            vec![(default_of(setting, parse), format!("the default of {}", setting.key))]
        })
    }

    /// Returns the values that were set, each with its source; empty if there are none.
    pub(super) fn any<T>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<(T, String)> {
        self.given(setting, parse).unwrap_or_default()
    }

    /// Returns the result, unless there were problems.
    pub(super) fn finish<T>(self, read: T, log_format: LogFormat) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() {
            Ok(read)
        } else {
            Err(ConfigErrors { errors: self.errors, log_format })
        }
    }

    /// Returns the valid values of the highest source that has any. All sources are checked.
    fn given<T>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<(T, String)>> {
        let mut highest = None;
        let file = self.file.remove(setting.key).unwrap_or_default();
        for layer in [self.by_flags(setting), self.by_env(setting), file] {
            if layer.is_empty() {
                continue;
            }
            let mut values = Vec::new();
            for Given { text, origin } in layer {
                match parse(&text) {
                    Ok(value) => values.push((value, origin)),
                    Err(message) => {
                        self.report(&origin, message);
                        if highest.is_none() {
                            self.mistaken.insert(setting.key);
                        }
                    }
                }
            }
            highest.get_or_insert(values);
        }
        highest
    }

    fn by_flags(&self, setting: &Setting) -> Vec<Given> {
        let origin = format!("--{}", setting.flag);
        let texts = self.flags.of(setting).iter();
        texts.map(|text| Given { text: text.clone(), origin: origin.clone() }).collect()
    }

    fn by_env(&self, setting: &Setting) -> Vec<Given> {
        let Some(text) = self.env.get(setting.env) else { return Vec::new() };
        let given = |text: &str| Given { text: text.to_owned(), origin: setting.env.to_owned() };
        match setting.kind {
            Kind::List => text.split(',').map(|part| given(part.trim())).collect(),
            Kind::Text | Kind::Number | Kind::Switch => vec![given(text)],
        }
    }

    fn read(&mut self, path: &Path, origin: &str) {
        let read = read_file(path).and_then(|bytes| {
            let document = Document::parse(text_of(path, &bytes)?);
            let (values, mistaken) = file_values(path, &document);
            let whole = document.finish(Some(()));
            let problems = whole.err().map(|problems| problems.0).unwrap_or_default();
            Ok((values, mistaken, problems))
        });
        let problems = match read {
            Ok(((file, callbacks), mistaken, problems)) => {
                self.file = file;
                self.callbacks = callbacks;
                self.mistaken.extend(mistaken);
                problems
            }
            Err(error) => {
                self.mistaken.insert(CONFIG.key);
                match error {
                    LoadError::Invalid { problems, .. } => problems.0,
                    error => return self.report(origin, error.to_string()),
                }
            }
        };
        for problem in problems {
            let position = format!("{}:{}:{}", path.display(), problem.line, problem.column);
            self.report(&position, problem.message);
        }
    }
}

fn default_of<T>(setting: &Setting, parse: impl Fn(&str) -> Result<T, String>) -> T {
    let text = setting.default.expect("a setting without a default is optional");
    parse(text).expect("defaults are valid; a test reads them")
}

/// Returns the texts of the file's values with its callbacks, and the keys with unreadable ones.
/// Values of the wrong type are reported and left out.
fn file_values(
    path: &Path,
    document: &Document<'_>,
) -> ((FileValues, ReadCallbacks), BTreeSet<&'static str>) {
    let root = document.root();
    let mut file = FileValues::new();
    let mut mistaken = BTreeSet::new();
    for setting in SETTINGS.iter().chain(&RETIRED) {
        let Some(value) = root.optional(setting.key) else { continue };
        let mut texts = texts(setting.kind, &value);
        let entries = value.as_array().map_or(1, |entries| entries.len());
        texts.retain(|(value, _)| value.was_parsed());
        if texts.len() < entries.max(1) {
            mistaken.insert(setting.key);
        }
        let texts = texts.into_iter();
        let given = texts.map(|(value, text)| {
            let (line, column) = value.position();
            let origin = format!("{}:{line}:{column}: {}", path.display(), value.path());
            Given { text, origin }
        });
        file.insert(setting.key, given.collect());
    }
    let callbacks = read_tables(path, &root);
    let keys = SETTINGS.iter().map(|setting| setting.key);
    let meant: BTreeSet<_> = root.finish().into_iter().collect();
    mistaken.extend(keys.filter(|key| meant.contains(*key)));
    ((file, callbacks), mistaken)
}

/// Returns a value as it would be written in the environment; for a list, each of its elements.
fn texts<'d>(kind: Kind, value: &Value<'d>) -> Vec<(Value<'d>, String)> {
    let text = match kind {
        Kind::Text => value.string().map(ToOwned::to_owned),
        Kind::Number => {
            value.or_wrong(value.as_integer(), "a whole number").map(|number| number.to_string())
        }
        Kind::Switch => value.boolean().map(|on| on.to_string()),
        Kind::List => {
            let elements = value.as_array().unwrap_or_else(|| vec![value.clone()]);
            if elements.is_empty() {
                value.problem("must have at least one entry");
            }
            let elements = elements.into_iter();
            return elements.flat_map(|element| texts(Kind::Text, &element)).collect();
        }
    };
    text.map(|text| (value.clone(), text)).into_iter().collect()
}
