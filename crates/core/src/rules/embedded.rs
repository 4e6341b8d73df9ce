//! The built-in rules as the build script writes them into the program: compressed JSON, rules and rule texts
//! apart.

use std::io::{self, Read};

use serde::de::DeserializeOwned;

/// Pairs of a file name and the rule in it (`rsigma_ir::IrRule`), without the texts.
pub(super) const RULES: Compressed = Compressed {
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/builtin_rules.json.zlib")),
    length: include!(concat!(env!("OUT_DIR"), "/builtin_rules.length")),
};

/// Description, response and deadline of each rule, in the order of [`RULES`].
pub(super) const TEXTS: Compressed = Compressed {
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/builtin_texts.json.zlib")),
    length: include!(concat!(env!("OUT_DIR"), "/builtin_texts.length")),
};

/// Consecutive JSON values, compressed by zlib, and their uncompressed length.
pub(super) struct Compressed {
    bytes: &'static [u8],
    length: usize,
}

impl Compressed {
    /// Passes the values to `sink` one at a time, because a start takes longer the more memory it touches.
    ///
    /// # Errors
    /// The data is not what the build script writes.
    #[expect(
        clippy::disallowed_types,
        reason = "the build script wrote the data, and its size is known"
    )]
    pub(super) fn for_each<T: DeserializeOwned>(&self, mut sink: impl FnMut(T)) -> io::Result<()> {
        let mut json = String::with_capacity(self.length);
        flate2::read::ZlibDecoder::new(self.bytes).read_to_string(&mut json)?;
        for value in serde_json::Deserializer::from_str(&json).into_iter() {
            sink(value?);
        }
        Ok(())
    }
}
