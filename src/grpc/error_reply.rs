//! Errors as callers get them: the one form of unary calls, streams and operations of Apply.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, QuotaViolation, StatusExt as _};

use super::error_reason::ErrorReason;
use super::fields::{Invalid, Violation};
use super::pb;
use crate::domain::im_code::ImCode;

/// The domain of every ErrorInfo.
const DOMAIN: &str = "imquota.v1";
/// The metadata key in ErrorInfo of the error code for IM clients.
const IM_ERROR_CODE: &str = "im_error_code";
const IM_ERROR_NAME: &str = "im_error_name";
/// Delay after which a retry may help: by then the queue of the store is empty.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// An error with its reason.
#[derive(Debug)]
pub struct ErrorReply {
    code: Code,
    reason: ErrorReason,
    message: String,
    metadata: Vec<(&'static str, String)>,
    retry_delay: Option<Duration>,
    field_violations: Vec<Violation>,
    im_code: Option<ImCode>,
    quota_violations: Vec<QuotaViolation>,
}

impl ErrorReply {
    /// Creates an error with that reason, which has one code only.
    pub fn new(reason: ErrorReason, message: impl Display) -> Self {
        debug_assert_eq!(reason.codes().len(), 1, "{reason:?}");
        Self::with_code(reason.codes()[0], reason, message)
    }

    /// Creates an error with one of the codes of that reason.
    pub fn with_code(code: Code, reason: ErrorReason, message: impl Display) -> Self {
        debug_assert!(reason.codes().contains(&code), "{reason:?} with {code:?}");
        Self {
            code,
            reason,
            message: message.to_string(),
            metadata: Vec::new(),
            retry_delay: None,
            field_violations: Vec::new(),
            im_code: None,
            quota_violations: Vec::new(),
        }
    }

    /// Creates an error of one field, with its own reason.
    pub fn of_field(reason: ErrorReason, field: &str, description: impl Display) -> Self {
        Self { reason, ..Invalid::field(field, description).into() }
    }

    /// Adds an entry to the metadata of its ErrorInfo.
    pub fn with(mut self, key: &'static str, value: impl Display) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    /// Sets the code for IM clients.
    pub fn with_im_code(self, im_code: ImCode) -> Self {
        Self { im_code: Some(im_code), ..self }
    }

    /// Sets the limits that were hit.
    pub fn with_quota_violations(self, quota_violations: Vec<QuotaViolation>) -> Self {
        Self { quota_violations, ..self }
    }

    /// Sets the delay after which a retry may help, if `can_retry`.
    pub fn retried(self, can_retry: bool) -> Self {
        Self { retry_delay: can_retry.then_some(RETRY_AFTER), ..self }
    }
}

impl From<Invalid> for ErrorReply {
    fn from(invalid: Invalid) -> Self {
        let message = summary(&invalid);
        let reason = match invalid.im_code {
            Some(_) => ErrorReason::BatchTooLarge,
            None => ErrorReason::InvalidFields,
        };
        Self {
            field_violations: invalid.violations,
            im_code: invalid.im_code,
            ..Self::new(reason, message)
        }
    }
}

impl From<ErrorReply> for Status {
    fn from(reply: ErrorReply) -> Self {
        let metadata = reply.metadata.into_iter().map(|(key, value)| (key.to_owned(), value));
        let ImCode { number, name } = reply.im_code.unwrap_or_default();
        let number = (number > 0).then(|| (IM_ERROR_CODE.to_owned(), number.to_string()));
        let name = name.map(|name| (IM_ERROR_NAME.to_owned(), name.to_string()));
        let metadata: HashMap<_, _> = metadata.chain(number).chain(name).collect();
        let mut details = ErrorDetails::with_error_info(reply.reason.name(), DOMAIN, metadata);
        if reply.retry_delay.is_some() {
            details.set_retry_info(reply.retry_delay);
        }
        if !reply.field_violations.is_empty() {
            let violation =
                |Violation { field, description }| FieldViolation::new(field, description);
            let violations = reply.field_violations.into_iter().map(violation);
            details.set_bad_request(violations.collect::<Vec<_>>());
        }
        if !reply.quota_violations.is_empty() {
            details.set_quota_failure(reply.quota_violations);
        }
        Status::with_error_details(reply.code, reply.message, details)
    }
}

impl From<ErrorReply> for pb::ApplyError {
    fn from(reply: ErrorReply) -> Self {
        let violation =
            |Violation { field, description }| pb::FieldViolation { field, description };
        let metadata = reply.metadata.into_iter().map(|(key, value)| (key.to_owned(), value));
        let ImCode { number, name } = reply.im_code.unwrap_or_default();
        Self {
            code: reply.code.into(),
            message: reply.message,
            field_violations: reply.field_violations.into_iter().map(violation).collect(),
            im_error_code: number,
            im_error_name: name.map_or_else(String::new, |name| name.to_string()),
            reason: reply.reason.name().to_owned(),
            retry_delay: reply.retry_delay.and_then(|delay| delay.try_into().ok()),
            metadata: metadata.collect(),
        }
    }
}

/// Returns the status of a stream whose caller has disconnected; it is not sent.
pub fn of_gone() -> Status {
    Status::cancelled("the caller has disconnected")
}

fn summary(invalid: &Invalid) -> String {
    let mut violations = invalid.violations.iter();
    let first = violations.next().map_or_else(String::new, |Violation { field, description }| {
        if description.starts_with("the ") {
            format!("{field}: {description}")
        } else {
            format!("{field} {description}")
        }
    });
    match violations.len() {
        0 => first,
        1 => format!("{first}; one more field is wrong"),
        more => format!("{first}; {more} more fields are wrong"),
    }
}
