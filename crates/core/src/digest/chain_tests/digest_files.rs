//! Digest files that were deleted, altered, replaced or cannot be verified.

use cloudhsm_alerts_test_support::{
    digests::sha256,
    tampering::{self, Tampering},
};
use serde_json::{Value, json};

use super::{audit, chain, hour, lines, tampered};
use crate::digest::{finding::Weight, signature::Keys};

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
fn digest_files_that_are_not_cloudtrails() {
    let around = [
        "proved 00:00-02:00",
        "proved 03:00-06:00",
        "gap 02:00-03:00 1 digest-not-proved",
    ];
    let cases: [(&str, Tampering); 9] = [
        ("digest-altered", tampering::unlist),
        ("digest-altered", tampering::not_json),
        ("digest-altered", tampering::append),
        ("digest-truncated", tampering::cut),
        ("digest-unsigned", tampering::remove_metadata),
        ("digest-altered", tampering::forge),
        ("digest-foreign-key", tampering::foreign_key),
        ("digest-misplaced", tampering::hour_before),
        ("digest-replaced", tampering::sign_anew),
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
    tampering::edit(&mut digests, &key, |document| {
        document["newestEventTime"] = Value::Null;
    });
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
