//! Errors of single operations of an Apply stream: the same codes and reasons as of unary calls.

use tonic::Code;

use super::fields::Violation;
use super::pb;
use super::status::{BATCH_TOO_LARGE, FORCE_NOT_ALLOWED, Failure, ledger_code, summary, timed_out};

/// The error of an operation that was not decided.
pub fn apply_error(failure: Failure) -> pb::ApplyError {
    let of = |code: Code, reason: &str, message: String| pb::ApplyError {
        code: code.into(),
        message,
        reason: reason.to_owned(),
        ..pb::ApplyError::default()
    };
    match failure {
        Failure::Invalid(invalid) => {
            let reason = invalid.im_error_code.map_or("", |_| BATCH_TOO_LARGE);
            let violation =
                |Violation { field, description }| pb::FieldViolation { field, description };
            let (code, message) = (Code::InvalidArgument, summary(&invalid));
            pb::ApplyError {
                im_error_code: invalid.im_error_code.unwrap_or(0),
                field_violations: invalid.violations.into_iter().map(violation).collect(),
                ..of(code, reason, message)
            }
        }
        Failure::Ledger(error) => {
            of(ledger_code(&error), &error.name().to_uppercase(), error.to_string())
        }
        Failure::ForceRefused(refused) => {
            of(Code::PermissionDenied, FORCE_NOT_ALLOWED, refused.to_string())
        }
        Failure::TimedOut => {
            let (code, message) = timed_out();
            of(code, "", message.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::grpc::fields::Invalid;
    use crate::grpc::status::of_failure;
    use crate::ledger::{LedgerError, Overload};

    #[test]
    fn an_operation_has_the_code_and_the_reason_of_a_unary_call() {
        let too_large =
            || Invalid { im_error_code: Some(70_206), ..Invalid::field("it", "is bad") };
        let failures: [fn() -> Failure; 4] = [
            || Failure::Ledger(LedgerError::Overloaded(Overload::Full)),
            || Failure::Ledger(LedgerError::JournalBlocked { entry: 7, why: "it".into() }),
            || Failure::Invalid(Invalid::field("it", "is bad")),
            || Failure::TimedOut,
        ];
        let mut reasons = Vec::new();
        let mut check = |operation: pb::ApplyError, unary: tonic::Status| {
            let reason = unary.get_details_error_info().map(|info| info.reason).unwrap_or_default();
            assert_eq!(operation.code, i32::from(unary.code()));
            assert_eq!(operation.message, unary.message());
            assert_eq!(operation.reason, reason);
            reasons.push(reason);
        };
        for failure in failures {
            check(apply_error(failure()), of_failure(failure()));
        }
        check(apply_error(too_large().into()), of_failure(too_large().into()));
        assert_eq!(reasons, ["OVERLOADED", "JOURNAL_BLOCKED", "", "", "BATCH_TOO_LARGE"]);
    }
}
