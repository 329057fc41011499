//! Settings of the callback listener: its address, and a `[[callback]]` table of the file for each
//! caller.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::{AccessConfig, TLS_CERT, TLS_CLIENT_CA, TLS_KEY};
use super::settings::{Kind, Setting};
use super::sources::Sources;
use super::values::{self, Listen};
use crate::callbacks::{
    Apps, CallbackSettings, Codes, MappedType, Protocol, SecretPath, Unavailable,
};
use crate::diagnostics::did_you_mean;
use crate::diagnostics::toml::{Table, Value};
use crate::domain::id::{AppId, NAME_MAX_BYTES, Name};

pub(super) const CALLBACK_LISTEN: Setting = Setting {
    key: "callback_listen",
    flag: "callback-listen",
    env: "IMQUOTA_CALLBACK_LISTEN",
    kind: Kind::Text,
    value_name: "ADDRESS",
    default: Some("off"),
    help: "Address on which callbacks of OpenIM and Tencent are answered, or unix:PATH; \"off\": \
           none; needs a [[callback]] in the file",
};

/// Key of the tables in the file.
const KEY: &str = "callback";
/// Most tables.
const CALLBACKS_MAX: usize = 64;
/// Least length of a secret in a path, if other machines reach the listener.
const SECRET_MIN_BYTES: usize = 8;
/// Range of a budget: OpenIM waits 5 s by default, and may be set to wait longer.
const BUDGET_MS: RangeInclusive<i64> = 10..=60_000;
/// Codes that OpenIM's client SDK does not use itself.
const OPENIM_CODES: RangeInclusive<i64> = 20_001..=29_999;
/// Codes that Tencent hands on to clients: of groups, and of friends.
const TENCENT_CODES: [RangeInclusive<i64>; 2] = [10_100..=10_200, 38_000..=39_000];

/// The codes of the built-in catalog's codes, by default.
const DEFAULT_CODES: [(i32, i32, i32); 9] = [
    (10014, 20014, 10114),
    (10037, 20037, 10137),
    (10038, 20038, 10138),
    (10036, 20036, 10136),
    (10006, 20006, 10106),
    (70398, 20398, 10198),
    (30010, 23010, 38010),
    (30014, 23014, 38014),
    (60020, 26020, 10160),
];

/// A table of the file, with what others have to agree with, whether or not the rest is good.
#[derive(Debug)]
pub(super) struct ReadCallback {
    /// `None` if anything of it is a mistake.
    settings: Option<CallbackSettings>,
    source: String,
    protocol: Option<Protocol>,
    path: Option<(SecretPath, String)>,
    types: Vec<MappedType>,
    has_token: bool,
}

/// The tables of the file.
#[derive(Debug, Default)]
pub(super) struct ReadCallbacks {
    tables: Vec<ReadCallback>,
    /// True if there are tables that could not be read at all.
    is_mistaken: bool,
}

/// Reads the tables of the file. Problems are reported to the document.
pub(super) fn read_tables(file: &Path, root: &Table<'_>) -> ReadCallbacks {
    let mut read = ReadCallbacks::default();
    let Some(value) = root.optional(KEY) else { return read };
    let Some(elements) = value.or_wrong(value.as_array(), "an array of tables, [[callback]]")
    else {
        read.is_mistaken = true;
        return read;
    };
    if elements.is_empty() || elements.len() > CALLBACKS_MAX {
        value.problem(format!("must have 1 to {CALLBACKS_MAX} entries, not {}", elements.len()));
        read.is_mistaken = true;
        return read;
    }
    for element in elements {
        let table = element.table().map(|table| self::table(file, &element, table));
        read.is_mistaken |= table.is_none();
        read.tables.extend(table);
    }
    read
}

fn source(file: &Path, value: &Value<'_>) -> String {
    let (line, column) = value.position();
    format!("{}:{line}:{column}: {}", file.display(), value.path())
}

