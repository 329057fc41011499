//! The stored format of changes of an app's details.

use serde::{Deserialize, Serialize};

use crate::domain::app_details::{DetailsChange, DetailsUpdate};
use crate::domain::id::{InvalidId, RequestId};
use crate::domain::time::Timestamp;

/// A change of details; what it left as it was is absent.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredDetails {
    request_id: String,
    at_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    im_code_set: Option<String>,
}

impl From<&DetailsChange> for StoredDetails {
    fn from(change: &DetailsChange) -> Self {
        let DetailsUpdate { display_name, note, im_code_set } = change.update.clone();
        Self {
            request_id: change.request_id.to_string(),
            at_ms: change.at.as_millis(),
            display_name,
            note,
            im_code_set,
        }
    }
}

impl TryFrom<StoredDetails> for DetailsChange {
    type Error = InvalidId;

    fn try_from(stored: StoredDetails) -> Result<Self, InvalidId> {
        let StoredDetails { request_id, at_ms, display_name, note, im_code_set } = stored;
        Ok(Self {
            request_id: RequestId::try_from(request_id)?,
            update: DetailsUpdate { display_name, note, im_code_set },
            at: Timestamp::from_millis(at_ms),
        })
    }
}
