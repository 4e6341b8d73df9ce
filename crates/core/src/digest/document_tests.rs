use cloudhsm_alerts_test_support::digests::{Digests, SigningKey, Trail, gunzip, gzip, sha256};
use serde_json::{Value, json};

use super::{
    document::{Document, DocumentError, read},
    key::DigestKey,
    place::{Origin, Placement},
    public_key::PublicKeys,
    signature::{Keys, SignatureError, Signed, of_metadata},
};
use crate::{log_file::LogFileError, text::hex};

fn chain() -> Digests {
    Digests::six_hours(Trail::default())
}

fn document(digests: &Digests, hour: usize) -> Document {
    read(&digests.objects[&digests.digest(hour)].body).unwrap()
}

/// What reading says of the second digest file after a change to its JSON.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let digests = chain();
    let mut document = digests.hours[1].document.clone();
    change(&mut document);
    read(document.to_string().as_bytes())
        .unwrap_err()
        .to_string()
}

fn keys() -> Keys {
    let mut keys = PublicKeys::default();
    let key = SigningKey::first();
    keys.add(&key.public_key_der(), &key.fingerprint());
    Keys::Complete(keys)
}

#[test]
fn every_member_is_read() {
    let digests = chain();
    let Document {
        digest,
        sha256: hash,
        is_compressed,
    } = document(&digests, 1);
    assert!(is_compressed);
    let body = &digests.objects[&digests.digest(1)].body;
    assert_eq!(hex(&hash), sha256(&gunzip(body)));
    assert_eq!(digest.account, "111122223333");
    assert_eq!(digest.start.to_string(), "2026-11-23T01:00:00Z");
    assert_eq!(digest.end.to_string(), "2026-11-23T02:00:00Z");
    assert_eq!(digest.end_text, "2026-11-23T02:00:00Z");
    assert_eq!(digest.bucket, digests.trail.bucket);
    assert_eq!(digest.key, digests.digest(1));
    assert_eq!(digest.fingerprint, digests.key.fingerprint());
    assert_eq!(digest.newest_event, Some(digest.start));
    assert_eq!(digest.oldest_event, Some(digest.start));
    let previous = digest.previous.unwrap();
    assert_eq!(previous.bucket, digests.trail.bucket);
    assert_eq!(previous.key, digests.digest(0));
    assert_eq!(previous.sha256, document(&digests, 0).sha256);
    assert_eq!(
        previous.signature,
        digests.objects[&digests.digest(0)].metadata["signature"]
    );
    let [_, file] = &digest.log_files[..] else {
        panic!("{:?}", digest.log_files)
    };
    assert_eq!(file.bucket, digests.trail.bucket);
    assert_eq!(file.key, digests.log_file(1, 1));
    assert_eq!(
        hex(&file.sha256),
        sha256(&gunzip(&digests.objects[&file.key].body))
    );
    assert_eq!(file.newest_event, Some(digest.start));

    let first = document(&digests, 0).digest;
    assert_eq!(first.previous, None);
}

#[test]
fn an_empty_hour() {
    let mut digests = Digests::starting(Trail::default(), "2026-11-23T00:00:00Z");
    digests.hour(0);
    let digest = document(&digests, 0).digest;
    assert_eq!((digest.newest_event, digest.oldest_event), (None, None));
    assert_eq!(digest.log_files, []);
}

