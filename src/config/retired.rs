//! Retired settings of earlier versions: each is refused with its replacement.

use super::settings::{Kind, Setting};
use super::sources::Sources;

/// Replacement of the bounds that counted calls.
const COUNTS_SUBJECTS: &str = "was removed: set subjects_in_flight_max, which counts users and \
    groups; apps are served fairly without a share";

/// Settings that are only refused; their help states the replacement.
pub(super) static RETIRED: [Setting; 3] = [
    retired("in_flight_max", "in-flight-max", "IMQUOTA_IN_FLIGHT_MAX"),
    retired("app_share_percent", "app-share-percent", "IMQUOTA_APP_SHARE_PERCENT"),
    retired("redis_in_flight_max", "redis-in-flight-max", "IMQUOTA_REDIS_IN_FLIGHT_MAX"),
];

const fn retired(key: &'static str, flag: &'static str, env: &'static str) -> Setting {
    let (kind, value_name, help) = (Kind::Number, "COUNT", COUNTS_SUBJECTS);
    Setting { key, flag, env, kind, value_name, default: None, help }
}

/// Reports each retired setting that is set.
pub(super) fn refuse(sources: &mut Sources<'_>) {
    for setting in &RETIRED {
        sources.optional(setting, |_| Err::<(), _>(setting.help.to_owned()));
    }
}
