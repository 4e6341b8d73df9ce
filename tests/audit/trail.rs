//! The trail of these tests: chains of digest files and log files in a bucket of the [`World`], and what the function
//! publishes about them.

use cloudhsm_alerts_test_support::{
    digests::{Digests, SigningKey, Trail},
    fixtures::{REGION, call, s3_notification},
    published::Published,
    stub::Operation,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::world::{BEGIN, World, at};

pub const ALTERED: &str = "trail-log-file-altered";
pub const MISSING: &str = "trail-log-file-missing";
pub const REPLACED: &str = "trail-log-file-replaced";
pub const REMOVED: &str = "trail-file-removed";
pub const DIGEST_ALTERED: &str = "trail-digest-altered";
pub const DIGEST_MISSING: &str = "trail-digest-missing";
pub const SILENT: &str = "trail-digest-silent";
pub const NOT_VERIFIED: &str = "trail-digest-not-verified";
pub const COPIED: &str = "trail-digest-copied";

/// A deletion of a backup of its own.
fn deletion(id: &str, time: Timestamp) -> Value {
    let mut call = call("DeleteBackup", id);
    call["eventTime"] = time.to_string().into();
    call["requestParameters"] = json!({"backupId": format!("backup-{id}")});
    call
}

/// A chain with so many hours of two log files each, the second of which has a deletion, `delete-HOUR`.
pub fn chain(count: usize) -> Digests {
    chain_of(Trail::default(), count)
}

pub fn chain_of(trail: Trail, count: usize) -> Digests {
    let mut digests = Digests::starting(trail, BEGIN);
    for hour in 0..count {
        add_hour(&mut digests, hour);
    }
    digests
}

pub fn add_hour(digests: &mut Digests, hour: usize) {
    let time = at(i64::try_from(hour).expect("small"));
    let read = call("DescribeClusters", &format!("read-{hour}"));
    let deleted = deletion(&format!("delete-{hour}"), time);
    digests.hour_of(vec![vec![read], vec![deleted]]);
}

/// `code object` of a finding; the object without its folder.
pub fn finding(code: &str, key: &str) -> String {
    let name = key.rsplit('/').next().unwrap_or_default();
    format!("{code} {name}").trim_end().to_owned()
}

impl World {
    /// Three hours after the beginning, with the audit.
    pub async fn auditing() -> World {
        let mut world = World::empty().await;
        world.variables.insert("DIGEST_AUDIT", "on".into());
        world.advance_to(at(3));
        let keys = vec![SigningKey::first().listed()];
        world.stub.state().public_keys.insert(REGION.into(), keys);
        world.restart().await;
        world
    }

    /// Puts all objects of a chain, and removes those that it has no more.
    pub fn put(&self, digests: &Digests) {
        let mut state = self.stub.state();
        let bucket = &digests.trail.bucket;
        let folder = format!("{bucket}/{}AWSLogs/", digests.trail.prefix);
        state
            .objects
            .retain(|target, _| !target.starts_with(&folder));
        for (key, object) in &digests.objects {
            let target = format!("{bucket}/{key}");
            state.objects.insert(target.clone(), object.body.clone());
            state.metadata.insert(target, object.metadata.clone());
        }
    }

    /// Invokes the function with the notification of an object, and returns the counts that are about the audit.
    pub async fn notify(&self, key: &str) -> String {
        let reply = self.invoke(&s3_notification(&[key])).await;
        let reply = reply.expect("no failure");
        let names = [
            "digests",
            "proved",
            "caught_up",
            "not_verified",
            "not_checked",
            "trail_findings",
        ];
        let counts = names.iter().filter_map(|name| {
            let count = reply.get(name)?;
            Some(format!("{name} {count}"))
        });
        counts.collect::<Vec<_>>().join(", ")
    }

    /// The messages about the trail on the alert topic.
    pub fn messages(&self) -> Vec<Published> {
        let state = self.stub.state();
        let about = state.messages.iter().filter(|it| it.is_about_the_trail());
        about.cloned().collect()
    }

    /// Every [`finding`] on the alert topic.
    pub fn found(&self) -> Vec<String> {
        let mut found = Vec::new();
        for message in self.messages() {
            for it in message.finding()["unmapped"]["findings"]
                .as_array()
                .expect("findings")
            {
                let key = it["object"]["key"].as_str().unwrap_or_default();
                found.push(finding(it["code"].as_str().expect("a code"), key));
            }
        }
        found
    }

    /// The e-mails about the trail.
    pub fn details(&self) -> String {
        let messages = self.messages();
        let texts: Vec<&str> = messages.iter().map(|it| it.text("email")).collect();
        texts.join("\n")
    }

    /// How many pages are about the trail.
    pub fn trail_pages(&self) -> usize {
        let state = self.stub.state();
        let pages = state.pages();
        pages.iter().filter(|it| it.contains("CloudTrail")).count()
    }

    /// The event IDs of the alerts, in order.
    pub fn alerted(&self) -> Vec<String> {
        let state = self.stub.state();
        let ids = state.messages.iter().flat_map(Published::event_ids);
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        ids
    }

    pub fn requests(&self, operation: Operation) -> usize {
        let state = self.stub.state();
        let all = state.requests.iter();
        all.filter(|(key, _)| key.operation == operation).count()
    }
}
