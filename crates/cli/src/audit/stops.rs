//! Who stopped a trail: the call before a gap, from the log files that the last digest file before it lists.
//!
//! CloudTrail records `StopLogging` and `DeleteTrail` before it stops, and one final digest file lists the log file with
//! the record. What is not found explains nothing.

use cloudhsm_alerts_core::{
    actor::Actor,
    digest::{
        document::read,
        finding::Stop,
        key::{Chain, DigestKey},
        place::Placement,
    },
    log_file::{DEFAULT_MAX_UNCOMPRESSED, Entry, LogFile},
    record::{Outcome, Record},
};
use jiff::Timestamp;

use super::source::Source;

/// Number of gaps and of log files for each that are looked into.
const MAX_GAPS: usize = 20;
const MAX_FILES: usize = 200;

/// The calls that stopped the trail before gaps that begin at these times.
pub(super) async fn find(source: &Source, chain: &Chain, gaps: &[Timestamp]) -> Vec<Stop> {
    let mut stops = Vec::new();
    for end in gaps.iter().take(MAX_GAPS) {
        let key = DigestKey {
            chain: chain.clone(),
            end: *end,
        };
        let Ok(object) = source.digest(&chain.bucket, &key.key()).await else {
            continue;
        };
        let Ok(document) = read(&object.bytes) else {
            continue;
        };
        let placement = Placement::of(&key, &document.digest);
        for file in document.digest.log_files.iter().take(MAX_FILES) {
            let (bucket, key) = placement.here(chain, &file.bucket, &file.key);
            if bucket != chain.bucket {
                continue;
            }
            let mut log_file = LogFile::new(DEFAULT_MAX_UNCOMPRESSED);
            let mut sink = |entry: Entry| stops.extend(entry.ok().and_then(|of| stop(&of, chain)));
            let read = source
                .log_file(&bucket, &key, &mut |chunk| {
                    log_file.push(chunk, &mut sink).is_ok()
                })
                .await;
            if read.is_ok() {
                // Records before an error have been seen.
                let _ = log_file.finish(&mut sink);
            }
        }
    }
    stops
}

/// The call in a record, if it stopped this trail.
fn stop(record: &Record, chain: &Chain) -> Option<Stop> {
    let name = record.event_name();
    let is_stop = record.event_source() == "cloudtrail.amazonaws.com"
        && matches!(name, "StopLogging" | "DeleteTrail")
        && record.outcome() == Outcome::Success;
    if !is_stop {
        return None;
    }
    // A name or an ARN.
    let trail = record.scalar("requestParameters.name").unwrap_or_default();
    let is_this = trail == chain.trail || trail.ends_with(&format!("/{}", chain.trail));
    Some(Stop {
        time: record.event_time()?,
        event_name: name.to_owned(),
        actor: Actor::of(record).short,
    })
    .filter(|_| is_this)
}
