//! The resources that a record names: clusters, HSMs, backups, KMS key stores, and those of CloudHSM Classic.
//!
//! Only documented parameter names are read, and what they contain is an identifier that the caller sent: it
//! may not exist. CloudTrail writes the name of an API member with a lower-case first letter.
//! Sources: AWS CloudHSM API Reference, CloudHSM Classic API Reference, AWS KMS API Reference.

use crate::{
    defang::defanged,
    record::{Outcome, Record},
    text::one_line,
};

/// Maximum number of resources taken from one record.
const MAX_RESOURCES: usize = 20;

/// The type of a resource.
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
    /// A resource of another type.
    Other,
}

impl Kind {
    /// The name of the type, for people.
    pub fn name(self) -> &'static str {
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

    /// The type of an OCSF resource, in the style of CloudFormation's resource types.
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

/// One resource that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its type.
    pub kind: Kind,
    /// Its identifier or ARN, on one line.
    pub uid: String,
}

impl Resource {
    /// `backup backup-zxc7vbn2mas`.
    pub fn label(&self) -> String {
        format!("{} {}", self.kind.name(), defanged(&self.uid, 256))
    }
}

/// The distinct resources that a record names. Those in the request come before those in the response.
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
        if found.len() < MAX_RESOURCES && !found.contains(&resource) {
            found.push(resource);
        }
    }
    // A denied call has no parameters, but AWS's message names what it was about.
    if found.is_empty() && record.outcome() != Outcome::Success {
        found.extend(in_error(record));
    }
    // The resource that the operation acts on comes first: DeleteHsm names the cluster before the HSM.
    let target = target(record.event_name());
    found.sort_by_key(|resource| Some(resource.kind) != target);
    found
}

/// The resource in `… is not authorized to perform: cloudhsm:DeleteBackup on resource: arn:aws:cloudhsm:…:backup/…`.
/// Source: IAM User Guide, "Troubleshoot access denied error messages".
fn in_error(record: &Record) -> Option<Resource> {
    let (_, after) = record.str("errorMessage")?.split_once(" on resource: ")?;
    let arn = after.split_whitespace().next()?;
    let mut parts = arn.splitn(6, ':');
    let (Some("arn"), Some(service), Some(resource)) = (parts.next(), parts.nth(1), parts.nth(2))
    else {
        return None;
    };
    let (kind, id) = resource.split_once('/')?;
    let kind = match (service, kind) {
        // A wildcard stands for all of them.
        _ if id.is_empty() || id.contains('*') => return None,
        ("cloudhsm", "cluster") => Kind::Cluster,
        ("cloudhsm", "backup") => Kind::Backup,
        _ => return None,
    };
    Some(Resource {
        kind,
        uid: one_line(arn.trim_end_matches(['.', ',']), 256),
    })
}

/// The last part of an ARN, or the identifier itself.
pub(super) fn short_id(uid: &str) -> &str {
    uid.rsplit('/')
        .next()
        .filter(|part| !part.is_empty())
        .unwrap_or(uid)
}

/// The type of resource that an operation acts on, derived from the operation's name.
fn target(event_name: &str) -> Option<Kind> {
    [
        ("Backup", Kind::Backup),
        ("KeyStore", Kind::KeyStore),
        ("Cluster", Kind::Cluster),
        ("Hsm", Kind::Hsm),
        ("Hapg", Kind::PartitionGroup),
        ("LunaClient", Kind::Client),
    ]
    .into_iter()
    .find(|(part, _)| event_name.contains(part))
    .map(|(_, kind)| kind)
}

/// The parameters that identify a resource, as CloudTrail spells them.
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
