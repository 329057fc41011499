//! The shape of a JSON text, counted before it is decoded.
//!
//! A decoded message takes many times the bytes of its text: `{}` is two bytes, and a message with
//! a table of its fields once it is decoded. The length of a text alone does not bound the memory
//! that it takes.

/// Deepest nesting of a text; the deepest message has half of it.
pub(super) const DEPTH_MAX: usize = 16;
/// Most objects of a text: more than the logins of the largest batch, or the users and groups of a
/// message of Reconcile in a sensible size.
pub(super) const OBJECTS_MAX: usize = 2_048;
/// Most values of a text: more than the ids of the largest batch or of the longest list.
pub(super) const VALUES_MAX: usize = 32_000;

/// Bytes of a decoded object: a message and the first node of the tree of its fields.
const OBJECT_BYTES: usize = 1_024;
/// Bytes of a decoded value: a variant in a list, which has grown by doubling.
const VALUE_BYTES: usize = 112;

/// The shape of a JSON text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// The number of objects.
    pub(super) objects: usize,
    /// At least the number of values.
    pub(super) values: usize,
    /// The deepest nesting.
    pub(super) depth: usize,
}

impl Shape {
    /// Counts the shape of a text, which need not be valid.
    pub(super) fn of(text: &[u8]) -> Self {
        let (mut shape, mut depth) = (Self::default(), 0_usize);
        let (mut is_in_string, mut is_escaped) = (false, false);
        for byte in text {
            if is_in_string {
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' => is_escaped = true,
                    b'"' => is_in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => is_in_string = true,
                b',' => shape.values += 1,
                b'{' | b'[' => {
                    shape.objects += usize::from(*byte == b'{');
                    shape.values += 1;
                    depth += 1;
                    shape.depth = shape.depth.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        shape
    }

    /// Returns the most bytes of the decoded message beside its texts.
    pub(super) fn decoded_bytes(self) -> usize {
        self.objects * OBJECT_BYTES + self.values * VALUE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_values_and_depth_are_counted_outside_of_strings() {
        for (text, objects, values, depth) in [
            ("", 0, 0, 0),
            ("{}", 1, 1, 1),
            (r#"{"a":1,"b":2}"#, 1, 2, 1),
            (r#"{"a":[{},{}]}"#, 3, 5, 3),
            (r#"{"a":"{[,\"{[,"}"#, 1, 1, 1),
            (r#"{"a":"\\",}"#, 1, 2, 1),
            ("]]}}[[", 0, 2, 2),
            (r#""{{{"#, 0, 0, 0),
        ] {
            assert_eq!(Shape::of(text.as_bytes()), Shape { objects, values, depth }, "{text}");
        }
    }
}
