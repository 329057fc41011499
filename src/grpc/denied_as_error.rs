//! The request metadata by which a caller requests denials as errors.

use tonic::metadata::MetadataMap;

use super::fields::Invalid;

/// The key of the metadata, which is also the field that an error names.
const KEY: &str = "imquota-deny-as-error";

/// Returns whether a request with that metadata requests denials as errors. Any value but the
/// documented spellings is an error, and so are two values that differ.
pub fn denied_as_error(metadata: &MetadataMap) -> Result<bool, Invalid> {
    let mut requested = None;
    for value in metadata.get_all(KEY) {
        let value = match value.as_bytes() {
            b"1" => true,
            b"0" => false,
            text if text.eq_ignore_ascii_case(b"true") => true,
            text if text.eq_ignore_ascii_case(b"false") => false,
            _ => return Err(Invalid::field(KEY, "must be true, 1, false or 0")),
        };
        if requested.replace(value).is_some_and(|before| before != value) {
            return Err(Invalid::field(KEY, "must not be given twice with different values"));
        }
    }
    Ok(requested.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documented_spellings_are_accepted() {
        for (values, expected) in [
            (&[][..], Some(false)),
            (&["1"], Some(true)),
            (&["true"], Some(true)),
            (&["True"], Some(true)),
            (&["TRUE"], Some(true)),
            (&["0"], Some(false)),
            (&["false"], Some(false)),
            (&["1", "true"], Some(true)),
            (&["1", "0"], None),
            (&[""], None),
            (&["yes"], None),
            (&["2"], None),
            (&["tru"], None),
            (&["1, 1"], None),
        ] {
            let mut metadata = MetadataMap::new();
            for value in values {
                metadata.append(KEY, value.parse().expect("ASCII"));
            }
            let requested = denied_as_error(&metadata);
            assert_eq!(requested.as_ref().ok().copied(), expected, "{values:?}");
            if let Err(invalid) = requested {
                assert_eq!(invalid.violations[0].field, "imquota-deny-as-error");
            }
        }
    }
}
