//! Groups that are being created: what a creation's first callback leaves for the second one.
//!
//! It is in the store, so that any sidecar answers the second one, and in this process, so that a
//! creation can be decided by the failure policy while the store is unavailable.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use crate::callbacks::owed::of_operation;
use crate::callbacks::work::Work;
use crate::clock::Stopwatch;
use crate::domain::id::{GroupId, Name, UserId};
use crate::ledger::LedgerError;

/// Time for which a creation is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// Most creations that are remembered in this process.
const CREATED_MAX: usize = 4096;

/// The type and the owner of a group that is being created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    pub group_type: Name,
    pub owner: Option<UserId>,
}

/// Creations whose first callback this sidecar has answered.
#[derive(Debug, Default)]
pub struct Created(Mutex<VecDeque<(Stopwatch, String, Creation)>>);

impl Created {
    fn insert(&self, name: String, creation: Creation) {
        let mut all = self.0.lock();
        while all.front().is_some_and(|(since, ..)| since.elapsed() >= REMEMBERED_FOR) {
            all.pop_front();
        }
        if all.len() >= CREATED_MAX {
            all.pop_front();
        }
        all.push_back((Stopwatch::start(), name, creation));
    }

    fn get(&self, name: &str) -> Option<Creation> {
        let all = self.0.lock();
        let mut live = all.iter().rev().filter(|(since, ..)| since.elapsed() < REMEMBERED_FOR);
        live.find(|(_, of, _)| of == name).map(|(.., creation)| creation.clone())
    }

    /// Remembers a creation. While the store is unavailable only this sidecar remembers it.
    pub async fn remember(
        &self,
        work: &Work,
        operation_id: &str,
        group: &GroupId,
        creation: Creation,
    ) -> Result<(), LedgerError> {
        let name = of_operation("create", operation_id, group);
        let owner = creation.owner.as_ref().map(UserId::as_str);
        let text = json!([creation.group_type.as_str(), owner]).to_string();
        self.insert(name.clone(), creation);
        let (app, deadline) = (&work.app, work.deadline);
        match work.notes.push(app, &name, &text, REMEMBERED_FOR, deadline).await {
            Err(error) if error.is_absence() && work.engine.admits_without_store() => Ok(()),
            pushed => pushed,
        }
    }

    /// Returns the creation of a group that this sidecar remembers.
    pub fn of_this_sidecar(&self, operation_id: &str, group: &GroupId) -> Option<Creation> {
        self.get(&of_operation("create", operation_id, group))
    }

    /// Returns the creation of a group that the store remembers.
    pub async fn of_store(
        work: &Work,
        operation_id: &str,
        group: &GroupId,
    ) -> Result<Option<Creation>, LedgerError> {
        let name = of_operation("create", operation_id, group);
        let text = work.notes.peek(&work.app, &name, work.deadline).await?;
        Ok(text.and_then(|text| read(&text)))
    }
}

fn read(text: &str) -> Option<Creation> {
    let (group_type, owner): (String, Option<String>) = serde_json::from_str(text).ok()?;
    let owner = owner.map(UserId::try_from).transpose().ok()?;
    Some(Creation { group_type: Name::from(group_type.as_str()), owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creation(name: &str) -> Creation {
        Creation { group_type: Name::from(name), owner: None }
    }

    #[test]
    fn the_last_creation_of_a_name_counts_and_the_number_is_bounded() {
        let created = Created::default();
        created.insert("a".to_owned(), creation("Public"));
        created.insert("a".to_owned(), creation("Private"));
        assert_eq!(created.get("a"), Some(creation("Private")));
        assert_eq!(created.get("b"), None);
        for number in 0..CREATED_MAX {
            created.insert(format!("other{number}"), creation("Public"));
        }
        assert_eq!(created.get("a"), None);
        assert_eq!(created.0.lock().len(), CREATED_MAX);
    }

    #[test]
    fn what_is_stored_is_read_as_it_was() {
        let owner = UserId::try_from("a,\"b").ok();
        let text = json!(["Public", owner.as_ref().map(UserId::as_str)]).to_string();
        assert_eq!(read(&text), Some(Creation { owner, ..creation("Public") }));
        assert_eq!(read("[\"Public\",null]"), Some(creation("Public")));
        assert_eq!(read("Public"), None);
    }
}
