//! Deduplication: calls that were already alerted, by their identity ([`CallId`]).
//!
//! CloudTrail delivers a record again, S3 notifies again, two trails write the same call into two files, and Lambda
//! retries a failed invocation; a person is alerted once. A call is claimed, its alert is published, then the call is
//! marked as sent. An invocation that dies in between leaves a claim that expires, and the call is alerted again:
//! twice rather than never.
//!
//! With a table ([`table`]) this holds across all instances of the function; without one, within an instance
//! ([`memory`]). If the table fails, alerts are published all the same, and the failure is counted.

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
    timing::Timing,
};
pub use budget::Turn;
use cloudhsm_alerts_core::call_id::CallId;
use memory::Memory;
pub use table::{Claim, LedgerError, Table};

/// Concurrent requests to the table. Conditional writes can be batched only as transactions, which cost double and
/// fail together.
const CONCURRENT: usize = 32;
/// Sum of the weights of failures in a row at which a circuit breaker opens: an alert must not wait again and again
/// for a table that is down.
const MAX_FAILURES: u32 = 8;

/// The ledger of one instance of the function.
#[derive(Debug)]
pub struct Ledger {
    memory: Memory,
    table: Option<Table>,
    clock: Clock,
    /// The owner of claims: one attempt at one invocation. Lambda retries a failed invocation with the same request
    /// ID, perhaps while the first attempt still runs, so that ID alone is not enough.
    owner: String,
    errors: Errors,
    /// Until when a kind of refused call does not page, as far as this instance knows.
    paged_until: HashMap<String, Timestamp>,
}

/// Failed requests to the table in this invocation. A role may be allowed one kind of request and not another, so
/// each kind has its own circuit breaker.
#[derive(Debug, Default)]
struct Errors {
    claims: CircuitBreaker,
    marks: CircuitBreaker,
    turns: CircuitBreaker,
    pages: CircuitBreaker,
    by_type: Mutex<BTreeMap<&'static str, u64>>,
}

/// Circuit breaker for one kind of request.
#[derive(Debug, Default)]
struct CircuitBreaker {
    failures: AtomicU32,
    is_open: AtomicBool,
}

impl CircuitBreaker {
    fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    fn failed(&self, error: &LedgerError) {
        // A throttled table responds at once; a table that does not respond costs seconds each time.
        let weight = match error {
            LedgerError::Throttled(_) | LedgerError::NotALedger(_) => 1,
            LedgerError::Unavailable(_) => 3,
            LedgerError::Denied(_) | LedgerError::TableNotFound(_) => MAX_FAILURES,
        };
        if self.failures.fetch_add(weight, Ordering::Relaxed) + weight >= MAX_FAILURES {
            self.is_open.store(true, Ordering::Relaxed);
        }
    }
}

