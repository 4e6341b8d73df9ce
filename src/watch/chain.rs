//! The state of a chain of digest files in the watch table: its newest end, whether its silence was published, and the gaps
//! before starting digest files that nobody has judged yet.
//!
//! Digest files arrive in any order, so a later end wins, in whatever order they are written. A gap before a starting
//! digest file waits for an hour: the digest file before it may only be late.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use cloudhsm_alerts_core::{
    digest::{
        key::{Chain, DigestKey},
        verdict::Interval,
    },
    fingerprint::Fingerprint,
    text::{hex, one_line},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    deadline::KEPT,
    error::WatchError,
    item::Item,
    table::{WatchTable, set, version},
};
use crate::{
    clock::later,
    dynamodb::{RequestError, millis, seconds, string, time},
};

const KIND: &str = "chain";
/// Most gaps that wait to be judged.
const MAX_GAPS: usize = 20;
/// How long a gap waits for a digest file that is late.
pub const GAP_WAITS: SignedDuration = SignedDuration::from_hours(1);
/// How far in the future the end of a digest file may be. What is later is a wrong clock or an invented name, and would
/// hide that the chain is silent.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// A chain as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedChain {
    /// The newest digest file that arrived.
    pub newest: DigestKey,
    /// The end of the newest digest file when its silence was published.
    pub silent_since: Option<Timestamp>,
    /// Gaps before starting digest files, and when they were noticed.
    pub gaps: Vec<(Interval, Timestamp)>,
    /// Counts the writes.
    revision: u64,
}

/// A digest file that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Its place.
    pub key: DigestKey,
    /// The beginning of its period.
    pub start: Timestamp,
    /// Whether it names no previous one.
    pub starts: bool,
    /// Whether somebody else wrote it. It still arrived, but begins no chain.
    pub is_wrong: bool,
}

/// The sort key of a chain's item. It is bounded, whatever the names are.
pub fn id(chain: &Chain) -> String {
    let mut hash = Fingerprint::default();
    for part in [
        chain.bucket.as_str(),
        chain.prefix.as_deref().unwrap_or_default(),
        if chain.prefix.is_some() { "prefix" } else { "" },
        chain.organization.as_deref().unwrap_or_default(),
        &chain.account,
        &chain.region,
        &chain.trail,
        &chain.home_region,
        if chain.is_backfill { "backfill" } else { "" },
    ] {
        hash.add(part);
    }
    let region = one_line(&chain.region, 40);
    format!("{}/{region}/{}", chain.account, hex(&hash.finish()))
}

impl WatchedChain {
    /// The chain after a digest file arrived; `None`: nothing changes.
    pub fn after(
        known: Option<&WatchedChain>,
        arrival: &Arrival,
        now: Timestamp,
    ) -> Option<WatchedChain> {
        let ahead = now.checked_add(MAX_AHEAD).unwrap_or(Timestamp::MAX);
        if arrival.key.end > ahead {
            return None;
        }
        let Some(known) = known else {
            return (!arrival.is_wrong).then(|| WatchedChain {
                newest: arrival.key.clone(),
                silent_since: None,
                gaps: Vec::new(),
                revision: 0,
            });
        };
        let mut next = known.clone();
        if arrival.key.end > known.newest.end {
            if arrival.starts && arrival.start > known.newest.end && next.gaps.len() < MAX_GAPS {
                let gap = Interval {
                    from: known.newest.end,
                    to: arrival.start,
                };
                next.gaps.push((gap, now));
            }
            next.newest = arrival.key.clone();
            next.silent_since = None;
        } else if !arrival.is_wrong {
            next.gaps = known
                .gaps
                .iter()
                .flat_map(|(gap, noticed)| {
                    without(*gap, arrival.start, arrival.key.end).map(|gap| (gap, *noticed))
                })
                .collect();
        }
        (next != *known).then_some(next)
    }

    fn members(&self) -> BTreeMap<&'static str, AttributeValue> {
        let gaps = self.gaps.iter().map(|(gap, noticed)| {
            AttributeValue::L([gap.from, gap.to, *noticed].map(millis).to_vec())
        });
        let silent = self.silent_since.map_or(AttributeValue::Null(true), millis);
        BTreeMap::from([
            ("version", version()),
            ("bucket", string(&self.newest.chain.bucket)),
            ("newest_key", string(&self.newest.key())),
            ("newest_at", millis(self.newest.end)),
            ("silent_since", silent),
            ("gaps", AttributeValue::L(gaps.collect())),
            ("revision", AttributeValue::N(self.revision.to_string())),
            ("expires_at", seconds(later(self.newest.end, KEPT))),
        ])
    }
}

