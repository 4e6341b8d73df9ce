//! A fact: what a successful call says about a cluster, a backup, a key store or a KMS key.
//!
//! Facts are what lineage and deadlines are made of. They are taken from every record that was read, also from those
//! that are not listed, because a restore below the minimum severity still closes a deletion. Facts are ordered by
//! time, so that the order of the log files does not matter; within a second, a deletion comes before its undoing.
//!
//! Sources: AWS CloudHSM API Reference (`Backup`, `Cluster`, `DestinationBackup`), AWS KMS API Reference
//! (`ScheduleKeyDeletion`, custom key stores).

use cloudhsm_alerts_core::{
    actor::{Actor, Client},
    record::{Outcome, Record},
    response_time::time_at,
    rules::Until,
    text::one_line,
};
use jiff::Timestamp;

/// Until when a deleted backup can be restored, as in the rule `hsm-backup-deleted`.
const UNTIL_RESTORED: [&str; 2] = [
    "{responseElements.backup.deleteTimestamp>1d}",
    "{eventTime+7d}",
];
/// Until when an HSM type can be rolled back, as in the rule `hsm-cluster-type-changed`.
const UNTIL_ROLLED_BACK: [&str; 2] = [
    "{responseElements.cluster.hsmTypeRollbackExpiration}",
    "{eventTime+24h}",
];
/// Until when the deletion of a key can be cancelled, as in the rule `alert-key-deletion-scheduled`.
const UNTIL_CANCELLED: [&str; 4] = [
    "{responseElements.deletionDate}",
    "{eventTime+{responseElements.pendingWindowInDays}d}",
    "{eventTime+{requestParameters.pendingWindowInDays}d}",
    "{eventTime+30d}",
];

/// Maximum length of an identifier, in characters.
const MAX_ID: usize = 128;

/// What a call did, when, and who made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fact {
    pub time: Option<Timestamp>,
    pub what: What,
    pub account: Option<String>,
    pub region: Option<String>,
    /// The caller in short.
    pub actor: String,
    /// Identifies the call.
    pub call: u128,
}

/// What a call did. The order is the one within a second.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    ClusterCreated {
        cluster: String,
        from: Option<String>,
    },
    ClusterInitialized {
        cluster: String,
    },
    /// The cluster was named by a call that only an existing cluster permits.
    ClusterNamed {
        cluster: String,
    },
    HsmCreated {
        cluster: String,
        hsm: Option<String>,
    },
    HsmDeleted {
        cluster: String,
        hsm: Option<String>,
    },
    /// A change of the HSM type, which can be taken back until `due`.
    TypeChanged {
        cluster: String,
        to: String,
        due: Option<Timestamp>,
        is_rollback: bool,
    },
    ClusterDeleted {
        cluster: String,
    },
    BackupDeleted {
        backup: Backup,
        due: Option<Timestamp>,
        by_service: bool,
    },
    BackupRestored {
        backup: Backup,
    },
    BackupExpiry {
        backup: Backup,
        never_expires: bool,
    },
    BackupNamed {
        backup: Backup,
    },
    BackupCopied {
        backup: Backup,
        to_region: String,
    },
    Shared {
        backup: Backup,
        principals: Vec<String>,
    },
    SharingStopped {
        backup: Backup,
    },
    KeyStore {
        change: KeyStoreChange,
        id: String,
        cluster: Option<String>,
    },
    KeyDeletionScheduled {
        key: String,
        due: Option<Timestamp>,
    },
    KeyDeletionCancelled {
        key: String,
    },
}

/// What a call did to a KMS custom key store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeyStoreChange {
    Created,
    Connected,
    Updated,
    Disconnected,
    Deleted,
}

/// A backup and what the response says of its origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Backup {
    pub id: String,
    pub cluster: Option<String>,
    /// The backup that this one is a copy of.
    pub source: Option<String>,
    pub source_region: Option<String>,
    /// When the backup was made.
    pub created: Option<Timestamp>,
}