impl Errors {
    fn by_type(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.by_type.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table's key for the pages of a kind of call.
fn page_key(kind: &str) -> String {
    format!("cloudhsm-alerts page {kind}")
}

impl Ledger {
    /// A ledger in the memory of this instance, and in the table where one is named.
    pub fn new(sdk: &SdkConfig, table: Option<&str>, timing: &Timing, clock: Clock) -> Ledger {
        let table = table.map(|name| {
            // An alert waits for each request, so the timeouts are short.
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
            errors: Errors::default(),
            paged_until: HashMap::new(),
        }
    }

    /// Begins an invocation: its claims get an owner of their own, and the circuit breakers close.
    pub fn begin(&mut self, request_id: &str) {
        let request_id = cloudhsm_alerts_core::text::one_line(request_id, 64);
        self.owner = format!("{request_id}/{:016x}", clock::unique());
        self.errors = Errors::default();
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

    /// Failed requests to the table in this invocation.
    pub fn errors(&self) -> u64 {
        self.errors.by_type().values().sum()
    }

    /// Claims calls; one claim for each, in their order. If the table does not respond, the call is ours: alerting it
    /// twice is better than never.
    pub async fn claim(&mut self, calls: &[&CallId]) -> Vec<Claim> {
        let this = &*self;
        let claims: Vec<Claim> = stream::iter(calls)
            .map(|call| this.claim_one(call))
            .buffered(CONCURRENT)
            .collect()
            .await;
        for (call, claim) in calls.iter().zip(&claims) {
            if *claim == Claim::Alerted {
                self.memory.insert(call);
            }
        }
        claims
    }

    async fn claim_one(&self, call: &CallId) -> Claim {
        if self.memory.contains(call) {
            return Claim::Alerted;
        }
        let breaker = &self.errors.claims;
        let Some(table) = self.table_unless_open(breaker) else {
            return Claim::Ours;
        };
        let claim = table.claim(call, &self.owner, self.clock.now()).await;
        self.response(breaker, claim).unwrap_or(Claim::Ours)
    }

    /// Marks calls as sent. Gives those that could not be marked in the table: another instance may alert them again.
    pub async fn mark_sent(&mut self, calls: &[&CallId]) -> Vec<CallId> {
        for call in calls {
            self.memory.insert(call);
        }
        let this = &*self;
        stream::iter(calls)
            .map(|call| async move {
                let breaker = &this.errors.marks;
                let table = this.table_unless_open(breaker)?;
                let sent = table.mark_sent(call, &this.owner, this.clock.now()).await;
                this.response(breaker, sent)
                    .is_none()
                    .then(|| (*call).clone())
            })
            .buffered(CONCURRENT)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// Releases the claims on calls that could not be alerted.
    pub async fn release(&mut self, calls: &[&CallId]) {
        let this = &*self;
        stream::iter(calls)
            .for_each_concurrent(CONCURRENT, |call| async move {
                let breaker = &this.errors.marks;
                if let Some(table) = this.table_unless_open(breaker) {
                    this.response(breaker, table.release(call, &this.owner).await);
                }
            })
            .await;
    }

    /// A turn to publish to `topic`, shared by all instances, not after `latest`; `None` if there is no table, or it
    /// does not respond.
    pub async fn turn(
        &mut self,
        topic: &str,
        interval: Duration,
        latest: Timestamp,
    ) -> Option<Turn> {
        let breaker = &self.errors.turns;
        let table = self.table_unless_open(breaker)?;
        let key = format!("cloudhsm-alerts turns {topic}");
        let turn = table.turn(&key, self.clock.now(), interval, latest).await;
        self.response(breaker, turn)
    }

    /// Whether a backfill job may publish one more message, of `limit` in all; `None` if there is no table, or it does
    /// not respond.
    pub async fn take_job_message(&mut self, job: &str, limit: u64) -> Option<bool> {
        let breaker = &self.errors.turns;
        let table = self.table_unless_open(breaker)?;
        let key = format!("cloudhsm-alerts messages of job {job}");
        let may = table.take_job_message(&key, self.clock.now(), limit).await;
        self.response(breaker, may)
    }

    /// Takes the pages of this hour for some kinds of refused calls; gives the kinds that had not paged yet.
    pub async fn take_pages(&mut self, kinds: Vec<String>) -> Vec<String> {
        let now = self.clock.now();
        self.paged_until.retain(|_, until| *until > now);
        let this = &*self;
        let taken: Vec<String> = stream::iter(kinds)
            .map(|kind| async move {
                if this.paged_until.contains_key(&kind) {
                    return None;
                }
                let breaker = &this.errors.pages;
                let is_free = match this.table_unless_open(breaker) {
                    Some(table) => this.response(breaker, table.page(&page_key(&kind), now).await),
                    None => None,
                };
                // If the table does not respond, the call pages: one page too many is better than none.
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

    /// Gives pages back, because their message was not published.
    pub async fn release_pages(&mut self, kinds: Vec<String>) {
        for kind in &kinds {
            self.paged_until.remove(kind);
        }
        let this = &*self;
        stream::iter(&kinds)
            .for_each_concurrent(CONCURRENT, |kind| async move {
                let breaker = &this.errors.pages;
                if let Some(table) = this.table_unless_open(breaker) {
                    this.response(breaker, table.release_page(&page_key(kind)).await);
                }
            })
            .await;
    }

    fn table_unless_open(&self, breaker: &CircuitBreaker) -> Option<&Table> {
        self.table
            .as_ref()
            .filter(|_| !breaker.is_open.load(Ordering::Relaxed))
    }

    /// The response; a failure is counted. Each type is logged once in an invocation: a storm of alerts must not flood
    /// the log.
    fn response<T>(&self, breaker: &CircuitBreaker, response: Result<T, LedgerError>) -> Option<T> {
        let error = match response {
            Ok(response) => {
                breaker.succeeded();
                return Some(response);
            }
            Err(error) => error,
        };
        breaker.failed(&error);
        let mut by_type = self.errors.by_type();
        let count = by_type.entry(error.error_type()).or_default();
        *count += 1;
        if *count == 1 {
            let table = self.table.as_ref().map_or("", Table::name);
            error!(
                error_type = error.error_type(),
                table,
                "ledger table: {error}; alerts are published all the same, and calls may be alerted more than once"
            );
        }
        None
    }
}
