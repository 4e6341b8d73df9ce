//! Deduplication: calls that were already alerted, by their identity ([`CallId`]).
//!
//! CloudTrail delivers a record again, S3 notifies again, two trails write the same call into two files,
//! and Lambda repeats a failed invocation; a person is told once. An alert is claimed, published, then noted
//! as sent. Who dies in between leaves a claim that expires, and the next one tells the call again: twice
//! rather than not at all.
//!
//! With a table ([`table`]) this holds across all instances of the function; without one, within an
//! instance ([`memory`]). The table's failure never keeps an alert back: what it does not answer for is
//! published, and counted as ledger trouble.

pub mod budget;
pub mod memory;
mod pages;
pub mod table;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use aws_config::{SdkConfig, timeout::TimeoutConfig};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tracing::error;

use crate::{
    clock::{self, Clock},
    function::Timing,
};
pub use budget::Turn;
use cloudhsm_alerts_core::call_id::CallId;
use memory::Memory;
pub use table::{Claim, LedgerError, Table};

/// Requests to the table at a time. Conditional writes cannot be batched but as transactions, which cost
/// double and fail together.
const CONCURRENT: usize = 32;
/// When failures in a row weigh so much, no more such requests are made in the invocation: an alert must
/// not wait again and again for a table that is down.
const ENOUGH: u32 = 8;

/// The ledger of one instance of the function.
#[derive(Debug)]
pub struct Ledger {
    memory: Memory,
    table: Option<Table>,
    clock: Clock,
    /// Who claims: one attempt at one invocation. Lambda repeats a failed invocation under the same request
    /// id, perhaps while the first attempt still runs, so that id alone will not do.
    owner: String,
    trouble: Trouble,
    /// Until when a kind of refused call pages nobody, as far as this instance knows.
    paged_until: HashMap<String, Timestamp>,
}

/// What went wrong with the table in this invocation. A role may be allowed one kind of request and not
/// another, so each kind is given up by itself.
#[derive(Debug, Default)]
struct Trouble {
    claims: Fuse,
    notes: Fuse,
    turns: Fuse,
    pages: Fuse,
    by_type: Mutex<BTreeMap<&'static str, u64>>,
}

/// Whether one kind of request is still made.
#[derive(Debug, Default)]
struct Fuse {
    in_a_row: AtomicU32,
    is_out: AtomicBool,
}

impl Fuse {
    fn succeeded(&self) {
        self.in_a_row.store(0, Ordering::Relaxed);
    }

    fn failed(&self, error: &LedgerError) {
        // A throttled table still answers; one that does not answer takes seconds each time.
        let weight = match error {
            LedgerError::Throttled(_) | LedgerError::NotALedger(_) => 1,
            LedgerError::Unavailable(_) => 3,
            LedgerError::Denied(_) | LedgerError::TableNotFound(_) => ENOUGH,
        };
        if self.in_a_row.fetch_add(weight, Ordering::Relaxed) + weight >= ENOUGH {
            self.is_out.store(true, Ordering::Relaxed);
        }
    }
}