#[test]
fn members_that_are_missing_or_of_another_form() {
    for (member, value, expected) in [
        (
            "awsAccountId",
            json!(111_122_223_333_u64),
            "awsAccountId: expected text, found 111122223333",
        ),
        (
            "awsAccountId",
            json!("1"),
            "awsAccountId: expected an account ID of 12 digits, found \"1\"",
        ),
        (
            "digestStartTime",
            json!("2026-11-24T00:00:00Z"),
            "digestStartTime: expected a time before digestEndTime, found \"2026-11-24T00:00:00Z\"",
        ),
        (
            "digestEndTime",
            json!("\u{1b}[2Jsoon"),
            "digestEndTime: expected a time such as 2026-11-23T04:00:00Z, found \"\\u{1b}[2Jsoon\"",
        ),
        (
            "digestS3Bucket",
            json!(""),
            "digestS3Bucket: expected text, found \"\"",
        ),
        (
            "digestS3Object",
            Value::Null,
            "digestS3Object: expected text, found null",
        ),
        (
            "digestPublicKeyFingerprint",
            json!("ab"),
            "digestPublicKeyFingerprint: expected 32 hexadecimal digits, found \"ab\"",
        ),
        (
            "digestSignatureAlgorithm",
            json!("SHA512withRSA"),
            "digestSignatureAlgorithm: expected SHA256withRSA, found SHA512withRSA; a newer version of this program may know it",
        ),
        (
            "previousDigestHashAlgorithm",
            json!("MD5"),
            "previousDigestHashAlgorithm: expected SHA-256, found MD5; a newer version of this program may know it",
        ),
        (
            "previousDigestHashValue",
            json!("00"),
            "previousDigestHashValue: expected 64 hexadecimal digits, found \"00\"",
        ),
        (
            "previousDigestSignature",
            Value::Null,
            "previousDigestSignature is null and previousDigestS3Bucket is not: expected all five members previousDigest… or none of them",
        ),
        (
            "newestEventTime",
            json!(1),
            "newestEventTime: expected text, found 1",
        ),
        (
            "logFiles",
            json!({}),
            "logFiles: expected a list, found an object",
        ),
        (
            "logFiles",
            json!([1]),
            "logFiles[0]: expected an object, found a number",
        ),
    ] {
        assert_eq!(
            changed(|document| document[member] = value.clone()),
            expected
        );
    }
    for member in ["digestStartTime", "digestS3Object", "logFiles"] {
        let message = changed(|document| {
            document.as_object_mut().unwrap().remove(member);
        });
        assert!(message.ends_with("found no such member"), "{message}");
        assert!(message.starts_with(member), "{message}");
    }
    for (member, value, expected) in [
        (
            "hashValue",
            json!("zz"),
            "logFiles[1].hashValue: expected 64 hexadecimal digits, found \"zz\"",
        ),
        (
            "hashAlgorithm",
            json!("SHA-1"),
            "logFiles[1].hashAlgorithm: expected SHA-256, found SHA-1; a newer version of this program may know it",
        ),
        (
            "s3Object",
            json!([]),
            "logFiles[1].s3Object: expected text, found a list",
        ),
    ] {
        assert_eq!(
            changed(|document| document["logFiles"][1][member] = value.clone()),
            expected
        );
    }
    // A member that is missing is not null.
    let message = changed(|document| {
        document
            .as_object_mut()
            .unwrap()
            .retain(|name, _| !name.starts_with("previous"));
    });
    assert_eq!(
        message,
        "previousDigestS3Bucket: expected text or null, found no such member"
    );
}

#[test]
fn content_that_is_not_a_digest_file() {
    let digests = chain();
    let good = digests.objects[&digests.digest(1)].body.clone();
    let read = |bytes: &[u8]| read(bytes).unwrap_err();
    assert_eq!(read(b""), DocumentError::Empty);
    for more in [&b"x"[..], &[0; 10], &gzip(b"x"), &gzip(b"")] {
        assert_eq!(read(&[&good[..], more].concat()), DocumentError::Trailing);
    }
    let cut = read(&good[..good.len() - 8]);
    assert!(cut.is_truncated(), "{cut}");
    let mut wrong_checksum = good.clone();
    let at = good.len() - 8;
    wrong_checksum[at] ^= 1;
    let damaged = read(&wrong_checksum);
    assert!(
        matches!(
            damaged,
            DocumentError::Content(LogFileError::Corrupt { .. })
        ),
        "{damaged}"
    );
    assert!(matches!(read(b"<Error/>"), DocumentError::NotJson(_)));
    assert_eq!(read(b"[]"), DocumentError::NotAnObject("a list"));
    let bomb = gzip(&vec![b' '; 33 << 20]);
    assert_eq!(
        read(&bomb),
        DocumentError::Content(LogFileError::TooLarge { limit: 32 << 20 })
    );
}

#[test]
fn stored_uncompressed_it_is_the_same() {
    let digests = chain();
    let packed = document(&digests, 1);
    let plain = read(&gunzip(&digests.objects[&digests.digest(1)].body)).unwrap();
    assert!(!plain.is_compressed);
    assert_eq!(
        Document {
            is_compressed: true,
            ..plain
        },
        packed
    );
}

