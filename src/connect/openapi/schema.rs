//! Messages and enums as JSON schemas.

use std::fmt::Write as _;

use prost_reflect::{
    Cardinality, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    OneofDescriptor,
};
use prost_types::source_code_info::Location;
use serde_json::{Map, Value, json};

/// The package whose name is left out of the names of schemas.
const PACKAGE: &str = "imquota.v1.";

/// Schemas by name.
#[derive(Default)]
pub(super) struct Schemas(pub(super) Map<String, Value>);

impl Schemas {
    /// Adds the schema of a message and those that it needs; returns a reference to it.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        if let Some(known) = well_known(message.full_name()) {
            return known;
        }
        let name = short(message.full_name());
        let reference = reference(&name);
        if self.0.contains_key(&name) {
            return reference;
        }
        // Before its fields, which may need it again.
        self.0.insert(name.clone(), Value::Null);
        let named = |field: FieldDescriptor| (field.json_name().to_owned(), self.field(&field));
        let properties: Map<_, _> = message.fields().map(named).collect();
        let mut schema = json!({ "type": "object", "properties": properties });
        describe(&mut schema, &comment(&message.parent_file(), message.path()));
        self.0.insert(name, schema);
        reference
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        let mut schema = match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let values = self.value(&entry.map_entry_value_field().kind());
                json!({ "type": "object", "additionalProperties": values })
            }
            kind if field.cardinality() == Cardinality::Repeated => {
                json!({ "type": "array", "items": self.value(&kind) })
            }
            kind => self.value(&kind),
        };
        let mut text = comment(&field.parent_file(), field.path());
        let alternatives = field.containing_oneof().filter(|of| !of.is_synthetic());
        if let Some(oneof) = alternatives {
            text = format!("{text}\n\n{}", one_of(&oneof));
        }
        describe(&mut schema, text.trim());
        schema
    }

    fn value(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Double | Kind::Float => json!({ "type": "number" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                json!({ "type": "integer", "format": "int32" })
            }
            Kind::Uint32 | Kind::Fixed32 => {
                json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({ "type": "string", "format": "int64", "pattern": "^-?[0-9]+$" })
            }
            Kind::Uint64 | Kind::Fixed64 => {
                json!({ "type": "string", "format": "uint64", "pattern": "^[0-9]+$" })
            }
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Enum(of) => self.names(of),
            Kind::Message(of) => self.message(of),
        }
    }

    fn names(&mut self, of: &EnumDescriptor) -> Value {
        let name = short(of.full_name());
        let mut text = comment(&of.parent_file(), of.path());
        let mut names = Vec::new();
        for value in of.values() {
            let comment = comment(&of.parent_file(), value.path());
            let line = comment.replace('\n', " ");
            write!(text, "\n- `{}`: {line}", value.name()).expect("a string takes any text");
            names.push(value.name().to_owned());
        }
        let mut schema = json!({ "type": "string", "enum": names });
        describe(&mut schema, text.trim());
        let reference = reference(&name);
        self.0.insert(name, schema);
        reference
    }
}

fn one_of(oneof: &OneofDescriptor) -> String {
    let names: Vec<_> = oneof.fields().map(|field| format!("`{}`", field.json_name())).collect();
    format!("At most one of {} is set.", names.join(", "))
}

/// Returns the schema of a message that has a form of its own in JSON.
fn well_known(name: &str) -> Option<Value> {
    match name {
        "google.protobuf.Timestamp" => Some(json!({ "type": "string", "format": "date-time" })),
        "google.protobuf.Duration" => {
            Some(json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$" }))
        }
        _ => None,
    }
}

fn short(name: &str) -> String {
    name.strip_prefix(PACKAGE).unwrap_or(name).to_owned()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn describe(schema: &mut Value, text: &str) {
    if !text.is_empty() {
        schema["description"] = text.into();
    }
}

/// Returns the comment of the element with that path in a file.
pub(super) fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let found = info.and_then(|info| info.location.iter().find(|it| it.path == path));
    let text = found.map(Location::leading_comments).unwrap_or_default();
    let lines: Vec<_> = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    lines.join("\n").trim().to_owned()
}
