//! Text helpers for messages: suggestions, lists, and excerpts of input.

use std::fmt::Display;

use strsim::levenshtein;

/// Longest word for which a suggestion is searched, in bytes: the search is quadratic, and no
/// candidate is longer.
const WORD_MAX_BYTES: usize = 100;
/// Longest part of a wrong value that a message repeats, in characters.
const SHOWN_MAX_CHARS: usize = 40;

/// Returns the candidate that is nearest to the given word, unless they have little in common.
pub(crate) fn did_you_mean<'k>(
    given: &str,
    candidates: impl Iterator<Item = &'k str>,
) -> Option<&'k str> {
    if given.len() > WORD_MAX_BYTES {
        return None;
    }
    // A third of the letters may be wrong: enough for typing errors, too little for other words.
    let most = ((given.chars().count() + 1) / 3).max(1);
    let near = candidates.map(|word| (levenshtein(given, word), word));
    near.filter(|(distance, _)| *distance <= most).min().map(|(_, word)| word)
}

/// Joins words in quotes, with "and" before the last.
pub(crate) fn join_quoted<T: Display>(words: impl Iterator<Item = T>) -> String {
    let mut words: Vec<_> = words.map(|word| format!("\"{word}\"")).collect();
    match (words.pop(), words.is_empty()) {
        (Some(last), true) => last,
        (Some(last), false) => format!("{} and {last}", words.join(", ")),
        (None, _) => "none".to_owned(),
    }
}

/// Truncates a text to the part that a message repeats.
pub(crate) fn truncate_for_display(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_distant_ones_are_not() {
        let candidates = ["label", "limits", "id", "groups_per_app/AVChatRoom"];
        for (given, expected) in [
            ("limts", Some("limits")),
            ("lable", Some("label")),
            ("labels", Some("label")),
            ("Id", Some("id")),
            ("x", None),
            ("groups_per_app/AvChatroom", Some("groups_per_app/AVChatRoom")),
            ("price", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(given, candidates.into_iter()), expected, "{given:?}");
        }
    }
}
