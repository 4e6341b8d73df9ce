//! A fingerprint: a hash over several texts, by which calls are compared and stored.
//!
//! It is the same in every version of this program and on every machine, because the ledger's table keeps it.

use sha2::{Digest, Sha256};

/// A fingerprint on its way: SHA-256 over the texts so far, each behind its length, which keeps two of them apart.
#[derive(Clone, Default)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Adds one text.
    pub fn add(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text);
    }

    /// The first 128 bits of the hash, too many for anyone to find other texts with the same.
    pub fn finish(self) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(&self.0.finalize()[..16]);
        half
    }
}