impl Trouble {
    fn by_type(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.by_type.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table's key for the pages of a kind of call.
fn page_key(kind: &str) -> String {
    format!("cloudhsm-alerts page {kind}")
}

impl Ledger {
    /// A ledger that remembers in this instance, and in the table where one is named.
    pub fn new(sdk: &SdkConfig, table: Option<&str>, timing: &Timing, clock: Clock) -> Ledger {
        let table = table.map(|name| {
            // The table is asked while an alert waits: it gets little time.
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(timing.ledger_attempt)
                .operation_attempt_timeout(timing.ledger_attempt)
                .operation_timeout(timing.ledger_operation)
                .build();
            let config = aws_sdk_dynamodb::config::Builder::from(sdk)
                .timeout_config(timeouts)
                .build();
            let client = aws_sdk_dynamodb::Client::from_conf(config);
            Table::new(client, name.to_owned(), timing.lease)
        });
        Ledger {
            memory: Memory::default(),
            table,
            clock,
            owner: String::new(),
            trouble: Trouble::default(),
            paged_until: HashMap::new(),
        }
    }

    /// Begins an invocation: it claims under a name of its own, and the table gets a new chance.
    pub fn begin(&mut self, request_id: &str) {
        let request_id = cloudhsm_alerts_core::text::one_line(request_id, 64);
        self.owner = format!("{request_id}/{:016x}", clock::unique());
        self.trouble = Trouble::default();
    }

    /// Whether this instance knows that an alert for this call was published.
    pub fn remembers(&self, call: &CallId) -> bool {
        self.memory.contains(call)
    }

    /// Whether this instance knows that an alert was published for a call under this event ID.
    pub fn remembers_event_id(&self, event_id: &str) -> bool {
        self.memory.contains_event_id(event_id)
    }

    /// Whether claims are shared with other instances, and expire.
    pub fn is_shared(&self) -> bool {
        self.table.is_some()
    }

    /// How often the table failed in this invocation.
    pub fn trouble(&self) -> u64 {
        self.trouble.by_type().values().sum()
    }

    /// Claims calls, in their order. What the table does not answer for is ours: better told twice.
    pub async fn claim(&mut self, calls: &[&CallId]) -> Vec<Claim> {
        let this = &*self;
        let claims: Vec<Claim> = stream::iter(calls)
            .map(|call| this.claim_one(call))
            .buffered(CONCURRENT)
            .collect()
            .await;
        for (call, claim) in calls.iter().zip(&claims) {
            if *claim == Claim::Told {
                self.memory.insert(call);
            }
        }
        claims
    }

    async fn claim_one(&self, call: &CallId) -> Claim {
        if self.memory.contains(call) {
            return Claim::Told;
        }
        let fuse = &self.trouble.claims;
        let Some(table) = self.table_behind(fuse) else {
            return Claim::Ours;
        };
        let claim = table.claim(call, &self.owner, self.clock.now()).await;
        self.answer(fuse, claim).unwrap_or(Claim::Ours)
    }

    /// Notes that calls were told. Gives those that the table did not take: another instance may tell them
    /// again.
    pub async fn sent(&mut self, calls: &[&CallId]) -> Vec<CallId> {
        for call in calls {
            self.memory.insert(call);
        }
        let this = &*self;
        stream::iter(calls)
            .map(|call| async move {
                let fuse = &this.trouble.notes;
                let table = this.table_behind(fuse)?;
                let sent = table.sent(call, &this.owner, this.clock.now()).await;
                this.answer(fuse, sent).is_none().then(|| (*call).clone())
            })
            .buffered(CONCURRENT)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// Gives claims back for calls that could not be told.
    pub async fn release(&mut self, calls: &[&CallId]) {
        let this = &*self;
        stream::iter(calls)
            .for_each_concurrent(CONCURRENT, |call| async move {
                let fuse = &this.trouble.notes;
                if let Some(table) = this.table_behind(fuse) {
                    this.answer(fuse, table.release(call, &this.owner).await);
                }
            })
            .await;
    }

    /// A turn to publish to `topic` that all instances share, not after `latest`; `None` where there is no
    /// table, or none that answers.
    pub async fn turn(
        &mut self,
        topic: &str,
        interval: Duration,
        latest: Timestamp,
    ) -> Option<Turn> {
        let fuse = &self.trouble.turns;
        let table = self.table_behind(fuse)?;
        let key = format!("cloudhsm-alerts turns {topic}");
        let turn = table.turn(&key, self.clock.now(), interval, latest).await;
        self.answer(fuse, turn)
    }

    /// Whether a backfill's job may send one more message, of `most` in all; `None` where there is no table, or
    /// none that answers.
    pub async fn allowance(&mut self, job: &str, most: u64) -> Option<bool> {
        let fuse = &self.trouble.turns;
        let table = self.table_behind(fuse)?;
        let key = format!("cloudhsm-alerts messages of job {job}");
        let may = table.allowance(&key, self.clock.now(), most).await;
        self.answer(fuse, may)
    }

    /// Takes the pages for some kinds of refused calls; gives those that were free.
    pub async fn take_pages(&mut self, kinds: Vec<String>) -> Vec<String> {
        let now = self.clock.now();
        self.paged_until.retain(|_, until| *until > now);
        let this = &*self;
        let taken: Vec<String> = stream::iter(kinds)
            .map(|kind| async move {
                if this.paged_until.contains_key(&kind) {
                    return None;
                }
                let fuse = &this.trouble.pages;
                let is_free = match this.table_behind(fuse) {
                    Some(table) => this.answer(fuse, table.page(&page_key(&kind), now).await),
                    None => None,
                };
                // Where the table does not answer, this instance knows of none: better a page too many.
                is_free.unwrap_or(true).then_some(kind)
            })
            .buffered(CONCURRENT)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let until = clock::later(now, pages::PAUSE);
        self.paged_until
            .extend(taken.iter().map(|kind| (kind.clone(), until)));
        taken
    }

    /// Gives pages back: the message was not published.
    pub async fn release_pages(&mut self, kinds: Vec<String>) {
        for kind in &kinds {
            self.paged_until.remove(kind);
        }
        let this = &*self;
        stream::iter(&kinds)
            .for_each_concurrent(CONCURRENT, |kind| async move {
                let fuse = &this.trouble.pages;
                if let Some(table) = this.table_behind(fuse) {
                    this.answer(fuse, table.release_page(&page_key(kind)).await);
                }
            })
            .await;
    }

    fn table_behind(&self, fuse: &Fuse) -> Option<&Table> {
        self.table
            .as_ref()
            .filter(|_| !fuse.is_out.load(Ordering::Relaxed))
    }

    /// The answer, with failure counted. Each kind of it is said once an invocation: a storm of alerts must
    /// not become a storm of lines.
    fn answer<T>(&self, fuse: &Fuse, answer: Result<T, LedgerError>) -> Option<T> {
        let error = match answer {
            Ok(answer) => {
                fuse.succeeded();
                return Some(answer);
            }
            Err(error) => error,
        };
        fuse.failed(&error);
        let mut by_type = self.trouble.by_type();
        let count = by_type.entry(error.error_type()).or_default();
        *count += 1;
        if *count == 1 {
            let table = self.table.as_ref().map_or("", Table::name);
            error!(
                error_type = error.error_type(),
                table,
                "ledger table: {error}; alerts go out all the same, and calls may be told more than once"
            );
        }
        None
    }
}