/// The facts of a record; none if the call did not succeed.
pub(super) fn of(
    record: &Record,
    call: u128,
    principals: impl FnOnce() -> Vec<String>,
) -> Option<Fact> {
    if record.outcome() != Outcome::Success {
        return None;
    }
    let what = match record.event_source() {
        "cloudhsm.amazonaws.com" | "cloudhsmv2.amazonaws.com" => of_cloudhsm(record, principals)?,
        "kms.amazonaws.com" => of_kms(record)?,
        _ => return None,
    };
    Some(Fact {
        time: record.event_time(),
        what,
        account: record.account().map(|id| one_line(&id, 64)),
        region: record.region().map(|region| one_line(region, 64)),
        actor: Actor::of(record).short,
        call,
    })
}

fn of_cloudhsm(record: &Record, principals: impl FnOnce() -> Vec<String>) -> Option<What> {
    let cluster = || id(record, "clusterId");
    let request = |name: &str| id_at(record, &format!("requestParameters.{name}"));
    Some(match record.event_name() {
        "CreateCluster" => What::ClusterCreated {
            cluster: cluster()?,
            from: request("sourceBackupId").or_else(|| id(record, "sourceBackupId")),
        },
        "InitializeCluster" => What::ClusterInitialized {
            cluster: cluster()?,
        },
        "CreateHsm" => What::HsmCreated {
            cluster: cluster()?,
            hsm: id_at(record, "responseElements.hsm.hsmId"),
        },
        "DeleteHsm" => What::HsmDeleted {
            cluster: cluster()?,
            hsm: id_at(record, "responseElements.hsmId").or_else(|| request("hsmId")),
        },
        "DeleteCluster" => What::ClusterDeleted {
            cluster: cluster()?,
        },
        "ModifyCluster" => match request("hsmType") {
            Some(to) => What::TypeChanged {
                cluster: cluster()?,
                to,
                due: due(record, &UNTIL_ROLLED_BACK),
                is_rollback: record.str("responseElements.cluster.state")
                    == Some("ROLLBACK_IN_PROGRESS"),
            },
            None => What::ClusterNamed {
                cluster: cluster()?,
            },
        },
        "DeleteBackup" => What::BackupDeleted {
            backup: backup(record)?,
            due: due(record, &UNTIL_RESTORED),
            by_service: is_by_service(record),
        },
        "RestoreBackup" => What::BackupRestored {
            backup: backup(record)?,
        },
        "ModifyBackupAttributes" => What::BackupExpiry {
            backup: backup(record)?,
            never_expires: record
                .flag("requestParameters.neverExpires")
                .or_else(|| record.flag("responseElements.backup.neverExpires"))?,
        },
        "CopyBackupToRegion" => What::BackupCopied {
            to_region: request("destinationRegion")?,
            backup: Backup {
                cluster: id_at(record, "responseElements.destinationBackup.sourceCluster"),
                ..named_backup(request("backupId")?)
            },
        },
        "PutResourcePolicy" => What::Shared {
            backup: named_backup(request("resourceArn")?),
            principals: principals().into_iter().take(100).collect(),
        },
        "DeleteResourcePolicy" => What::SharingStopped {
            backup: named_backup(request("resourceArn")?),
        },
        "TagResource" | "UntagResource" => {
            let resource = request("resourceId")?;
            if resource.starts_with("cluster-") {
                What::ClusterNamed { cluster: resource }
            } else if resource.starts_with("backup-") {
                What::BackupNamed {
                    backup: named_backup(resource),
                }
            } else {
                return None;
            }
        }
        _ => return None,
    })
}

