//! Responses as JSON, with every field that has a value or a default.

use super::Report;
use crate::proto::json;

/// Formats a response, indented, ending with a line break.
pub fn render<R: Report>(report: &R) -> String {
    json::pretty(R::NAME, report)
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;
    use crate::grpc::pb::{self, LimitSource, Outcome};

    #[test]
    fn names_are_those_of_the_protos_and_numbers_are_numbers() {
        let usage = pb::Usage {
            limit_id: "groups_per_user".into(),
            used: 9_007_199_254_740_991,
            limit: Some(0),
            source: LimitSource::AddOn.into(),
            source_id: "groups-per-user-400".into(),
            changes_at: Some(Timestamp { seconds: 1_552_320_000, nanos: 0 }),
            future_limit: Some(pb::FutureLimit { limit: None, service_stopped: false }),
            held: 3,
        };
        let usages = vec![usage];
        let answer = pb::GetUsageResponse {
            usages,
            service_stopped: false,
            decision: None,
            history: Vec::new(),
        };
        assert_eq!(
            render(&answer),
            r#"{
  "usages": [
    {
      "limit_id": "groups_per_user",
      "used": 9007199254740991,
      "limit": 0,
      "source": "LIMIT_SOURCE_ADD_ON",
      "source_id": "groups-per-user-400",
      "changes_at": "2019-03-11T16:00:00Z",
      "future_limit": {
        "service_stopped": false
      },
      "held": 3
    }
  ],
  "service_stopped": false,
  "history": []
}
"#
        );
    }

    #[test]
    fn a_result_shows_its_outcome_by_name() {
        let outcome = Outcome::NotHeld.into();
        let result = pb::Result { id: "g1".into(), outcome, denials: Vec::new(), repeated: false };
        let answer =
            pb::DissolveGroupResponse { result: Some(result), members_released: 0, decision: None };
        assert_eq!(
            render(&answer),
            r#"{
  "result": {
    "id": "g1",
    "outcome": "OUTCOME_NOT_HELD",
    "denials": [],
    "repeated": false
  },
  "members_released": 0
}
"#
        );
    }
}
