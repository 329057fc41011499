//! The texts of a queue as they are stored: of each its expiry, its length, and its bytes.

use std::collections::VecDeque;

/// The texts of a queue, the oldest first, each behind the milliseconds at which it expires.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Texts(VecDeque<(i64, String)>);

impl Texts {
    /// Decodes texts, without those that have expired. Damaged bytes end the queue.
    pub(super) fn decode(mut bytes: &[u8], now: i64) -> Self {
        let mut texts = VecDeque::new();
        while let Some((till, text, rest)) = next(bytes) {
            if till > now {
                texts.push_back((till, text));
            }
            bytes = rest;
        }
        Self(texts)
    }

    /// Encodes the texts.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (till, text) in &self.0 {
            bytes.extend(till.to_le_bytes());
            bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    /// Returns the number of texts.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends a text.
    pub(super) fn push(&mut self, till: i64, text: String) {
        self.0.push_back((till, text));
    }

    /// Removes and returns the oldest text.
    pub(super) fn pop(&mut self) -> Option<String> {
        self.0.pop_front().map(|(_, text)| text)
    }

    /// Returns the milliseconds at which the last text expires; `None` if there is none.
    pub(super) fn last_till(&self) -> Option<i64> {
        self.0.iter().map(|(till, _)| *till).max()
    }
}

fn next(bytes: &[u8]) -> Option<(i64, String, &[u8])> {
    let (till, rest) = bytes.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    Some((i64::from_le_bytes(*till), String::from_utf8(text.to_vec()).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_golden_bytes_and_expire_one_by_one() {
        let mut texts = Texts::default();
        assert_eq!(texts.last_till(), None);
        texts.push(0x0102, "ab".to_owned());
        texts.push(7, String::new());
        texts.push(0x0203, "日".to_owned());
        let bytes = texts.encode();
        let golden = b"\x02\x01\0\0\0\0\0\0\x02\0\0\0ab\x07\0\0\0\0\0\0\0\0\0\0\0\
            \x03\x02\0\0\0\0\0\0\x03\0\0\0\xe6\x97\xa5";
        assert_eq!(bytes, golden);
        assert_eq!((texts.len(), texts.last_till()), (3, Some(0x0203)));
        assert_eq!(Texts::decode(&bytes, 6), texts);
        let mut later = Texts::decode(&bytes, 7);
        assert_eq!(later.len(), 2);
        assert_eq!(later.pop().as_deref(), Some("ab"));
        assert_eq!(later.pop().as_deref(), Some("日"));
        assert_eq!(later.pop(), None);
        for cut in 0..bytes.len() {
            assert!(Texts::decode(&bytes[..cut], 0).len() < 3, "{cut} bytes");
        }
    }
}
