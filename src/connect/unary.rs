//! Calls with one message in each direction, which are bodies without frames.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as HttpBody;
use prost::bytes::{Bytes, BytesMut};
use tonic::body::Body;
use tonic::{Code, Status};

use super::frames::{Deframer, frame};
use super::head::{CallHead, Form};
use super::serve::CallError;
use super::{headers, json};
use crate::grpc::error_reason::ErrorReason;
use crate::grpc::memory::ConnectionMemory;
use crate::grpc::status::{of_no_answer, of_reason};

/// Reads the message of a request, and returns it as the body of a gRPC request.
pub(super) async fn read<B>(
    mut body: B,
    head: &CallHead,
    memory: &Arc<ConnectionMemory>,
) -> Result<Body, Status>
where
    B: HttpBody<Data = Bytes, Error = Status> + Unpin,
{
    let max = head.method.request_max_bytes;
    let announced = body.size_hint().lower();
    if announced > max as u64 {
        return Err(json::too_long(usize::try_from(announced).unwrap_or(usize::MAX), max));
    }
    let mut message = BytesMut::new();
    while let Some(piece) = body.frame().await {
        let Ok(piece) = piece.map_err(of_unread)?.into_data() else { continue };
        if message.len() + piece.len() > max {
            return Err(json::too_long(message.len() + piece.len(), max));
        }
        message.extend_from_slice(&piece);
    }
    let mut framed = BytesMut::new();
    let decoded = match head.form {
        Form::Json => Some(json::decode(&message, &head.method.input, memory)?),
        Form::Proto => None,
    };
    let Ok(()) = frame::<Infallible>(&mut framed, 0, |framed| {
        match &decoded {
            Some(decoded) => json::append(decoded, framed),
            None => framed.extend_from_slice(&message),
        }
        Ok(())
    });
    Ok(Body::new(Full::new(framed.freeze())))
}

/// Returns the error of a body that cannot be read: a malformed one has no code of its own.
fn of_unread(error: Status) -> Status {
    if error.code() != Code::Unknown {
        return error;
    }
    let message = format!("the body cannot be read: {}", error.message());
    of_reason(ErrorReason::MalformedMessage, &message)
}

/// Translates the response of the service.
pub(super) async fn answer(
    response: Response<Body>,
    head: &CallHead,
) -> Result<Response<Body>, CallError> {
    let (parts, mut body) = response.into_parts();
    let leading = parts.headers;
    if let Some(status) = Status::from_header_map(&leading).filter(is_error) {
        return Err(CallError { status, leading });
    }
    let (mut frames, mut trailers) = (Deframer::default(), HeaderMap::new());
    while let Some(piece) = body.frame().await {
        match piece?.into_data() {
            Ok(data) => frames.push(&data),
            Err(last) => trailers = last.into_trailers().unwrap_or_default(),
        }
    }
    if let Some(status) = Status::from_header_map(&trailers).filter(is_error) {
        let mut leading = leading;
        headers::copy_metadata(&trailers, &mut leading, "trailer-");
        return Err(CallError { status, leading });
    }
    let message = frames.take().ok_or_else(of_no_answer)?.message;
    let content = match head.form {
        Form::Json => {
            let mut text = BytesMut::new();
            json::encode(message, &head.method.output, &mut text)?;
            text.freeze()
        }
        Form::Proto => message,
    };
    let mut response = Response::new(Body::new(Full::new(content)));
    let own = response.headers_mut();
    headers::copy_metadata(&leading, own, "");
    headers::copy_metadata(&trailers, own, "trailer-");
    own.insert(CONTENT_TYPE, head.content_type.clone());
    Ok(response)
}

fn is_error(status: &Status) -> bool {
    status.code() != Code::Ok
}
