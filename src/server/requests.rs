//! Resources of a call from its headers to the end of its response.
//!
//! Every call counts as open on its connection and is charged to the connection's memory. A request
//! that is not complete is charged by the length that it announces, before its bytes are kept, and
//! has a time limit: for a unary call from its headers on, for each message of a stream from its
//! first byte on. A stream that is silent between two messages has none.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use super::places::ConnectionState;
use crate::grpc::RECONCILE_MAX_BYTES;
use crate::grpc::error_reason::ErrorReason;
use crate::grpc::memory::{
    CALL_BYTES, Charge, ConnectionMemory, SMALL_REQUEST_BYTES, STREAM_BYTES, Use,
};
use crate::grpc::status::{of_reason, of_too_much_memory, of_unfinished_request};

/// Bytes before each message: a flag and the length.
const PREFIX_BYTES: usize = 5;
/// Headers up to this length are included in the charge of the call.
const SMALL_HEADERS_BYTES: usize = 2 * 1024;
/// Pieces of a response up to this length are included in the charge of the call.
const SMALL_RESPONSE_BYTES: usize = 1024;

/// A call from its headers to the end of its response.
pub(super) struct Call {
    connection: Arc<ConnectionState>,
    memory: Arc<ConnectionMemory>,
    /// Taken when the call is over.
    charge: Mutex<Option<Charge>>,
    /// True if the call never ends by itself.
    is_endless: bool,
    /// True while the next step is the peer's: to send the rest of a request, or to read a
    /// response.
    waits: AtomicBool,
}

impl Call {
    /// Starts a call; `None` if the connection or the process holds too much memory.
    pub(super) fn begin(
        connection: &Arc<ConnectionState>,
        memory: &Arc<ConnectionMemory>,
        headers: &HeaderMap,
        requests: Requests,
        is_endless: bool,
    ) -> Option<Arc<Self>> {
        let long = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        let long = long.sum::<usize>().saturating_sub(SMALL_HEADERS_BYTES);
        let stream = if requests == Requests::Stream { STREAM_BYTES } else { 0 };
        let charge = memory.try_charge(Use::Call, CALL_BYTES + stream + long)?;
        let charge = Mutex::new(Some(charge));
        connection.call_begins(is_endless);
        let (connection, memory) = (connection.clone(), memory.clone());
        let waits = AtomicBool::new(false);
        Some(Arc::new(Self { connection, memory, charge, is_endless, waits }))
    }

    /// Records whether the next step is the peer's.
    fn waits(&self, waits: bool) {
        if self.waits.swap(waits, Ordering::Relaxed) == waits {
            return;
        }
        if waits {
            self.connection.call_waits();
        } else {
            self.connection.call_goes_on();
        }
    }

    fn with_charge<T>(&self, change: impl FnOnce(&mut Charge) -> T) -> Option<T> {
        self.charge.lock().as_mut().map(change)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(charge) = self.charge.get_mut().take() {
            // HTTP/2 keeps the stream until its response is written.
            charge.until_flushed();
        }
        self.connection.call_ends(self.is_endless, *self.waits.get_mut());
    }
}

/// Form of a call's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requests {
    /// One message, which is charged until the call is over.
    One,
    /// A stream of messages, each charged until it is complete.
    Stream,
    /// One message that is the whole body, charged as it arrives until the call is over.
    Unframed,
}

/// Position of a request's body within its messages.
#[derive(Debug, Default)]
struct Framing {
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    missing_bytes: usize,
}

/// Changes by a piece of a body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Advance {
    /// True if a message was completed.
    completed: bool,
    /// Length of the last message that began.
    began_bytes: Option<usize>,
}

impl Framing {
    fn advance(&mut self, mut piece: &[u8]) -> Advance {
        let mut advance = Advance::default();
        while !piece.is_empty() {
            if self.missing_bytes > 0 {
                let taken = self.missing_bytes.min(piece.len());
                self.missing_bytes -= taken;
                piece = &piece[taken..];
                advance.completed |= self.missing_bytes == 0;
                continue;
            }
            let taken = (PREFIX_BYTES - self.prefix_bytes).min(piece.len());
            self.prefix[self.prefix_bytes..][..taken].copy_from_slice(&piece[..taken]);
            self.prefix_bytes += taken;
            piece = &piece[taken..];
            if self.prefix_bytes == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                self.prefix_bytes = 0;
                // A length beyond the largest message is refused by the decoder.
                self.missing_bytes = u32::from_be_bytes(length) as usize;
                advance.began_bytes = Some(self.missing_bytes);
                advance.completed |= self.missing_bytes == 0;
            }
        }
        advance
    }

    fn is_inside_message(&self) -> bool {
        self.missing_bytes > 0 || self.prefix_bytes > 0
    }
}

/// The body of a request.
pub(super) struct RequestBody {
    inner: Incoming,
    call: Arc<Call>,
    requests: Requests,
    framing: Framing,
    /// Charge of the incomplete message; the length of an unframed one so far.
    message_bytes: usize,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(super) fn new(
        inner: Incoming,
        call: Arc<Call>,
        requests: Requests,
        limit: Duration,
    ) -> Self {
        let framing = Framing::default();
        Self { inner, call, requests, framing, message_bytes: 0, limit, timer: None }
    }

