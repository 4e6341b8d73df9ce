//! Chains of digest files as CloudTrail writes them, signed with test keys, and what can be done to them.
//!
//! [`Digests`] makes hour after hour, with log files, into a map of objects as a bucket has them. A test then alters the
//! objects, or has a digest file written and signed again, as nobody but CloudTrail can.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use md5::{Digest as _, Md5};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};

use crate::fixtures::{BUCKET, REGION};

/// The test keys: RSA with 2048 bits, in PKCS #8, made with
/// `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 | openssl pkcs8 -topk8 -nocrypt -outform DER`. They
/// protect nothing.
const FIRST: &[u8] = include_bytes!("../keys/digest-first.pk8");
const SECOND: &[u8] = include_bytes!("../keys/digest-second.pk8");

/// What precedes the key in a SubjectPublicKeyInfo of RSA with 2048 bits.
const SUBJECT_PUBLIC_KEY_INFO: [u8; 24] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
    0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00,
];

/// A key that signs digest files.
pub struct SigningKey(RsaKeyPair);

impl SigningKey {
    /// The key of "CloudTrail".
    pub fn first() -> SigningKey {
        SigningKey(RsaKeyPair::from_pkcs8(FIRST).expect("a key"))
    }

    /// The key of somebody else.
    pub fn second() -> SigningKey {
        SigningKey(RsaKeyPair::from_pkcs8(SECOND).expect("a key"))
    }

    /// The public key in PKCS #1.
    pub fn public_key_der(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    /// The public key in a SubjectPublicKeyInfo.
    pub fn subject_public_key_info(&self) -> Vec<u8> {
        [&SUBJECT_PUBLIC_KEY_INFO[..], self.0.public_key().as_ref()].concat()
    }

    /// The fingerprint of the key in PKCS #1.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.public_key_der())
    }

    /// A signature in hexadecimal digits.
    pub fn sign(&self, text: &str) -> String {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .expect("a signature");
        hex(&signature)
    }

    /// The key as an element of `PublicKeyList`.
    pub fn listed(&self) -> Value {
        listed(&self.public_key_der())
    }
}

/// A public key as an element of `PublicKeyList`.
pub fn listed(der: &[u8]) -> Value {
    json!({
        "Value": BASE64_STANDARD.encode(der),
        "ValidityStartTime": "2026-01-01T00:00:00Z",
        "ValidityEndTime": "2027-01-01T00:00:00Z",
        "Fingerprint": fingerprint(der),
    })
}

fn fingerprint(der: &[u8]) -> String {
    hex(&Md5::digest(der))
}

/// An object of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub body: Vec<u8>,
    /// Without the prefix `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

/// Where a trail delivers to, and for which account and region.
#[derive(Clone)]
pub struct Trail {
    pub bucket: String,
    /// With a slash at its end, unless it is empty.
    pub prefix: String,
    /// With a slash at its end, unless it is empty.
    pub organization: String,
    pub account: String,
    pub region: String,
    pub name: String,
    pub home_region: String,
    pub is_backfill: bool,
}

impl Default for Trail {
    fn default() -> Trail {
        Trail {
            bucket: BUCKET.into(),
            prefix: String::new(),
            organization: String::new(),
            account: "111122223333".into(),
            region: REGION.into(),
            name: "cloudhsm-alerts".into(),
            home_region: REGION.into(),
            is_backfill: false,
        }
    }
}

impl Trail {
    fn folder(&self, kind: &str, time: Timestamp) -> String {
        format!(
            "{}AWSLogs/{}{}/{kind}/{}/{}",
            self.prefix,
            self.organization,
            self.account,
            self.region,
            time.to_zoned(TimeZone::UTC).strftime("%Y/%m/%d")
        )
    }

    /// The key of the digest file of the hour that ends then.
    pub fn digest_key(&self, end: Timestamp) -> String {
        format!(
            "{}/{}_CloudTrail-Digest_{}_{}_{}_{}{}.json.gz",
            self.folder("CloudTrail-Digest", end),
            self.account,
            self.region,
            self.name,
            self.home_region,
            end.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ"),
            if self.is_backfill { "_backfill" } else { "" },
        )
    }

    /// The key of a log file that was delivered then.
    pub fn log_file_key(&self, delivered: Timestamp, unique: &str) -> String {
        format!(
            "{}/{}_CloudTrail_{}_{}_{unique}.json.gz",
            self.folder("CloudTrail", delivered),
            self.account,
            self.region,
            delivered.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%MZ"),
        )
    }
}

/// One digest file of a chain.
#[derive(Clone, Debug)]
pub struct Hour {
    pub key: String,
    pub start: Timestamp,
    pub end: Timestamp,
    pub document: Value,
    /// The keys of its log files.
    pub log_files: Vec<String>,
}

