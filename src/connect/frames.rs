//! The frames of streams: a byte of flags, the length in four bytes, and the message. gRPC and
//! Connect have the same ones but for the flags.

use prost::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Bytes before each message.
pub(super) const PREFIX_BYTES: usize = 5;
/// Flag of a compressed message.
pub(super) const COMPRESSED: u8 = 1;
/// Flag of the last frame of a Connect stream.
pub(super) const END_STREAM: u8 = 2;

/// A frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The flags.
    pub(super) flags: u8,
    /// The message.
    pub(super) message: Bytes,
}

/// Splits the pieces of a body into frames.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    buffered: BytesMut,
}

impl Deframer {
    /// Adds a piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffered.extend_from_slice(piece);
    }

    /// Returns the announced length of the next message, if its prefix is complete.
    pub(super) fn announced(&self) -> Option<usize> {
        let [_, length @ ..] = self.buffered.first_chunk::<PREFIX_BYTES>()?;
        usize::try_from(u32::from_be_bytes(*length)).ok()
    }

    /// Takes the next frame, if it is complete.
    pub(super) fn take(&mut self) -> Option<Frame> {
        let length = self.announced()?;
        if self.buffered.len() - PREFIX_BYTES < length {
            return None;
        }
        let flags = self.buffered.get_u8();
        self.buffered.advance(PREFIX_BYTES - 1);
        Some(Frame { flags, message: self.buffered.split_to(length).freeze() })
    }

    /// Returns whether a frame has begun.
    pub(super) fn is_inside_frame(&self) -> bool {
        !self.buffered.is_empty()
    }
}

/// Appends a frame whose message is written by `write`.
pub(super) fn frame<E>(
    bytes: &mut BytesMut,
    flags: u8,
    write: impl FnOnce(&mut BytesMut) -> Result<(), E>,
) -> Result<(), E> {
    let begin = bytes.len();
    bytes.put_u8(flags);
    bytes.put_u32(0);
    write(bytes)?;
    let length = bytes.len() - begin - PREFIX_BYTES;
    let length = u32::try_from(length).expect("messages are bounded far below");
    bytes[begin + 1..begin + PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn frames_are_found_through_all_piece_lengths() {
        let lengths = [0, 1, 300, 0, 70_000];
        let mut stream = BytesMut::new();
        for (flags, length) in (0..).zip(lengths) {
            let Ok(()) = frame::<Infallible>(&mut stream, flags, |bytes| {
                bytes.put_bytes(7, length);
                Ok(())
            });
        }
        for piece_bytes in [1, 2, 3, 4, 5, 6, 311, 16_384, stream.len()] {
            let (mut deframer, mut found) = (Deframer::default(), Vec::new());
            for piece in stream.chunks(piece_bytes) {
                deframer.push(piece);
                while let Some(Frame { flags, message }) = deframer.take() {
                    assert!(message.iter().all(|byte| *byte == 7));
                    found.push((flags, message.len()));
                }
            }
            assert_eq!(found, (0..).zip(lengths).collect::<Vec<_>>(), "by {piece_bytes}");
            assert!(!deframer.is_inside_frame());
        }
    }
}
