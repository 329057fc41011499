//! Recording of logins and samples, checked field by field.

use std::fmt::Display;

use crate::access::ForceRefused;
use crate::domain::decision::Mode;
use crate::domain::id::Name;
use crate::domain::metering::{Login, Sample, Sampled};
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::grpc::deadline::{Deadline, in_time};
use crate::grpc::fields::{Fields, instant};
use crate::grpc::pb;
use crate::grpc::status::Failure;

/// Most logins or samples of one call: a second of a busy IM, and four short steps of the store.
const RECORDS_MAX: usize = 1000;
/// Greatest sample: a petabit a second, far above any IM and far from any overflow.
const SAMPLE_MAX: u64 = 1_000_000_000_000;

/// Counts logins; `may_force` is whether the caller may use mode FORCE.
pub async fn logins(
    engine: &Engine,
    request: pb::RecordLoginsRequest,
    deadline: Deadline,
    may_force: Result<(), ForceRefused>,
) -> Result<pb::RecordLoginsResponse, Failure> {
    let catalog = engine.catalog();
    let mut fields = Fields::default();
    let app = fields.app_id(request.app_id);
    let mode = fields.mode(request.mode);
    let logins = each(&mut fields, "logins", request.logins, |fields, name, login| {
        let user = fields.user_id(&format!("{name}.user_id"), &login.user_id, &catalog.ids);
        let at = at(fields, name, login.at);
        Some(Login { user: user?, at: at? })
    });
    let ((app, mode), logins) = fields.finish(app.zip(mode).zip(logins))?;
    if mode == Mode::Force {
        may_force?;
    }
    let metered = engine.record_logins(app, mode, logins, deadline.at);
    Ok(in_time(engine, deadline, metered).await?.into())
}

/// Records samples of bandwidth.
pub async fn bandwidth(
    engine: &Engine,
    request: pb::ReportBandwidthRequest,
    deadline: Deadline,
) -> Result<pb::ReportBandwidthResponse, Failure> {
    let catalog = engine.catalog();
    let mut fields = Fields::default();
    let app = fields.app_id(request.app_id);
    let samples = each(&mut fields, "samples", request.samples, |fields, name, sample| {
        let pb::BandwidthSample { region, kbps, at } = sample;
        let regions = catalog.postpaid.bandwidth_regions();
        let of = (format!("{name}.region"), "region of the catalog");
        let region = of_catalog(fields, of, &region, regions);
        self::sample(fields, name, region, ("kbps", kbps), at)
    });
    let (app, samples) = fields.finish(app.zip(samples))?;
    let metered = engine.report_samples(app, Sampled::Bandwidth, samples, deadline.at);
    Ok(in_time(engine, deadline, metered).await?.into())
}

/// Records samples of gauges.
pub async fn gauges(
    engine: &Engine,
    request: pb::ReportGaugeRequest,
    deadline: Deadline,
) -> Result<pb::ReportGaugeResponse, Failure> {
    let catalog = engine.catalog();
    let mut fields = Fields::default();
    let app = fields.app_id(request.app_id);
    let samples = each(&mut fields, "samples", request.samples, |fields, name, sample| {
        let pb::GaugeSample { gauge, value, at } = sample;
        let of = (format!("{name}.gauge"), "gauge of the catalog");
        let gauge = of_catalog(fields, of, &gauge, catalog.postpaid.gauges());
        self::sample(fields, name, gauge, ("value", value), at)
    });
    let (app, samples) = fields.finish(app.zip(samples))?;
    let metered = engine.report_samples(app, Sampled::Gauge, samples, deadline.at);
    Ok(in_time(engine, deadline, metered).await?.into())
}

/// Checks a name that has to be one of those of the catalog.
fn of_catalog<'a>(
    fields: &mut Fields,
    (field, what): (String, &'static str),
    given: &str,
    known: impl Iterator<Item = &'a Name> + Clone,
) -> Option<Name> {
    let found = known.clone().find(|it| it.as_str() == given).cloned();
    if found.is_none() {
        fields.unknown_name(field, what, given, known.map(Name::as_str));
    }
    found
}

/// Checks a sample of that name.
fn sample(
    fields: &mut Fields,
    entry: &str,
    name: Option<Name>,
    (field, value): (&str, u64),
    instant: Option<prost_types::Timestamp>,
) -> Option<Sample> {
    let is_in_range = value <= SAMPLE_MAX;
    if !is_in_range {
        wrong(fields, entry, field, format!("must be 0-{SAMPLE_MAX}, not {value}"));
    }
    let at = at(fields, entry, instant);
    Some(Sample { name: name?, value: is_in_range.then_some(value)?, at: at? })
}

fn wrong(fields: &mut Fields, name: &str, field: &str, description: impl Display) {
    fields.wrong(format!("{name}.{field}"), description);
}

/// Checks the instant of an entry, which may be absent; the outer `None` if it is invalid.
#[allow(clippy::option_option, reason = "absent and invalid are different")]
fn at(
    fields: &mut Fields,
    name: &str,
    at: Option<prost_types::Timestamp>,
) -> Option<Option<Timestamp>> {
    let given = at.is_some();
    let at = instant(fields, &format!("{name}.at"), at);
    (at.is_some() || !given).then_some(at)
}

/// Checks every entry of a list under its name, such as `logins[3]`.
fn each<T, U>(
    fields: &mut Fields,
    list: &str,
    entries: Vec<T>,
    mut check: impl FnMut(&mut Fields, &str, T) -> Option<U>,
) -> Option<Vec<U>> {
    let count = entries.len();
    if !(1..=RECORDS_MAX).contains(&count) {
        fields.wrong(list, format!("must have 1-{RECORDS_MAX} entries, not {count}"));
        return None;
    }
    let mut checked = Vec::with_capacity(count);
    for (index, entry) in entries.into_iter().enumerate() {
        checked.extend(check(fields, &format!("{list}[{index}]"), entry));
    }
    (checked.len() == count).then_some(checked)
}
