//! Generated log files that resemble those of an organization: a dozen services, nested identities, one
//! CloudHSM call in a thousand records, and records that only mention CloudHSM. The same seed gives the same
//! bytes.
//!
//! Benches depend on the shape of the records: their members and the order of these, their length, and how well
//! they compress.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

/// Percentage of records, service, and its event names.
const SERVICES: &[(u64, &str, &[&str])] = &[
    (
        24,
        "s3",
        &[
            "GetObject",
            "PutObject",
            "ListObjects",
            "HeadObject",
            "GetBucketAcl",
        ],
    ),
    (18, "kms", &["Decrypt", "GenerateDataKey", "DescribeKey"]),
    (14, "sts", &["AssumeRole", "GetCallerIdentity"]),
    (
        12,
        "ec2",
        &[
            "DescribeInstances",
            "DescribeVolumes",
            "RunInstances",
            "DescribeSecurityGroups",
        ],
    ),
    (8, "logs", &["CreateLogStream", "DescribeLogGroups"]),
    (6, "dynamodb", &["DescribeTable", "ListTables"]),
    (5, "iam", &["GetRole", "ListAttachedRolePolicies"]),
    (4, "lambda", &["Invoke", "ListFunctions20150331"]),
    (4, "sns", &["Publish", "ListTopics"]),
    (3, "cloudtrail", &["LookupEvents", "DescribeTrails"]),
    (2, "monitoring", &["PutMetricData", "DescribeAlarms"]),
];

/// Event names of CloudHSM that match a built-in rule.
const CALLS: &[&str] = &[
    "DeleteBackup",
    "CreateHsm",
    "DeleteCluster",
    "ModifyCluster",
    "TagResource",
];

const REGIONS: &[&str] = &["us-east-1", "us-west-2", "eu-central-1"];
const AGENTS: &[&str] = &[
    "[aws-sdk-java/1.12.488 Linux/5.4.247-169.350.amzn2int.x86_64 OpenJDK_64-Bit_Server_VM/25.372-b08]",
    "aws-cli/2.31.4 md/awscrt#0.27.6 ua/2.1 os/linux#6.1.147 md/arch#x86_64 lang/python#3.13.7",
    "Boto3/1.40.21 md/Botocore#1.40.21 ua/2.1 os/linux#5.10.240-238.959.amzn2.x86_64 lang/python#3.12.11",
    "cloudhsm.amazonaws.com",
];

/// A generator of records and log files.
pub struct LogFiles {
    state: u64,
    /// One of this many records matches a rule.
    records_per_match: u64,
}

impl LogFiles {
    pub fn new(seed: u64) -> LogFiles {
        LogFiles {
            state: seed ^ 0x9e37_79b9_7f4a_7c15,
            records_per_match: 1000,
        }
    }

