//! The things a call names: clusters, HSMs, backups, key stores, and Classic's own.
//!
//! CloudTrail writes an API member's name with a small first letter. Source: AWS CloudHSM API
//! Reference, CloudHSM Classic API Reference, AWS KMS API Reference.

use crate::{links::unlinked, record::Record, text::one_line};

/// At most so many of one record are told.
const MOST: usize = 20;

/// What sort of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A CloudHSM cluster.
    Cluster,
    /// An HSM of a cluster, or a Classic HSM.
    Hsm,
    /// A backup of a cluster.
    Backup,
    /// A custom key store of AWS KMS.
    KeyStore,
    /// A high-availability partition group of CloudHSM Classic.
    PartitionGroup,
    /// A client of CloudHSM Classic.
    Client,
    /// Something else that a call gives as its resource.
    Other,
}

impl Kind {
    /// The word for a person.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Cluster => "cluster",
            Kind::Hsm => "HSM",
            Kind::Backup => "backup",
            Kind::KeyStore => "key store",
            Kind::PartitionGroup => "partition group",
            Kind::Client => "client",
            Kind::Other => "resource",
        }
    }

    /// The type in an OCSF resource, after CloudFormation's and IAM's names.
    pub fn ocsf_type(self) -> &'static str {
        match self {
            Kind::Cluster => "AWS::CloudHSM::Cluster",
            Kind::Hsm => "AWS::CloudHSM::Hsm",
            Kind::Backup => "AWS::CloudHSM::Backup",
            Kind::KeyStore => "AWS::KMS::CustomKeyStore",
            Kind::PartitionGroup => "AWS::CloudHSM::Hapg",
            Kind::Client => "AWS::CloudHSM::LunaClient",
            Kind::Other => "AWS::CloudHSM::Resource",
        }
    }
}

/// One thing that a call names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// What it is.
    pub kind: Kind,
    /// Its identifier or ARN, one line.
    pub uid: String,
}

impl Resource {
    /// `backup backup-zxc7vbn2mas`.
    pub fn label(&self) -> String {
        format!("{} {}", self.kind.word(), unlinked(&self.uid, 256))
    }
}

/// The things a record names: those of the request first, each once.
pub fn of(record: &Record) -> Vec<Resource> {
    let mut found: Vec<Resource> = Vec::new();
    for (name, value) in record.parameters(documented) {
        let Some(kind) = kind_of(name, value) else {
            continue;
        };
        let resource = Resource {
            kind,
            uid: one_line(value, 256),
        };
        if found.len() < MOST && !found.contains(&resource) {
            found.push(resource);
        }
    }
    // The call's own subject before what it belongs to: a DeleteHsm names its cluster first, and is
    // still about the HSM.
    let subject = subject(record.event_name());
    found.sort_by_key(|resource| Some(resource.kind) != subject);
    found
}

/// The kind of thing a call is about, from its name.
fn subject(event_name: &str) -> Option<Kind> {
    [
        ("Backup", Kind::Backup),
        ("KeyStore", Kind::KeyStore),
        ("Cluster", Kind::Cluster),
        ("Hsm", Kind::Hsm),
        ("Hapg", Kind::PartitionGroup),
        ("LunaClient", Kind::Client),
    ]
    .into_iter()
    .find(|(word, _)| event_name.contains(word))
    .map(|(_, kind)| kind)
}

/// The members that name a thing, as CloudTrail spells them.
const NAMES: [&str; 14] = [
    "clusterId",
    "sourceCluster",
    "cloudHsmClusterId",
    "hsmId",
    "hsmArn",
    "backupId",
    "sourceBackupId",
    "sourceBackup",
    "customKeyStoreId",
    "customKeyStoreName",
    "hapgArn",
    "clientArn",
    "resourceId",
    "resourceArn",
];

/// The documented spelling of such a name.
fn documented(name: &str) -> Option<&'static str> {
    NAMES
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name))
}

fn kind_of(name: &str, value: &str) -> Option<Kind> {
    Some(match documented(name)? {
        "clusterId" | "sourceCluster" | "cloudHsmClusterId" => Kind::Cluster,
        "hsmId" | "hsmArn" => Kind::Hsm,
        "backupId" | "sourceBackupId" | "sourceBackup" => Kind::Backup,
        "customKeyStoreId" | "customKeyStoreName" => Kind::KeyStore,
        "hapgArn" => Kind::PartitionGroup,
        "clientArn" => Kind::Client,
        // An identifier of any kind; ARNs end in `cluster/…` or `backup/…`.
        "resourceId" | "resourceArn" => match value.rsplit('/').next().unwrap_or(value) {
            id if id.starts_with("cluster-") => Kind::Cluster,
            id if id.starts_with("backup-") => Kind::Backup,
            id if id.starts_with("hsm-") => Kind::Hsm,
            _ => Kind::Other,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_a_record_names() {
        for (record, expected) in [
            (
                json!({"eventName": "DeleteHsm", "requestParameters": {"clusterId": "cluster-a", "hsmId": "hsm-b"}, "responseElements": {"hsmId": "hsm-b"}}),
                vec!["HSM hsm-b", "cluster cluster-a"],
            ),
            (
                json!({"eventName": "CreateCluster", "requestParameters": {"sourceBackupId": "backup-c"}, "responseElements": {"cluster": {"clusterId": "cluster-d"}}}),
                vec!["cluster cluster-d", "backup backup-c"],
            ),
            (
                json!({"eventName": "TagResource", "requestParameters": {"resourceId": "cluster-a"}}),
                vec!["cluster cluster-a"],
            ),
            (
                json!({"eventName": "PutResourcePolicy", "requestParameters": {"resourceArn": "arn:aws:cloudhsm:us-west-2:111122223333:backup/backup-c"}}),
                vec!["backup arn:aws:cloudhsm:us-west-2:111122223333:backup/backup-c"],
            ),
            (
                json!({"eventName": "DeleteHapg", "requestParameters": {"hapgArn": "arn:aws:cloudhsm:us-west-2:111122223333:hapg-1"}}),
                vec!["partition group arn:aws:cloudhsm:us-west-2:111122223333:hapg-1"],
            ),
            (
                json!({"eventName": "DeleteBackup", "requestParameters": null}),
                vec![],
            ),
            (
                json!({"eventName": "DeleteBackup", "requestParameters": {"BackupId": "backup-a", "backupId": "backup-b"}}),
                vec!["backup backup-b"],
            ),
            (
                json!({"eventName": "DeleteBackup", "requestParameters": {"BackupId": "backup-a"}}),
                vec!["backup backup-a"],
            ),
        ] {
            let Value::Object(fields) = record.clone() else {
                unreachable!("objects above")
            };
            let labels: Vec<String> = of(&Record::new(0, fields))
                .iter()
                .map(Resource::label)
                .collect();
            assert_eq!(labels, expected, "{record}");
        }
    }
}
