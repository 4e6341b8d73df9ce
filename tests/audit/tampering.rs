//! Tampering: each change to an object is found once, with a sentence that names it, whether or not its own notification
//! arrives.

use cloudhsm_alerts_test_support::{
    digests::{Digests, Trail, gunzip},
    fixtures::{REGION, s3_notification},
    tampering::{
        Tampering, append_empty, cut, edit, empty, foreign_key, hour_before, not_json,
        remove_metadata, replace, uncompress, unlist,
    },
};
use serde_json::json;

use crate::{
    trail::{ALTERED, DIGEST_ALTERED, DIGEST_MISSING, MISSING, REPLACED, chain, finding},
    world::{BEGIN, World},
};

/// The first log file, the second one, and the digest file.
const FIRST: Option<usize> = Some(0);
const SECOND: Option<usize> = Some(1);
const DIGEST: Option<usize> = None;

const OTHER_CONTENT: &str = "The content is not the one that CloudTrail delivered.";

/// A change to an object of the second of three hours, the code that is found there, and a part of the sentence.
type Case = (
    &'static str,
    Option<usize>,
    Tampering,
    Option<(&'static str, &'static str)>,
);

// A line a case, with what is expected beside it.
#[rustfmt::skip]
const CASES: &[Case] = &[
    ("nothing", FIRST, |_, _| {}, None),
    ("a log file stored uncompressed", FIRST, uncompress, None),
    ("a log file altered", SECOND, replace, Some((ALTERED, OTHER_CONTENT))),
    ("a log file deleted", SECOND, Digests::remove, Some((MISSING, "There is no such object: the log file was deleted."))),
    ("a log file cut off", FIRST, cut, Some((ALTERED, "The log file is cut off"))),
    ("an appended log file", FIRST, append_empty, Some((ALTERED, "something was appended to the log file"))),
    ("no JSON in a log file", FIRST, not_json, Some((ALTERED, OTHER_CONTENT))),
    ("an empty log file", FIRST, empty, Some((ALTERED, OTHER_CONTENT))),
    ("a digest file altered", DIGEST, unlist, Some((DIGEST_ALTERED, "The signature does not belong to this content"))),
    ("no metadata", DIGEST, remove_metadata, Some((DIGEST_ALTERED, "no signature in its metadata"))),
    ("no JSON in a digest file", DIGEST, not_json, Some((DIGEST_ALTERED, "The content is not JSON"))),
    ("a digest file cut off", DIGEST, cut, Some((DIGEST_ALTERED, "the gzip stream ends in the middle"))),
    ("an appended digest file", DIGEST, append_empty, Some((DIGEST_ALTERED, "something was appended"))),
    ("members missing", DIGEST, |digests, key| edit(digests, key, |document| {
        document.as_object_mut().unwrap().remove("logFiles");
    }), Some((DIGEST_ALTERED, "logFiles: expected a list, found no such member"))),
    ("an unknown algorithm", DIGEST, |digests, key| edit(digests, key, |document| {
        document["digestSignatureAlgorithm"] = "SHA512withRSA".into();
    }), Some((DIGEST_ALTERED, "expected SHA256withRSA, found SHA512withRSA"))),
    ("a foreign key", DIGEST, foreign_key, Some((DIGEST_ALTERED, "somebody else signed it"))),
    ("another digest file", DIGEST, hour_before, Some((DIGEST_ALTERED, "another digest file was put in this place"))),
    ("a digest file deleted before the next one came", DIGEST, Digests::remove, Some((DIGEST_MISSING, "The digest file is missing: deleted, or never delivered."))),
    ("a digest file replaced by one that is signed", DIGEST, |digests, _| digests.sign_again(1, |document| {
        document["logFiles"].as_array_mut().unwrap().pop();
    }), Some((DIGEST_ALTERED, "This is not the digest file that the next one names"))),
];

#[tokio::test]
async fn every_change_is_published_once() {
    let both = CASES.iter().flat_map(|case| [(case, true), (case, false)]);
    for ((name, object, change, expected), is_notified) in both {
        let world = World::auditing().await;
        let mut digests = chain(3);
        let key = match object {
            Some(number) => digests.log_file(1, *number),
            None => digests.digest(1),
        };
        change(&mut digests, &key);
        world.put(&digests);
        world.notify(&digests.digest(0)).await;
        // Its notification may be lost: then the next digest file leads to it.
        for hour in (1..3).filter(|hour| is_notified || *hour == 2) {
            world.notify(&digests.digest(hour)).await;
        }
        let found = expected.iter().map(|(code, _)| finding(code, &key));
        let found: Vec<_> = found.collect();
        assert_eq!(world.found(), found, "{name}, notified: {is_notified}");
        let details = world.details();
        if let Some((_, sentence)) = expected {
            let is_there = details.to_lowercase().contains(&sentence.to_lowercase());
            assert!(is_there || !is_notified, "{name}: {details}");
        }
        let critical = expected.iter().filter(|(code, _)| *code != DIGEST_MISSING);
        assert_eq!(world.trail_pages(), critical.count(), "{name}");
        // Once, however often it is looked at.
        for hour in 1..3 {
            let payload = s3_notification(&[&digests.digest(hour)]);
            let _ = world.invoke(&payload).await;
        }
        assert_eq!(world.found(), found, "{name}, again");
    }
}

#[tokio::test]
async fn what_was_read_in_another_form_is_altered() {
    let world = World::auditing().await;
    let mut digests = chain(1);
    let key = digests.log_file(0, 1);
    let original = digests.objects[&key].body.clone();
    replace(&mut digests, &key);
    world.put(&digests);
    world.notify(&key).await;
    // Put back before the digest file comes: the function has still read the other content.
    digests.put(&key, original);
    world.put(&digests);
    assert_eq!(
        world.notify(&digests.digest(0)).await,
        "digests 1, proved 1, caught_up 1, trail_findings 1"
    );
    assert_eq!(world.found(), [finding(ALTERED, &key)]);
}

#[tokio::test]
async fn a_log_file_that_is_delivered_again_with_another_content() {
    let world = World::auditing().await;
    let mut digests = chain(1);
    world.put(&digests);
    let key = digests.log_file(0, 1);
    world.notify(&key).await;
    assert_eq!(world.notify(&key).await, "");
    // The same content in another form is the same content.
    let original = gunzip(&digests.objects[&key].body);
    digests.put(&key, original);
    world.put(&digests);
    assert_eq!(world.notify(&key).await, "");
    replace(&mut digests, &key);
    world.put(&digests);
    assert_eq!(world.notify(&key).await, "trail_findings 1");
    assert_eq!(world.notify(&key).await, "");
    assert_eq!(world.found(), [finding(REPLACED, &key)]);
    let message = &world.messages()[0];
    assert_eq!(message.headline(), "critical TrailIntegrity success");
    assert_eq!(message.attribute("account").1, "111122223333");
    assert_eq!(message.attribute("region").1, REGION);
}

#[tokio::test]
async fn many_missing_log_files_are_one_message() {
    let world = World::auditing().await;
    let mut digests = Digests::starting(Trail::default(), BEGIN);
    digests.hour(150);
    for number in 0..150 {
        let key = digests.log_file(0, number);
        digests.remove(&key);
    }
    world.put(&digests);
    let digest = digests.digest(0);
    assert_eq!(world.notify(&digest).await, "digests 1, trail_findings 150");
    let messages = world.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].finding()["unmapped"]["count"], json!(150));
    assert!(messages[0].text("email").contains("and 130 more"));
    assert_eq!(world.notify(&digest).await, "digests 1");
}
