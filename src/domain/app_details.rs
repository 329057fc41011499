//! Details of an app: its name for people, a note, and its set of IM codes. No limit depends on
//! them.

use super::id::{InvalidId, Name, RequestId};
use super::id_rules::IdCharset;
use super::time::Timestamp;

/// Longest display name, in bytes.
pub const DISPLAY_NAME_MAX_BYTES: usize = 200;
/// Longest note, in bytes.
pub const NOTE_MAX_BYTES: usize = 1_000;

/// The details of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppDetails {
    /// The name for people, such as the customer's; empty: none.
    pub display_name: String,
    /// A note for people; empty: none.
    pub note: String,
    /// The set of IM codes, by its name in the catalog; `None`: the codes of all apps.
    pub im_code_set: Option<Name>,
}

/// New values of some details; `None` leaves one as it is, and an empty text removes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DetailsUpdate {
    /// The name for people.
    pub display_name: Option<String>,
    /// The note.
    pub note: Option<String>,
    /// The name of a set of IM codes.
    pub im_code_set: Option<String>,
}

/// One change of details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetailsChange {
    /// The request that made it.
    pub request_id: RequestId,
    /// The new values.
    pub update: DetailsUpdate,
    /// The instant of the change.
    pub at: Timestamp,
}

impl AppDetails {
    /// Returns the details after all changes, in their order.
    #[must_use]
    pub fn after(changes: &[DetailsChange]) -> Self {
        let mut details = Self::default();
        for DetailsUpdate { display_name, note, im_code_set } in
            changes.iter().map(|change| &change.update)
        {
            if let Some(display_name) = display_name {
                details.display_name.clone_from(display_name);
            }
            if let Some(note) = note {
                details.note.clone_from(note);
            }
            if let Some(set) = im_code_set {
                details.im_code_set = (!set.is_empty()).then(|| set.as_str().into());
            }
        }
        details
    }
}

impl DetailsUpdate {
    /// Returns whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Checks a display name: text that can be printed on one line.
pub fn check_display_name(name: &str) -> Result<(), InvalidId> {
    check(name, DISPLAY_NAME_MAX_BYTES)
}

/// Checks a note: text that can be printed on one line.
pub fn check_note(note: &str) -> Result<(), InvalidId> {
    check(note, NOTE_MAX_BYTES)
}

fn check(text: &str, max: usize) -> Result<(), InvalidId> {
    match text.len() {
        0 => Ok(()),
        _ if text.trim().is_empty() => Err(InvalidId::Empty),
        bytes if bytes > max => Err(InvalidId::TooLong { max, bytes }),
        _ => IdCharset::Utf8.check(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(display_name: Option<&str>, note: Option<&str>, set: Option<&str>) -> DetailsChange {
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        DetailsChange {
            request_id: RequestId::try_from("r").expect("an id"),
            update: DetailsUpdate {
                display_name: owned(display_name),
                note: owned(note),
                im_code_set: owned(set),
            },
            at: Timestamp::from_millis(1),
        }
    }

    #[test]
    fn each_detail_has_its_last_value_and_an_empty_text_removes_it() {
        let changes = [
            change(Some("Acme"), Some("pays late"), None),
            change(None, None, Some("discord")),
            change(Some("Acme 有限公司"), Some(""), None),
            change(None, None, Some("other")),
        ];
        let details = |count: usize| AppDetails::after(&changes[..count]);
        assert_eq!(details(0), AppDetails::default());
        let (acme, note) = ("Acme".to_owned(), "pays late".to_owned());
        let first = AppDetails { display_name: acme, note, im_code_set: None };
        assert_eq!(details(1), first);
        assert_eq!(details(2), AppDetails { im_code_set: Some("discord".into()), ..first });
        let last = AppDetails {
            display_name: "Acme 有限公司".to_owned(),
            note: String::new(),
            im_code_set: Some("other".into()),
        };
        assert_eq!(details(4), last);
        let none = change(None, None, Some(""));
        let all = [changes.as_slice(), &[none]].concat();
        assert_eq!(AppDetails::after(&all).im_code_set, None);
    }

    #[test]
    fn texts_are_bounded_and_of_one_line() {
        assert_eq!(check_display_name(""), Ok(()));
        assert_eq!(check_display_name(&"n".repeat(DISPLAY_NAME_MAX_BYTES)), Ok(()));
        assert!(check_display_name(&"n".repeat(DISPLAY_NAME_MAX_BYTES + 1)).is_err());
        assert_eq!(check_note("合同 7, see https://example.org/?a=b"), Ok(()));
        assert!(check_note(&"n".repeat(NOTE_MAX_BYTES + 1)).is_err());
        assert!(check_note("two\nlines").is_err());
        assert!(check_display_name(" ").is_err());
    }
}
