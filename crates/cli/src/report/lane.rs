//! A lane of the timeline: the resource whose calls stand on one line.

use serde::Serialize;

/// What a lane is about. The order is that of the picture: a cluster, its backups, key stores, trails, services.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Lane {
    /// Clusters and backups first.
    #[serde(skip)]
    group: u8,
    /// Backups stand below their cluster.
    #[serde(skip)]
    parent: String,
    #[serde(skip)]
    is_child: bool,
    pub kind: &'static str,
    pub name: String,
    /// Account and region, where names are not unique.
    #[serde(skip)]
    place: String,
}

impl Lane {
    fn new(group: u8, kind: &'static str, parent: &str, name: String) -> Lane {
        Lane {
            group,
            parent: parent.to_owned(),
            is_child: kind == "backup",
            kind,
            name,
            place: String::new(),
        }
    }

    pub(super) fn cluster(id: String) -> Lane {
        Lane::new(0, "cluster", &id.clone(), id)
    }

    /// A backup, with its cluster where the record names it. The cluster may be known from another record only, so
    /// it is set again when all records were read.
    pub(super) fn backup(id: String, cluster: Option<String>) -> Lane {
        Lane::new(0, "backup", &cluster.unwrap_or_default(), id)
    }

    pub(super) fn key_store(id: String) -> Lane {
        Lane::new(1, "key store", "", id)
    }

    pub(super) fn trail(name: String, place: String) -> Lane {
        Lane {
            place,
            ..Lane::new(2, "trail", "", name)
        }
    }

    pub(super) fn service(name: String) -> Lane {
        Lane::new(3, "service", "", name)
    }

    /// The lane of several resources of one kind, for pictures that would be too high.
    pub(super) fn others(&self) -> Lane {
        Lane::new(4, self.kind, "", "others".to_owned())
    }

    pub(super) fn is_backup(&self) -> bool {
        self.kind == "backup"
    }

    /// The cluster of a backup; empty if it is not known.
    pub(super) fn set_cluster(&mut self, cluster: &str) {
        cluster.clone_into(&mut self.parent);
    }

    pub(super) fn cluster_of_backup(&self) -> Option<&str> {
        (self.is_backup() && !self.parent.is_empty()).then_some(self.parent.as_str())
    }

    pub(super) fn label(&self) -> String {
        match self.kind {
            "cluster" | "backup" if self.name != "others" => self.name.clone(),
            "service" => self.name.clone(),
            kind if self.name == "others" => format!("other {kind}s"),
            kind => format!("{kind} {}", self.name),
        }
    }
}
