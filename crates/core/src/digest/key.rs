//! The key of a digest file: which chain it belongs to, and the end of its hour.
//!
//! A chain is the sequence of digest files of one trail for one account and region. Every region of a multi-region
//! trail has its own, and so has every member account of an organization's trail. Backfill digest files list log files
//! that the hour's digest file missed; they are a chain beside it.
//!
//! A key says where an object lies, and is no evidence: anyone who can write to the bucket chooses it.

use std::fmt;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::text::one_line;

/// The name of the folder of digest files.
const FOLDER: &str = "CloudTrail-Digest";
/// How times are written in names.
const TIME: &str = "%Y%m%dT%H%M%SZ";
const SUFFIX: &str = ".json.gz";
const BACKFILL: &str = "_backfill";

/// A chain of digest files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chain {
    /// The bucket that they lie in.
    pub bucket: String,
    /// What precedes `AWSLogs/` in their keys, without the slash at its end.
    pub prefix: Option<String>,
    /// The organization, if its ID is part of the keys.
    pub organization: Option<String>,
    /// The account whose calls are recorded.
    pub account: String,
    /// The region whose calls are recorded.
    pub region: String,
    /// The name of the trail.
    pub trail: String,
    /// The region in which the trail was created.
    pub home_region: String,
    /// Whether they are backfill digest files.
    pub is_backfill: bool,
}

/// The place of a digest file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DigestKey {
    /// Its chain.
    pub chain: Chain,
    /// The end of the period whose log files it lists.
    pub end: Timestamp,
}

impl DigestKey {
    /// The place that a bucket and a key name. `None`: this is not the key of a digest file.
    pub fn parse(bucket: &str, key: &str) -> Option<DigestKey> {
        let (folder, name) = key.rsplit_once('/')?;
        // From the end, because a prefix is free text: [prefix/]AWSLogs/[o-…/]account/CloudTrail-Digest/region/Y/M/D
        let mut parts = folder.rsplit('/');
        let date: [&str; 3] = [parts.next()?, parts.next()?, parts.next()?];
        let region = parts.next()?;
        let is_digest = parts.next()? == FOLDER;
        let account = parts.next()?;
        let (root, organization) = match parts.next()? {
            part if is_organization(part) => (parts.next()?, Some(part)),
            part => (part, None),
        };
        let before: Vec<&str> = parts.collect();
        let prefix = before.into_iter().rev().collect::<Vec<_>>().join("/");
        let is_number = |part: &&str| !part.is_empty() && is_digits(part);
        if !is_digest || root != "AWSLogs" || !is_account(account) || !date.iter().all(is_number) {
            return None;
        }
        let name = name.strip_suffix(SUFFIX)?;
        let (name, is_backfill) = match name.strip_suffix(BACKFILL) {
            Some(name) => (name, true),
            None => (name, false),
        };
        // account_CloudTrail-Digest_region_trail_home_end. The name of the trail may contain the separator.
        let name = name
            .strip_prefix(account)?
            .strip_prefix('_')?
            .strip_prefix(FOLDER)?
            .strip_prefix('_')?
            .strip_prefix(region)?
            .strip_prefix('_')?;
        let (name, end) = name.rsplit_once('_')?;
        let (trail, home_region) = name.rsplit_once('_')?;
        if trail.is_empty() || !is_region(home_region) || !is_region(region) {
            return None;
        }
        Some(DigestKey {
            chain: Chain {
                bucket: bucket.to_owned(),
                prefix: (!prefix.is_empty() || key.starts_with('/')).then_some(prefix),
                organization: organization.map(str::to_owned),
                account: account.to_owned(),
                region: region.to_owned(),
                trail: trail.to_owned(),
                home_region: home_region.to_owned(),
                is_backfill,
            },
            end: compact_time(end)?,
        })
    }

    /// The key.
    pub fn key(&self) -> String {
        let chain = &self.chain;
        let end = self.end.to_zoned(TimeZone::UTC);
        format!(
            "{}{}/{}_{FOLDER}_{}_{}_{}_{}{}{SUFFIX}",
            chain.digest_folder(),
            end.strftime("%Y/%m/%d"),
            chain.account,
            chain.region,
            chain.trail,
            chain.home_region,
            end.strftime(TIME),
            if chain.is_backfill { BACKFILL } else { "" },
        )
    }
}

impl Chain {
    /// The folder of the account, with a slash at its end.
    pub fn account_folder(&self) -> String {
        let mut folder = String::new();
        for part in [&self.prefix, &Some("AWSLogs".into()), &self.organization]
            .into_iter()
            .flatten()
        {
            folder.push_str(part);
            folder.push('/');
        }
        folder + &self.account + "/"
    }

    /// The folder of the region's digest files, with a slash at its end.
    pub fn digest_folder(&self) -> String {
        format!("{}{FOLDER}/{}/", self.account_folder(), self.region)
    }

    /// The folder of the region's log files, with a slash at its end. Trails of one bucket and prefix share it.
    pub fn log_folder(&self) -> String {
        format!("{}CloudTrail/{}/", self.account_folder(), self.region)
    }
}

