//! Schedules of deliveries, ticks and faults, each derived from a seed. A model that knows the event times alone says
//! which deadlines are open.

use std::collections::{BTreeMap, BTreeSet};

use cloudhsm_alerts_test_support::{
    dice::{Dice, seeds},
    published::Published,
    stub::RandomFaults,
};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    on_backup,
    world::{RULE_ARN, World, at, hours, scheduled},
};

const STEPS: [i64; 3] = [72, 24, 4];

/// A deadline in a reminder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub resource: String,
    opened: Timestamp,
    step: i64,
}

/// The last step that was reached with this time left.
fn step(left: SignedDuration) -> Option<i64> {
    match left <= SignedDuration::ZERO {
        true => Some(0),
        false => STEPS.into_iter().filter(|step| left <= hours(*step)).min(),
    }
}

pub fn entries(message: &Published) -> Vec<Entry> {
    let finding = message.finding();
    let now = Timestamp::from_millisecond(finding["time"].as_i64().expect("a time"));
    let now = now.expect("a time");
    let deadlines = finding["unmapped"]["deadlines"].as_array().expect("a list");
    let time =
        |value: &Value| -> Timestamp { value.as_str().expect("a time").parse().expect("a time") };
    deadlines
        .iter()
        .map(|deadline| Entry {
            resource: deadline["resource"].as_str().expect("an ID").to_owned(),
            opened: time(&deadline["opened"]),
            step: step(time(&deadline["due"]).duration_since(now)).expect("a step"),
        })
        .collect()
}

/// What is known of a backup from the records that were read.
#[derive(Debug, Default, Clone, Copy)]
struct Model {
    deleted: Option<Timestamp>,
    restored: Option<Timestamp>,
    /// Whether the deletion was read after its deadline.
    is_late: bool,
}

impl Model {
    fn open(&self) -> Option<Timestamp> {
        self.deleted
            .filter(|deleted| self.restored.is_none_or(|restored| restored <= *deleted))
    }
}

/// One delivery of records: at which time, of which backups, deleted or restored, when.
struct Delivery {
    at: Timestamp,
    events: Vec<(usize, bool, Timestamp)>,
}

fn deliveries(dice: &mut Dice) -> Vec<Delivery> {
    let mut events = Vec::new();
    for backup in 0..1 + dice.throw(5) as usize {
        let mut time = at(dice.throw(72) as i64);
        let mut is_deleted = true;
        for _ in 0..1 + dice.throw(4) {
            events.push((backup, is_deleted, time));
            is_deleted = !is_deleted;
            // No deadline ends while a tick is tried again.
            time += SignedDuration::from_mins(10 * (1 + dice.throw(5 * 24 * 6) as i64));
        }
    }
    let mut deliveries = Vec::new();
    for event in events {
        for _ in 0..1 + dice.throw(2) {
            let delay = match dice.throw(4) {
                0 => dice.throw(9 * 24 * 60),
                _ => dice.throw(20),
            };
            let at = event.2 + SignedDuration::from_mins(delay as i64);
            match dice.throw(3) {
                0 if !deliveries.is_empty() => {
                    let index = dice.throw(deliveries.len() as u64) as usize;
                    let known: &mut Delivery = &mut deliveries[index];
                    known.at = known.at.max(at);
                    known.events.push(event);
                }
                _ => deliveries.push(Delivery {
                    at,
                    events: vec![event],
                }),
            }
        }
    }
    deliveries.sort_by_key(|delivery| delivery.at);
    deliveries
}

impl World {
    /// Invokes with faults, if there are any, and at last without. Returns how many requests failed.
    async fn invoke_until_done(
        &mut self,
        payload: &Value,
        count: usize,
        faults: Option<RandomFaults>,
    ) -> usize {
        let before = self.stub.state().requests.len();
        if let Some(faults) = faults {
            self.succeeds_despite(faults, payload, count).await;
        }
        let replies = self.invoke_or_die(payload, count).await;
        for reply in replies.expect("nothing is held") {
            reply.expect("no failure without faults");
        }
        self.faults_after(before)
    }
}

