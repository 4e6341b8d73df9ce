//! The period that log files cover, by their names.
//!
//! Records that no rule can match are not parsed, so their times are not known. CloudTrail's file names have the
//! account, the region and the time of delivery, and are enough to see where log files are missing.
//! Source: AWS CloudTrail User Guide, "CloudTrail log file name format".

use std::collections::BTreeMap;

use cloudhsm_alerts_core::text::one_line;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Serialize;

/// A gap is at least this long, in minutes.
const MIN_GAP: i64 = 60;
/// A gap is at least this many times the median interval between two files. Quiet regions have few files.
const GAP_FACTOR: i64 = 6;
/// With fewer files, there is no median to compare with.
const MIN_FILES: usize = 6;
/// Maximum number of gaps shown.
const MAX_GAPS: usize = 20;
/// Maximum number of accounts and regions.
const MAX_PLACES: usize = 10_000;

/// When files were delivered, in minutes since 1970, by account and region.
#[derive(Default)]
pub(super) struct Deliveries {
    times: BTreeMap<(String, String), Vec<i64>>,
    /// Files with another name.
    unnamed: u64,
}

/// The period that is covered.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Coverage {
    #[serde(serialize_with = "super::format::json_optional")]
    pub first: Option<Timestamp>,
    #[serde(serialize_with = "super::format::json_optional")]
    pub last: Option<Timestamp>,
    pub places: Vec<Place>,
    /// Files whose names have no time.
    pub files_without_time: u64,
    /// The longest gaps, longest first.
    pub gaps: Vec<Gap>,
    pub gaps_not_shown: u64,
}

/// The files of one account and region.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Place {
    pub account: String,
    pub region: String,
    pub files: u64,
    #[serde(serialize_with = "super::format::json_time")]
    pub first: Timestamp,
    #[serde(serialize_with = "super::format::json_time")]
    pub last: Timestamp,
}

/// A time without log files.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Gap {
    pub account: String,
    pub region: String,
    #[serde(serialize_with = "super::format::json_time")]
    pub from: Timestamp,
    #[serde(serialize_with = "super::format::json_time")]
    pub to: Timestamp,
    pub minutes: i64,
}

impl Deliveries {
    /// Adds the name, path or key of a log file.
    pub(super) fn add(&mut self, name: &str) {
        let Some((place, minute)) = parsed(name) else {
            self.unnamed += 1;
            return;
        };
        self.times.entry(place).or_default().push(minute);
        if self.times.len() > MAX_PLACES {
            self.times.pop_last();
        }
    }

    pub(super) fn coverage(mut self) -> Coverage {
        let mut places = Vec::new();
        let mut gaps = Vec::new();
        for ((account, region), minutes) in &mut self.times {
            minutes.sort_unstable();
            let files = minutes.len() as u64;
            minutes.dedup();
            let (Some(first), Some(last)) = (minutes.first(), minutes.last()) else {
                continue;
            };
            places.push(Place {
                account: account.clone(),
                region: region.clone(),
                files,
                first: at(*first),
                last: at(*last),
            });
            let mut intervals: Vec<i64> = minutes.windows(2).map(|two| two[1] - two[0]).collect();
            intervals.sort_unstable();
            let median = intervals.get(intervals.len() / 2).copied().unwrap_or(0);
            if minutes.len() < MIN_FILES {
                continue;
            }
            gaps.extend(
                minutes
                    .windows(2)
                    .filter(|two| two[1] - two[0] >= MIN_GAP.max(median * GAP_FACTOR))
                    .map(|two| Gap {
                        account: account.clone(),
                        region: region.clone(),
                        from: at(two[0]),
                        to: at(two[1]),
                        minutes: two[1] - two[0],
                    }),
            );
        }
        gaps.sort_by(|a, b| {
            (-a.minutes, a.from, &a.account, &a.region)
                .cmp(&(-b.minutes, b.from, &b.account, &b.region))
        });
        let gaps_not_shown = gaps.len().saturating_sub(MAX_GAPS) as u64;
        gaps.truncate(MAX_GAPS);
        Coverage {
            first: places.iter().map(|place| place.first).min(),
            last: places.iter().map(|place| place.last).max(),
            places,
            files_without_time: self.unnamed,
            gaps,
            gaps_not_shown,
        }
    }
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).unwrap_or_default()
}

/// Account, region and minute of `111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz`.
fn parsed(name: &str) -> Option<((String, String), i64)> {
    let name = name.rsplit(['/', '\\']).next()?;
    let mut parts = name.split('_');
    let (account, kind, region, time) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if !kind.starts_with("CloudTrail") {
        return None;
    }
    let time = DateTime::strptime("%Y%m%dT%H%M", time.strip_suffix('Z')?).ok()?;
    let second = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    Some(((one_line(account, 64), one_line(region, 64)), second / 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_long_for_its_account_and_region() {
        let mut deliveries = Deliveries::default();
        // Every five minutes, but for two hours; and once a day.
        for minute in (0..300)
            .step_by(5)
            .filter(|minute| !(100..220).contains(minute))
        {
            deliveries.add(&format!(
                "logs/111122223333_CloudTrail_us-west-2_20261123T{:02}{:02}Z_{minute}.json.gz",
                minute / 60,
                minute % 60
            ));
        }
        for day in 10..20 {
            deliveries.add(&format!(
                "111122223333_CloudTrail_eu-west-1_202611{day}T0300Z_x.json.gz"
            ));
        }
        deliveries.add("cloudhsm-calls.json");
        let coverage = deliveries.coverage();
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(
            coverage.gaps,
            [Gap {
                account: "111122223333".into(),
                region: "us-west-2".into(),
                from: time("2026-11-23T01:35:00Z"),
                to: time("2026-11-23T03:40:00Z"),
                minutes: 125,
            }]
        );
        assert_eq!(coverage.files_without_time, 1);
        let places: Vec<_> = coverage
            .places
            .iter()
            .map(|place| (place.region.as_str(), place.files))
            .collect();
        assert_eq!(places, [("eu-west-1", 10), ("us-west-2", 36)]);
        assert_eq!(coverage.first, Some(time("2026-11-10T03:00:00Z")));
        assert_eq!(coverage.last, Some(time("2026-11-23T04:55:00Z")));
    }
}
