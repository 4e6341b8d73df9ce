//! Lineage: where the keys of a cluster are. A cluster's backups, their copies in other regions, the clusters made
//! from them, and the accounts they were shared with, as far as records tell.
//!
//! CloudTrail does not record everything: the service makes backups by itself, and the response to a copy does not
//! have the copy's ID. What is not known is said where it matters, with the command that shows it.

use std::collections::{BTreeMap, BTreeSet};

use cloudhsm_alerts_core::{defang::defanged, text::one_line};
use jiff::Timestamp;
use serde::Serialize;

use crate::as_of::{AsOf, Left};

use super::{
    deadlines::plain,
    fact::{Backup, Fact, KeyStoreChange, What},
    format,
};

/// Clusters and backups are nested to this depth. Deeper ones stand beside each other.
const MAX_DEPTH: usize = 12;

/// Whether a cluster or a backup still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// No deletion is in the records.
    Exists,
    /// It is deleted, and can be restored.
    Restorable,
    Deleted,
}

/// A cluster, a backup or a copy, with what was made from it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Node {
    pub kind: &'static str,
    /// `None`: a copy whose ID is not in the records.
    pub id: Option<String>,
    pub account: Option<String>,
    pub region: Option<String>,
    pub state: State,
    pub state_text: String,
    /// What happened to it, in order of time.
    pub history: Vec<String>,
    pub not_known: Vec<NotKnown>,
    pub children: Vec<Node>,
}

/// What the records do not tell, and how to find out.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct NotKnown {
    pub what: &'static str,
    pub command: Option<String>,
}

/// A KMS custom key store.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct KeyStore {
    pub id: String,
    pub cluster: Option<String>,
    pub account: Option<String>,
    pub region: Option<String>,
    pub state_text: String,
    pub history: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Lineage {
    pub clusters_and_backups: Vec<Node>,
    pub key_stores: Vec<KeyStore>,
}

/// What is known of a cluster.
#[derive(Default)]
struct Cluster {
    from: Option<String>,
    is_creation_known: bool,
    deleted: Option<String>,
    account: Option<String>,
    region: Option<String>,
    history: Vec<String>,
    hsms: BTreeSet<String>,
    hsms_created: usize,
    hsms_deleted: usize,
}

/// What is known of a backup.
#[derive(Default)]
struct BackupState {
    cluster: Option<String>,
    source: Option<String>,
    source_region: Option<String>,
    created: Option<Timestamp>,
    /// The text, and until when it can be restored.
    deleted: Option<(String, Option<Timestamp>)>,
    never_expires: Option<bool>,
    account: Option<String>,
    region: Option<String>,
    history: Vec<String>,
    /// Time and caller by region.
    copies: BTreeMap<String, String>,
    shared_with: Vec<String>,
}

/// Clusters and backups by ID.
#[derive(Default)]
struct Replay {
    clusters: BTreeMap<String, Cluster>,
    backups: BTreeMap<String, BackupState>,
    key_stores: BTreeMap<String, KeyStore>,
}

/// The lineage of facts, which come in order of time.
pub(super) fn of(facts: &BTreeSet<Fact>, as_of: AsOf) -> Lineage {
    let mut replay = Replay::default();
    for fact in facts {
        replay.apply(fact);
    }
    replay.into_lineage(as_of)
}

/// The cluster of each backup that is known from any fact.
pub(super) fn clusters_of_backups(facts: &BTreeSet<Fact>) -> BTreeMap<String, String> {
    let mut replay = Replay::default();
    for fact in facts {
        replay.apply(fact);
    }
    replay
        .backups
        .into_iter()
        .filter_map(|(id, backup)| Some((id, backup.cluster?)))
        .collect()
}

impl Replay {
    fn cluster(&mut self, id: &str, fact: &Fact) -> &mut Cluster {
        let cluster = self.clusters.entry(id.to_owned()).or_default();
        cluster.account = cluster.account.take().or_else(|| fact.account.clone());
        cluster.region = cluster.region.take().or_else(|| fact.region.clone());
        cluster
    }

    fn backup(&mut self, named: &Backup, fact: &Fact) -> &mut BackupState {
        if let Some(cluster) = &named.cluster {
            self.clusters.entry(cluster.clone()).or_default();
        }
        let backup = self.backups.entry(named.id.clone()).or_default();
        backup.account = backup.account.take().or_else(|| fact.account.clone());
        backup.region = backup.region.take().or_else(|| fact.region.clone());
        backup.cluster = backup.cluster.take().or_else(|| named.cluster.clone());
        backup.source = backup.source.take().or_else(|| named.source.clone());
        backup.source_region = backup
            .source_region
            .take()
            .or_else(|| named.source_region.clone());
        backup.created = backup.created.or(named.created);
        backup
    }

