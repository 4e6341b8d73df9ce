//! Usage of `audit`: what is refused, the result in a report, and names that act on a terminal.

use std::fs;

use cloudhsm_alerts_test_support::{
    process::{decode_output, run_cli},
    tampering::replace,
};
use serde_json::Value;

use crate::{Folder, TO, sound};

#[test]
fn invalid_usage_and_nothing_to_prove() {
    let folder = Folder::of(&sound(""));
    fs::write(folder.0.path().join("other.json"), "{}").unwrap();
    fs::create_dir(folder.0.path().join("empty")).unwrap();
    for (arguments, expected) in [
        (
            &["audit", "empty"][..],
            "NOTHING TO PROVE: no digest files in this period under ",
        ),
        (&["audit", "missing"], "error: missing: No such file"),
        (
            &["audit", "keys.json"],
            "error: keys.json: expected a folder with AWSLogs, or s3://BUCKET",
        ),
        (
            &["audit", "copy", "--public-keys", "other.json"],
            "error: --public-keys other.json: expected the output of `aws cloudtrail list-public-keys` (missing field `PublicKeyList`",
        ),
        (
            &["audit", "copy", "--as", "bucket"],
            "error: --as bucket: expected s3://BUCKET or s3://BUCKET/PREFIX",
        ),
        (
            &[
                "audit",
                "copy",
                "--from",
                "2026-11-24",
                "--to",
                "2026-11-23",
            ],
            "error: --from must be earlier than --to",
        ),
        (
            &["audit", "copy", "--account", "444455556666"],
            "NOTHING TO PROVE: no digest files in this period under ",
        ),
    ] {
        let (code, stdout, stderr) = decode_output(&run_cli(arguments, folder.0.path()));
        assert_eq!(
            (code, stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}: {stderr}"
        );
        assert!(stderr.starts_with(expected), "{arguments:?}: {stderr}");
    }
    // Without public keys nothing is proved, and nothing is wrong.
    let output = run_cli(&["audit", "copy", "--to", TO], folder.0.path());
    let (code, stdout, stderr) = decode_output(&output);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.starts_with("NOT PROVED  "), "{stdout}");
    assert_eq!(stderr, "NOT PROVED: 1 chain: 0 proved; 1 not proved\n");
}

/// The result in a report.
#[test]
fn a_report_shows_the_result() {
    let mut digests = sound("");
    let key = digests.log_file(2, 1);
    replace(&mut digests, &key);
    let folder = Folder::of(&digests);
    let output = folder.run(&["--format", "json", "--output", "result.json"]);
    let (code, stdout, stderr) = decode_output(&output);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    let report = |more: &[&str]| {
        let arguments = [&["report", "copy"], more].concat();
        decode_output(&run_cli(&arguments, folder.0.path()))
    };
    let (code, page, stderr) = report(&["--audit", "result.json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let section = &page[page.find("<section id=\"audit\"").unwrap()..];
    let section = &section[..section.find("</section>").unwrap()];
    for expected in [
        "<b>WRONG</b>. 0 of 1 chain proved.",
        "<h3>WRONG: account 111122223333, us-west-2, trail cloudhsm-alerts</h3>",
        "<li>proved: 2026-11-23T00:00:00Z to 2026-11-23T02:00:00Z</li>",
        "<li>not proved: 2026-11-23T02:00:00Z to 2026-11-23T03:00:00Z (log-files)</li>",
        "<li>wrong: the content is not the one that CloudTrail delivered <code>AWSLogs/111122223333/CloudTrail/",
    ] {
        assert!(section.contains(expected), "{expected}: {section}");
    }
    let (_, json, _) = report(&["--audit", "result.json", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["audit"]["verdict"], "wrong");
    // Without it, nothing changes.
    let (_, page, _) = report(&[]);
    assert!(!page.contains("id=\"audit\""));
    let (_, json, _) = report(&["--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.get("audit"), None);

    fs::write(
        folder.0.path().join("old.json"),
        r#"{"format":"x/2","place":"","verdict":"proved","at":"","chains":[]}"#,
    )
    .unwrap();
    for (file, expected) in [
        (
            "keys.json",
            "error: --audit keys.json: expected the output of `cloudhsm-alerts audit --format json` (missing field `format`",
        ),
        (
            "old.json",
            "error: --audit old.json: expected the output of `cloudhsm-alerts audit --format json` with the format cloudhsm-alerts-audit/1, found x/2",
        ),
        ("none.json", "error: --audit none.json: No such file"),
    ] {
        let (code, _, stderr) = report(&["--audit", file]);
        assert_eq!(code, Some(2));
        assert!(stderr.starts_with(expected), "{stderr}");
    }
}

/// Names that act on a terminal are escaped.
#[test]
fn names_are_data() {
    let mut digests = sound("");
    let key = digests.trail.log_file_key(
        "2026-11-23T03:40:00Z".parse().unwrap(),
        "\u{1b}]0;x\u{7}\u{202e}",
    );
    digests.put(&key, Vec::new());
    let folder = Folder::of(&digests);
    for format in ["text", "json"] {
        let output = folder.run(&["--format", format]);
        let (_, stdout, _) = decode_output(&output);
        assert!(stdout.contains("log-file-unlisted"), "{stdout}");
        assert!(
            !stdout.contains(['\u{1b}', '\u{7}', '\u{202e}']),
            "{stdout:?}"
        );
    }
}