#[test]
fn where_it_says_it_is() {
    let digests = chain();
    let digest = document(&digests, 1).digest;
    let key = digests.digest(1);
    let of =
        |bucket: &str, key: &str| Placement::of(&DigestKey::parse(bucket, key).unwrap(), &digest);
    assert_eq!(of(&digest.bucket, &key), Placement::Here);
    let origin = Origin {
        bucket: digest.bucket.clone(),
        prefix: None,
    };
    let copied = of("copy", &format!("p/{key}"));
    assert_eq!(copied, Placement::Copied(origin));
    let elsewhere = Placement::Elsewhere(format!("s3://{}/{key}", digest.bucket));
    assert_eq!(of(&digest.bucket, &digests.digest(2)), elsewhere);
    // The same hour of another account.
    let other = key.replace("111122223333", "444455556666");
    assert_eq!(of(&digest.bucket, &other), elsewhere);

    let chain = DigestKey::parse("copy", &format!("p/{key}")).unwrap().chain;
    assert_eq!(
        copied.here(&chain, &digest.bucket, "AWSLogs/x"),
        ("copy".into(), "p/AWSLogs/x".into())
    );
    assert_eq!(
        copied.here(&chain, "other", "AWSLogs/x"),
        ("other".into(), "AWSLogs/x".into())
    );
    assert_eq!(
        Placement::Here.here(&chain, "b", "k"),
        ("b".into(), "k".into())
    );
}

#[test]
fn signatures() {
    let digests = chain();
    for hour in [0, 1] {
        let signed = Signed::of(&document(&digests, hour));
        let metadata = &digests.objects[&digests.digest(hour)].metadata;
        let signature = of_metadata(
            metadata.get("signature").map(String::as_str),
            metadata.get("signature-algorithm").map(String::as_str),
        )
        .unwrap();
        assert_eq!(signed.verify(&signature, &keys()), Ok(()));
        assert_eq!(signed.verify(&signature.to_uppercase(), &keys()), Ok(()));
        for wrong in ["", "00", &signature[2..], &signature.replace('a', "b")] {
            assert_eq!(signed.verify(wrong, &keys()), Err(SignatureError::Invalid));
        }
        assert_eq!(
            signed.verify(&signature, &Keys::Complete(PublicKeys::default())),
            Err(SignatureError::ForeignKey(digests.key.fingerprint()))
        );
        let some = Keys::Some(PublicKeys::default(), "keys.json".into());
        let error = signed.verify(&signature, &some).unwrap_err();
        assert!(error.is_unknown());
        assert_eq!(
            error.to_string(),
            format!(
                "cannot be verified: keys.json has no public key with the fingerprint {}",
                digests.key.fingerprint()
            )
        );
        let unknown = Keys::Unknown("AccessDenied".into());
        let error = signed.verify(&signature, &unknown).unwrap_err();
        assert!(error.is_unknown());
        assert_eq!(error.to_string(), "cannot be verified: AccessDenied");
        let mut listed_wrongly = PublicKeys::default();
        listed_wrongly.add(
            &SigningKey::second().public_key_der(),
            &digests.key.fingerprint(),
        );
        let error = signed
            .verify(&signature, &Keys::Complete(listed_wrongly))
            .unwrap_err();
        assert!(error.is_unknown(), "{error}");
    }
}

#[test]
fn a_key_in_a_subject_public_key_info_verifies() {
    let digests = chain();
    let wrapped = digests.key.subject_public_key_info();
    let fingerprint = super::public_key::PublicKey::from_der(&wrapped)
        .unwrap()
        .fingerprint()
        .to_owned();
    let mut document = digests.hours[1].document.clone();
    document["digestPublicKeyFingerprint"] = json!(fingerprint);
    let object = digests.signed(&digests.key, &document);
    let signed = Signed::of(&read(&object.body).unwrap());
    let mut keys = PublicKeys::default();
    keys.add(&wrapped, &fingerprint);
    let verified = signed.verify(&object.metadata["signature"], &Keys::Complete(keys));
    assert_eq!(verified, Ok(()));
}

#[test]
fn a_signature_in_the_metadata() {
    assert_eq!(of_metadata(None, None), Err(SignatureError::Missing));
    assert_eq!(of_metadata(Some(""), None), Err(SignatureError::Missing));
    assert_eq!(of_metadata(Some("aB"), None), Ok("aB".into()));
    assert_eq!(
        of_metadata(Some("x\ny"), None),
        Err(SignatureError::Form("x\\ny".into()))
    );
    assert_eq!(
        of_metadata(Some("ab"), Some("SHA1withRSA")),
        Err(SignatureError::Algorithm("SHA1withRSA".into()))
    );
}