/// A chain of digest files with their log files, as objects of a bucket.
pub struct Digests {
    pub trail: Trail,
    pub key: SigningKey,
    pub hours: Vec<Hour>,
    /// All objects by key.
    pub objects: BTreeMap<String, Object>,
    /// The end of the newest digest file.
    now: Timestamp,
    /// Whether the next digest file starts a chain.
    starts: bool,
}

impl Digests {
    /// A chain that starts at a time, such as `2026-11-23T00:00:00Z`.
    pub fn starting(trail: Trail, time: &str) -> Digests {
        Digests {
            trail,
            key: SigningKey::first(),
            hours: Vec::new(),
            objects: BTreeMap::new(),
            now: time.parse().expect("a time"),
            starts: true,
        }
    }

    /// Six hours from midnight with two log files each.
    pub fn six_hours(trail: Trail) -> Digests {
        let mut digests = Digests::starting(trail, "2026-11-23T00:00:00Z");
        for _ in 0..6 {
            digests.hour(2);
        }
        digests
    }

    /// Adds an hour with so many log files of one record each.
    pub fn hour(&mut self, log_files: usize) {
        let files = (0..log_files).map(|number| vec![self.record(number)]);
        self.hour_of(files.collect());
    }

    /// Adds an hour with log files of these records.
    pub fn hour_of(&mut self, log_files: Vec<Vec<Value>>) {
        let (start, end) = (self.now, self.now + SignedDuration::from_hours(1));
        let mut keys = Vec::new();
        let mut listed = Vec::new();
        for (number, records) in log_files.iter().enumerate() {
            let delivered = start + SignedDuration::from_mins(5 + number as i64 * 10 % 50);
            let key = self
                .trail
                .log_file_key(delivered, &format!("AbCdEfGh{number:08}"));
            let content = json!({ "Records": records }).to_string();
            listed.push(json!({
                "s3Bucket": self.trail.bucket,
                "s3Object": key,
                "hashValue": sha256(content.as_bytes()),
                "hashAlgorithm": "SHA-256",
                "newestEventTime": time(start),
                "oldestEventTime": time(start),
            }));
            self.put(&key, gzip(content.as_bytes()));
            keys.push(key);
        }
        let previous = self.hours.last().filter(|_| !self.starts);
        let of_previous = |name: &str| previous.map(|hour| hour.document[name].clone());
        let previous_content = previous.map(|hour| hour.document.to_string());
        let event_time = (!listed.is_empty()).then(|| time(start));
        let document = json!({
            "awsAccountId": self.trail.account,
            "digestStartTime": time(start),
            "digestEndTime": time(end),
            "digestS3Bucket": self.trail.bucket,
            "digestS3Object": self.trail.digest_key(end),
            "digestPublicKeyFingerprint": self.key.fingerprint(),
            "digestSignatureAlgorithm": "SHA256withRSA",
            "newestEventTime": event_time,
            "oldestEventTime": event_time,
            "previousDigestS3Bucket": of_previous("digestS3Bucket"),
            "previousDigestS3Object": of_previous("digestS3Object"),
            "previousDigestHashValue": previous_content.as_ref().map(|text| sha256(text.as_bytes())),
            "previousDigestHashAlgorithm": previous.map(|_| "SHA-256"),
            "previousDigestSignature": previous.map(|hour| self.objects[&hour.key].metadata["signature"].clone()),
            "logFiles": listed,
        });
        let key = self.trail.digest_key(end);
        self.sign(&key, &document);
        self.hours.push(Hour {
            key,
            start,
            end,
            document,
            log_files: keys,
        });
        self.now = end;
        self.starts = false;
    }

    /// Stops logging for so many hours. The next digest file starts a chain.
    pub fn stop(&mut self, hours: i64) {
        self.now += SignedDuration::from_hours(hours);
        self.starts = true;
    }

    /// Writes a digest file with the signature that it must have, as only CloudTrail can.
    pub fn sign(&mut self, key: &str, document: &Value) {
        let signed = self.signed(&self.key, document);
        self.objects.insert(key.to_owned(), signed);
    }

    /// A digest file signed with a key, as an object.
    pub fn signed(&self, key: &SigningKey, document: &Value) -> Object {
        let content = document.to_string();
        let previous = document["previousDigestSignature"]
            .as_str()
            .unwrap_or("null");
        let text = |name: &str| document[name].as_str().unwrap_or_default();
        let signature = key.sign(&format!(
            "{}\n{}/{}\n{}\n{previous}",
            text("digestEndTime"),
            text("digestS3Bucket"),
            text("digestS3Object"),
            sha256(content.as_bytes()),
        ));
        Object {
            body: gzip(content.as_bytes()),
            metadata: BTreeMap::from([
                ("signature".into(), signature),
                ("signature-algorithm".into(), "SHA256withRSA".into()),
            ]),
        }
    }