fn table(file: &Path, element: &Value<'_>, table: Table<'_>) -> ReadCallback {
    let protocol = table.required("protocol").and_then(|value| {
        let found = value
            .as_str()
            .and_then(|name| Protocol::ALL.into_iter().find(|protocol| protocol.name() == name));
        value.or_wrong(found, "\"openim\" or \"tencent\"")
    });
    let path = table.required("path").and_then(|value| {
        // Whether or not it is a path, it is a secret.
        let path = value.as_str().and_then(SecretPath::parse);
        if path.is_none() {
            value.problem(
                "must be a path such as \"/openim/SECRET\": a slash before each segment, of \
                 letters, digits and -._~",
            );
        }
        Some((path?, source(file, &value)))
    });
    let has_token = table.optional("token_file").is_some();
    let mut types = Vec::new();
    let settings = settings(file, table, protocol, path.as_ref().map(|(path, _)| path), &mut types);
    ReadCallback { settings, source: source(file, element), protocol, path, types, has_token }
}

/// Reads the other keys of a table. Every group type of the catalog that it names is added to
/// `types`, also if anything else is a mistake.
fn settings(
    file: &Path,
    table: Table<'_>,
    protocol: Option<Protocol>,
    path: Option<&SecretPath>,
    types: &mut Vec<MappedType>,
) -> Option<CallbackSettings> {
    let group_types = group_types(file, &table, protocol, types);
    let default_type = table.optional("default_group_type").map(|value| mapped(file, &value));
    types.extend(default_type.clone().flatten());
    let unavailable = table.optional("unavailable").map(|value| {
        let read = match value.as_str() {
            Some("refuse") => Some(Unavailable::Refuse),
            Some("allow") => Some(Unavailable::Allow),
            _ => None,
        };
        value.or_wrong(read, "\"refuse\" or \"allow\"")
    });
    let budget = table.optional("budget_ms").map(|value| value.integer::<u64>(BUDGET_MS));
    let shadow = table.optional("shadow").map(|value| value.boolean());
    let codes = table.optional("codes");
    let of_protocol = protocol.map(|protocol| of_protocol(&table, protocol));
    let codes = codes_of(codes, protocol);
    if protocol.is_some() {
        if group_types.as_ref().is_some_and(BTreeMap::is_empty) && default_type.is_none() {
            table.missing("group_types", ", without which no group has a type");
        }
        table.finish();
    }
    let (protocol, (apps, token_file)) = protocol.zip(of_protocol)?;
    let (usual, budget_ms) = match protocol {
        Protocol::OpenIm => (Unavailable::Refuse, 2000),
        Protocol::Tencent => (Unavailable::Allow, 1200),
    };
    Some(CallbackSettings {
        protocol,
        path: path?.clone(),
        apps: apps?,
        group_types: group_types?,
        default_group_type: optional(default_type)?,
        codes: codes?,
        unavailable: unavailable.unwrap_or(Some(usual))?,
        budget: Duration::from_millis(budget.unwrap_or(Some(budget_ms))?),
        shadow: shadow.unwrap_or(Some(false))?,
        token_file: optional(token_file)?,
    })
}

/// Returns what was given for an optional key; the outer `None` if that is a mistake.
#[allow(clippy::option_option, reason = "absent and invalid are different")]
fn optional<T>(given: Option<Option<T>>) -> Option<Option<T>> {
    match given {
        Some(None) => None,
        given => Some(given.flatten()),
    }
}

fn mapped(file: &Path, value: &Value<'_>) -> Option<MappedType> {
    let name = value.string()?;
    if name.is_empty() || name.len() > NAME_MAX_BYTES {
        value.problem("must be a group type of the catalog");
        return None;
    }
    Some(MappedType { name: Name::from(name), source: source(file, value) })
}

fn group_types(
    file: &Path,
    table: &Table<'_>,
    protocol: Option<Protocol>,
    types: &mut Vec<MappedType>,
) -> Option<BTreeMap<String, MappedType>> {
    let Some(value) = table.optional("group_types") else { return Some(BTreeMap::new()) };
    let of_table = value.table()?;
    let mut all = BTreeMap::new();
    let mut is_good = true;
    for key in of_table.keys() {
        let Some(value) = of_table.optional(key) else { continue };
        let mapped = mapped(file, &value);
        types.extend(mapped.clone());
        // Another notation of a number, such as 01, would never be found.
        let is_number = key.parse::<u32>().is_ok_and(|number| number.to_string() == key);
        if protocol == Some(Protocol::OpenIm) && !is_number {
            value.problem("its key must be a number: OpenIM's groupType");
            is_good = false;
        }
        match mapped {
            Some(mapped) => {
                all.insert(key.to_owned(), mapped);
            }
            None => is_good = false,
        }
    }
    is_good.then_some(all)
}

