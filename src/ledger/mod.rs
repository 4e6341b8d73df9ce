//! Deduplication: calls that were already alerted, by their identity ([`CallId`]).
//!
//! CloudTrail can deliver a record twice, S3 can send a notification twice, two trails write the same call into two
//! files, and Lambda retries failed invocations. Each call is alerted once all the same: it is claimed, its alert is
//! published, then it is marked as sent. If an invocation dies in between, its claim expires and the call is alerted
//! again: twice is better than never. If only one of the two channels has the message, that is noted, so that a retry
//! publishes only the other.
//!
//! With a table ([`table`]) this holds across all instances of the function; without one, within each instance
//! ([`memory`]). If the table fails, alerts are published all the same, and the error is counted. The table also has
//! what else the instances share: slots to publish in ([`slots`]), summaries ([`Share`]), the message limit of a
//! job, and pages.

mod job_limit;
mod marks;
pub mod memory;
mod pages;
pub mod slots;
mod summaries;
pub mod table;
mod transactions;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_config::SdkConfig;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tracing::error;

use crate::{
    channel::Delivered,
    clock::{self, Clock},
    dynamodb::{self, CircuitBreaker},
    timing::Timing,
};
use cloudhsm_alerts_core::{call_id::CallId, object::ObjectRef, text::one_line};
use memory::Memory;
pub use pages::Page;
pub use slots::SharedSlot;
pub use summaries::Share;
pub use table::{Claim, LedgerError, Table};

/// Maximum number of concurrent requests to the table. More calls than this are claimed in transactions.
const CONCURRENT: usize = 32;
/// The ledger of one instance of the function.
#[derive(Debug)]
pub struct Ledger {
    memory: Memory,
    table: Option<Table>,
    clock: Clock,
    /// The owner of claims: one attempt to process one invocation. Lambda retries a failed invocation with the same
    /// request ID, possibly while the first attempt is still running, so the request ID is not enough.
    owner: String,
    errors: Errors,
    /// For each kind of refused call, the call that paged and when another may, as far as this instance knows.
    paged: HashMap<String, (CallId, Timestamp)>,
}

/// Failed requests to the table in this invocation. A role can be allowed some kinds of requests and not others, so
/// each kind has its own circuit breaker.
#[derive(Debug, Default)]
struct Errors {
    claims: CircuitBreaker,
    marks: CircuitBreaker,
    slots: CircuitBreaker,
    pages: CircuitBreaker,
    by_type: Mutex<BTreeMap<&'static str, u64>>,
}

/// The key of the item that the instances share for summaries.
fn summary_key(topic: &str) -> String {
    format!("cloudhsm-alerts summary {topic}")
}