impl fmt::Display for Chain {
    /// `account 111122223333, us-west-2, trail NAME`, which names it within a bucket.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "account {}, {}, trail {}",
            self.account,
            one_line(&self.region, 40),
            one_line(&self.trail, 128)
        )?;
        if self.home_region != self.region {
            write!(f, " of {}", one_line(&self.home_region, 40))?;
        }
        if self.is_backfill {
            f.write_str(", backfill")?;
        }
        Ok(())
    }
}

/// The time in the name of a log file, when it was delivered: `…_20261123T0355Z_….json.gz`, in minutes.
pub fn log_file_time(key: &str) -> Option<Timestamp> {
    let name = key.rsplit('/').next()?;
    let mut parts = name.split('_');
    let time = parts.nth(3)?;
    let minutes = DateTime::strptime("%Y%m%dT%H%MZ", time).ok()?;
    Some(minutes.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// A time as names have it: `20261123T040000Z`.
fn compact_time(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime(TIME, text).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
    // strptime accepts fewer digits.
    (text.len() == "20261123T040000Z".len()).then_some(time)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && is_digits(text)
}

fn is_organization(text: &str) -> bool {
    text.strip_prefix("o-").is_some_and(|id| {
        !id.is_empty()
            && id
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

fn is_region(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_key_and_back() {
        let base = "AWSLogs/111122223333/CloudTrail-Digest/us-west-2/2026/11/23/111122223333_CloudTrail-Digest_us-west-2_";
        let end = "us-east-1_20261123T040000Z";
        for (key, prefix, organization, trail, is_backfill) in [
            (format!("{base}t_{end}.json.gz"), None, None, "t", false),
            (
                format!("a/b/{base}my_trail.x-1_{end}_backfill.json.gz"),
                Some("a/b"),
                None,
                "my_trail.x-1",
                true,
            ),
            (
                format!("AWSLogs/{base}a_us-west-2_{end}.json.gz"),
                Some("AWSLogs"),
                None,
                "a_us-west-2",
                false,
            ),
            (
                format!("p/{base}t_{end}.json.gz").replace("AWSLogs/", "AWSLogs/o-a1b2c3d4e5/"),
                Some("p"),
                Some("o-a1b2c3d4e5"),
                "t",
                false,
            ),
        ] {
            let expected = DigestKey {
                chain: Chain {
                    bucket: "b".into(),
                    prefix: prefix.map(str::to_owned),
                    organization: organization.map(str::to_owned),
                    account: "111122223333".into(),
                    region: "us-west-2".into(),
                    trail: trail.into(),
                    home_region: "us-east-1".into(),
                    is_backfill,
                },
                end: "2026-11-23T04:00:00Z".parse().unwrap(),
            };
            assert_eq!(DigestKey::parse("b", &key), Some(expected.clone()), "{key}");
            assert_eq!(expected.key(), key);
        }
    }

    #[test]
    fn what_is_not_the_key_of_a_digest_file() {
        let key = "AWSLogs/111122223333/CloudTrail-Digest/us-west-2/2026/11/23/111122223333_CloudTrail-Digest_us-west-2_t_us-east-1_20261123T040000Z.json.gz";
        assert!(DigestKey::parse("b", key).is_some());
        for (from, to) in [
            ("CloudTrail-Digest/", "CloudTrail/"),
            ("AWSLogs", "awslogs"),
            ("/2026", "/x"),
            ("/2026/11", "/11"),
            ("111122223333/", "11112222333/"),
            ("111122223333_", "444455556666_"),
            ("_us-west-2_", "_us-west-1_"),
            ("_t_us-east-1", "_us-east-1"),
            ("us-east-1_2", "US_2"),
            ("040000Z", "0400Z"),
            ("T04", "T25"),
            (".json.gz", ".json"),
        ] {
            let other = key.replacen(from, to, 1);
            assert_ne!(other, key);
            assert_eq!(DigestKey::parse("b", &other), None, "{other}");
        }
    }

    #[test]
    fn the_time_in_the_name_of_a_log_file() {
        let name = "p/111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz";
        assert_eq!(
            log_file_time(name),
            Some("2026-11-23T03:55:00Z".parse().unwrap())
        );
        assert_eq!(log_file_time("a_b_c_d"), None);
        assert_eq!(log_file_time("x.json"), None);
    }

    #[test]
    fn a_chain_in_words() {
        let key = "AWSLogs/111122223333/CloudTrail-Digest/us-west-2/2026/11/23/111122223333_CloudTrail-Digest_us-west-2_t\u{1b}[2J_us-east-1_20261123T040000Z_backfill.json.gz";
        let chain = DigestKey::parse("b", key).unwrap().chain;
        assert_eq!(
            chain.to_string(),
            "account 111122223333, us-west-2, trail t\\u{1b}[2J of us-east-1, backfill"
        );
        assert_eq!(
            chain.log_folder(),
            "AWSLogs/111122223333/CloudTrail/us-west-2/"
        );
    }
}
