//! The checksums that S3 keeps beside an object, under the interface by which `aws-smithy-checksums` asks the
//! crate `crc-fast` for them.
//!
//! That crate knows some hundred algorithms, and its tables for them stay in a program that uses three. Here each
//! of the three is computed by a crate of its own, with the processor's instructions where it has them. What the
//! SDK does not call does not exist here: a version of it that calls more does not compile.
//! Source: Amazon S3 User Guide, "Checking object integrity"; the catalogue of parametrised CRC algorithms.

/// Which checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrcAlgorithm {
    /// CRC-32/ISO-HDLC, which S3 calls `CRC32`.
    Crc32IsoHdlc,
    /// CRC-32/ISCSI, which S3 calls `CRC32C`.
    Crc32Iscsi,
    /// CRC-64/NVME, which S3 calls `CRC64NVME` and computes of every object that is put without another.
    Crc64Nvme,
}

/// A checksum in the making.
#[derive(Debug)]
pub struct Digest(State);

#[derive(Debug)]
enum State {
    Crc32(crc32fast::Hasher),
    Crc32c(u32),
    Crc64Nvme(Crc64),
}

/// The hasher, which cannot be printed.
struct Crc64(crc64fast_nvme::Digest);

impl std::fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Crc64")
    }
}

impl Digest {
    /// Of no bytes yet.
    pub fn new(algorithm: CrcAlgorithm) -> Digest {
        Digest(match algorithm {
            CrcAlgorithm::Crc32IsoHdlc => State::Crc32(crc32fast::Hasher::new()),
            CrcAlgorithm::Crc32Iscsi => State::Crc32c(0),
            CrcAlgorithm::Crc64Nvme => State::Crc64Nvme(Crc64(crc64fast_nvme::Digest::new())),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc32(hasher) => hasher.update(bytes),
            State::Crc32c(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            State::Crc64Nvme(Crc64(digest)) => digest.write(bytes),
        }
    }

    /// The checksum of all bytes taken; of 32 bits, where the algorithm's has so many.
    pub fn finalize(&self) -> u64 {
        match &self.0 {
            State::Crc32(hasher) => u64::from(hasher.clone().finalize()),
            State::Crc32c(crc) => u64::from(*crc),
            State::Crc64Nvme(Crc64(digest)) => digest.sum64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The checksum, and what the catalogue says of it: width, polynomial (reflected), value for "123456789".
    const ALGORITHMS: [(CrcAlgorithm, u32, u64, u64); 3] = [
        (CrcAlgorithm::Crc32IsoHdlc, 32, 0xedb8_8320, 0xcbf4_3926),
        (CrcAlgorithm::Crc32Iscsi, 32, 0x82f6_3b78, 0xe306_9283),
        (
            CrcAlgorithm::Crc64Nvme,
            64,
            0x9a6c_9329_ac4b_c9b5,
            0xae8b_1486_0a79_9888,
        ),
    ];

    /// The definition, bit by bit.
    fn defined(width: u32, polynomial: u64, bytes: &[u8]) -> u64 {
        let ones = u64::MAX >> (64 - width);
        let mut crc = ones;
        for byte in bytes {
            crc ^= u64::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ if crc & 1 == 1 { polynomial } else { 0 };
            }
        }
        crc ^ ones
    }

    #[test]
    fn check_values_of_the_catalogue() {
        for (algorithm, width, polynomial, check) in ALGORITHMS {
            let mut digest = Digest::new(algorithm);
            assert_eq!(digest.finalize(), 0, "{algorithm:?} of nothing");
            digest.update(b"123456789");
            assert_eq!(digest.finalize(), check, "{algorithm:?}");
            assert_eq!(defined(width, polynomial, b"123456789"), check);
        }
    }

    proptest! {
        /// Long enough for the ways that take many bytes at once, and cut anywhere.
        #[test]
        fn as_defined_however_the_bytes_come(
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
            cuts in prop::collection::vec(0usize..3000, 0..4),
        ) {
            for (algorithm, width, polynomial, _) in ALGORITHMS {
                let mut digest = Digest::new(algorithm);
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
                cuts.sort_unstable();
                let mut at = 0;
                for cut in cuts.into_iter().chain([bytes.len()]) {
                    digest.update(&bytes[at..cut]);
                    at = cut;
                }
                prop_assert_eq!(digest.finalize(), defined(width, polynomial, &bytes));
            }
        }
    }
}