    /// The next random number (SplitMix64).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.next() % from.len() as u64) as usize]
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }

    /// A record. Whether it matches a rule is up to the caller.
    pub fn record(&mut self, matches: bool) -> String {
        let (service, name) = if matches {
            ("cloudhsm", self.pick(CALLS))
        } else {
            let mut percentile = self.next() % 100;
            let (_, service, names) = SERVICES
                .iter()
                .find(|(share, ..)| {
                    let is_chosen = percentile < *share;
                    percentile = percentile.saturating_sub(*share);
                    is_chosen
                })
                .unwrap_or(&SERVICES[0]);
            (*service, self.pick(names))
        };
        let (region, agent) = (self.pick(REGIONS), self.pick(AGENTS));
        let account = 111_122_223_333 + self.next() % 4 * 111;
        let role = self.next() % 40;
        let (event, request) = (self.uuid(), self.uuid());
        let (minute, second) = (self.next() % 60, self.next() % 60);
        let address = (self.next() % 256, self.next() % 256);
        let key = self.next();
        let parameters = match service {
            "s3" => format!(
                r#"{{"bucketName":"data-{account}","Host":"data-{account}.s3.{region}.amazonaws.com","key":"part={:03}/{key:016x}.parquet"}}"#,
                key % 365
            ),
            "kms" => format!(
                r#"{{"keyId":"arn:aws:kms:{region}:{account}:key/{}","encryptionAlgorithm":"SYMMETRIC_DEFAULT","encryptionContext":{{"aws:s3:arn":"arn:aws:s3:::data-{account}"}}}}"#,
                self.uuid()
            ),
            "sts" => format!(
                r#"{{"roleArn":"arn:aws:iam::{account}:role/service-{role}","roleSessionName":"{key:012x}","durationSeconds":3600}}"#
            ),
            "ec2" => format!(
                r#"{{"instancesSet":{{"items":[{{"instanceId":"i-{key:017x}"}}]}},"filterSet":{{}},"maxResults":{}}}"#,
                key % 1000
            ),
            "cloudhsm" => r#"{"backupId":"backup-zxc7vbn2mas"}"#.to_owned(),
            "iam" => format!(
                r#"{{"roleName":"service-{role}","policyDocument":"{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\"}}]}}"}}"#
            ),
            _ => "null".to_owned(),
        };
        let error = if key.is_multiple_of(40) {
            r#""errorCode":"AccessDenied","errorMessage":"User is not authorized to perform this on resource cloudhsm.amazonaws.com","#
        } else {
            ""
        };
        let more = if service == "s3" {
            format!(
                r#""additionalEventData":{{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"AuthenticationMethod":"AuthHeader","x-amz-id-2":"{:016x}{:016x}{:016x}=","bytesTransferredOut":{}}},"#,
                self.next(),
                self.next(),
                self.next(),
                key % 100_000
            )
        } else {
            String::new()
        };
        format!(
            r#"{{"eventVersion":"1.11","userIdentity":{{"type":"AssumedRole","principalId":"AROAX2QK7M4VTEXAMPLE{role}:session-{role}","arn":"arn:aws:sts::{account}:assumed-role/service-{role}/session-{role}","accountId":"{account}","accessKeyId":"ASIA{:016X}","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROAX2QK7M4VTEXAMPLE{role}","arn":"arn:aws:iam::{account}:role/service-{role}","accountId":"{account}","userName":"service-{role}"}},"attributes":{{"creationDate":"2026-11-23T02:{minute:02}:00Z","mfaAuthenticated":"false"}}}}}},"eventTime":"2026-11-23T03:{minute:02}:{second:02}Z","eventSource":"{service}.amazonaws.com","eventName":"{name}","awsRegion":"{region}","sourceIPAddress":"10.0.{}.{}","userAgent":"{agent}",{error}"requestParameters":{parameters},"responseElements":null,{more}"requestID":"{request}","eventID":"{event}","readOnly":{},"resources":[{{"accountId":"{account}","type":"AWS::{service}::Resource","ARN":"arn:aws:{service}:::data-{account}"}}],"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"{account}","eventCategory":"Management","tlsDetails":{{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"{service}.{region}.amazonaws.com"}}}}"#,
            key.rotate_left(role as u32),
            address.0,
            address.1,
            !key.is_multiple_of(3),
        )
    }

    /// A compressed log file and its number of records. Records are added while `more` returns true for the
    /// number of records, the uncompressed and the compressed size so far. The last record always matches a rule.
    pub fn file(&mut self, more: impl Fn(u64, usize, usize) -> bool) -> (Vec<u8>, u64) {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        let (mut records, mut bytes) = (0, 12);
        gzip.write_all(b"{\"Records\":[").unwrap();
        while more(records + 1, bytes, gzip.get_ref().len()) {
            let matches = self.next().is_multiple_of(self.records_per_match);
            let record = self.record(matches);
            gzip.write_all(record.as_bytes()).unwrap();
            gzip.write_all(b",").unwrap();
            records += 1;
            bytes += record.len() + 1;
        }
        gzip.write_all(self.record(true).as_bytes()).unwrap();
        gzip.write_all(b"]}").unwrap();
        (gzip.finish().unwrap(), records + 1)
    }

    /// A log file with this number of records.
    pub fn of_records(&mut self, count: u64) -> Vec<u8> {
        self.file(|records, _, _| records < count).0
    }

    /// A log file with this number of uncompressed bytes.
    pub fn of_bytes(&mut self, count: usize) -> Vec<u8> {
        self.file(|_, bytes, _| bytes < count).0
    }

    /// A log file of which one of `records_per_match` records matches a rule.
    pub fn with_matches(&mut self, records_per_match: u64, bytes: usize) -> Vec<u8> {
        let default = std::mem::replace(&mut self.records_per_match, records_per_match);
        let file = self.of_bytes(bytes);
        self.records_per_match = default;
        file
    }

    /// A log file of successful calls that match rules, each on a backup of its own, so that no two of them share an
    /// alert.
    pub fn of_calls(&mut self, count: usize) -> Vec<u8> {
        let mut records = Vec::new();
        while records.len() < count {
            let record = self.record(true);
            if !record.contains("errorCode") {
                let backup = format!("backup-{:011}", records.len());
                records.push(record.replace("backup-zxc7vbn2mas", &backup));
            }
        }
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        write!(gzip, "{{\"Records\":[{}]}}", records.join(",")).unwrap();
        gzip.finish().unwrap()
    }

    /// The largest log file that CloudTrail delivers, 50 MB compressed, and its number of records. Only the last
    /// record matches a rule.
    pub fn largest(&mut self) -> (Vec<u8>, u64) {
        self.records_per_match = u64::MAX;
        self.file(|_, _, compressed| compressed < 50_000_000)
    }
}