    /// Changes a digest file and signs it again. The next one still names what it was.
    pub fn sign_again(&mut self, hour: usize, change: impl FnOnce(&mut Value)) {
        let mut document = self.hours[hour].document.clone();
        change(&mut document);
        let key = self.hours[hour].key.clone();
        self.sign(&key, &document);
    }

    /// Puts an object without metadata, in place of the one that is there.
    pub fn put(&mut self, key: &str, body: Vec<u8>) {
        let metadata = BTreeMap::new();
        self.objects
            .insert(key.to_owned(), Object { body, metadata });
    }

    /// Changes the body of an object.
    pub fn change(&mut self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.objects.get_mut(key).expect("an object").body);
    }

    /// Removes an object.
    pub fn remove(&mut self, key: &str) {
        self.objects.remove(key).expect("an object");
    }

    /// Writes the objects to a folder, without their metadata, as `aws s3 sync` does.
    pub fn write_to(&self, folder: &Path) {
        for (key, object) in &self.objects {
            let path = folder.join(key);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, &object.body).expect("a file");
        }
    }

    /// The key of a digest file.
    pub fn digest(&self, hour: usize) -> String {
        self.hours[hour].key.clone()
    }

    /// The hour of a digest file.
    pub fn hour_of_digest(&self, key: &str) -> usize {
        let hour = self.hours.iter().position(|hour| hour.key == key);
        hour.expect("the key of a digest file")
    }

    /// What CloudTrail wrote into a digest file.
    pub fn document(&self, key: &str) -> Value {
        self.hours[self.hour_of_digest(key)].document.clone()
    }

    /// The key of a log file.
    pub fn log_file(&self, hour: usize, number: usize) -> String {
        self.hours[hour].log_files[number].clone()
    }

    /// The output of `aws cloudtrail list-public-keys`.
    pub fn public_keys(&self) -> Value {
        json!({ "PublicKeyList": [self.key.listed()] })
    }

    /// A harmless record, another one for each hour and number.
    fn record(&self, number: usize) -> Value {
        json!({
            "eventVersion": "1.11",
            "userIdentity": { "type": "AWSService", "invokedBy": "cloudhsm.amazonaws.com" },
            "eventTime": time(self.now),
            "eventSource": "cloudhsm.amazonaws.com",
            "eventName": "DescribeClusters",
            "awsRegion": self.trail.region,
            "eventID": format!("00000000-0000-4000-8000-{:06}{number:06}", self.hours.len()),
            "recipientAccountId": self.trail.account,
        })
    }
}

/// CloudTrail's API, of which there is one operation: the endpoint for `AWS_ENDPOINT_URL_CLOUDTRAIL`. A region gets the
/// keys that `keys` returns for its name, or AccessDeniedException. The server ends with the process.
pub fn public_key_server(keys: impl Fn(&str) -> Option<Value> + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let keys = keys.clone();
            thread::spawn(move || answer(&client, keys));
        }
    });
    endpoint
}

/// Answers one request and closes the connection.
fn answer(mut client: &TcpStream, keys: impl Fn(&str) -> Option<Value>) -> Option<()> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (reader.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let lines = head.to_ascii_lowercase();
    let header = |name: &str| lines.lines().find_map(|line| line.strip_prefix(name));
    let length = header("content-length:")?.trim().parse().ok()?;
    reader.read_exact(&mut vec![0; length]).ok()?;
    // Credential=KEY/DATE/REGION/cloudtrail/aws4_request
    let region = header("authorization:")?.split('/').nth(2)?.to_owned();
    let is_asked = header("x-amz-target:")?.trim().ends_with(".listpublickeys");
    let (status, body) = match keys(&region).filter(|_| is_asked) {
        Some(keys) => ("200 OK", seconds(keys)),
        None => (
            "400 Bad Request",
            json!({ "__type": "AccessDeniedException", "message": "not allowed" }),
        ),
    };
    let body = body.to_string();
    write!(
        client,
        "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()
}

/// The times of the command line's output as the API has them.
fn seconds(mut keys: Value) -> Value {
    for key in keys["PublicKeyList"].as_array_mut().into_iter().flatten() {
        for name in ["ValidityStartTime", "ValidityEndTime"] {
            let time: Timestamp = key[name]
                .as_str()
                .unwrap_or_default()
                .parse()
                .expect("a time");
            key[name] = json!(time.as_second());
        }
    }
    keys
}

/// Bytes compressed with gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// The content of a gzip file.
#[expect(
    clippy::disallowed_types,
    reason = "what a test has compressed itself needs no limit"
)]
pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    decoder.write_all(bytes).expect("gzip");
    decoder.finish().expect("gzip")
}

/// The SHA-256 hash in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn time(time: Timestamp) -> String {
    time.to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
