//! Deadlines: what a call did that can be undone for a time, until when, and with which commands.
//!
//! A deleted backup can be restored for 7 days, the deletion of a KMS key can be cancelled while it is pending, and a
//! change of a cluster's HSM type can be taken back until it expires. A deadline is closed if the undoing call is in
//! the records. All commands are complete; a value that is not safe to paste into a shell is a placeholder.

use std::collections::{BTreeMap, BTreeSet};

use cloudhsm_alerts_core::{
    defang::defanged,
    text::{is_shell_safe, one_line},
};
use jiff::Timestamp;
use serde::Serialize;

use crate::as_of::{AsOf, Left};

use super::{
    fact::{Fact, What},
    format,
};

/// What can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    BackupDeletion,
    HsmTypeChange,
    KeyDeletion,
}

/// Whether it still can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Open,
    Past,
    Closed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Deadline {
    pub state: State,
    /// The end. `None`: neither the response nor the time of the call is in the record.
    #[serde(serialize_with = "super::format::json_optional")]
    pub due: Option<Timestamp>,
    /// Depends on the time at which the report is made.
    pub time_left: Option<String>,
    pub kind: Kind,
    pub resource: String,
    pub account: Option<String>,
    pub region: Option<String>,
    #[serde(serialize_with = "super::format::json_optional")]
    pub began: Option<Timestamp>,
    pub actor: String,
    pub what_happened: String,
    /// What closed it, or what is left to do.
    pub note: Option<String>,
    pub commands: Vec<String>,
    /// The number of the call in this report, if it is listed.
    pub call: Option<usize>,
    #[serde(skip)]
    id: u128,
}

/// A deadline that is replayed.
struct Running<'f> {
    fact: &'f Fact,
    kind: Kind,
    resource: &'f str,
    cluster: Option<&'f str>,
    due: Option<Timestamp>,
    what_happened: String,
    closed: Option<String>,
}

/// The deadlines of facts, which come in order of time. Open ones first, the next to end before the others.
pub(super) fn of(
    facts: &BTreeSet<Fact>,
    as_of: AsOf,
    numbers: &BTreeMap<u128, usize>,
) -> Vec<Deadline> {
    let mut all: Vec<Running> = Vec::new();
    // The position of the last deadline of a resource.
    let mut latest: BTreeMap<(Kind, &str), usize> = BTreeMap::new();
    for fact in facts {
        let (kind, resource) = match &fact.what {
            What::BackupDeleted { backup, .. } | What::BackupRestored { backup } => {
                (Kind::BackupDeletion, backup.id.as_str())
            }
            What::TypeChanged { cluster, .. } | What::ClusterDeleted { cluster } => {
                (Kind::HsmTypeChange, cluster.as_str())
            }
            What::KeyDeletionScheduled { key, .. } | What::KeyDeletionCancelled { key } => {
                (Kind::KeyDeletion, key.as_str())
            }
            _ => continue,
        };
        let open = latest
            .get(&(kind, resource))
            .and_then(|position| all.get_mut(*position))
            .filter(|running| running.closed.is_none());
        let by = || format!("by {} on {}", fact.actor, format::time(fact.time));
        let is_open = open.is_some();
        let mut opened = None;
        match &fact.what {
            What::BackupRestored { .. } => close(open, || format!("Restored {}.", by())),
            What::ClusterDeleted { .. } => {
                close(open, || format!("The cluster was deleted {}.", by()))
            }
            What::KeyDeletionCancelled { .. } => close(open, || {
                format!(
                    "Cancelled {}. A key stays disabled until it is enabled.",
                    by()
                )
            }),
            // The record of the same call in another account, or a call that changes nothing.
            What::BackupDeleted { .. } | What::KeyDeletionScheduled { .. } if is_open => {}
            What::BackupDeleted {
                backup,
                due,
                by_service,
            } => {
                let of_cluster = backup.cluster.as_ref().map_or_else(String::new, |id| {
                    format!(" of cluster {}", defanged(id, 128))
                });
                let how = if *by_service {
                    format!(
                        "Purged by the retention policy on {}",
                        format::time(fact.time)
                    )
                } else {
                    format!("Deleted {}", by())
                };
                opened = Some((
                    *due,
                    backup.cluster.as_deref(),
                    format!("{how}. It is a backup{of_cluster}, with all its keys and users."),
                ));
            }
            What::TypeChanged {
                to,
                due,
                is_rollback,
                ..
            } => {
                let is_back = *is_rollback;
                close(open, || {
                    let what = if is_back {
                        "Taken back"
                    } else {
                        "Changed again"
                    };
                    format!("{what} {}.", by())
                });
                if !is_back {
                    opened = Some((
                        *due,
                        None,
                        format!("Moved to HSM type {} {}.", one_line(to, 64), by()),
                    ));
                }
            }
            What::KeyDeletionScheduled { due, .. } => {
                opened = Some((
                    *due,
                    None,
                    format!(
                        "Its deletion was scheduled {}. It does not work from then on. Whether it is in a CloudHSM key store is not known from these records.",
                        by()
                    ),
                ));
            }
            _ => {}
        }
        if let Some((due, cluster, what_happened)) = opened {
            latest.insert((kind, resource), all.len());
            all.push(Running {
                fact,
                kind,
                resource,
                cluster,
                due,
                what_happened,
                closed: None,
            });
        }
    }
    let mut deadlines: Vec<Deadline> = all
        .into_iter()
        .map(|running| running.finish(as_of, numbers))
        .collect();
    deadlines.sort_by(|a, b| {
        let key = |it: &Deadline| (it.state, it.due, it.kind);
        (key(a), &a.resource, a.began, a.id).cmp(&(key(b), &b.resource, b.began, b.id))
    });
    deadlines
}