/// The parts of a gap that a period leaves.
fn without(gap: Interval, start: Timestamp, end: Timestamp) -> impl Iterator<Item = Interval> {
    let before = Interval {
        from: gap.from,
        to: gap.to.min(start),
    };
    let after = Interval {
        from: gap.from.max(end),
        to: gap.to,
    };
    let is_apart = end <= gap.from || start >= gap.to;
    let parts = match is_apart {
        true => vec![gap],
        false => vec![before, after],
    };
    parts.into_iter().filter(|part| part.from < part.to)
}

/// Reads an item.
fn read(item: &Item) -> Result<WatchedChain, WatchError> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let foreign = |found: &str| WatchError::Foreign {
        id: one_line(text("id").map_or("", String::as_str), 600),
        found: found.to_owned(),
    };
    if item.get("version") != Some(&version()) {
        return Err(foreign("its version is another one"));
    }
    parse(item).ok_or_else(|| foreign("a member of it cannot be read"))
}

fn parse(item: &Item) -> Option<WatchedChain> {
    let text = |name: &str| item.get(name)?.as_s().ok();
    let newest = DigestKey::parse(text("bucket")?, text("newest_key")?)?;
    if *text("id")? != id(&newest.chain) {
        return None;
    }
    let silent_since = match item.get("silent_since")? {
        AttributeValue::Null(_) => None,
        value => Some(time(value)?),
    };
    let mut gaps = Vec::new();
    for gap in item.get("gaps")?.as_l().ok()? {
        let [from, to, noticed] = gap.as_l().ok()?.as_slice() else {
            return None;
        };
        let gap = Interval {
            from: time(from)?,
            to: time(to)?,
        };
        gaps.push((gap, time(noticed)?));
    }
    Some(WatchedChain {
        newest,
        silent_since,
        gaps,
        revision: item.get("revision")?.as_n().ok()?.parse().ok()?,
    })
}

impl WatchTable {
    /// A chain; `None`: no digest file of it arrived yet.
    ///
    /// # Errors
    /// The request failed, or the item is not ours.
    pub async fn chain(&self, chain: &Chain) -> Result<Option<WatchedChain>, WatchError> {
        self.chain_item(chain).await?.as_ref().map(read).transpose()
    }

    async fn chain_item(&self, chain: &Chain) -> Result<Option<Item>, WatchError> {
        let page = self
            .query(KIND)
            .key_condition_expression("#kind = :kind AND #id = :id")
            .expression_attribute_names("#id", "id")
            .expression_attribute_values(":id", string(&id(chain)))
            .send()
            .await
            .map_err(|error| RequestError::of(&error))?;
        Ok(page.items().first().cloned())
    }

    /// All chains, and the number of items that this version cannot read.
    ///
    /// # Errors
    /// A request failed.
    pub async fn chains(&self) -> Result<(Vec<WatchedChain>, usize), WatchError> {
        let (mut chains, mut foreign) = (Vec::new(), 0);
        for item in self.all(KIND).await? {
            match read(&item) {
                Ok(chain) => chains.push(chain),
                Err(_) => foreign += 1,
            }
        }
        Ok((chains, foreign))
    }

    /// Notes that a digest file arrived.
    ///
    /// # Errors
    /// The request failed, or the item is not ours.
    pub async fn note_arrival(&self, arrival: &Arrival, now: Timestamp) -> Result<(), WatchError> {
        self.change_chain(&arrival.key.chain, |known| {
            WatchedChain::after(known, arrival, now)
        })
        .await
    }

    /// Notes what was published about a chain: its silence since its newest end, and gaps. If it has spoken meanwhile, its
    /// silence is not noted.
    ///
    /// # Errors
    /// The request failed, or the item is not ours.
    pub async fn note_published(
        &self,
        chain: &Chain,
        silent_since: Option<Timestamp>,
        gaps: &[Interval],
    ) -> Result<(), WatchError> {
        self.change_chain(chain, |known| {
            let mut next = known?.clone();
            if silent_since == Some(next.newest.end) {
                next.silent_since = silent_since;
            }
            next.gaps.retain(|(gap, _)| !gaps.contains(gap));
            (Some(&next) != known).then_some(next)
        })
        .await
    }

