//! ListTopDenials: checks the request and converts the counts.

use tonic::Status;

use crate::domain::id::AppId;
use crate::engine::{DenialKey, Estimate, TopDenials};
use crate::grpc::fields::Fields;
use crate::grpc::pb;
use crate::grpc::status::of_invalid;
use crate::proto::{reason, subject, timestamp};

/// Size of a page without `page_size`.
const PAGE_DEFAULT: usize = 20;
const PAGE_MAX: u32 = 100;

/// Checks the app, and the size of the page.
pub fn page(request: pb::ListTopDenialsRequest) -> Result<(Option<AppId>, usize), Status> {
    let mut fields = Fields::default();
    let app = match request.app_id {
        none if none.is_empty() => Some(None),
        app => fields.app_id(app).map(Some),
    };
    let most = match request.page_size {
        0 => Some(PAGE_DEFAULT),
        size => {
            let size = usize::try_from(size).ok().filter(|_| size <= PAGE_MAX);
            fields.check("page_size", size.ok_or("must be 0 to 100"))
        }
    };
    fields.finish(app.zip(most)).map_err(of_invalid)
}

/// Converts the counts.
pub fn response(top: TopDenials) -> pb::ListTopDenialsResponse {
    let of_app = |(app, Estimate { count, error }): (AppId, Estimate)| pb::TopDenial {
        app_id: app.to_string(),
        denials: count,
        error,
        ..pb::TopDenial::default()
    };
    let of_subject = |(denied, Estimate { count, error }): (DenialKey, Estimate)| pb::TopDenial {
        app_id: denied.app.to_string(),
        subject: Some(subject(&denied.subject)),
        limit_id: denied.limit_id.to_string(),
        reason: reason(denied.reason).into(),
        denials: count,
        error,
    };
    pb::ListTopDenialsResponse {
        since: Some(timestamp(top.since)),
        apps: top.apps.into_iter().map(of_app).collect(),
        subjects: top.subjects.into_iter().map(of_subject).collect(),
    }
}
