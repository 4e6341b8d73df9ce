//! Fingerprints: hashes over several texts, by which calls are compared and stored.
//!
//! The ledger stores them, so every version of this program must compute the same fingerprint.

use sha2::{Digest, Sha256};

/// SHA-256 over a sequence of texts. Each is preceded by its length, so `ab`, `c` and `a`, `bc` differ.
#[derive(Clone, Default)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Adds one text.
    pub fn add(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text);
    }

    /// The first 128 bits of the hash. Finding other texts with the same bits is infeasible.
    pub fn finish(self) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(&self.0.finalize()[..16]);
        half
    }
}