impl Errors {
    fn by_type(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.by_type.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// A ledger in the memory of this instance and, if `table` is given, in that DynamoDB table.
    pub fn new(sdk: &SdkConfig, table: Option<&str>, timing: &Timing, clock: Clock) -> Ledger {
        let table = table
            .map(|name| Table::new(dynamodb::client(sdk, timing), name.to_owned(), timing.lease));
        Ledger {
            memory: Memory::default(),
            table,
            clock,
            owner: String::new(),
            errors: Errors::default(),
            paged: HashMap::new(),
        }
    }

    /// Begins an invocation: its claims get a new owner, the circuit breakers are closed, and errors are counted anew.
    pub fn begin(&mut self, request_id: &str) {
        let request_id = one_line(request_id, 64);
        self.owner = format!("{request_id}/{:016x}", clock::unique());
        self.errors = Errors::default();
    }

    /// Whether this instance knows that an alert for this call was published.
    pub fn remembers(&self, call: &CallId) -> bool {
        self.memory.contains(call)
    }

    /// Whether this instance knows another call with the same event ID.
    pub fn remembers_other(&self, call: &CallId) -> bool {
        self.memory.contains_other(call)
    }

    /// Whether claims are shared with other instances, and expire.
    pub fn is_shared(&self) -> bool {
        self.table.is_some()
    }

    /// Failed requests to the table in this invocation.
    pub fn errors(&self) -> u64 {
        self.errors.by_type().values().sum()
    }

    /// Claims calls. Returns one result for each, in the same order. If the table fails, the result is
    /// [`Claim::Ours`], with what this instance has delivered: alerting a call twice is better than never.
    pub async fn claim(&mut self, calls: &[&CallId]) -> Vec<Claim> {
        let this = &*self;
        let new = this.claim_new(calls).await;
        let claims: Vec<Claim> = stream::iter(calls)
            .map(|call| async {
                if new.contains(call.key()) {
                    Claim::Ours(Delivered::default())
                } else {
                    this.claim_one(call).await
                }
            })
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

    /// Claims calls that nobody has claimed, if they are many. Returns the keys of those that are claimed now; each of
    /// the others must be claimed alone.
    async fn claim_new<'c>(&self, calls: &[&'c CallId]) -> HashSet<&'c str> {
        let table = self.table_unless_open(&self.errors.claims);
        let Some(table) = table.filter(|_| calls.len() > CONCURRENT) else {
            return HashSet::new();
        };
        let is_new = |call: &&CallId| {
            !self.memory.contains(call) && self.memory.delivered(call) == Delivered::default()
        };
        let new: Vec<&CallId> = calls.iter().copied().filter(is_new).collect();
        let now = self.clock.now();
        stream::iter(new.chunks(transactions::MAX_ITEMS))
            .map(|calls| async move {
                let are_claimed = table.claimed_new(calls, &self.owner, now).await;
                if are_claimed { calls } else { &[] }
            })
            .buffered(CONCURRENT)
            .flat_map(stream::iter)
            .map(|call| call.key())
            .collect()
            .await
    }

    async fn claim_one(&self, call: &CallId) -> Claim {
        if self.memory.contains(call) {
            return Claim::Alerted;
        }
        let remembered = self.memory.delivered(call);
        let breaker = &self.errors.claims;
        let Some(table) = self.table_unless_open(breaker) else {
            return Claim::Ours(remembered);
        };
        let claim = table.claim(call, &self.owner, self.clock.now()).await;
        match self.response(breaker, claim) {
            Some(Claim::Ours(delivered)) => Claim::Ours(delivered.or(remembered)),
            Some(claim) => claim,
            None => Claim::Ours(remembered),
        }
    }

    /// Notes which channels have the message about claimed calls, and renews the claims.
    pub async fn note_delivered(&mut self, calls: &[&CallId], delivered: Delivered) {
        let Some(text) = delivered.text() else {
            return;
        };
        for call in calls {
            self.memory.insert_part(call, delivered);
        }
        let (this, text) = (&*self, text.as_str());
        stream::iter(calls)
            .for_each_concurrent(CONCURRENT, |call| async move {
                let breaker = &this.errors.marks;
                if let Some(table) = this.table_unless_open(breaker) {
                    let noted = table
                        .note_delivered(call, &this.owner, text, this.clock.now())
                        .await;
                    this.response(breaker, noted);
                }
            })
            .await;
    }

    /// Marks calls as sent. Returns those that could not be marked in the table: another instance may alert them
    /// again.
    pub async fn mark_sent(&mut self, calls: &[&CallId]) -> Vec<CallId> {
        for call in calls {
            self.memory.insert(call);
        }
        let this = &*self;
        stream::iter(calls.chunks(marks::MAX_MARKS))
            .map(|calls| async move {
                let breaker = &this.errors.marks;
                let table = this.table_unless_open(breaker)?;
                let sent = table.mark_sent(calls, &this.owner, this.clock.now()).await;
                this.response(breaker, sent).is_none().then_some(calls)
            })
            .buffered(CONCURRENT)
            .filter_map(std::future::ready)
            .flat_map(|unmarked| stream::iter(unmarked.iter().map(|call| (*call).clone())))
            .collect()
            .await
    }

    /// Releases the claims on calls that could not be alerted, or only in part.
    pub async fn release(&mut self, calls: &[(&CallId, Delivered)]) {
        for (call, delivered) in calls {
            if *delivered != Delivered::default() {
                self.memory.insert_part(call, *delivered);
            }
        }
        let this = &*self;
        stream::iter(calls)
            .for_each_concurrent(CONCURRENT, |(call, delivered)| async move {
                let breaker = &this.errors.marks;
                if let Some(table) = this.table_unless_open(breaker) {
                    let delivered = delivered.text();
                    let released = table.release(call, &this.owner, delivered.as_deref()).await;
                    this.response(breaker, released);
                }
            })
            .await;
    }

    /// Takes the next free slot to publish to `topic`, unless it is later than `latest`. All instances share the
    /// slots. `None`: there is no table, or none that can be used until a person corrects it.
    pub async fn take_slot(
        &mut self,
        topic: &str,
        interval: Duration,
        latest: Timestamp,
    ) -> Option<SharedSlot> {
        self.table.as_ref()?;
        let breaker = &self.errors.slots;
        let slot = match self.table_unless_open(breaker) {
            Some(table) => {
                let key = format!("cloudhsm-alerts turns {topic}");
                let slot = table.take_slot(&key, self.clock.now(), interval, latest);
                self.response(breaker, slot.await)
            }
            None => None,
        };
        let is_unusable = breaker.is_unusable();
        slot.or_else(|| (!is_unusable).then_some(SharedSlot::Unknown))
    }

    /// Joins the open summary for `topic`, or opens one. `objects` are the log files with this instance's calls.
    /// `None`: there is no table, or the request failed.
    pub async fn share_summary(
        &mut self,
        topic: &str,
        objects: &[ObjectRef],
        timing: &Timing,
    ) -> Option<Share> {
        let breaker = &self.errors.slots;
        let table = self.table_unless_open(breaker)?;
        let now = self.clock.now();
        let shared = table
            .share_summary(&summary_key(topic), &self.owner, objects, now, timing)
            .await;
        self.response(breaker, shared)
    }

    /// Closes the summary that this instance leads. Returns the log files of all that joined; `None`: another
    /// instance leads it now, or the request failed.
    pub async fn close_summary(&mut self, topic: &str) -> Option<Vec<ObjectRef>> {
        let breaker = &self.errors.slots;
        let table = self.table_unless_open(breaker)?;
        let closed = table.close_summary(&summary_key(topic), &self.owner).await;
        self.response(breaker, closed).flatten()
    }

    /// Those of these calls that are marked as sent.
    pub async fn sent<'c>(&mut self, calls: &[&'c CallId]) -> Vec<&'c CallId> {
        let this = &*self;
        let sent: Vec<&CallId> = stream::iter(calls)
            .map(|call| async move {
                let breaker = &this.errors.claims;
                let table = this.table_unless_open(breaker)?;
                let is_sent = this.response(breaker, table.is_sent(call).await)?;
                is_sent.then_some(*call)
            })
            .buffered(CONCURRENT)
            .filter_map(std::future::ready)
            .collect()
            .await;
        for call in &sent {
            self.memory.insert(call);
        }
        sent
    }

    /// Takes one message off the limit of a backfill job. `Some(false)`: all instances together have published `limit`
    /// messages. `None`: there is no table, or the request failed.
    pub async fn take_job_message(&mut self, job: &str, limit: u64) -> Option<bool> {
        // The request is an UpdateItem, as that for slots is, so it shares the circuit breaker.
        let breaker = &self.errors.slots;
        let table = self.table_unless_open(breaker)?;
        let key = format!("cloudhsm-alerts messages of job {job}");
        let taken = table.take_job_message(&key, self.clock.now(), limit).await;
        self.response(breaker, taken)
    }

    /// Takes the pages of this hour for kinds of refused calls, each for one call. Returns those that were free, or
    /// taken for the same call.
    pub async fn take_pages(&mut self, pages: Vec<Page>) -> Vec<Page> {
        let now = self.clock.now();
        self.paged.retain(|_, (_, until)| *until > now);
        let this = &*self;
        let taken: Vec<Page> = stream::iter(pages)
            .map(|page| async move {
                if let Some((call, _)) = this.paged.get(&page.kind) {
                    return (*call == page.call).then_some(page);
                }
                let breaker = &this.errors.pages;
                let is_free = match this.table_unless_open(breaker) {
                    Some(table) => this.response(breaker, table.take_page(&page, now).await),
                    None => None,
                };
                // Without a response of the table, the call pages: one page too many is better than none.
                is_free.unwrap_or(true).then_some(page)
            })
            .buffered(CONCURRENT)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let until = clock::later(now, pages::INTERVAL);
        let paged = taken
            .iter()
            .map(|page| (page.kind.clone(), (page.call.clone(), until)));
        self.paged.extend(paged);
        taken
    }

    /// Releases pages whose message was not published.
    pub async fn release_pages(&mut self, pages: Vec<Page>) {
        for page in &pages {
            self.paged.remove(&page.kind);
        }
        let this = &*self;
        stream::iter(&pages)
            .for_each_concurrent(CONCURRENT, |page| async move {
                let breaker = &this.errors.pages;
                if let Some(table) = this.table_unless_open(breaker) {
                    this.response(breaker, table.release_page(page).await);
                }
            })
            .await;
    }

    /// The table, if there is one and the circuit breaker is closed.
    fn table_unless_open(&self, breaker: &CircuitBreaker) -> Option<&Table> {
        self.table.as_ref().filter(|_| !breaker.is_open())
    }

    /// The response of a request. An error is counted, and each error type is logged once in an invocation: many
    /// alerts must not flood the log.
    fn response<T>(&self, breaker: &CircuitBreaker, response: Result<T, LedgerError>) -> Option<T> {
        let error = match response {
            Ok(response) => {
                breaker.succeeded();
                return Some(response);
            }
            Err(error) => error,
        };
        breaker.failed(error.failing());
        let mut by_type = self.errors.by_type();
        let count = by_type.entry(error.error_type()).or_default();
        *count += 1;
        if *count == 1 {
            let table = self.table.as_ref().map_or("", Table::name);
            error!(
                error_type = error.error_type(),
                table,
                "ledger table: {error}; alerts are published all the same, and some calls may be alerted again"
            );
        }
        None
    }
}