/// Reads the keys that only one protocol has: the apps, and the file of the token.
#[allow(clippy::option_option, reason = "absent and invalid are different")]
fn of_protocol(table: &Table<'_>, protocol: Protocol) -> (Option<Apps>, Option<Option<PathBuf>>) {
    let token = table.optional("token_file");
    match protocol {
        Protocol::OpenIm => {
            if let Some(token) = token {
                token.problem("is for protocol \"tencent\" only: OpenIM signs nothing");
            }
            let app = table.required("app_id").and_then(|value| app(&value));
            (app.map(Apps::One), None)
        }
        Protocol::Tencent => {
            let apps = match table.optional("apps") {
                Some(value) => apps(&value),
                None => Some(Apps::Any),
            };
            let token = token.map(|value| {
                let read = values::secret(value.string()?);
                read.map_err(|why| value.problem(why)).ok().map(|(path, _)| path)
            });
            (apps, token)
        }
    }
}

fn app(value: &Value<'_>) -> Option<AppId> {
    let text = value.string()?;
    AppId::try_from(text).map_err(|why| value.problem(format!("is no app id: {why}"))).ok()
}

fn apps(value: &Value<'_>) -> Option<Apps> {
    let table = value.table()?;
    let mut all = BTreeMap::new();
    let mut is_good = true;
    for key in table.keys() {
        match table.optional(key).and_then(|value| app(&value)) {
            Some(app) => {
                all.insert(key.to_owned(), app);
            }
            None => is_good = false,
        }
    }
    if is_good && all.is_empty() {
        value.problem("must have at least one entry; leave it out for every SdkAppid");
        return None;
    }
    is_good.then_some(Apps::Listed(all))
}

fn codes_of(value: Option<Value<'_>>, protocol: Option<Protocol>) -> Option<Codes> {
    let protocol = protocol?;
    let by_default = DEFAULT_CODES.map(|(im_code, openim, tencent)| match protocol {
        Protocol::OpenIm => (im_code, openim),
        Protocol::Tencent => (im_code, tencent),
    });
    let unavailable = if protocol == Protocol::OpenIm { 20_999 } else { 10_199 };
    let mut codes = Codes { by_im_code: by_default.into(), unavailable };
    let Some(value) = value else { return Some(codes) };
    let table = value.table()?;
    let mut is_good = true;
    for key in table.keys() {
        let Some(value) = table.optional(key) else { continue };
        let im_code = key.parse::<i32>().ok();
        if im_code.is_none() && key != "unavailable" {
            let hint = did_you_mean(key, ["unavailable"].into_iter());
            let hint = hint.map_or(String::new(), |hint| format!("; did you mean \"{hint}\"?"));
            value.problem(format!("its key must be an IM code or \"unavailable\"{hint}"));
            is_good = false;
            continue;
        }
        match (code(&value, protocol), im_code) {
            (Some(code), Some(im_code)) => {
                codes.by_im_code.insert(im_code, code);
            }
            (Some(code), None) => codes.unavailable = code,
            (None, _) => is_good = false,
        }
    }
    is_good.then_some(codes)
}

fn code(value: &Value<'_>, protocol: Protocol) -> Option<i32> {
    let in_range = |code: &i64| match protocol {
        Protocol::OpenIm => OPENIM_CODES.contains(code),
        Protocol::Tencent => TENCENT_CODES.iter().any(|range| range.contains(code)),
    };
    let expected = match protocol {
        Protocol::OpenIm => "a whole number from 20001 to 29999",
        Protocol::Tencent => "a whole number from 10100 to 10200, or from 38000 to 39000",
    };
    let code = value.as_integer().filter(in_range).and_then(|code| i32::try_from(code).ok());
    value.or_wrong(code, expected)
}

/// The address of the listener, and the callbacks.
pub(super) struct CallbackConfig {
    pub(super) listen: Vec<(Option<Listen>, String)>,
    pub(super) callbacks: Vec<CallbackSettings>,
}

