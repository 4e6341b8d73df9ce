//! Tampering: what somebody who may write to a bucket does to one of its objects, a log file or a digest file of
//! [`Digests`]. Each is a function of the objects and a key, so that tests list them in tables.

use serde_json::{Value, json};

use crate::digests::{Digests, SigningKey, gunzip, gzip};

pub type Tampering = fn(&mut Digests, &str);

/// Another content, without metadata.
pub fn replace(digests: &mut Digests, key: &str) {
    digests.put(key, gzip(br#"{"Records": []}"#));
}

pub fn empty(digests: &mut Digests, key: &str) {
    digests.put(key, Vec::new());
}

pub fn not_json(digests: &mut Digests, key: &str) {
    digests.change(key, |body| *body = gzip(b"no JSON"));
}

/// The end of the gzip stream is missing.
pub fn cut(digests: &mut Digests, key: &str) {
    digests.change(key, |body| body.truncate(body.len() - 8));
}

/// A second gzip member.
pub fn append(digests: &mut Digests, key: &str) {
    digests.change(key, |body| body.extend(gzip(b"{}")));
}

/// A second gzip member without content.
pub fn append_empty(digests: &mut Digests, key: &str) {
    digests.change(key, |body| body.extend(gzip(b"")));
}

pub fn uncompress(digests: &mut Digests, key: &str) {
    digests.change(key, |body| *body = gunzip(body));
}

/// A digest file with another content and the old signature.
pub fn edit(digests: &mut Digests, key: &str, change: impl FnOnce(&mut Value)) {
    let mut document = digests.document(key);
    change(&mut document);
    digests.change(key, |body| *body = gzip(document.to_string().as_bytes()));
}

/// A digest file that lists one log file less, with the old signature.
pub fn unlist(digests: &mut Digests, key: &str) {
    edit(digests, key, |document| {
        document["logFiles"].as_array_mut().expect("a list").pop();
    });
}

pub fn remove_metadata(digests: &mut Digests, key: &str) {
    let object = digests.objects.get_mut(key).expect("an object");
    object.metadata.clear();
}

/// A digest file signed by somebody else, who names CloudTrail's key.
pub fn forge(digests: &mut Digests, key: &str) {
    let signed = digests.signed(&SigningKey::second(), &digests.document(key));
    digests.objects.insert(key.into(), signed);
}

/// A digest file signed by somebody else, who names a key of theirs.
pub fn foreign_key(digests: &mut Digests, key: &str) {
    let other = SigningKey::second();
    let mut document = digests.document(key);
    document["digestPublicKeyFingerprint"] = other.fingerprint().into();
    let signed = digests.signed(&other, &document);
    digests.objects.insert(key.into(), signed);
}

/// The authentic digest file of the hour before.
pub fn hour_before(digests: &mut Digests, key: &str) {
    let other = digests.objects[&digests.digest(digests.hour_of_digest(key) - 1)].clone();
    digests.objects.insert(key.into(), other);
}

/// A digest file that is authentic, and of which the next one knows nothing.
pub fn sign_anew(digests: &mut Digests, key: &str) {
    let hour = digests.hour_of_digest(key);
    digests.sign_again(hour, |document| document["newestEventTime"] = json!(null));
}
