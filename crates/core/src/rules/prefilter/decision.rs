//! The decision of the prefilter for a call: whether its records are parsed.

use std::sync::Arc;

use record_scan::lowercase_ascii;

use super::required::{RecordText, Required};

/// Whether records of a call are parsed.
#[derive(Debug, Clone, Default)]
pub(super) enum Decision {
    /// No rule can match.
    #[default]
    Skip,
    /// A rule can match.
    Parse,
    /// A rule can match a record that meets all requirements of one of these lists.
    ParseIf(Arc<[Vec<Arc<Required>>]>),
}

impl Decision {
    /// Whether this record is parsed. `lower` is a buffer for the record in lower case.
    pub(super) fn includes(&self, record: &[u8], lower: &mut Vec<u8>) -> bool {
        match self {
            Decision::Skip => false,
            Decision::Parse => true,
            Decision::ParseIf(alternatives) => {
                if !lowercase_ascii(record, lower) {
                    return true;
                }
                let text = RecordText::of(record, lower);
                alternatives
                    .iter()
                    .any(|required| required.iter().all(|required| required.is_met_by(&text)))
            }
        }
    }
}
