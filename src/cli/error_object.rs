//! Errors as one JSON object, for programs: `code`, `reason`, `message` and `details`.
//!
//! An error of the sidecar has its code, its message, and the reason and metadata of its ErrorInfo.
//! An error of the command line itself has the closest code and a reason that is defined only in
//! this file. docs/api.md lists both.

use serde_json::{Map, Value, json};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::error::{Error, code_name, is_lost};

/// JSON object of an error.
struct Object {
    code: String,
    reason: String,
    message: String,
    details: Map<String, Value>,
}

impl Object {
    fn new(code: &str, reason: &str, error: &Error) -> Self {
        let (code, reason) = (code.to_owned(), reason.to_owned());
        Self { code, reason, message: error.to_string(), details: Map::new() }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    fn of(error: &Error) -> Self {
        let new = |code, reason| Self::new(code, reason, error);
        match error {
            Error::Status(status) | Error::ReadStatus(status) => Self::of_status(status),
            Error::ConnectionLost { error, hint } => Self::of(error).with("advice", hint.as_str()),
            Error::Comparison { error, advice } => Self::of(error).with("advice", *advice),
            Error::Change { error, request_id, .. } => {
                Self::of(error).with("request_id", request_id.as_str())
            }
            Error::Watch { error, token } => Self::of(error).with("resume_token", token.as_str()),
            Error::Connect { address, .. } => {
                new("UNAVAILABLE", "NOT_CONNECTED").with("address", address.to_string())
            }
            Error::Tls(_) => new("INVALID_ARGUMENT", "TLS_REFUSED"),
            Error::TokenNotEncrypted { .. } => new("FAILED_PRECONDITION", "TOKEN_NOT_ENCRYPTED"),
            Error::Token { .. } => new("INVALID_ARGUMENT", "TOKEN_MALFORMED"),
            Error::MakeToken(_) | Error::Random(_) => new("INTERNAL", "NO_RANDOMNESS"),
            Error::Catalog(_) => new("INVALID_ARGUMENT", "CATALOG_INVALID"),
            Error::Read { path, .. } => {
                new("FAILED_PRECONDITION", "FILE_NOT_READ").with("path", text(path))
            }
            Error::WriteFile { path, .. } => {
                new("FAILED_PRECONDITION", "FILE_NOT_WRITTEN").with("path", text(path))
            }
            Error::Exists { path } => new("ALREADY_EXISTS", "FILE_EXISTS").with("path", text(path)),
            Error::Export { path, line, .. } => new("INVALID_ARGUMENT", "EXPORT_INVALID")
                .with("path", text(path))
                .with("line", *line),
            Error::Checkpoint { path, .. } => {
                new("FAILED_PRECONDITION", "CHECKPOINT_DIFFERS").with("path", text(path))
            }
            Error::Signals(_) => new("INTERNAL", "NO_SIGNALS"),
            Error::Interrupted(_) => new("UNAVAILABLE", "COMPARISON_CUT_OFF"),
            Error::NoStoreId => new("FAILED_PRECONDITION", "STORE_HAS_NO_ID"),
            Error::Audit(_) => new("DATA_LOSS", "AUDIT_LOG_TAMPERED"),
            Error::HeadNotFound { head, .. } => {
                new("NOT_FOUND", "AUDIT_HEAD_NOT_FOUND").with("head", head.as_str())
            }
            Error::Write(_) => new("INTERNAL", "ANSWER_NOT_WRITTEN"),
        }
    }

    fn of_status(status: &Status) -> Self {
        let found = status.get_error_details();
        let mut details = Map::new();
        let mut add = |name: &str, value: Value| details.insert(name.to_owned(), value);
        let mut reason = if is_lost(status) { "CONNECTION_LOST" } else { "" };
        if let Some(info) = found.error_info() {
            reason = &info.reason;
            add("metadata", json!(info.metadata));
        }
        if let Some(bad) = found.bad_request() {
            let bad = bad.field_violations.iter();
            let bad = bad.map(|it| json!({"field": it.field, "description": it.description}));
            add("field_violations", bad.collect());
        }
        if let Some(failure) = found.quota_failure() {
            let over = failure.violations.iter();
            let over = over.map(|it| json!({"subject": it.subject, "description": it.description}));
            add("quota_violations", over.collect());
        }
        let delay = found.retry_info().and_then(|info| info.retry_delay);
        if let Some(delay) = delay {
            add("retry_delay_ms", json!(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)));
        }
        let (code, message) = (code_name(status.code()), status.message().to_owned());
        Self { code, reason: reason.to_owned(), message, details }
    }

    /// Formats the object on one line.
    fn line(self) -> String {
        let Self { code, reason, message, details } = self;
        json!({"code": code, "reason": reason, "message": message, "details": details}).to_string()
    }
}

/// Formats an error as an object on one line.
pub fn line(error: &Error) -> String {
    Object::of(error).line()
}

/// Formats an error of the command line as an object on one line.
pub fn line_of_usage(error: &clap::Error) -> String {
    let text = error.render().to_string();
    // The usage text that follows is omitted: programs do not need it.
    let message = text.split("\n\n").next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message).to_owned();
    let (code, reason) = ("INVALID_ARGUMENT".to_owned(), "COMMAND_LINE".to_owned());
    Object { code, reason, message, details: Map::new() }.line()
}

fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn an_error_of_the_sidecar_keeps_its_code_reason_and_details() {
        let mut details = ErrorDetails::new();
        let metadata = [("app".to_owned(), "demo".to_owned())];
        details.set_error_info("OVERLOADED", "imquota.v1", metadata);
        details.add_bad_request_violation("user_ids[3]", "is empty");
        details.set_retry_info(Some(std::time::Duration::from_millis(40)));
        let status =
            Status::with_error_details(Code::ResourceExhausted, "too much\n\"at once\"", details);
        let error = Error::Change {
            error: Box::new(Error::from(status)),
            how: "add",
            request_id: "r1".into(),
        };
        let line = line(&error);
        assert!(!line.contains('\n'), "{line}");
        let wanted = json!({
            "code": "RESOURCE_EXHAUSTED",
            "reason": "OVERLOADED",
            "message": "too much\n\"at once\"",
            "details": {
                "metadata": {"app": "demo"},
                "field_violations": [{"field": "user_ids[3]", "description": "is empty"}],
                "retry_delay_ms": 40,
                "request_id": "r1",
            },
        });
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), wanted);
    }
}
