//! The watch: deadlines that are open, so that people are reminded until they are closed.
//!
//! A deadline is opened and closed by calls ([`cloudhsm_alerts_core::deadline`]), and kept in the watch table
//! ([`WatchTable`]). [`Watch`] is the table as one instance of the function uses it: it gives up after some failures in
//! a row, and counts them. The table failing stops no alert; the retry of the invocation writes what is missing. Who is
//! reminded of what, and when, is decided elsewhere.
//!
//! The same table has the chains of digest files ([`WatchedChain`]), and the calls that stopped a trail ([`SeenStop`]).

mod chain;
mod deadline;
mod error;
mod item;
mod lock;
mod stop;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use aws_config::SdkConfig;
use cloudhsm_alerts_core::{
    deadline::{Closing, Deadline, DeadlineKey},
    digest::{key::Chain, verdict::Interval},
    text::one_line,
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tracing::error;

use crate::{
    clock::{self, Clock},
    dynamodb::CircuitBreaker,
    timing::Timing,
};
pub use chain::{Arrival, GAP_WAITS, WatchedChain, id as chain_id};
pub use deadline::{Closed, Dismissed, PAGED, PASSED, WatchedDeadline};
pub use error::WatchError;
pub use lock::MAX_LOCK;
pub use stop::{SeenStop, explaining};
pub use table::{Change, Listed, WatchTable};

/// Maximum number of concurrent requests to the table.
const CONCURRENT: usize = 32;

/// The watch table of one instance of the function, if it has one.
#[derive(Debug)]
pub struct Watch {
    table: Option<WatchTable>,
    clock: Clock,
    /// The owner of the lock: one attempt to process one invocation.
    owner: String,
    breaker: CircuitBreaker,
    errors: Mutex<BTreeMap<&'static str, u64>>,
}

impl Watch {
    /// The watch table with this name or ARN. Without one, nothing is written, and nothing is open.
    pub fn new(sdk: &SdkConfig, table: Option<&str>, timing: &Timing, clock: Clock) -> Watch {
        let table = table.map(|name| WatchTable::connect(sdk, timing, name.to_owned()));
        Watch {
            table,
            clock,
            owner: String::new(),
            breaker: CircuitBreaker::default(),
            errors: Mutex::default(),
        }
    }

    /// Begins an invocation: the lock gets a new owner, the circuit breaker is closed, and errors are counted anew.
    pub fn begin(&mut self, request_id: &str) {
        let request_id = one_line(request_id, 64);
        self.owner = format!("{request_id}/{:016x}", clock::unique());
        self.breaker = CircuitBreaker::default();
        self.errors = Mutex::default();
    }

    /// Whether there is a table.
    pub fn is_on(&self) -> bool {
        self.table.is_some()
    }

    /// Failed requests to the table in this invocation, and those that were not tried after them.
    pub fn errors(&self) -> u64 {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.values().sum()
    }

    /// Writes deadlines that calls opened, and calls that close one. All are tried.
    ///
    /// # Errors
    /// The first request that failed: a retry must write it again. An item that this version cannot read is counted and
    /// no error here: a retry would find it again.
    pub async fn record(&self, opened: &[Deadline], closed: &[Closing]) -> Result<(), WatchError> {
        let opening = stream::iter(opened).map(|deadline| {
            self.request(move |table, now| async move { table.open(deadline, now).await })
        });
        let closing = stream::iter(closed).map(|closing| {
            self.request(move |table, now| async move { table.close(closing, now).await })
        });
        // Boxed, because the two are different futures.
        let results: Vec<Result<Option<Change>, WatchError>> = opening
            .map(|request| -> Request<'_, Change> { Box::pin(request) })
            .chain(closing.map(|request| -> Request<'_, Change> { Box::pin(request) }))
            .buffered(CONCURRENT)
            .collect()
            .await;
        results
            .into_iter()
            .filter_map(Result::err)
            .find(|error| !matches!(error, WatchError::Foreign { .. }))
            .map_or(Ok(()), Err)
    }

    /// All deadlines, open and closed; none without a table.
    ///
    /// # Errors
    /// A request failed.
    pub async fn list(&self) -> Result<Listed, WatchError> {
        let listed = self.request(|table, _| async move { table.list().await });
        Ok(listed.await?.unwrap_or_default())
    }

    /// Notes which steps of these deadlines were reminded of: key, time of the opening, steps. All are tried.
    ///
    /// # Errors
    /// The first request that failed.
    pub async fn note_reminded(
        &self,
        reminded: &[(DeadlineKey, Timestamp, Vec<u16>)],
    ) -> Result<(), WatchError> {
        let results: Vec<Result<Option<bool>, WatchError>> = stream::iter(reminded)
            .map(|(key, opened, steps)| {
                self.request(move |table, now| async move {
                    table.note_reminded(key, *opened, steps, now).await
                })
            })
            .buffered(CONCURRENT)
            .collect()
            .await;
        results
            .into_iter()
            .find_map(Result::err)
            .map_or(Ok(()), Err)
    }

    /// A chain of digest files; `None` if none of it arrived yet.
    ///
    /// # Errors
    /// The request failed.
    pub async fn chain(&self, chain: &Chain) -> Result<Option<WatchedChain>, WatchError> {
        let found = self.request(move |table, _| async move { table.chain(chain).await });
        found.await.map(Option::flatten)
    }

    /// All chains of digest files, and the number of items that this version cannot read.
    ///
    /// # Errors
    /// A request failed.
    pub async fn chains(&self) -> Result<(Vec<WatchedChain>, usize), WatchError> {
        let listed = self.request(|table, _| async move { table.chains().await });
        Ok(listed.await?.unwrap_or_default())
    }

    /// Notes that a digest file arrived.
    ///
    /// # Errors
    /// The request failed.
    pub async fn note_arrival(&self, arrival: &Arrival) -> Result<(), WatchError> {
        let noted =
            self.request(move |table, now| async move { table.note_arrival(arrival, now).await });
        noted.await.map(drop)
    }

    /// Notes what was published about a chain: its silence since its newest end, and gaps.
    ///
    /// # Errors
    /// The request failed.
    pub async fn note_published(
        &self,
        chain: &Chain,
        silent_since: Option<Timestamp>,
        gaps: &[Interval],
    ) -> Result<(), WatchError> {
        let noted = self.request(move |table, _| async move {
            table.note_published(chain, silent_since, gaps).await
        });
        noted.await.map(drop)
    }

    /// Notes calls that stopped a trail. All are tried.
    ///
    /// # Errors
    /// The first request that failed.
    pub async fn note_stops(&self, stops: &[SeenStop]) -> Result<(), WatchError> {
        let mut result = Ok(());
        for stop in stops {
            let noted = self.request(move |table, _| async move { table.note_stop(stop).await });
            result = result.and(noted.await.map(drop));
        }
        result
    }

    /// The calls that stopped a trail.
    ///
    /// # Errors
    /// A request failed.
    pub async fn stops(&self) -> Result<Vec<SeenStop>, WatchError> {
        let listed = self.request(|table, _| async move { table.stops().await });
        Ok(listed.await?.unwrap_or_default())
    }

    /// Takes the lock of the tick until a time, at most [`MAX_LOCK`] away. Returns whether this invocation has it.
    ///
    /// # Errors
    /// The request failed.
    pub async fn lock(&self, until: Timestamp) -> Result<bool, WatchError> {
        let owner = self.owner.as_str();
        let locked =
            self.request(move |table, now| async move { table.lock(owner, until, now).await });
        Ok(locked.await?.unwrap_or(false))
    }

    /// Releases the lock of the tick, if this invocation has it.
    ///
    /// # Errors
    /// The request failed. The lock expires by itself.
    pub async fn unlock(&self) -> Result<(), WatchError> {
        let owner = self.owner.as_str();
        let unlocked = self.request(move |table, _| async move { table.unlock(owner).await });
        unlocked.await.map(drop)
    }

    /// The response of a request; `None` without a table. An error is counted, and each error type is logged once in an
    /// invocation: many deadlines must not flood the log.
    async fn request<'w, T, F>(
        &'w self,
        make: impl FnOnce(&'w WatchTable, Timestamp) -> F,
    ) -> Result<Option<T>, WatchError>
    where
        F: Future<Output = Result<T, WatchError>>,
    {
        let Some(table) = &self.table else {
            return Ok(None);
        };
        let response = if self.breaker.is_open() {
            Err(WatchError::GivenUp)
        } else {
            make(table, self.clock.now()).await
        };
        let error = match response {
            Ok(response) => {
                self.breaker.succeeded();
                return Ok(Some(response));
            }
            Err(error) => error,
        };
        if let Some(failing) = error.failing() {
            self.breaker.failed(failing);
        }
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let count = errors.entry(error.error_type()).or_default();
        *count += 1;
        if *count == 1 {
            error!(
                error_type = error.error_type(),
                table = table.name(),
                "watch table: {error}; alerts are published all the same"
            );
        }
        Err(error)
    }
}

/// A request to the table.
type Request<'w, T> =
    std::pin::Pin<Box<dyn Future<Output = Result<Option<T>, WatchError>> + Send + 'w>>;
