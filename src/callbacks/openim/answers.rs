//! Answers in the form of OpenIM, which refuses exactly if `actionCode` is 0 and `nextCode` is 1.

use serde_json::{Value, json};

use crate::callbacks::answer::{Answer, Kind, Refusal};
use crate::callbacks::settings::{CallbackSettings, Unavailable};

/// Returns the body of a response.
pub fn render(settings: &CallbackSettings, is_before: bool, answer: Answer) -> Value {
    let Answer { kind, fields } = answer;
    let refused = match kind {
        Kind::Refused(refusal) => Some(refusal),
        Kind::Undecided(why) if settings.unavailable == Unavailable::Refuse => Some(Refusal {
            code: settings.codes.unavailable,
            sentence: "the quota service made no decision; try again later".to_owned(),
            detail: json!({ "reason": why.name() }).to_string(),
        }),
        _ => None,
    };
    let refused = refused.filter(|_| is_before && !settings.shadow);
    let next = i32::from(refused.is_some());
    let Refusal { code, sentence, detail } = refused.unwrap_or_default();
    let mut body = json!({
        "actionCode": 0, "errCode": code, "errMsg": sentence, "errDlt": detail, "nextCode": next,
    });
    if let Value::Object(all) = &mut body {
        all.extend(fields);
    }
    body
}
