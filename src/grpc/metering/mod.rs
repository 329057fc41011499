//! Metering: logins, bandwidth and statements.

pub(super) mod record;
