//! Log files that were altered, deleted, added or cannot be read.

use cloudhsm_alerts_test_support::{
    digests::Digests,
    tampering::{self, Tampering},
};

use super::{audit, chain, lines, tampered, time};

#[test]
fn log_files() {
    let around = [
        "proved 00:00-02:00",
        "proved 03:00-06:00",
        "gap 02:00-03:00 1 log-files",
    ];
    let cases: [(&str, Tampering); 8] = [
        ("log-file-altered", tampering::replace),
        ("log-file-missing", Digests::remove),
        ("log-file-appended", tampering::append),
        ("log-file-appended", tampering::append_empty),
        ("log-file-appended", |digests, key| {
            digests.change(key, |body| body.extend([0; 3]));
        }),
        ("log-file-truncated", tampering::cut),
        ("log-file-altered", |digests, key| {
            digests.change(key, |body| *body.last_mut().unwrap() ^= 1);
        }),
        ("log-file-altered", tampering::empty),
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
        tampering::uncompress(digests, &key);
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
            tampering::replace(digests, &key);
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