fn of_kms(record: &Record) -> Option<What> {
    let change = match record.event_name() {
        "ScheduleKeyDeletion" => {
            return Some(What::KeyDeletionScheduled {
                key: key(record)?,
                due: due(record, &UNTIL_CANCELLED),
            });
        }
        "CancelKeyDeletion" => return Some(What::KeyDeletionCancelled { key: key(record)? }),
        "CreateCustomKeyStore" => KeyStoreChange::Created,
        "ConnectCustomKeyStore" => KeyStoreChange::Connected,
        "UpdateCustomKeyStore" => KeyStoreChange::Updated,
        "DisconnectCustomKeyStore" => KeyStoreChange::Disconnected,
        "DeleteCustomKeyStore" => KeyStoreChange::Deleted,
        _ => return None,
    };
    Some(What::KeyStore {
        change,
        id: id(record, "customKeyStoreId")?,
        cluster: id(record, "cloudHsmClusterId").or_else(|| id(record, "clusterId")),
    })
}

/// The key's ID, whether the call named it by ID or by ARN.
fn key(record: &Record) -> Option<String> {
    id_at(record, "responseElements.keyId").or_else(|| id_at(record, "requestParameters.keyId"))
}

/// The backup that the call names, with what the response says of it.
fn backup(record: &Record) -> Option<Backup> {
    let at = |name: &str| id_at(record, &format!("responseElements.backup.{name}"));
    Some(Backup {
        id: id_at(record, "requestParameters.backupId").or_else(|| at("backupId"))?,
        cluster: at("clusterId").or_else(|| at("sourceCluster")),
        source: at("sourceBackup"),
        source_region: at("sourceRegion"),
        created: time_at(record, "responseElements.backup.createTimestamp"),
    })
}

fn named_backup(id: String) -> Backup {
    Backup {
        id,
        ..Backup::default()
    }
}

fn id(record: &Record, name: &str) -> Option<String> {
    record.find(name).map(short)
}

fn id_at(record: &Record, path: &str) -> Option<String> {
    record.str(path).map(short)
}

/// The identifier, on one line. An ARN ends with it.
fn short(text: &str) -> String {
    let id = match text.starts_with("arn:") {
        true => text.rsplit('/').next().unwrap_or(text),
        false => text,
    };
    one_line(id, MAX_ID)
}

/// The same rule as in `hsm-backup-purged`.
fn is_by_service(record: &Record) -> bool {
    record.str("userIdentity.type") == Some("AWSService")
        || record.str("userIdentity.invokedBy") == Some("cloudhsm.amazonaws.com")
        || record.str("eventType") == Some("AwsServiceEvent")
        || matches!(Actor::of(record).client, Client::Service(service) if service == "cloudhsm.amazonaws.com")
}

/// The first time that the record gives.
fn due(record: &Record, until: &[&str]) -> Option<Timestamp> {
    until
        .iter()
        .find_map(|text| Until::parse(text).ok()?.time(record))
}

#[cfg(test)]
mod tests {
    use cloudhsm_alerts_core::rules::{RuleSet, watched::Watched};
    use serde_json::{Value, json};

    use super::*;

    fn record(value: Value) -> Record {
        Record::new(0, value.as_object().unwrap().clone())
    }

    /// A report and a reminder of the function must not give two times.
    #[test]
    fn deadlines_are_those_of_the_rules() {
        let rules = RuleSet::builtin(&Watched::default()).unwrap().rules();
        for (name, expected) in [
            ("hsm-backup-deleted", &UNTIL_RESTORED[..]),
            ("hsm-cluster-type-changed", &UNTIL_ROLLED_BACK),
            ("alert-key-deletion-scheduled", &UNTIL_CANCELLED),
        ] {
            let rule = rules.iter().find(|rule| rule.name == name).unwrap();
            let until = rule.deadline().unwrap().until();
            let texts: Vec<&str> = until.iter().map(Until::text).collect();
            assert_eq!(texts, expected, "{name}");
        }
    }

    #[test]
    fn a_failed_call_is_no_fact() {
        let call = json!({"eventSource": "cloudhsm.amazonaws.com", "eventName": "DeleteBackup", "requestParameters": {"backupId": "backup-a"}});
        let mut denied = call.clone();
        denied["errorCode"] = "AccessDenied".into();
        assert!(of(&record(call), 0, Vec::new).is_some());
        assert_eq!(of(&record(denied), 0, Vec::new), None);
    }
}