    fn apply(&mut self, fact: &Fact) {
        let by = format!("by {} on {}", fact.actor, format::time(fact.time));
        let shown = |id: &Option<String>| {
            id.as_ref().map_or_else(
                || "an HSM".to_owned(),
                |id| format!("HSM {}", defanged(id, 128)),
            )
        };
        match &fact.what {
            What::ClusterCreated { cluster, from } => {
                if let Some(from) = from {
                    self.backups.entry(from.clone()).or_default();
                }
                let cluster = self.cluster(cluster, fact);
                if !cluster.is_creation_known {
                    let source = from.as_ref().map_or_else(String::new, |id| {
                        format!(" from backup {}", defanged(id, 128))
                    });
                    cluster.history.push(format!("Created{source} {by}."));
                }
                cluster.is_creation_known = true;
                cluster.from = cluster.from.take().or_else(|| from.clone());
            }
            What::ClusterInitialized { cluster } => {
                self.cluster(cluster, fact)
                    .history
                    .push(format!("Initialized {by}."));
            }
            What::ClusterNamed { cluster } => {
                self.cluster(cluster, fact);
            }
            What::HsmCreated { cluster, hsm } => {
                let cluster = self.cluster(cluster, fact);
                let is_new = hsm
                    .as_ref()
                    .is_none_or(|id| cluster.hsms.insert(format!("+{id}")));
                if is_new {
                    cluster.hsms_created += 1;
                    cluster
                        .history
                        .push(format!("{} created {by}.", capitalized(&shown(hsm))));
                }
            }
            What::HsmDeleted { cluster, hsm } => {
                let cluster = self.cluster(cluster, fact);
                let is_new = hsm
                    .as_ref()
                    .is_none_or(|id| cluster.hsms.insert(format!("-{id}")));
                if is_new {
                    cluster.hsms_deleted += 1;
                    cluster
                        .history
                        .push(format!("{} deleted {by}.", capitalized(&shown(hsm))));
                }
            }
            What::TypeChanged {
                cluster,
                to,
                is_rollback,
                ..
            } => {
                let what = if *is_rollback {
                    "Change of the HSM type taken back"
                } else {
                    "HSM type changed"
                };
                let to = one_line(to, 64);
                self.cluster(cluster, fact)
                    .history
                    .push(format!("{what} to {to} {by}."));
            }
            What::ClusterDeleted { cluster } => {
                let cluster = self.cluster(cluster, fact);
                if cluster.deleted.is_none() {
                    cluster.history.push(format!("Deleted {by}."));
                    cluster.deleted = Some(format!("deleted on {}", format::time(fact.time)));
                }
            }
            What::BackupDeleted {
                backup,
                due,
                by_service,
            } => {
                let backup = self.backup(backup, fact);
                if backup.deleted.is_none() {
                    backup.history.push(match by_service {
                        true => format!(
                            "Purged by the retention policy on {}.",
                            format::time(fact.time)
                        ),
                        false => format!("Deleted {by}."),
                    });
                    backup.deleted = Some((format::time(fact.time), *due));
                }
            }
            What::BackupRestored { backup } => {
                let backup = self.backup(backup, fact);
                backup.history.push(format!("Restored {by}."));
                backup.deleted = None;
            }
            What::BackupExpiry {
                backup,
                never_expires,
            } => {
                let backup = self.backup(backup, fact);
                let what = if *never_expires {
                    "Exempted from the retention policy"
                } else {
                    "Made subject to the retention policy"
                };
                backup.history.push(format!("{what} {by}."));
                backup.never_expires = Some(*never_expires);
            }
            What::BackupNamed { backup } => {
                self.backup(backup, fact);
            }
            What::BackupCopied { backup, to_region } => {
                let region = to_region.clone();
                let backup = self.backup(backup, fact);
                backup
                    .history
                    .push(format!("Copied to {} {by}.", defanged(to_region, 64)));
                backup.copies.entry(region).or_insert(by);
            }
            What::Shared { backup, principals } => {
                let with = match principals.as_slice() {
                    [] => "principals that the record does not show".to_owned(),
                    some => some
                        .iter()
                        .map(|it| defanged(it, 256))
                        .collect::<Vec<_>>()
                        .join(", "),
                };
                let backup = self.backup(backup, fact);
                backup.history.push(format!("Shared with {with} {by}."));
                backup.shared_with = vec![with];
            }
            What::SharingStopped { backup } => {
                let backup = self.backup(backup, fact);
                backup.history.push(format!("Sharing stopped {by}."));
                backup.shared_with.clear();
            }
            What::KeyStore {
                change,
                id,
                cluster,
            } => self.apply_key_store(*change, id, cluster.as_ref(), fact, &by),
            What::KeyDeletionScheduled { .. } | What::KeyDeletionCancelled { .. } => {}
        }
    }

