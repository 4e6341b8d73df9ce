//! Whole chains: every kind of tampering, and the verdict about it.

mod digest_files;
mod log_files;
mod periods;

use std::collections::BTreeSet;

use cloudhsm_alerts_test_support::digests::{Digests, SigningKey, Trail};
use jiff::Timestamp;

use super::{
    chain::{Examined, Outcome, Period, ReadDigest, judge},
    document::read,
    file_state::FileState,
    finding::Stop,
    key::DigestKey,
    public_key::PublicKeys,
    signature::{Keys, of_metadata},
    verdict::Verdict,
};
use crate::log_file::ContentReader;

/// How a bucket is audited.
struct Audit {
    keys: Keys,
    period: Period,
    stops: Vec<Stop>,
    /// Whether the metadata of the objects is there.
    has_metadata: bool,
    /// Objects that may not be read.
    denied: BTreeSet<String>,
}

fn time(text: &str) -> Timestamp {
    format!("2026-11-23T{text}:00Z").parse().unwrap()
}

/// An audit at half past six, so that six hours are due.
fn audit() -> Audit {
    let key = SigningKey::first();
    let mut keys = PublicKeys::default();
    keys.add(&key.public_key_der(), &key.fingerprint());
    Audit {
        keys: Keys::Complete(keys),
        period: Period {
            from: None,
            to: None,
            now: time("06:30"),
        },
        stops: Vec::new(),
        has_metadata: true,
        denied: BTreeSet::new(),
    }
}

impl Audit {
    /// What the function and the command line do, over a map of objects.
    fn run(&self, digests: &Digests, bucket: &str) -> Verdict {
        let mut examined = Vec::new();
        let mut listed = BTreeSet::new();
        let mut chain = None;
        for (key, object) in &digests.objects {
            let Some(found) = DigestKey::parse(bucket, key) else {
                continue;
            };
            chain.get_or_insert_with(|| found.chain.clone());
            let outcome = if self.denied.contains(key) {
                Outcome::NotRead("AccessDenied".into())
            } else {
                match read(&object.body) {
                    Err(error) => Outcome::Broken(error),
                    Ok(document) => {
                        let metadata = |name: &str| object.metadata.get(name).map(String::as_str);
                        let signature =
                            of_metadata(metadata("signature"), metadata("signature-algorithm"));
                        let signature = self.has_metadata.then_some(signature);
                        let mut digest = ReadDigest::new(&found, &document, signature);
                        for file in &document.digest.log_files {
                            let (_, key) =
                                digest
                                    .placement()
                                    .here(&found.chain, &file.bucket, &file.key);
                            let state = if self.denied.contains(&key) {
                                FileState::NotChecked("AccessDenied".into())
                            } else if let Some(object) = digests.objects.get(&key) {
                                let mut reader = ContentReader::new(1 << 20);
                                let content =
                                    reader.push(&object.body).and_then(|()| reader.finish());
                                FileState::of(&file.sha256, content.as_ref())
                            } else {
                                FileState::Missing
                            };
                            digest.add_file(file, state);
                            listed.insert(key);
                        }
                        Outcome::Read(Box::new(digest))
                    }
                }
            };
            examined.push(Examined {
                key: found,
                outcome,
            });
        }
        let chain = chain.expect("a digest file");
        let folder = chain.log_folder();
        let mut verdict = judge(chain, &mut examined, &self.keys, &self.period, &self.stops);
        for key in digests.objects.keys() {
            if key.starts_with(&folder) && !listed.contains(key) {
                match verdict.must_list(key) {
                    Some(true) => verdict.add_unlisted(key),
                    Some(false) => {}
                    None => verdict.files.pending += 1,
                }
            }
        }
        verdict.sort();
        verdict
    }

    /// The verdict in lines: proved periods, gaps, then code and object of each finding.
    fn lines(&self, digests: &Digests) -> Vec<String> {
        lines(&self.run(digests, &digests.trail.bucket))
    }
}

fn hour(time: Timestamp) -> String {
    time.to_string()["2026-11-23T".len()..][..5].to_owned()
}

fn lines(verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    for proved in &verdict.proved {
        lines.push(format!("proved {}-{}", hour(proved.from), hour(proved.to)));
    }
    for gap in &verdict.gaps {
        lines.push(format!(
            "gap {}-{} {} {}",
            hour(gap.interval.from),
            hour(gap.interval.to),
            gap.count,
            gap.reason.as_str()
        ));
    }
    for finding in verdict.findings.kept() {
        let object = finding.object.as_ref().map(|(_, key)| short(key));
        lines.push(format!(
            "{} {} {}",
            finding.problem.weight().as_str(),
            finding.problem.code(),
            object.unwrap_or_else(|| "-".into())
        ));
    }
    lines
}

/// `digest 03` or `log 0205 1` of a key.
fn short(key: &str) -> String {
    let name = key.rsplit('/').next().unwrap();
    let parts: Vec<&str> = name.trim_end_matches(".json.gz").split('_').collect();
    match parts[1] {
        "CloudTrail" => format!("log {} {}", &parts[3][9..13], &parts[4][15..]),
        _ => format!("digest {}", &parts.last().unwrap()[9..11]),
    }
}

fn chain() -> Digests {
    Digests::six_hours(Trail::default())
}

/// A sound chain after a change, and what the verdict is.
fn tampered(change: impl FnOnce(&mut Digests)) -> Vec<String> {
    let mut digests = chain();
    change(&mut digests);
    audit().lines(&digests)
}
