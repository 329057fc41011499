//! The codec of the services: bytes that are no valid message are the caller's mistake.
//!
//! tonic's own codec reports them as INTERNAL, which means that the server is broken. Of an Apply
//! request at least the tag is decoded, so that one bad request does not end the stream.

use std::any::{Any, TypeId};
use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf as _;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::error_reason::ErrorReason;
use super::status::of_reason;
use super::{RECONCILE_MAX_ENTRIES, REQUEST_MAX_BYTES, entry_count, pb};

/// Initial buffer of a call for each of its two messages, which fits nearly all of them. tonic's
/// default of 8 KiB is more than the allocator provides cheaply.
const BUFFER_BYTES: usize = 512;
/// Most bytes of a stream's messages that are sent in one piece: tonic's default.
const PIECE_BYTES: usize = 32 * 1024;

fn buffers() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, PIECE_BYTES)
}

/// Encodes `T` and decodes `U`.
#[derive(Debug, Clone)]
pub struct StrictCodec<T, U>(PhantomData<(T, U)>);

/// Decodes `U`, or fails as INVALID_ARGUMENT.
#[derive(Debug, Clone)]
pub struct StrictDecoder<U>(PhantomData<U>);

impl<T, U> Default for StrictCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for StrictCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder(PhantomData)
    }
}

/// The readable part of an Apply request whose operation cannot be decoded.
#[derive(Message)]
struct Tagged {
    #[prost(uint64, tag = "1")]
    tag: u64,
}

/// Decodes the tag of an Apply request that is invalid otherwise: the error goes to the caller with
/// its tag, and the stream continues. Returns `None` if `U` is another message or the tag cannot be
/// read.
fn tagged<U: 'static>(bytes: &[u8]) -> Option<U> {
    let Tagged { tag } = Tagged::decode(bytes).ok()?;
    let mut request =
        Some(pb::ApplyRequest { tag, operation: None, ..pb::ApplyRequest::default() });
    (&mut request as &mut dyn Any).downcast_mut::<Option<U>>()?.take()
}

/// Returns the error of a message that is not decoded, in the form of the library's own.
fn too_long(bytes: usize, why: std::fmt::Arguments<'_>) -> Status {
    Status::out_of_range(format!("the message has {bytes} bytes, {why}"))
}

impl<U: Message + Default + 'static> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let length = buffer.remaining();
        let is_reconcile = TypeId::of::<U>() == TypeId::of::<pb::ReconcileRequest>();
        if length > REQUEST_MAX_BYTES && !is_reconcile {
            return Err(too_long(length, format_args!("more than {REQUEST_MAX_BYTES}")));
        }
        let bytes = buffer.copy_to_bytes(length);
        // Short ids and empty lists take many times their length once they are decoded: only long
        // ids may make a message longer.
        if length > REQUEST_MAX_BYTES
            && entry_count::entries(&bytes).is_none_or(|count| count > RECONCILE_MAX_ENTRIES)
        {
            let why = format_args!("with more than {RECONCILE_MAX_ENTRIES} ids and lists");
            return Err(too_long(length, why));
        }
        match U::decode(bytes.clone()) {
            Ok(message) => Ok(Some(message)),
            Err(error) => tagged(&bytes).map(Some).ok_or_else(|| {
                let message = format!("the message cannot be read: {error}");
                of_reason(ErrorReason::MalformedMessage, &message)
            }),
        }
    }
}
