//! Answers in the form of Tencent's IM.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::callbacks::answer::{Answer, Kind};
use crate::callbacks::settings::{CallbackSettings, Unavailable};

/// Codes that Tencent hands on to clients of groups.
pub const GROUP_CODES: RangeInclusive<i32> = 10_100..=10_200;
/// Codes that Tencent hands on to clients of friends.
pub const FRIEND_CODES: RangeInclusive<i32> = 38_000..=39_000;
/// The code of a refusal without one of its own: the client gets 10016.
const REFUSED: i32 = 1;

/// Returns a code as one of friends: others keep their last three digits.
pub fn friend_code(code: i32) -> i32 {
    if code == 0 || FRIEND_CODES.contains(&code) {
        code
    } else {
        FRIEND_CODES.start() + code % 1000
    }
}

fn group_code(code: i32) -> i32 {
    if GROUP_CODES.contains(&code) { code } else { REFUSED }
}

/// Returns the body of a response.
pub fn render(
    settings: &CallbackSettings,
    command: &str,
    is_before: bool,
    answer: Answer,
) -> Value {
    let Answer { kind, fields } = answer;
    let refused = match kind {
        Kind::Refused(refusal) => Some((refusal.code, refusal.sentence)),
        // Of friends each has a code of its own.
        Kind::Undecided(_) if fields.contains_key("ResultItem") => None,
        Kind::Undecided(_) if settings.unavailable == Unavailable::Refuse => {
            let sentence = "the quota service made no decision; try again later";
            Some((settings.codes.unavailable, sentence.to_owned()))
        }
        _ => None,
    };
    let refused = refused.filter(|_| is_before && !settings.shadow);
    let of_friends = command.starts_with("Sns.");
    let code = |code| if of_friends { friend_code(code) } else { group_code(code) };
    let (code, sentence) = refused.map_or((0, String::new()), |(of, text)| (code(of), text));
    let mut body = json!({ "ActionStatus": "OK", "ErrorInfo": sentence, "ErrorCode": code });
    if let Value::Object(all) = &mut body {
        all.extend(fields);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_friends_are_in_their_range() {
        for (code, expected) in
            [(0, 0), (38_010, 38_010), (39_000, 39_000), (10_160, 38_160), (10_199, 38_199)]
        {
            assert_eq!(friend_code(code), expected);
        }
    }

    #[test]
    fn codes_of_groups_are_in_their_range() {
        for (code, expected) in [(10_100, 10_100), (10_200, 10_200), (38_010, 1), (10_201, 1)] {
            assert_eq!(group_code(code), expected);
        }
    }
}
