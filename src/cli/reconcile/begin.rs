//! `imquota reconcile begin`: makes the sidecar track changes, before the export.

use std::time::Duration;

use clap::Args;

use crate::cli::Exit;
use crate::cli::error::Error;
use crate::cli::session::Session;
use crate::grpc::pb;
use crate::grpc::pb::admin_service_client::AdminServiceClient;

/// Shortest time for which changes are tracked.
const KEEP_FOR_MIN: Duration = Duration::from_secs(60);
/// Longest time for which changes are tracked.
const KEEP_FOR_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Arguments of `imquota reconcile begin`.
#[derive(Debug, Args)]
pub struct Begin {
    /// The app
    #[arg(long, value_parser = super::app)]
    app: String,
    /// Time for which changes are tracked, from 1m to 7d, such as 90m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = keep_for)]
    keep_for: Duration,
}

/// Makes the call and prints the next steps.
pub async fn run(args: Begin, session: &Session) -> Result<Exit, Error> {
    let seconds = i64::try_from(args.keep_for.as_secs()).unwrap_or(i64::MAX);
    let keep_for = Some(prost_types::Duration { seconds, nanos: 0 });
    let request = pb::TrackChangesRequest { app_id: args.app, keep_for };
    let mut client = AdminServiceClient::new(session.channel());
    session.finish(client.track_changes(session.request(request)).await)
}

/// Parses a duration, such as `90m`.
fn keep_for(text: &str) -> Result<Duration, String> {
    let seconds = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(60 * 60),
        'd' => Some(24 * 60 * 60),
        _ => None,
    };
    let duration = text.char_indices().next_back().and_then(|(at, unit)| {
        let number = &text[..at];
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = number.parse().ok().filter(|_| is_plain)?;
        Some(Duration::from_secs(number.checked_mul(seconds(unit)?)?))
    });
    duration
        .filter(|duration| (KEEP_FOR_MIN..=KEEP_FOR_MAX).contains(duration))
        .ok_or_else(|| "must be from 1m to 7d, such as 90m, 24h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_tracked_for_a_minute_to_a_week() {
        for (text, seconds) in [("60s", 60), ("1m", 60), ("90m", 5400), ("24h", 86400)] {
            assert_eq!(keep_for(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(keep_for("7d"), Ok(KEEP_FOR_MAX));
        let bad = ["", "h", "24", "24 h", "-1h", "+1h", "1.5h", "59s", "8d", "169h", "1y", "1日"];
        for text in [&bad[..], &["99999999999999999999d", "18446744073709551615d"]].concat() {
            assert!(keep_for(text).is_err(), "{text:?}");
        }
    }
}