fn close(open: Option<&mut Running>, text: impl FnOnce() -> String) {
    if let Some(running) = open {
        running.closed = Some(text());
    }
}

impl Running<'_> {
    fn finish(self, as_of: AsOf, numbers: &BTreeMap<u128, usize>) -> Deadline {
        let left = self.due.map(|due| as_of.left(due));
        let (state, time_left) = match (&self.closed, left) {
            (Some(_), _) => (State::Closed, None),
            (None, Some(Left::Past)) => (State::Past, None),
            (None, Some(Left::Open(left))) => (State::Open, Some(left)),
            (None, None) => (State::Open, None),
        };
        let (commands, note) = match state {
            State::Open => (self.commands(), None),
            State::Past => (self.checks(), Some(self.too_late().to_owned())),
            State::Closed => (Vec::new(), self.closed.clone()),
        };
        let noun = match self.kind {
            Kind::BackupDeletion => "Backup",
            Kind::HsmTypeChange => "Cluster",
            Kind::KeyDeletion => "KMS key",
        };
        Deadline {
            state,
            due: self.due,
            time_left,
            kind: self.kind,
            resource: format!("{noun} {}", defanged(self.resource, 128)),
            account: self.fact.account.clone(),
            region: self.fact.region.clone(),
            began: self.fact.time,
            actor: self.fact.actor.clone(),
            what_happened: self.what_happened,
            note,
            commands,
            call: numbers.get(&self.fact.call).copied(),
            id: self.fact.call,
        }
    }

    fn region(&self) -> &str {
        plain(self.fact.region.as_deref(), "REGION")
    }

    /// The commands that undo it, and the one that shows whether that worked.
    fn commands(&self) -> Vec<String> {
        let region = self.region();
        match self.kind {
            Kind::BackupDeletion => {
                let id = plain(Some(self.resource), "BACKUP_ID");
                vec![
                    format!("aws cloudhsmv2 restore-backup --region {region} --backup-id {id}"),
                    format!(
                        "aws cloudhsmv2 modify-backup-attributes --region {region} --backup-id {id} --never-expires"
                    ),
                    format!(
                        "aws cloudhsmv2 describe-backups --region {region} --filters backupIds={id}"
                    ),
                ]
            }
            Kind::HsmTypeChange => {
                let id = plain(Some(self.resource), "CLUSTER_ID");
                vec![
                    format!(
                        "aws cloudhsmv2 describe-clusters --region {region} --filters clusterIds={id} --query 'Clusters[].[State,HsmType,HsmTypeRollbackExpiration]'"
                    ),
                    format!(
                        "aws cloudhsmv2 modify-cluster --region {region} --cluster-id {id} --hsm-type OLD_HSM_TYPE"
                    ),
                ]
            }
            Kind::KeyDeletion => {
                let id = plain(Some(self.resource), "KEY_ID");
                vec![
                    format!("aws kms cancel-key-deletion --region {region} --key-id {id}"),
                    format!("aws kms enable-key --region {region} --key-id {id}"),
                    format!(
                        "aws kms describe-key --region {region} --key-id {id} --query KeyMetadata.KeyState"
                    ),
                ]
            }
        }
    }

    /// What is left to do when it is too late.
    fn checks(&self) -> Vec<String> {
        let region = self.region();
        match self.kind {
            Kind::BackupDeletion => {
                let filter = match self.cluster {
                    Some(cluster) => format!("clusterIds={}", plain(Some(cluster), "CLUSTER_ID")),
                    None => "states=READY".to_owned(),
                };
                let id = plain(Some(self.resource), "BACKUP_ID");
                vec![
                    format!("aws cloudhsmv2 describe-backups --region {region} --filters {filter}"),
                    format!(
                        "aws cloudhsmv2 describe-backups --region OTHER_REGION --filters sourceBackupIds={id}"
                    ),
                ]
            }
            Kind::HsmTypeChange => vec![format!(
                "aws cloudhsmv2 describe-clusters --region {region} --filters clusterIds={}",
                plain(Some(self.resource), "CLUSTER_ID")
            )],
            Kind::KeyDeletion => vec![format!(
                "aws kms describe-key --region {region} --key-id {} --query KeyMetadata.KeyState",
                plain(Some(self.resource), "KEY_ID")
            )],
        }
    }

    fn too_late(&self) -> &'static str {
        match self.kind {
            Kind::BackupDeletion => {
                "Too late to restore it, unless someone did and it is not in these records. Look for another backup of the cluster, and for copies of this one:"
            }
            Kind::HsmTypeChange => "Too late to take it back. See the state of the cluster:",
            Kind::KeyDeletion => {
                "Too late to cancel it, unless someone did and it is not in these records:"
            }
        }
    }
}

impl Deadline {
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(super) fn is_past(&self) -> bool {
        self.state == State::Past
    }

    /// `until 2026-11-30 03:41 UTC`.
    pub(super) fn until(&self) -> String {
        self.due.map_or_else(
            || "until when is not known from these records".to_owned(),
            |due| format!("until {}", format::minute(due)),
        )
    }

    /// ` in account 111122223333, us-west-2`.
    pub(super) fn place(&self) -> String {
        [&self.account, &self.region]
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// A value for a command, or a placeholder if it is not safe to paste into a shell.
pub(super) fn plain<'v>(value: Option<&'v str>, placeholder: &'v str) -> &'v str {
    value
        .filter(|value| is_shell_safe(value))
        .unwrap_or(placeholder)
}
