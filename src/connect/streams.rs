//! Calls with a stream in one direction or both: frames with messages, and at the end of the
//! answers a frame with the error, if there is one, and the trailers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame as Piece};
use prost::bytes::{BufMut as _, BytesMut};
use prost_reflect::MessageDescriptor;
use serde::Serialize;
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tonic::{Code, Status};

use super::error::ErrorJson;
use super::frames::{COMPRESSED, Deframer, END_STREAM, Frame, PREFIX_BYTES, frame};
use super::head::{CallHead, Form};
use super::methods::Method;
use super::serve::TimeLimit;
use super::{headers, json};
use crate::grpc::error_reason::ErrorReason;
use crate::grpc::memory::ConnectionMemory;
use crate::grpc::status::{Failure, of_failure, of_no_answer, of_reason};

/// The requests of a call as the body of a gRPC request.
pub(super) struct Requests<B> {
    inner: B,
    frames: Deframer,
    form: Form,
    method: &'static Method,
    memory: Arc<ConnectionMemory>,
}

impl<B> Requests<B> {
    /// Creates the requests of a call.
    pub(super) fn new(inner: B, head: &CallHead, memory: Arc<ConnectionMemory>) -> Self {
        let (form, method) = (head.form, head.method);
        Self { inner, frames: Deframer::default(), form, method, memory }
    }

    /// Translates the frames that are complete; `None` if there is none.
    fn translate(&mut self) -> Result<Option<Bytes>, Status> {
        let mut translated = BytesMut::new();
        while let Some(Frame { flags, message }) = self.frames.take() {
            if flags != 0 {
                return Err(of_flags(flags));
            }
            let decoded = match self.form {
                Form::Json => Some(json::decode(&message, &self.method.input, &self.memory)?),
                Form::Proto => None,
            };
            frame(&mut translated, 0, |bytes| {
                match &decoded {
                    Some(decoded) => json::append(decoded, bytes),
                    None => bytes.extend_from_slice(&message),
                }
                Ok::<_, Status>(())
            })?;
        }
        let max = self.method.request_max_bytes;
        match self.frames.announced().filter(|length| *length > max) {
            Some(length) => Err(json::too_long(length, max)),
            None => Ok((!translated.is_empty()).then(|| translated.freeze())),
        }
    }
}

fn of_flags(flags: u8) -> Status {
    let message = if flags & COMPRESSED != 0 {
        "a message is compressed, which is not supported; only identity is".to_owned()
    } else {
        format!("a message has the flags {flags}, which requests have not")
    };
    of_reason(ErrorReason::MalformedMessage, &message)
}

