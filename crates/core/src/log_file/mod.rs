//! CloudTrail log files: bytes of one S3 object in, records out.
//!
//! [`LogFile`] reads a file while its bytes arrive. It inflates them (`inflate.rs`), finds the elements of
//! `Records` (`split.rs`, and [`record_scan`] for elements that need not be parsed), and parses them as
//! [`crate::record::Record`]s. With [`with_read_ahead`], a second thread inflates. Memory does not grow with the
//! size of the file. Where the bytes come from and what the records mean is decided elsewhere.

mod content;
mod error;
mod form;
mod inflate;
mod page;
mod read_ahead;
mod reader;
mod split;

pub use content::{Content, ContentError, ContentReader, Sha256, Stored, inflate_all, sha256};
pub use error::{Incomplete, LogFileError, Unreadable};
#[cfg(test)]
pub(crate) use read_ahead::with_read_ahead_of;
pub use read_ahead::{ReadAhead, ReadError, with_read_ahead};
pub use reader::{DEFAULT_MAX_UNCOMPRESSED, Entry, LogFile};

#[cfg(test)]
mod tests;

#[cfg(test)]
mod form_tests;
