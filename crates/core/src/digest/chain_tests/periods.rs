//! Which periods are proved: the schedule, stops, a part of a chain, and clocks.

use std::collections::BTreeMap;

use cloudhsm_alerts_test_support::digests::{Digests, Trail};
use jiff::Timestamp;

use super::{audit, chain, lines, time};
use crate::digest::finding::Stop;

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
    // Unless it ends before the period: those are not listed.
    audit.period.from = Some(digests.hours[1].end);
    let verdict = audit.run(&digests, &digests.trail.bucket);
    assert_eq!(*verdict.findings.counts(), BTreeMap::new());
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
