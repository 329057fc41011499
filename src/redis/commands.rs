//! Checks at the start that the server has the commands of the scripts, and that the user may run
//! them.

use super::client::Client;
use super::keys;
use super::open::OpenError;
use super::reply::{array, bytes, text};
use super::scripts::ScriptId;
use super::store::UNWATCHED_CALL_TIMEOUT;
use crate::store::StoreError;

/// Returns an error if the server lacks commands of the scripts, or if its user may not run them.
/// In a cluster one node is checked: the others have the same commands and users.
pub(super) async fn check(client: &Client) -> Result<(), OpenError> {
    let script = ScriptId::Forbidden as usize;
    let value = client.call(script, &[keys::DOCUMENTS.to_vec()], &[], UNWATCHED_CALL_TIMEOUT).await;
    let value = value.map_err(|error| OpenError::of_script(error.into(), keys::FACTS_PATTERN))?;
    let names = |value| -> Option<Vec<String>> {
        array(value)?.into_iter().map(|name| text(bytes(name)?)).collect()
    };
    let lists: Option<Vec<_>> = array(value).and_then(|all| all.into_iter().map(names).collect());
    match lists.as_deref() {
        Some([_, unknown]) if !unknown.is_empty() => Err(OpenError::NoCommand(unknown.join(", "))),
        Some([forbidden, _]) if !forbidden.is_empty() => {
            Err(OpenError::Forbidden(forbidden.join(", ")))
        }
        Some([_, _]) => Ok(()),
        _ => Err(OpenError::Unreadable(StoreError::malformed("malformed reply of permissions"))),
    }
}