async fn schedule(seed: u64) {
    let mut dice = Dice(seed);
    let mut world = World::start(2).await;
    let mut deliveries = deliveries(&mut dice).into_iter().enumerate().peekable();
    let mut models: BTreeMap<usize, Model> = BTreeMap::new();
    // What was reminded of, on the alert topic and on the paging topic.
    let (mut alerted, mut paged) = (BTreeSet::new(), BTreeSet::new());
    let faults = |dice: &mut Dice| {
        (dice.throw(3) == 0).then(|| RandomFaults {
            seed: dice.throw(u64::MAX),
            per_mille: 250,
            hangs: false,
            kills: true,
            denies: None,
        })
    };
    let mut now = at(0) + SignedDuration::from_mins(3);
    for _ in 0..24 * 13 {
        now += hours(1);
        while let Some((number, delivery)) = deliveries.next_if(|(_, next)| next.at <= now) {
            world.advance_to(delivery.at);
            let records: Vec<Value> = delivery
                .events
                .iter()
                .map(|(backup, is_deleted, time)| {
                    let name = if *is_deleted {
                        "DeleteBackup"
                    } else {
                        "RestoreBackup"
                    };
                    let id = format!("{name}-{backup}-{time}");
                    on_backup(name, &id, *backup, *time)
                })
                .collect();
            let notification = world.file(&format!("file-{number}"), &records);
            let read = world.clock.now();
            let faults = faults(&mut dice);
            world.invoke_until_done(&notification, 1, faults).await;
            for (backup, is_deleted, time) in delivery.events {
                let model = models.entry(backup).or_default();
                if !is_deleted {
                    model.restored = model.restored.max(Some(time));
                } else if model.deleted < Some(time) {
                    model.deleted = Some(time);
                    model.is_late = time + hours(7 * 24) <= read;
                }
            }
        }
        if dice.throw(2) == 0 {
            continue;
        }
        world.advance_to(now);
        let time = world.clock.now();
        let due: BTreeSet<Entry> = models
            .iter()
            .filter_map(|(backup, model)| {
                let opened = model.open()?;
                let step = step((opened + hours(7 * 24)).duration_since(time))?;
                (step > 0 || !model.is_late).then(|| Entry {
                    resource: format!("backup-{backup}"),
                    opened,
                    step,
                })
            })
            .collect();
        let before = (world.reminders().len(), world.pages().len());
        let (count, faults) = (1 + usize::from(dice.throw(8) == 0), faults(&mut dice));
        let hits = world
            .invoke_until_done(&scheduled(RULE_ARN), count, faults)
            .await;
        let mut reminded: BTreeMap<Entry, usize> = BTreeMap::new();
        for message in &world.reminders()[before.0..] {
            for entry in entries(message) {
                *reminded.entry(entry).or_default() += 1;
            }
        }
        let expected: BTreeSet<Entry> = due.difference(&alerted).cloned().collect();
        let found: BTreeSet<Entry> = reminded.keys().cloned().collect();
        assert_eq!(found, expected, "seed {seed}, {time}, {models:?}");
        let most = reminded.values().max().copied().unwrap_or(0);
        assert!(
            most <= 1 + hits,
            "seed {seed}, {time}: {reminded:?}, {hits} faults"
        );
        let to_page: BTreeSet<Entry> = due
            .iter()
            .filter(|entry| entry.step <= 24 && !paged.contains(*entry))
            .cloned()
            .collect();
        let stages: BTreeSet<bool> = to_page.iter().map(|entry| entry.step == 0).collect();
        let pages = world.pages().len() - before.1;
        assert!(
            (stages.len()..=stages.len() * (1 + hits)).contains(&pages),
            "seed {seed}, {time}: {pages} pages about {to_page:?}, {hits} faults"
        );
        alerted.extend(due);
        paged.extend(to_page);
    }
    // A restore is alerted once, whatever happened to the table, unless a fault excuses a second alert.
    let alerts = world.stub.state().alerts_by_event_id();
    for (backup, model) in &models {
        for (name, time) in [
            ("DeleteBackup", model.deleted),
            ("RestoreBackup", model.restored),
        ] {
            if let Some(time) = time {
                let id = format!("{name}-{backup}-{time}");
                assert!(
                    alerts.contains_key(&id),
                    "seed {seed}: {id} was not alerted"
                );
            }
        }
    }
}

/// `DEADLINE_SEEDS=7` runs one seed, `DEADLINE_SEEDS=0..1000` a range.
#[tokio::test]
async fn every_open_deadline_is_reminded_of_once_at_each_step() {
    futures_util::stream::iter(seeds("DEADLINE_SEEDS", 0..10))
        .for_each_concurrent(6, schedule)
        .await;
}
