//! Which commands of the scripts the server has, and the user may run; asked at the start.

use super::client::Client;
use super::reply::{array, bytes, text};
use super::scripts::ScriptId;
use super::store::PATIENCE;
use super::{OpenError, keys, verdict};

/// Refuses a server that lacks commands of the scripts, or whose user may not run them. Of a
/// cluster one node is asked: its commands and users are those of the others.
pub(super) async fn check(client: &Client) -> Result<(), OpenError> {
    let script = ScriptId::Forbidden as usize;
    let value = client.call(script, &[keys::DOCUMENTS.to_vec()], &[], PATIENCE).await;
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
        _ => Err(OpenError::Unreadable(verdict::unreadable("permissions that make no sense"))),
    }
}