    /// Changes a chain, which is read first.
    async fn change_chain(
        &self,
        chain: &Chain,
        change: impl Fn(Option<&WatchedChain>) -> Option<WatchedChain>,
    ) -> Result<(), WatchError> {
        let seen = self.chain_item(chain).await?;
        self.write_merged(seen, |seen| {
            let known = seen.map(read).transpose()?;
            let Some(mut next) = change(known.as_ref()) else {
                return Ok(None);
            };
            next.revision = known.as_ref().map_or(1, |known| known.revision + 1);
            let (request, set) = set(self.update(KIND, &id(chain)), next.members());
            let request = request.update_expression(set);
            Ok(Some(match &known {
                None => request.condition_expression("attribute_not_exists(id)"),
                Some(known) => request
                    .condition_expression("#revision = :seen")
                    .expression_attribute_values(
                        ":seen",
                        AttributeValue::N(known.revision.to_string()),
                    ),
            }))
        })
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET: &str = "trail";

    fn at(hour: i64) -> Timestamp {
        let start: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        start + SignedDuration::from_hours(hour)
    }

    fn arrival(start: i64, end: i64) -> Arrival {
        let time = at(end).strftime("%Y%m%dT%H%M%SZ");
        let key = format!(
            "AWSLogs/111122223333/CloudTrail-Digest/us-west-2/2026/11/23/111122223333_CloudTrail-Digest_us-west-2_t_us-west-2_{time}.json.gz"
        );
        Arrival {
            key: DigestKey::parse(BUCKET, &key).expect("a digest file"),
            start: at(start),
            starts: false,
            is_wrong: false,
        }
    }

    fn starting(start: i64, end: i64) -> Arrival {
        Arrival {
            starts: true,
            ..arrival(start, end)
        }
    }

    fn chain(arrivals: &[Arrival]) -> Option<WatchedChain> {
        arrivals
            .iter()
            .fold(None, |known: Option<WatchedChain>, arrival| {
                WatchedChain::after(known.as_ref(), arrival, at(12)).or(known)
            })
    }

    #[test]
    fn the_newest_end_and_the_gaps_do_not_depend_on_the_order() {
        let all = [starting(0, 1), arrival(1, 2), starting(4, 5), arrival(2, 3)];
        let in_order = chain(&[
            all[0].clone(),
            all[1].clone(),
            all[3].clone(),
            all[2].clone(),
        ]);
        let late = chain(&all);
        let gaps = |chain: &Option<WatchedChain>| {
            let gaps = &chain.as_ref().expect("a chain").gaps;
            gaps.iter()
                .map(|(gap, _)| (gap.from, gap.to))
                .collect::<Vec<_>>()
        };
        assert_eq!(gaps(&in_order), [(at(3), at(4))]);
        assert_eq!(late, in_order);
        assert_eq!(late.expect("a chain").newest, all[2].key);
    }

    #[test]
    fn a_later_digest_file_ends_the_silence_and_an_invented_one_does_not() {
        let mut known = chain(&[starting(0, 1)]).expect("a chain");
        known.silent_since = Some(at(1));
        let future = arrival(13, 20);
        assert_eq!(WatchedChain::after(Some(&known), &future, at(12)), None);
        let next = WatchedChain::after(Some(&known), &arrival(1, 2), at(12)).expect("a change");
        assert_eq!((next.silent_since, next.newest.end), (None, at(2)));
        let invented = Arrival {
            is_wrong: true,
            ..arrival(1, 2)
        };
        assert_eq!(WatchedChain::after(None, &invented, at(12)), None);
    }

    #[test]
    fn an_item_is_read_as_it_was_written() {
        let mut written = chain(&[starting(0, 1), starting(3, 4)]).expect("a chain");
        written.silent_since = Some(at(4));
        let mut item: Item = written
            .members()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        item.insert("id".into(), string(&id(&written.newest.chain)));
        assert_eq!(read(&item), Ok(written));
        item.remove("gaps");
        assert!(matches!(read(&item), Err(WatchError::Foreign { .. })));
    }
}
