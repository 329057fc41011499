//! The stored format of agreed limits: JSON, in purchases.

use serde::{Deserialize, Serialize};

use crate::domain::agreed::AgreedLimit;
use crate::domain::calendar::Day;
use crate::domain::limit::{Limit, LimitId};

/// An agreed limit. A limit of null is unlimited.
#[derive(Serialize, Deserialize)]
pub struct StoredAgreed {
    limit_id: String,
    limit: Option<u64>,
    /// Absent if the months of the purchase count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_day: Option<String>,
    note: String,
}

/// Converts an agreed limit to its stored form.
pub fn store(agreed: &AgreedLimit) -> StoredAgreed {
    StoredAgreed {
        limit_id: agreed.limit_id.to_string(),
        limit: agreed.limit.finite(),
        last_day: agreed.last_day.map(|day| day.to_string()),
        note: agreed.note.clone(),
    }
}

/// Converts a stored agreed limit, or returns the reason why it is malformed.
pub fn load(stored: &StoredAgreed) -> Result<AgreedLimit, String> {
    let StoredAgreed { limit_id, limit, last_day, note } = stored;
    let day = |text: &String| Day::parse(text).ok_or_else(|| format!("the last day {text:?}"));
    Ok(AgreedLimit {
        limit_id: LimitId::sold_by_name(limit_id)
            .ok_or_else(|| format!("unknown limit {limit_id:?}"))?,
        limit: limit.map_or(Limit::Unlimited, Limit::Finite),
        last_day: last_day.as_ref().map(day).transpose()?,
        note: note.clone(),
    })
}