    /// Charges for a piece of an unframed message beyond a small one.
    fn take_unframed(&mut self, piece_bytes: usize) -> Result<(), Status> {
        let charged = self.message_bytes.max(SMALL_REQUEST_BYTES);
        self.message_bytes += piece_bytes;
        let bytes = self.message_bytes.saturating_sub(charged);
        if bytes > 0 && self.call.with_charge(|charge| charge.try_grow(bytes)) == Some(false) {
            return Err(of_too_much_memory());
        }
        Ok(())
    }

    /// Charges for the rest of an announced message.
    fn take(&mut self, piece: &[u8]) -> Result<(), Status> {
        if self.requests == Requests::Unframed {
            return self.take_unframed(piece.len());
        }
        let Advance { completed, began_bytes } = self.framing.advance(piece);
        if completed && self.requests == Requests::Stream {
            self.timer = None;
            if self.message_bytes > 0 {
                let bytes = std::mem::take(&mut self.message_bytes);
                self.call.with_charge(|charge| charge.shrink(bytes));
            }
        }
        let Some(bytes) = began_bytes.filter(|bytes| *bytes > SMALL_REQUEST_BYTES) else {
            return Ok(());
        };
        if bytes > RECONCILE_MAX_BYTES {
            // No RPC reads it, and a repetition would not help.
            let message = format!("a message has {bytes} bytes, at most {RECONCILE_MAX_BYTES}");
            return Err(of_reason(ErrorReason::MessageTooLarge, &message));
        }
        let is_held = self.requests == Requests::One || self.framing.is_inside_message();
        if is_held && self.call.with_charge(|charge| charge.try_grow(bytes)) == Some(false) {
            return Err(of_too_much_memory());
        }
        self.message_bytes = if is_held { bytes } else { 0 };
        Ok(())
    }

    /// Records whether the call waits for its request. A stream is read while its answers are sent,
    /// which record whether it waits.
    fn waits(&self, waits: bool) {
        if self.requests != Requests::Stream {
            self.call.waits(waits);
        }
    }

    fn is_timed(&self) -> bool {
        self.requests != Requests::Stream || self.framing.is_inside_message()
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_timed() {
            return Poll::Pending;
        }
        let limit = self.limit;
        self.timer.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context)
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.waits(false);
                let taken = frame.data_ref().map_or(Ok(()), |piece| self.take(piece));
                Poll::Ready(Some(taken.map(|()| frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.waits(false);
                Poll::Ready(Some(Err(Status::from_error(Box::new(error)))))
            }
            Poll::Ready(None) => {
                self.waits(false);
                Poll::Ready(None)
            }
            Poll::Pending => {
                self.waits(true);
                self.poll_timer(context).map(|()| Some(Err(of_unfinished_request(self.limit))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a response.
pub(super) struct ResponseBody {
    inner: Body,
    /// `None` for a call that was refused before its start.
    call: Option<Arc<Call>>,
    /// The last piece, which may still wait to be sent.
    piece: Option<Charge>,
}

impl ResponseBody {
    pub(super) fn new(inner: Body, call: Option<Arc<Call>>) -> Self {
        if let Some(call) = &call {
            // It is polled once the peer has room for it.
            call.waits(true);
        }
        Self { inner, call, piece: None }
    }

    fn piece_is_sent(&mut self) {
        if let Some(charge) = self.piece.take() {
            charge.until_flushed();
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // The next piece is requested once HTTP/2 has taken the one before.
        self.piece_is_sent();
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Some(call) = &self.call {
            // It is polled again once the peer has room for more.
            call.waits(polled.is_ready());
        }
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(call) = &self.call
            && let Some(bytes) = frame.data_ref().map(Bytes::len)
            && bytes > SMALL_RESPONSE_BYTES
        {
            let charge = call.memory.charge(bytes);
            self.piece = Some(charge);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.piece_is_sent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let announced = u32::try_from(length).expect("short").to_be_bytes();
        [&[0][..], &announced, &vec![7; length]].concat()
    }

    #[test]
    fn messages_are_followed_through_all_piece_lengths() {
        let lengths = [0, 1, 300, 0, 5, 70_000];
        let stream: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
        for piece_bytes in [1, 2, 3, 4, 5, 6, 7, 311, 1_000, 16_384, stream.len()] {
            let (mut framing, mut began, mut at) = (Framing::default(), Vec::new(), 0);
            for piece in stream.chunks(piece_bytes) {
                let advance = framing.advance(piece);
                began.extend(advance.began_bytes);
                at += piece.len();
                // The ends of the messages, from their lengths alone.
                let ends = lengths.iter().scan(0, |end, length| {
                    *end += PREFIX_BYTES + length;
                    Some(*end)
                });
                let ends: Vec<usize> = ends.collect();
                assert_eq!(framing.is_inside_message(), !ends.contains(&at), "{at}");
                let completed = ends.iter().any(|end| (at - piece.len() + 1..=at).contains(end));
                assert_eq!(advance.completed, completed, "{at} by {piece_bytes}");
            }
            if piece_bytes <= PREFIX_BYTES {
                assert_eq!(began, lengths, "by {piece_bytes}");
            }
            assert_eq!(began.last(), Some(&70_000));
        }
    }
}
