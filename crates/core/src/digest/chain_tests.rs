//! Every kind of tampering, with what is said about it.

use std::collections::BTreeSet;

use cloudhsm_alerts_test_support::digests::{Digests, SigningKey, Trail, gunzip, gzip, sha256};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    chain::{Examined, Outcome, Period, ReadDigest, judge},
    document::read,
    file_state::FileState,
    finding::{Stop, Weight},
    key::DigestKey,
    public_key::PublicKeys,
    signature::{Keys, of_metadata},
    verdict::Verdict,
};
use crate::log_file::ContentReader;

/// The code of a finding, and the change to an object that causes it.
type Change = (&'static str, fn(&mut Digests, &str));

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

#[test]
fn all_is_well() {
    let digests = chain();
    let verdict = audit().run(&digests, &digests.trail.bucket);
    assert_eq!(lines(&verdict), ["proved 00:00-06:00"]);
    assert!(verdict.is_proved());
    assert_eq!((verdict.digests.found, verdict.digests.proved), (6, 6));
    assert_eq!((verdict.files.listed, verdict.files.proved), (12, 12));
}

#[test]
fn log_files() {
    let around = [
        "proved 00:00-02:00",
        "proved 03:00-06:00",
        "gap 02:00-03:00 1 log-files",
    ];
    let cases: [Change; 8] = [
        ("log-file-altered", |digests, key| {
            digests.put(key, gzip(br#"{"Records":[]}"#));
        }),
        ("log-file-missing", Digests::remove),
        ("log-file-appended", |digests, key| {
            digests.change(key, |body| body.extend(gzip(b"{}")));
        }),
        ("log-file-appended", |digests, key| {
            digests.change(key, |body| body.extend(gzip(b"")));
        }),
        ("log-file-appended", |digests, key| {
            digests.change(key, |body| body.extend([0; 3]));
        }),
        ("log-file-truncated", |digests, key| {
            digests.change(key, |body| body.truncate(body.len() - 8));
        }),
        ("log-file-altered", |digests, key| {
            digests.change(key, |body| *body.last_mut().unwrap() ^= 1);
        }),
        ("log-file-altered", |digests, key| {
            digests.put(key, Vec::new())
        }),
    ];
    for (code, change) in cases {
        let found = tampered(|digests| {
            let key = digests.log_file(2, 1);
            change(digests, &key);
        });
        let mut expected = around.map(str::to_owned).to_vec();
        expected.push(format!("wrong {code} log 0215 1"));
        assert_eq!(found, expected);
    }
}

#[test]
fn a_log_file_that_is_stored_uncompressed_is_right() {
    let found = tampered(|digests| {
        let key = digests.log_file(2, 1);
        digests.change(&key, |body| *body = gunzip(body));
    });
    assert_eq!(
        found,
        [
            "proved 00:00-06:00",
            "notice log-file-uncompressed log 0215 1"
        ]
    );
}

#[test]
fn a_log_file_that_may_not_be_read_costs_only_itself() {
    let digests = chain();
    let mut audit = audit();
    audit.denied.insert(digests.log_file(2, 1));
    let verdict = audit.run(&digests, &digests.trail.bucket);
    assert_eq!(
        lines(&verdict),
        [
            "proved 00:00-02:00",
            "proved 03:00-06:00",
            "gap 02:00-03:00 1 log-files",
            "not_checked log-file-not-checked log 0215 1"
        ]
    );
    assert!(!verdict.is_proved() && !verdict.is_wrong());
    let files = verdict.files;
    assert_eq!((files.listed, files.proved, files.not_checked), (12, 11, 1));
}

#[test]
fn log_files_that_no_digest_file_lists() {
    let found = tampered(|digests| {
        for (at, unique) in [("03:40", "1"), ("05:54", "2"), ("05:58", "3")] {
            let key = digests
                .trail
                .log_file_key(time(at), &format!("AbCdEfGhIjKlMno{unique}"));
            digests.put(&key, gzip(br#"{"Records":[]}"#));
        }
        // Before the chain, and of another region.
        let key = digests
            .trail
            .log_file_key("2026-11-22T23:59:00Z".parse().unwrap(), "AbCdEfGhIjKlMnop");
        digests.put(&key, Vec::new());
        digests.put(&key.replace("us-west-2", "us-west-1"), Vec::new());
    });
    // The last of them may be listed by the next digest file.
    assert_eq!(
        found,
        [
            "proved 00:00-06:00",
            "wrong log-file-unlisted log 0340 1",
            "wrong log-file-unlisted log 0554 2"
        ]
    );
}

#[test]
fn a_digest_file_is_deleted_in_the_middle_or_at_the_beginning() {
    assert_eq!(
        tampered(|digests| digests.remove(&digests.digest(2))),
        [
            "proved 00:00-02:00",
            "proved 03:00-06:00",
            "gap 02:00-03:00 1 digest-missing",
            "wrong digest-missing -",
            "wrong log-file-unlisted log 0205 0",
            "wrong log-file-unlisted log 0215 1",
        ]
    );
    assert_eq!(
        tampered(|digests| digests.remove(&digests.digest(0))),
        [
            "proved 01:00-06:00",
            "gap 00:00-01:00 1 digest-missing",
            "wrong digest-missing -",
            "wrong log-file-unlisted log 0005 0",
            "wrong log-file-unlisted log 0015 1",
        ]
    );
}

#[test]
fn two_adjacent_digest_files_are_deleted() {
    let mut digests = chain();
    digests.remove(&digests.digest(2));
    digests.remove(&digests.digest(3));
    let verdict = audit().run(&digests, &digests.trail.bucket);
    assert_eq!(
        lines(&verdict)[..4],
        [
            "proved 00:00-02:00",
            "proved 04:00-06:00",
            "gap 02:00-04:00 2 digest-missing",
            "wrong digest-missing -",
        ]
    );
    let hours: Vec<_> = verdict.gaps[0]
        .hours()
        .into_iter()
        .map(|gap| (hour(gap.from), hour(gap.to)))
        .collect();
    let expected = [("02:00", "03:00"), ("03:00", "04:00")];
    assert_eq!(hours, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(verdict.digests.missing, 2);
    assert_eq!(
        verdict.findings.kept()[0].problem.to_string(),
        "2 digest files missing between 2026-11-23T02:00:00Z and 2026-11-23T04:00:00Z: deleted, or never delivered"
    );
}

#[test]
fn the_newest_digest_files_are_missing_by_schedule() {
    let mut digests = chain();
    digests.remove(&digests.digest(4));
    digests.remove(&digests.digest(5));
    let mut audit = audit();
    // The hour to 05:00 is due at 07:00.
    audit.period.now = time("06:59");
    assert_eq!(audit.lines(&digests), ["proved 00:00-04:00"]);
    audit.period.now = time("08:05");
    assert_eq!(
        audit.lines(&digests),
        [
            "proved 00:00-04:00",
            "gap 04:00-06:00 2 digest-silent",
            "wrong digest-silent -",
            "wrong log-file-unlisted log 0405 0",
            "wrong log-file-unlisted log 0415 1",
            "wrong log-file-unlisted log 0505 0",
            "wrong log-file-unlisted log 0515 1",
        ]
    );
    // Only what is asked for.
    audit.period.to = Some(time("04:30"));
    assert_eq!(audit.lines(&digests), ["proved 00:00-04:00"]);
}

#[test]
fn logging_was_stopped() {
    let mut digests = Digests::starting(Trail::default(), "2026-11-23T00:00:00Z");
    digests.hour(1);
    digests.hour(1);
    digests.stop(2);
    digests.hour(1);
    digests.hour(1);
    let mut audit = audit();
    let verdict = audit.run(&digests, &digests.trail.bucket);
    assert_eq!(
        lines(&verdict),
        [
            "proved 00:00-02:00",
            "proved 04:00-06:00",
            "gap 02:00-04:00 2 logging-stopped",
            "notice logging-stopped digest 05",
        ]
    );
    assert!(verdict.is_proved());
    audit.stops = vec![Stop {
        time: time("01:55"),
        event_name: "StopLogging".into(),
        actor: "mallory\u{1b}[2J".into(),
    }];
    let verdict = audit.run(&digests, &digests.trail.bucket);
    assert_eq!(
        verdict.findings.kept()[0].problem.to_string(),
        "nothing is proved between 2026-11-23T02:00:00Z and 2026-11-23T04:00:00Z: logging was stopped at 2026-11-23T01:55:00Z by mallory\\u{1b}[2J (StopLogging), and started again"
    );
}

#[test]
fn a_stop_hides_a_digest_file_but_not_its_log_files() {
    let mut digests = Digests::starting(Trail::default(), "2026-11-23T00:00:00Z");
    for _ in 0..3 {
        digests.hour(1);
    }
    digests.stop(1);
    digests.hour(1);
    digests.hour(1);
    digests.remove(&digests.digest(2));
    let verdict = audit().run(&digests, &digests.trail.bucket);
    assert_eq!(
        lines(&verdict),
        [
            "proved 00:00-02:00",
            "proved 04:00-06:00",
            "gap 02:00-04:00 2 logging-stopped",
            "wrong log-file-unlisted log 0205 0",
            "notice logging-stopped digest 05",
        ]
    );
    assert_eq!(
        verdict.findings.kept()[0].problem.to_string(),
        "a log file from a period without digest files: logging was not stopped then, and the digest file that listed it is gone"
    );
}

#[test]
fn digest_files_that_are_not_cloudtrails() {
    let around = [
        "proved 00:00-02:00",
        "proved 03:00-06:00",
        "gap 02:00-03:00 1 digest-not-proved",
    ];
    let cases: [Change; 9] = [
        // Another content with the old signature.
        ("digest-altered", |digests, key| {
            let mut document = digests.hours[2].document.clone();
            document["logFiles"].as_array_mut().unwrap().pop();
            digests.change(key, |body| *body = gzip(document.to_string().as_bytes()));
        }),
        ("digest-altered", |digests, key| {
            digests.change(key, |body| *body = gzip(b"no JSON"));
        }),
        ("digest-altered", |digests, key| {
            digests.change(key, |body| body.extend(gzip(b"x")));
        }),
        ("digest-truncated", |digests, key| {
            digests.change(key, |body| body.truncate(body.len() - 8));
        }),
        ("digest-unsigned", |digests, key| {
            digests.objects.get_mut(key).unwrap().metadata.clear();
        }),
        // Signed by somebody else, with the fingerprint of the true key and with its own.
        ("digest-altered", |digests, key| {
            let signed = digests.signed(&SigningKey::second(), &digests.hours[2].document);
            digests.objects.insert(key.into(), signed);
        }),
        ("digest-foreign-key", |digests, key| {
            let other = SigningKey::second();
            let mut document = digests.hours[2].document.clone();
            document["digestPublicKeyFingerprint"] = json!(other.fingerprint());
            let signed = digests.signed(&other, &document);
            digests.objects.insert(key.into(), signed);
        }),
        // An authentic one of another hour.
        ("digest-misplaced", |digests, key| {
            let other = digests.objects[&digests.digest(1)].clone();
            digests.objects.insert(key.into(), other);
        }),
        // An authentic one of the same hour, of which the next one knows nothing.
        ("digest-replaced", |digests, _| {
            digests.sign_again(2, |document| {
                document["newestEventTime"] = json!("2026-11-23T02:59:00Z");
            });
        }),
    ];
    for (code, change) in cases {
        let found = tampered(|digests| {
            let key = digests.digest(2);
            change(digests, &key);
        });
        let mut expected = around.map(str::to_owned).to_vec();
        expected.push(format!("wrong {code} digest 03"));
        assert_eq!(found, expected);
    }
}

#[test]
fn a_wrong_hash_of_the_previous_digest_file() {
    for (member, what) in [
        ("previousDigestHashValue", "the hash differs"),
        ("previousDigestSignature", "the signature differs"),
    ] {
        let mut digests = chain();
        digests.sign_again(5, |document| {
            document[member] = match member {
                "previousDigestHashValue" => json!(sha256(b"x")),
                _ => json!("00ff"),
            };
        });
        let verdict = audit().run(&digests, &digests.trail.bucket);
        assert_eq!(
            lines(&verdict),
            [
                "proved 00:00-04:00",
                "proved 05:00-06:00",
                "gap 04:00-05:00 1 digest-not-proved",
                "wrong digest-replaced digest 05"
            ]
        );
        assert_eq!(
            verdict.findings.kept()[0].problem.to_string(),
            format!(
                "this is not the digest file that the next one names ({what}); the next one is {}",
                digests.digest(5)
            )
        );
    }
}

#[test]
fn a_digest_file_that_names_one_that_never_was() {
    let found = tampered(|digests| {
        digests.sign_again(5, |document| {
            let key = document["previousDigestS3Object"].as_str().unwrap();
            document["previousDigestS3Object"] = json!(key.replace("T05", "T03"));
        });
        digests.remove(&digests.digest(2));
    });
    // The one of 03:00 is missing, and two name it.
    assert_eq!(
        found[3..],
        [
            "wrong digest-missing -",
            "wrong log-file-unlisted log 0205 0",
            "wrong log-file-unlisted log 0215 1",
            "wrong digest-missing digest 06",
        ]
    );
}

#[test]
fn keys_that_are_not_known_are_never_tampering() {
    let digests = chain();
    let mut audit = audit();
    audit.keys = Keys::Unknown("us-west-2 refused ListPublicKeys (AccessDenied)".into());
    let verdict = audit.run(&digests, &digests.trail.bucket);
    assert!(!verdict.is_proved() && !verdict.is_wrong());
    assert_eq!(
        verdict.findings.counts().iter().collect::<Vec<_>>(),
        [(&"digest-not-verified", &6)]
    );
    assert_eq!((verdict.files.proved, verdict.files.same_unproved), (0, 12));
    assert_eq!(
        verdict.findings.kept()[0].problem.to_string(),
        "the digest file: cannot be verified: us-west-2 refused ListPublicKeys (AccessDenied)"
    );
}

#[test]
fn a_copy_without_metadata_is_verified_by_the_successors() {
    let mut digests = chain();
    let mut audit = audit();
    audit.has_metadata = false;
    assert_eq!(
        audit.lines(&digests),
        [
            "proved 00:00-05:00",
            "gap 05:00-06:00 1 digest-not-verified",
            "notice digest-newest-unsigned digest 06",
        ]
    );
    let key = digests.digest(2);
    let mut document = digests.hours[2].document.clone();
    document["newestEventTime"] = Value::Null;
    digests.change(&key, |body| *body = gzip(document.to_string().as_bytes()));
    assert_eq!(
        audit.lines(&digests)[3..],
        [
            "gap 05:00-06:00 1 digest-not-verified",
            "wrong digest-altered digest 03",
            "notice digest-newest-unsigned digest 06",
        ]
    );
}

#[test]
fn a_copied_bucket_is_one_notice() {
    let digests = chain();
    let verdict = audit().run(&digests, "copy");
    assert_eq!(lines(&verdict), ["proved 00:00-06:00", "notice copied -"]);
    assert_eq!(
        verdict.findings.kept()[0].problem.to_string(),
        format!(
            "this is a copy: 6 digest files name s3://{}/ as their place",
            digests.trail.bucket
        )
    );
}

#[test]
fn a_digest_file_that_may_not_be_read() {
    let digests = chain();
    let mut audit = audit();
    audit.denied.insert(digests.digest(2));
    let verdict = audit.run(&digests, &digests.trail.bucket);
    assert!(!verdict.is_proved());
    assert_eq!(
        lines(&verdict)[..3],
        [
            "proved 00:00-02:00",
            "proved 03:00-06:00",
            "gap 02:00-03:00 1 digest-not-proved",
        ]
    );
    assert_eq!(verdict.findings.of_weight(Weight::NotChecked), 1);
}

#[test]
fn backfill_chains_have_no_schedule_and_no_continuity() {
    let trail = Trail {
        is_backfill: true,
        ..Trail::default()
    };
    let mut digests = Digests::starting(trail, "2026-11-20T00:00:00Z");
    digests.hour(1);
    digests.stop(20);
    digests.hour(1);
    digests.hour(1);
    let mut audit = audit();
    audit.period.now = "2026-12-23T00:00:00Z".parse().unwrap();
    let verdict = audit.run(&digests, &digests.trail.bucket);
    assert!(verdict.is_proved());
    assert_eq!(verdict.gaps, []);
    assert_eq!(verdict.proved.len(), 2);
    // What one of them names must be there.
    digests.remove(&digests.digest(1));
    let verdict = audit.run(&digests, &digests.trail.bucket);
    assert_eq!(verdict.findings.counts()["digest-missing"], 1);
}

#[test]
fn a_part_of_a_chain() {
    let digests = chain();
    let mut audit = audit();
    audit.period.from = Some(time("01:30"));
    audit.period.to = Some(time("04:00"));
    let verdict = audit.run(&digests, &digests.trail.bucket);
    assert_eq!(lines(&verdict), ["proved 01:30-04:00"]);
    assert_eq!(verdict.digests.found, 3);
    // Before its beginning there is nothing to prove.
    audit.period.from = Some("2026-11-22T22:00:00Z".parse().unwrap());
    assert_eq!(
        audit.lines(&digests),
        [
            "proved 00:00-04:00",
            "gap 22:00-00:00 2 not-begun",
            "notice chain-began digest 01"
        ]
    );
}

#[test]
fn clocks_apart() {
    let digests = chain();
    let mut audit = audit();
    audit.period.now = time("05:30");
    assert_eq!(
        audit.lines(&digests),
        ["proved 00:00-06:00", "notice digest-in-future digest 06"]
    );
}

#[test]
fn times_at_the_ends_of_the_calendar() {
    let mut digests = Digests::starting(Trail::default(), "9999-12-30T21:00:00Z");
    digests.hour(0);
    let key = digests.digest(0).replace("99991230T22", "00000101T00");
    let object = digests.objects[&digests.digest(0)].clone();
    digests.objects.insert(key, object);
    let mut audit = audit();
    audit.period.now = Timestamp::MAX;
    audit.period.from = Some(Timestamp::MIN);
    let verdict = audit.run(&digests, &digests.trail.bucket);
    assert!(verdict.is_wrong());
    for gap in &verdict.gaps {
        assert!(gap.hours().len() <= 1000);
    }
}
