//! Responses of ends of holds: a row for each subject, with denials and upgrades.

use super::Report;
use super::results::why;
use super::table::{Cell, Colour, Style, Table};
use crate::grpc::pb::{self, DecisionInfo, HoldOperation, HoldOutcome, HoldResult};

fn text(results: &[HoldResult], decision: Option<&DecisionInfo>, style: Style) -> String {
    let are_expired = results.iter().any(|result| result.expired_at.is_some());
    let expired = if are_expired { "EXPIRED" } else { "" };
    let mut table = Table::new(["TAKEN BY", "ID", "OUTCOME", expired, "WHY"]);
    for result in results {
        let mut whys = result.denials.iter().map(|denial| Cell::new(why(denial)));
        let (word, colour) = word(result.outcome());
        let at =
            if are_expired { style.instant(result.expired_at.as_ref()) } else { String::new() };
        table.row([
            Cell::new(operation(result.operation())),
            Cell::new(id(result)),
            Cell::new(word).coloured(colour),
            Cell::new(at),
            whys.next().unwrap_or_default(),
        ]);
        whys.for_each(|why| {
            table.row([Cell::default(), Cell::default(), Cell::default(), Cell::default(), why]);
        });
    }
    let rows = if results.is_empty() { String::new() } else { table.render(style) };
    rows + &super::degraded(decision, style)
}

/// Returns the subject: the member or account, the friend behind the user whose list it is, or the
/// group itself, marked as such.
fn id(result: &HoldResult) -> String {
    match (result.user_id.as_str(), result.friend_id.as_str(), result.group_id.as_str()) {
        (user, "", "") => user.to_owned(),
        ("", _, group) => format!("{group} (group)"),
        (user, "", group) => format!("{user} in {group}"),
        (user, friend, _) => format!("{friend} of {user}"),
    }
}

fn operation(operation: HoldOperation) -> &'static str {
    match operation {
        HoldOperation::Unspecified => "unknown",
        HoldOperation::CreateAccounts => "create-accounts",
        HoldOperation::AddFriends => "add-friends",
        HoldOperation::CreateGroup => "create-group",
        HoldOperation::JoinGroup => "join-group",
    }
}

fn word(outcome: HoldOutcome) -> (&'static str, Colour) {
    match outcome {
        HoldOutcome::Unspecified => ("unknown", Colour::Red),
        HoldOutcome::Confirmed => ("confirmed", Colour::Green),
        HoldOutcome::Retaken => ("retaken", Colour::Yellow),
        HoldOutcome::Denied => ("denied", Colour::Red),
        HoldOutcome::Released => ("released", Colour::Green),
        HoldOutcome::EndedOtherwise => ("ended otherwise", Colour::Yellow),
    }
}

fn denied(results: &[HoldResult]) -> bool {
    results.iter().any(|result| result.outcome() == HoldOutcome::Denied)
}

impl Report for pb::ConfirmHoldResponse {
    const NAME: &'static str = "ConfirmHoldResponse";

    fn text(&self, style: Style) -> String {
        text(&self.results, self.decision.as_ref(), style)
    }

    fn denied(&self) -> bool {
        denied(&self.results)
    }
}

impl Report for pb::ReleaseHoldResponse {
    const NAME: &'static str = "ReleaseHoldResponse";

    fn text(&self, style: Style) -> String {
        text(&self.results, self.decision.as_ref(), style)
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::super::table::PLAIN;
    use super::*;

    #[test]
    fn each_subject_has_a_row_with_its_take_and_its_outcome() {
        let result = |operation: HoldOperation, ids: [&str; 3], outcome: HoldOutcome| HoldResult {
            operation: operation.into(),
            user_id: ids[0].into(),
            friend_id: ids[1].into(),
            group_id: ids[2].into(),
            outcome: outcome.into(),
            ..HoldResult::default()
        };
        let mut response = pb::ConfirmHoldResponse {
            results: vec![
                result(HoldOperation::AddFriends, ["ann", "bob", ""], HoldOutcome::Confirmed),
                result(HoldOperation::CreateGroup, ["", "", "g"], HoldOutcome::Retaken),
                result(HoldOperation::JoinGroup, ["eve", "", "g"], HoldOutcome::Denied),
            ],
            decision: None,
        };
        let denial = |message: &str| pb::Denial { message: message.into(), ..Default::default() };
        response.results[2].denials = vec![denial("full"), denial("too many")];
        assert_eq!(
            response.text(PLAIN),
            "\
TAKEN BY      ID          OUTCOME    WHY
add-friends   bob of ann  confirmed
create-group  g (group)   retaken
join-group    eve in g    denied     full
                                     too many
"
        );
        assert!(response.denied());
        response.results[1].expired_at = Some(Timestamp { seconds: 1_552_320_000, nanos: 0 });
        response.results.remove(2);
        assert_eq!(
            response.text(PLAIN),
            "\
TAKEN BY      ID          OUTCOME    EXPIRED
add-friends   bob of ann  confirmed  -
create-group  g (group)   retaken    2019-03-12T00:00:00+08:00
"
        );
        assert!(!response.denied());
    }
}