impl<B: HttpBody<Data = Bytes, Error = Status> + Unpin> HttpBody for Requests<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece<Bytes>, Status>>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(piece)) => {
                    // Connect has no trailers of requests.
                    let Ok(data) = piece.into_data() else { continue };
                    self.frames.push(&data);
                    if let Some(translated) = self.translate().transpose() {
                        return Poll::Ready(Some(translated.map(Piece::data)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if self.frames.is_inside_frame() => {
                    self.frames = Deframer::default();
                    let message = "the stream of requests ends within a message";
                    let error = of_reason(ErrorReason::MalformedMessage, message);
                    return Poll::Ready(Some(Err(error)));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Returns the response of a call whose service has answered.
pub(super) fn response(
    answer: Result<Response<Body>, Status>,
    head: &CallHead,
    limit: TimeLimit,
) -> Response<Body> {
    let (leading, answers) = match answer {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            let refused = Status::from_header_map(&parts.headers);
            let refused = refused.filter(|status| status.code() != Code::Ok);
            (parts.headers, refused.map_or(Ok(body), Err))
        }
        Err(status) => (HeaderMap::new(), Err(status)),
    };
    let code = answers.as_ref().map_or_else(Status::code, |_| Code::Ok);
    let body = match answers {
        Ok(inner) => Body::new(Answers {
            inner,
            frames: Deframer::default(),
            form: head.form,
            output: head.method.output.clone(),
            limit: limit.left().map(|left| Box::pin(sleep(left))),
            has_request_stream: head.method.has_request_stream,
            is_over: false,
        }),
        Err(status) => {
            let mut bytes = BytesMut::new();
            end(&mut bytes, Some(&status), &HeaderMap::new());
            Body::new(http_body_util::Full::new(bytes.freeze()))
        }
    };
    let mut response = Response::new(body);
    response.extensions_mut().insert(code);
    headers::copy_metadata(&leading, response.headers_mut(), "");
    response.headers_mut().insert(CONTENT_TYPE, head.content_type.clone());
    response
}

/// The end of a stream as Connect has it.
#[derive(Debug, Serialize)]
struct EndJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorJson>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    metadata: serde_json::Map<String, serde_json::Value>,
}

/// Appends the last frame.
fn end(bytes: &mut BytesMut, error: Option<&Status>, trailers: &HeaderMap) {
    let metadata = headers::metadata_json(trailers);
    let last = EndJson { error: error.map(ErrorJson::from), metadata };
    let written = frame(bytes, END_STREAM, |bytes| serde_json::to_writer(bytes.writer(), &last));
    written.expect("it has string keys only");
}

/// The answers of a call.
struct Answers {
    inner: Body,
    frames: Deframer,
    form: Form,
    output: MessageDescriptor,
    limit: Option<Pin<Box<Sleep>>>,
    /// True if requests may have changed something.
    has_request_stream: bool,
    is_over: bool,
}

impl Answers {
    /// Translates the frames that are complete.
    fn translate(&mut self, translated: &mut BytesMut) -> Result<(), Status> {
        while let Some(Frame { message, .. }) = self.frames.take() {
            translated.reserve(PREFIX_BYTES + message.len());
            let begin = translated.len();
            let written = frame(translated, 0, |bytes| match self.form {
                Form::Json => json::encode(message, &self.output, bytes),
                Form::Proto => {
                    bytes.extend_from_slice(&message);
                    Ok(())
                }
            });
            if written.is_err() {
                translated.truncate(begin);
                return written;
            }
        }
        Ok(())
    }

    fn last(
        &mut self,
        mut bytes: BytesMut,
        error: Option<&Status>,
        trailers: &HeaderMap,
    ) -> Poll<Option<Result<Piece<Bytes>, Status>>> {
        self.is_over = true;
        // Ends the call of the service.
        self.inner = Body::empty();
        end(&mut bytes, error, trailers);
        Poll::Ready(Some(Ok(Piece::data(bytes.freeze()))))
    }
}

impl HttpBody for Answers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let is_late = self.limit.as_mut().is_some_and(|at| at.as_mut().poll(context).is_ready());
        if is_late {
            let failure =
                if self.has_request_stream { Failure::TimedOut } else { Failure::UnreadInTime };
            let error = of_failure(failure);
            return self.last(BytesMut::new(), Some(&error), &HeaderMap::new());
        }
        let none = HeaderMap::new();
        loop {
            let piece = match std::task::ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return self.last(BytesMut::new(), Some(&error), &none),
                None => return self.last(BytesMut::new(), Some(&of_no_answer()), &none),
            };
            match piece.into_data() {
                Ok(data) => {
                    self.frames.push(&data);
                    let mut translated = BytesMut::new();
                    if let Err(error) = self.translate(&mut translated) {
                        return self.last(translated, Some(&error), &none);
                    }
                    if !translated.is_empty() {
                        return Poll::Ready(Some(Ok(Piece::data(translated.freeze()))));
                    }
                }
                Err(piece) => {
                    let trailers = piece.into_trailers().unwrap_or_default();
                    let status = Status::from_header_map(&trailers);
                    let error = status.filter(|status| status.code() != Code::Ok);
                    return self.last(BytesMut::new(), error.as_ref(), &trailers);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}
