//! Recording of logins and samples of bandwidth, checked field by field.

use std::fmt::Display;

use crate::domain::catalog::Catalog;
use crate::domain::id::Name;
use crate::domain::metering::{Login, Sample};
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::grpc::deadline::{Deadline, in_time};
use crate::grpc::fields::{Fields, instant};
use crate::grpc::pb;
use crate::grpc::status::Failure;

/// Most logins or samples of one call: a second of a busy IM, and four short steps of the store.
const RECORDS_MAX: usize = 1000;
/// Greatest bandwidth: a petabit a second, far above any IM and far from any overflow.
const KBPS_MAX: u64 = 1_000_000_000_000;

/// Counts logins.
pub async fn logins(
    engine: &Engine,
    request: pb::RecordLoginsRequest,
    deadline: Deadline,
) -> Result<pb::RecordLoginsResponse, Failure> {
    let catalog = engine.catalog();
    let mut fields = Fields::default();
    let app = fields.app_id(request.app_id);
    let logins = each(&mut fields, "logins", request.logins, |fields, name, login| {
        let user = fields.user_id(&format!("{name}.user_id"), &login.user_id, &catalog.ids);
        let at = at(fields, name, login.at);
        Some(Login { user: user?, at: at? })
    });
    let (app, logins) = fields.finish(app.zip(logins))?;
    let metered = engine.record_logins(app, logins, deadline.at);
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
        self::sample(fields, name, sample, &catalog)
    });
    let (app, samples) = fields.finish(app.zip(samples))?;
    let metered = engine.report_bandwidth(app, samples, deadline.at);
    Ok(in_time(engine, deadline, metered).await?.into())
}

fn sample(
    fields: &mut Fields,
    name: &str,
    sample: pb::BandwidthSample,
    catalog: &Catalog,
) -> Option<Sample> {
    let pb::BandwidthSample { region, kbps, at: instant } = sample;
    let regions = catalog.postpaid.bandwidth_regions();
    let known = regions.clone().find(|it| it.as_str() == region).cloned();
    if known.is_none() {
        let known = regions.map(Name::as_str);
        fields.unknown_name(format!("{name}.region"), "region of the catalog", &region, known);
    }
    if kbps > KBPS_MAX {
        wrong(fields, name, "kbps", format!("must be 0-{KBPS_MAX}, not {kbps}"));
    }
    let at = at(fields, name, instant);
    Some(Sample { region: known?, kbps: Some(kbps).filter(|kbps| *kbps <= KBPS_MAX)?, at: at? })
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
