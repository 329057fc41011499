//! Messages from and to JSON: the protobuf mapping, with names in lower camel case and 64-bit
//! integers as strings.
//!
//! A request may use the names of the `.proto` files too, and a field that no message has is an
//! error. What a text takes once it is decoded is bounded and charged before.

use std::sync::Arc;

use prost::Message as _;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use tonic::Status;

use super::head::truncated;
use super::shape::{DEPTH_MAX, OBJECTS_MAX, Shape, VALUES_MAX};
use crate::grpc::error_reason::ErrorReason;
use crate::grpc::memory::{CALL_BYTES, ConnectionMemory, Use};
use crate::grpc::status::{of_reason, of_too_much_memory};

/// Most characters of an error that are shown, since it has names of the text.
const SHOWN_CHARS: usize = 400;
/// Bytes of JSON for one byte of a message, for a buffer that seldom has to grow.
const EXPANSION: usize = 3;

/// Decodes a JSON text; its memory is charged to the connection until it returns.
pub(super) fn decode(
    text: &[u8],
    of: &MessageDescriptor,
    memory: &Arc<ConnectionMemory>,
) -> Result<DynamicMessage, Status> {
    let shape = Shape::of(text);
    check(shape)?;
    let decoded_bytes = text.len() + shape.decoded_bytes();
    // A small one is part of the call's own charge.
    let charge = if decoded_bytes > CALL_BYTES / 2 {
        Some(memory.try_charge(Use::Message, decoded_bytes).ok_or_else(of_too_much_memory)?)
    } else {
        None
    };
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let mut json = serde_json::Deserializer::from_slice(text);
    let message = DynamicMessage::deserialize_with_options(of.clone(), &mut json, &options);
    let message = message.and_then(|message| json.end().map(|()| message));
    drop(charge);
    message.map_err(|error| {
        let error = truncated(&error.to_string(), SHOWN_CHARS);
        let message = format!("the JSON of {} cannot be read: {error}", of.full_name());
        of_reason(ErrorReason::MalformedMessage, &message)
    })
}

fn check(Shape { objects, values, depth }: Shape) -> Result<(), Status> {
    if depth > DEPTH_MAX {
        let message = format!("the JSON is nested {depth} deep, more than {DEPTH_MAX}");
        return Err(of_reason(ErrorReason::MalformedMessage, &message));
    }
    for (count, max, what) in [(objects, OBJECTS_MAX, "objects"), (values, VALUES_MAX, "values")] {
        if count > max {
            let message = format!("the JSON has {count} {what}, more than {max}; send it in parts");
            return Err(of_reason(ErrorReason::MessageTooLarge, &message));
        }
    }
    Ok(())
}

/// Returns the error of a message that is longer than it may be.
pub(super) fn too_long(bytes: usize, max: usize) -> Status {
    let message = format!("the message has {bytes} bytes or more, at most {max} are read");
    of_reason(ErrorReason::MessageTooLarge, &message)
}

/// Appends a message as JSON. Its decoded form exists only until this returns, so that there is at
/// most one for each thread; the text is charged while it is sent.
pub(super) fn encode(
    message: Bytes,
    of: &MessageDescriptor,
    text: &mut BytesMut,
) -> Result<(), Status> {
    text.reserve(EXPANSION * message.len());
    let decoded = DynamicMessage::decode(of.clone(), message).map_err(|error| error.to_string());
    let written = decoded.and_then(|message| {
        let mut json = serde_json::Serializer::new((&mut *text).writer());
        let options = SerializeOptions::new();
        message.serialize_with_options(&mut json, &options).map_err(|error| error.to_string())
    });
    // The services only make messages that are valid.
    written.map_err(|error| {
        let message = format!("the answer cannot be written as JSON: {error}");
        of_reason(ErrorReason::NotTranslated, &message)
    })
}

/// Appends a decoded message in the form of protobuf.
pub(super) fn append(message: &DynamicMessage, bytes: &mut BytesMut) {
    bytes.reserve(message.encoded_len());
    message.encode(bytes).expect("the buffer grows");
}
