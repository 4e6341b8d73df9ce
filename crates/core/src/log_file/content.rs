//! The content of an object, as a digest file names it: the SHA-256 hash of all uncompressed bytes, and how they are
//! stored.
//!
//! [`ContentReader`] reads a file only for this. [`LogFile::hashing`](super::LogFile::hashing) computes the same while
//! the records are read. Whether a hash is the expected one is decided in [`crate::digest`].
//!
//! ring's SHA-256 and not that of the crate `sha2`, which the fingerprints use: both reach the speed of the processor's
//! SHA instructions, but `sha2` only where it is optimized for speed, and programs here are optimized for size.

use ring::digest::{Context, SHA256};

use super::{
    error::LogFileError,
    inflate::{HEADROOM, Inflate, Piece},
};

/// The SHA-256 hash of an object's uncompressed content.
pub type Sha256 = [u8; 32];

/// The content of an object that was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// The hash of all uncompressed bytes, those of every gzip member.
    pub sha256: Sha256,
    /// How they are stored.
    pub stored: Stored,
}

/// How the content of an object is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As it is, not compressed.
    Uncompressed,
    /// As one gzip member, which is how CloudTrail stores it.
    Gzip,
    /// As gzip, and further bytes follow the first member: another member, or zeros.
    GzipAndMore,
}

/// SHA-256 over the pieces of a file.
pub(super) struct Hash(Context);

impl Hash {
    pub(super) fn new() -> Hash {
        Hash(Context::new(&SHA256))
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash so far.
    pub(super) fn value(&self) -> Sha256 {
        let mut value = [0; 32];
        value.copy_from_slice(self.0.clone().finish().as_ref());
        value
    }
}

/// The SHA-256 hash of bytes.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    let mut hash = Hash::new();
    hash.add(bytes);
    hash.value()
}

/// Reads a file for its hash, without looking at its records.
pub struct ContentReader {
    inflate: Inflate,
    hash: Hash,
}

impl ContentReader {
    /// Reads a file of at most `max_uncompressed` bytes.
    pub fn new(max_uncompressed: u64) -> ContentReader {
        ContentReader {
            inflate: Inflate::new(max_uncompressed),
            hash: Hash::new(),
        }
    }

    /// Reads the next bytes of the object.
    ///
    /// # Errors
    /// The rest of the file cannot be read. The reader must not be used after an error.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), ContentError> {
        let hash = &mut self.hash;
        let pushed = self.inflate.push(chunk, &mut |piece| {
            hash.add(bytes_of(&piece));
            Ok(())
        });
        pushed.map_err(|error| self.error(error))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The gzip stream is incomplete.
    pub fn finish(mut self) -> Result<Content, ContentError> {
        let hash = &mut self.hash;
        let finished = self.inflate.finish(&mut |piece| {
            hash.add(bytes_of(&piece));
            Ok(())
        });
        match finished {
            Ok(()) => Ok(Content {
                sha256: self.hash.value(),
                stored: self.inflate.stored(),
            }),
            Err(error) => Err(self.error(error)),
        }
    }

    fn error(&self, error: LogFileError) -> ContentError {
        ContentError {
            error,
            is_after_member: self.inflate.stored() == Stored::GzipAndMore,
        }
    }
}

/// Why the content of an object could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentError {
    /// The error.
    pub error: LogFileError,
    /// Whether a complete gzip member precedes the error.
    pub is_after_member: bool,
}

/// The content of a small object with its hash.
///
/// # Errors
/// The gzip stream is damaged, or the content is larger than `limit`.
pub fn inflate_all(bytes: &[u8], limit: u64) -> Result<(Vec<u8>, Content), ContentError> {
    let mut inflate = Inflate::new(limit);
    let mut whole = Vec::new();
    let mut sink = |piece: Piece<&mut Vec<u8>>| {
        whole.extend_from_slice(bytes_of(&piece));
        Ok(())
    };
    let read = inflate
        .push(bytes, &mut sink)
        .and_then(|()| inflate.finish(&mut sink));
    let stored = inflate.stored();
    match read {
        Ok(()) => {
            let sha256 = sha256(&whole);
            Ok((whole, Content { sha256, stored }))
        }
        Err(error) => Err(ContentError {
            error,
            is_after_member: stored == Stored::GzipAndMore,
        }),
    }
}