    fn apply_key_store(
        &mut self,
        change: KeyStoreChange,
        id: &str,
        cluster: Option<&String>,
        fact: &Fact,
        by: &str,
    ) {
        let store = self
            .key_stores
            .entry(id.to_owned())
            .or_insert_with(|| KeyStore {
                id: defanged(id, 128),
                cluster: None,
                account: None,
                region: None,
                state_text: String::new(),
                history: Vec::new(),
            });
        store.account = store.account.take().or_else(|| fact.account.clone());
        store.region = store.region.take().or_else(|| fact.region.clone());
        if let Some(cluster) = cluster {
            store.cluster = Some(defanged(cluster, 128));
        }
        let (what, state) = match change {
            KeyStoreChange::Created => (
                "Created",
                "exists, not connected as far as these records tell",
            ),
            KeyStoreChange::Connected => ("Connected", "connected when last seen"),
            KeyStoreChange::Updated => ("Updated", "updated when last seen"),
            KeyStoreChange::Disconnected => {
                ("Disconnected", "disconnected: its KMS keys do not work")
            }
            KeyStoreChange::Deleted => ("Deleted", "deleted"),
        };
        store.history.push(format!("{what} {by}."));
        store.state_text = state.to_owned();
    }

    fn into_lineage(mut self, as_of: AsOf) -> Lineage {
        self.infer();
        let mut children: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
        let mut roots = Vec::new();
        let clusters = self.clusters.keys().cloned().map(Id::Cluster);
        let backups = self.backups.keys().cloned().map(Id::Backup);
        for id in clusters.chain(backups) {
            match self.parent(&id) {
                Some(parent) => children.entry(parent).or_default().push(id),
                None => roots.push(id),
            }
        }
        let mut tree = Tree {
            replay: &self,
            as_of,
            children,
            shown: BTreeSet::new(),
            known_copies: self.known_copies(),
        };
        let mut nodes: Vec<Node> = roots.iter().filter_map(|id| tree.node(id, 0)).collect();
        // What only refers to itself has no root.
        let all: Vec<Id> = tree.children.values().flatten().cloned().collect();
        nodes.extend(all.iter().filter_map(|id| tree.node(id, 0)));
        Lineage {
            clusters_and_backups: nodes,
            key_stores: self.key_stores.into_values().collect(),
        }
    }

    /// Adds what follows from the facts: the source of a copy, and its cluster.
    fn infer(&mut self) {
        let sources: Vec<String> = self
            .backups
            .values()
            .filter_map(|backup| backup.source.clone())
            .collect();
        for source in sources {
            self.backups.entry(source).or_default();
        }
    }

    fn known_copies(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for copy in self.backups.values() {
            if let (Some(source), Some(region)) = (&copy.source, &copy.region) {
                known.entry(source).or_default().insert(region);
            }
        }
        known
    }