/// Reads the address, and checks that the tables agree with it, with each other, and with the
/// catalog, if it can be read.
pub(super) fn read(
    sources: &mut Sources<'_>,
    access: &AccessConfig,
    catalog: Option<&Path>,
) -> CallbackConfig {
    let listen = sources.list(&CALLBACK_LISTEN, listen);
    let ReadCallbacks { tables, is_mistaken } = std::mem::take(&mut sources.callbacks);
    let address = listen.iter().find_map(|(listen, by)| Some((listen.as_ref()?, by)));
    match (address, tables.first()) {
        (Some((_, by)), None) if !is_mistaken => {
            let message = "needs a [[callback]] in the file of settings".to_owned();
            sources.report_conflict(by, message, &[]);
        }
        (None, Some(first)) => {
            let message = "needs callback_listen, the address to which it is sent".to_owned();
            sources.report_conflict(&first.source, message, &[&CALLBACK_LISTEN]);
        }
        _ => {}
    }
    if let Some((address, _)) = address {
        for table in &tables {
            check_reach(sources, access, address, table);
        }
    }
    check_paths(sources, &tables);
    check_types(sources, catalog, &tables);
    let callbacks = tables.into_iter().filter_map(|table| table.settings).collect();
    CallbackConfig { listen, callbacks }
}

/// Checks that no request could be meant for two tables.
fn check_paths(sources: &mut Sources<'_>, tables: &[ReadCallback]) {
    let paths: Vec<_> = tables.iter().filter_map(|table| table.path.as_ref()).collect();
    for (index, (path, source)) in paths.iter().enumerate() {
        if let Some((_, other)) = paths[..index].iter().find(|(other, _)| other.overlaps(path)) {
            sources.report(source, format!("must differ from, and not lie below, {other}"));
        }
    }
}

/// Checks that the catalog has every group type. One that cannot be read is refused later, where
/// it is loaded.
fn check_types(sources: &mut Sources<'_>, catalog: Option<&Path>, tables: &[ReadCallback]) {
    if tables.is_empty() {
        return;
    }
    let catalog = match catalog {
        Some(path) => crate::catalog::load(path).ok(),
        None => Some(crate::catalog::builtin()),
    };
    let Some(catalog) = catalog else { return };
    let known: Vec<_> = catalog.group_types.iter().map(|it| it.name.as_str()).collect();
    for MappedType { name, source } in tables.iter().flat_map(|table| &table.types) {
        if catalog.group_type(name.as_str()).is_none() {
            let known = known.join(", ");
            let message = format!("the catalog has no group type \"{name}\"; it has {known}");
            sources.report(source, message);
        }
    }
}

/// Checks that a callback which other machines reach has enough of a secret.
fn check_reach(
    sources: &mut Sources<'_>,
    access: &AccessConfig,
    address: &Listen,
    table: &ReadCallback,
) {
    let Listen::Tcp(tcp) = address else { return };
    if tcp.ip().to_canonical().is_loopback() {
        return;
    }
    if let Some((path, source)) = &table.path
        && path.secret_bytes() < SECRET_MIN_BYTES
    {
        let bytes = path.secret_bytes();
        let message = format!(
            "its last segment is the secret of the caller, and must have at least \
             {SECRET_MIN_BYTES} characters, not {bytes}: {address} can be reached from other \
             machines"
        );
        sources.report_conflict(source, message, &[&CALLBACK_LISTEN]);
    }
    let has_client_ca = access.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if table.protocol == Some(Protocol::Tencent) && !table.has_token && !has_client_ca {
        let message = format!(
            "needs token_file, or tls_client_ca for client certificates: {address} can be reached \
             from other machines"
        );
        let with = [&CALLBACK_LISTEN, &TLS_CLIENT_CA, &TLS_CERT, &TLS_KEY];
        sources.report_conflict(&table.source, message, &with);
    }
}

fn listen(text: &str) -> Result<Option<Listen>, String> {
    if text == "off" {
        return Ok(None);
    }
    values::listen(text).map(Some).map_err(|why| format!("{why}; or \"off\""))
}