/// The bytes of a piece.
pub(super) fn bytes_of<'p>(piece: &'p Piece<&mut Vec<u8>>) -> &'p [u8] {
    &piece.window[HEADROOM..][..piece.length]
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::log_file::{LogFile, with_read_ahead_of};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(object: &[u8], chunk: usize) -> Result<Content, ContentError> {
        let mut reader = ContentReader::new(1 << 20);
        for piece in object.chunks(chunk) {
            reader.push(piece)?;
        }
        reader.finish()
    }

    /// What a log file's own reader says, with the same chunks.
    fn read_records(object: &[u8], chunk: usize) -> Option<Content> {
        let mut file = LogFile::new(1 << 20).hashing();
        for piece in object.chunks(chunk) {
            assert_eq!(file.content(), None);
            if file.push(piece, &mut |_| {}).is_err() {
                return file.content();
            }
        }
        let _ = file.finish(&mut |_| {});
        file.content()
    }

    #[test]
    fn the_same_hash_for_every_way_to_store_and_read_it() {
        let text = br#"{"Records":[{"eventName":"a"},{"eventName":"b"}]}"#;
        let packed = gzip(text);
        let zeros = [&packed[..], &[0; 512]].concat();
        let members = [gzip(&text[..20]), gzip(&text[20..])].concat();
        let empty_member = [&packed[..], &gzip(b"")].concat();
        for (object, stored) in [
            (text.to_vec(), Stored::Uncompressed),
            (packed, Stored::Gzip),
            (zeros, Stored::GzipAndMore),
            (members, Stored::GzipAndMore),
            (empty_member, Stored::GzipAndMore),
        ] {
            let expected = Content {
                sha256: sha256(text),
                stored,
            };
            for chunk in [1, 2, 7, 1000] {
                assert_eq!(read(&object, chunk), Ok(expected));
                assert_eq!(read_records(&object, chunk), Some(expected), "{stored:?}");
            }
            let (whole, content) = inflate_all(&object, 1 << 20).unwrap();
            assert_eq!((whole, content), (text.to_vec(), expected));
        }
        assert_eq!(
            crate::text::hex(&sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn no_hash_of_a_file_that_is_not_read_to_its_end() {
        let text = br#"{"Records":[{"eventName":"a"}]}"#;
        let packed = gzip(text);
        let cut = packed[..packed.len() - 8].to_vec();
        let trailing = [&packed[..], b"more"].concat();
        let broken_member = [&packed[..], &packed[..12]].concat();
        for (object, is_after_member) in [(cut, false), (trailing, true), (broken_member, true)] {
            for chunk in [1, 1000] {
                assert_eq!(
                    read(&object, chunk).unwrap_err().is_after_member,
                    is_after_member
                );
                assert_eq!(read_records(&object, chunk), None);
            }
            assert_eq!(
                inflate_all(&object, 1 << 20).unwrap_err().is_after_member,
                is_after_member
            );
        }
        // Its hash is known, but nobody has seen the rest of it.
        assert_eq!(read_records(br#"{"Records":[1]} x"#, 1000), None);
        assert!(matches!(
            inflate_all(&gzip(text), 10).unwrap_err().error,
            LogFileError::TooLarge { limit: 10 }
        ));
    }

    #[test]
    fn a_second_thread_makes_no_difference() {
        let records = vec![r#"{"eventName":"a"}"#; 40_000].join(",");
        let text = format!(r#"{{"Records":[{records}]}}"#);
        let object = gzip(text.as_bytes());
        let expected = Content {
            sha256: sha256(text.as_bytes()),
            stored: Stored::Gzip,
        };
        for is_idle in [false, true] {
            for (is_wanted, expected) in [(true, Some(expected)), (false, None)] {
                let content =
                    with_read_ahead_of(99, &mut &object[..], &|_| {}, &|| is_idle, |file| {
                        let mut log_file = LogFile::new(1 << 24).hashing();
                        let read = log_file.read(file, &mut |_| {}, &mut || is_wanted);
                        assert!(read.is_ok());
                        log_file.content()
                    });
                assert_eq!(content, expected, "{is_idle}");
            }
        }
    }

    #[test]
    fn without_hashing_there_is_no_hash() {
        let mut file = LogFile::new(1 << 20);
        file.push(br#"{"Records":[]}"#, &mut |_| {}).unwrap();
        file.finish(&mut |_| {}).unwrap();
        assert_eq!(file.content(), None);
    }
}