    fn parent(&self, id: &Id) -> Option<Id> {
        match id {
            Id::Cluster(id) => self.clusters.get(id)?.from.clone().map(Id::Backup),
            Id::Backup(id) => {
                let backup = self.backups.get(id)?;
                let source = backup.source.clone().map(Id::Backup);
                source.or_else(|| backup.cluster.clone().map(Id::Cluster))
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    Cluster(String),
    Backup(String),
}

/// Makes nodes, each once.
struct Tree<'r> {
    replay: &'r Replay,
    as_of: AsOf,
    children: BTreeMap<Id, Vec<Id>>,
    shown: BTreeSet<Id>,
    /// The regions of copies whose ID is known, by the ID of the backup.
    known_copies: BTreeMap<&'r str, BTreeSet<&'r str>>,
}

impl Tree<'_> {
    fn node(&mut self, id: &Id, depth: usize) -> Option<Node> {
        if !self.shown.insert(id.clone()) {
            return None;
        }
        let mut node = match id {
            Id::Cluster(id) => cluster_node(id, self.replay.clusters.get(id)?),
            Id::Backup(id) => self.backup_node(id, self.replay.backups.get(id)?),
        };
        for child in self.children.get(id).cloned().unwrap_or_default() {
            if depth < MAX_DEPTH {
                node.children.extend(self.node(&child, depth + 1));
            }
        }
        Some(node)
    }

    fn backup_node(&self, id: &str, backup: &BackupState) -> Node {
        let (state, mut state_text) = match &backup.deleted {
            None if backup.history.is_empty() && backup.created.is_none() => (
                State::Exists,
                "named in these records, nothing else is known".to_owned(),
            ),
            None => (
                State::Exists,
                "exists: no open deletion in these records".to_owned(),
            ),
            Some((on, due)) => match due.map(|due| (due, self.as_of.left(due))) {
                Some((due, Left::Past)) => (
                    State::Deleted,
                    format!(
                        "deleted on {on}; it could be restored until {}",
                        format::minute(due)
                    ),
                ),
                Some((due, Left::Open(left))) => (
                    State::Restorable,
                    format!(
                        "deleted on {on}; can be restored until {}, {left}",
                        format::minute(due)
                    ),
                ),
                None => (
                    State::Restorable,
                    format!(
                        "deleted on {on}; until when it can be restored is not known from these records"
                    ),
                ),
            },
        };
        match backup.never_expires {
            Some(true) if state == State::Exists => {
                state_text.push_str("; the retention policy does not purge it")
            }
            Some(false) if state == State::Exists => {
                state_text.push_str("; the retention policy will purge it")
            }
            _ => {}
        }
        if !backup.shared_with.is_empty() {
            state_text.push_str(&format!("; SHARED with {}", backup.shared_with.join(", ")));
        }
        let region = plain(backup.region.as_deref(), "REGION");
        let plain_id = plain(Some(id), "BACKUP_ID");
        let mut not_known = Vec::new();
        if backup.cluster.is_none() && backup.source.is_none() {
            not_known.push(NotKnown {
                what: "The cluster that it is a backup of",
                command: Some(format!("aws cloudhsmv2 describe-backups --region {region} --filters backupIds={plain_id}")),
            });
        }
        if !backup.shared_with.is_empty() {
            not_known.push(NotKnown {
                what: "What these accounts did with it: that is in their own CloudTrail",
                command: None,
            });
        }
        let mut history = Vec::new();
        if let Some(created) = backup.created {
            history.push(format!("Made on {}.", format::time(Some(created))));
        }
        history.extend(backup.history.iter().cloned());
        // Copies whose ID another record tells are nodes of their own.
        let known = self.known_copies.get(id);
        let children = backup
            .copies
            .iter()
            .filter(|(region, _)| !known.is_some_and(|known| known.contains(region.as_str())))
            .map(|(region, by)| copy_node(plain_id, region, by, backup.account.as_ref()))
            .collect();
        let is_copy = backup.source.is_some();
        Node {
            kind: if is_copy { "copy" } else { "backup" },
            id: Some(defanged(id, 128)),
            account: backup.account.clone(),
            region: backup.region.clone(),
            state,
            state_text,
            history,
            not_known,
            children,
        }
    }
}

fn copy_node(backup: &str, region: &str, by: &str, account: Option<&String>) -> Node {
    Node {
        kind: "copy",
        id: None,
        account: account.cloned(),
        region: Some(defanged(region, 64)),
        state: State::Exists,
        state_text: "no deletion in these records".to_owned(),
        history: vec![format!("Copied {by}.")],
        not_known: vec![NotKnown {
            what: "The ID of the copy, and whether it still exists",
            command: Some(format!(
                "aws cloudhsmv2 describe-backups --region {} --filters sourceBackupIds={backup}",
                plain(Some(region), "REGION")
            )),
        }],
        children: Vec::new(),
    }
}

fn cluster_node(id: &str, cluster: &Cluster) -> Node {
    let mut state_text = match &cluster.deleted {
        Some(text) => text.clone(),
        None => "exists: no deletion in these records".to_owned(),
    };
    if cluster.hsms_created + cluster.hsms_deleted > 0 {
        state_text.push_str(&format!(
            "; HSMs in these records: {} created, {} deleted",
            cluster.hsms_created, cluster.hsms_deleted
        ));
    }
    let region = plain(cluster.region.as_deref(), "REGION");
    let plain_id = plain(Some(id), "CLUSTER_ID");
    let mut not_known = vec![NotKnown {
        what: "Backups that the service made by itself",
        command: Some(format!(
            "aws cloudhsmv2 describe-backups --region {region} --filters clusterIds={plain_id}"
        )),
    }];
    if !cluster.is_creation_known {
        not_known.push(NotKnown {
            what: "When it was created, and whether from a backup",
            command: None,
        });
    }
    Node {
        kind: "cluster",
        id: Some(defanged(id, 128)),
        account: cluster.account.clone(),
        region: cluster.region.clone(),
        state: if cluster.deleted.is_some() {
            State::Deleted
        } else {
            State::Exists
        },
        state_text,
        history: cluster.history.clone(),
        not_known,
        children: Vec::new(),
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
