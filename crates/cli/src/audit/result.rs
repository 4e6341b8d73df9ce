//! The result of an audit, and its JSON: what `audit --format json` writes and `report --audit` reads.

use cloudhsm_alerts_core::{
    digest::{
        chain::Period,
        finding::Weight,
        verdict::{Gap, GapReason, Interval, Verdict},
    },
    text::escaped_json,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{region::RegionResult, source::Source};

/// The name of the format, with its version.
pub(crate) const FORMAT: &str = "cloudhsm-alerts-audit/1";

/// What an audit says of all chains.
pub(super) struct AuditResult {
    pub place: String,
    pub period: Period,
    pub chains: Vec<ChainResult>,
    /// Folders of regions without digest files, and the number of log files of the period in them.
    pub without_digests: Vec<(String, u64)>,
    /// What could not be listed.
    pub errors: Vec<String>,
}

/// The verdict on a chain, with its objects for people.
pub(super) struct ChainResult {
    pub verdict: Verdict,
    /// The object of each kept finding.
    pub objects: Vec<Option<String>>,
}

/// The verdict of an audit, or of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Conclusion {
    /// Everything that was found is proved.
    Proved,
    /// Something is wrong.
    Wrong,
    /// Nothing is known to be wrong, and not everything is proved.
    NotProved,
    /// There is no digest file.
    NothingToProve,
}

impl Conclusion {
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Conclusion::Proved => 0,
            Conclusion::Wrong | Conclusion::NotProved => 1,
            Conclusion::NothingToProve => 2,
        }
    }

    /// For people.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Conclusion::Proved => "PROVED",
            Conclusion::Wrong => "WRONG",
            Conclusion::NotProved => "NOT PROVED",
            Conclusion::NothingToProve => "NOTHING TO PROVE",
        }
    }
}

impl ChainResult {
    pub(super) fn conclusion(&self) -> Conclusion {
        if self.verdict.is_wrong() {
            Conclusion::Wrong
        } else if self.verdict.is_proved() {
            Conclusion::Proved
        } else {
            Conclusion::NotProved
        }
    }
}

impl AuditResult {
    pub(super) fn new(
        source: &Source,
        period: Period,
        regions: Vec<RegionResult>,
        mut errors: Vec<String>,
    ) -> AuditResult {
        let mut chains = Vec::new();
        let mut without_digests = Vec::new();
        for region in regions {
            errors.extend(region.errors);
            if region.log_files_without_digests > 0 {
                let folder = region.place.folders(source.bucket_name()).log_folder();
                let shown = source.shown(source.bucket_name(), &folder);
                without_digests.push((shown, region.log_files_without_digests));
            }
            for verdict in region.verdicts {
                let objects = verdict.findings.kept().iter().map(|finding| {
                    let (bucket, key) = finding.object.as_ref()?;
                    Some(source.shown(bucket, key))
                });
                let objects = objects.collect();
                chains.push(ChainResult { verdict, objects });
            }
        }
        AuditResult {
            place: source.describe(),
            period,
            chains,
            without_digests,
            errors,
        }
    }

    pub(super) fn verdict(&self) -> Conclusion {
        let of = |conclusion| {
            self.chains
                .iter()
                .any(|chain| chain.conclusion() == conclusion)
        };
        if of(Conclusion::Wrong) {
            Conclusion::Wrong
        } else if !self.errors.is_empty() {
            Conclusion::NotProved
        } else if self.chains.is_empty() {
            Conclusion::NothingToProve
        } else if of(Conclusion::NotProved) || !self.without_digests.is_empty() {
            Conclusion::NotProved
        } else {
            Conclusion::Proved
        }
    }

    /// The result as JSON.
    pub(super) fn json(&self) -> String {
        let chains: Vec<Value> = self.chains.iter().map(chain).collect();
        let without_digests: Vec<Value> = self
            .without_digests
            .iter()
            .map(|(folder, files)| json!({ "folder": folder, "log_files": files }))
            .collect();
        let value = json!({
            "format": FORMAT,
            "place": self.place,
            "verdict": self.verdict(),
            "at": self.period.now.to_string(),
            "from": self.period.from.map(|time| time.to_string()),
            "to": self.period.to.map(|time| time.to_string()),
            "chains": chains,
            "without_digests": without_digests,
            "errors": self.errors,
        });
        escaped_json(&value) + "\n"
    }
}

fn interval(interval: &Interval) -> Value {
    json!({ "from": interval.from.to_string(), "to": interval.to.to_string() })
}

fn gap(gap: &Gap) -> Value {
    let mut value = interval(&gap.interval);
    value["reason"] = json!(gap.reason.as_str());
    value["hours"] = json!(gap.count);
    let is_missing = matches!(
        gap.reason,
        GapReason::DigestsMissing | GapReason::DigestsSilent
    );
    if is_missing {
        value["missing"] = gap.hours().iter().map(interval).collect();
    }
    if let GapReason::LoggingStopped(Some(stop)) = &gap.reason {
        value["stopped_by"] = json!({
            "time": stop.time.to_string(),
            "event_name": stop.event_name,
            "actor": stop.actor,
        });
    }
    value
}

fn chain(result: &ChainResult) -> Value {
    let verdict = &result.verdict;
    let chain = &verdict.chain;
    let findings = verdict.findings.kept().iter().zip(&result.objects);
    let findings: Vec<Value> = findings
        .map(|(finding, object)| {
            json!({
                "weight": finding.problem.weight().as_str(),
                "code": finding.problem.code(),
                "time": finding.time.map(|time: Timestamp| time.to_string()),
                "object": object,
                "message": finding.problem.to_string(),
            })
        })
        .collect();
    json!({
        "verdict": result.conclusion(),
        "bucket": chain.bucket,
        "prefix": chain.prefix,
        "organization": chain.organization,
        "account": chain.account,
        "region": chain.region,
        "trail": chain.trail,
        "home_region": chain.home_region,
        "backfill": chain.is_backfill,
        "proved": verdict.proved.iter().map(interval).collect::<Vec<_>>(),
        "not_proved": verdict.gaps.iter().map(gap).collect::<Vec<_>>(),
        "digest_files": {
            "found": verdict.digests.found,
            "proved": verdict.digests.proved,
            "missing": verdict.digests.missing,
        },
        "log_files": {
            "listed": verdict.files.listed,
            "proved": verdict.files.proved,
            "same_but_digest_not_proved": verdict.files.same_unproved,
            "not_checked": verdict.files.not_checked,
            "unlisted": verdict.files.unlisted,
            "not_yet_listed": verdict.files.pending,
        },
        "wrong": verdict.findings.of_weight(Weight::Wrong),
        "not_checked": verdict.findings.of_weight(Weight::NotChecked),
        "finding_counts": verdict.findings.counts(),
        "findings": findings,
    })
}
