//! Messages as JSON: the protobuf mapping with the names of the `.proto` files and 64-bit integers
//! as numbers. It uses the descriptors, so that a new field needs no change here.

use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};

use super::descriptors::DESCRIPTORS;

/// Returns the message of that name within the package, indented, with every field that has a value
/// or a default, ending with a line break.
pub fn pretty(name: &str, message: &impl Message) -> String {
    let mut text = Vec::new();
    write(&mut serde_json::Serializer::pretty(&mut text), name, message, false);
    text.push(b'\n');
    String::from_utf8_lossy(&text).into_owned()
}

/// Returns the message on one line, only with the fields that differ from their defaults.
pub fn compact(name: &str, message: &impl Message) -> String {
    let mut text = Vec::new();
    write(&mut serde_json::Serializer::new(&mut text), name, message, true);
    String::from_utf8_lossy(&text).into_owned()
}

fn write<S: serde::Serializer>(json: S, name: &str, message: &impl Message, terse: bool) {
    let name = format!("imquota.v1.{name}");
    let descriptor = DESCRIPTORS.get_message_by_name(&name).expect("a message is in the protos");
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).expect("a message is valid for its own descriptor");
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(terse);
    let written = dynamic.serialize_with_options(json, &options);
    assert!(written.is_ok(), "writing to memory cannot fail");
}
