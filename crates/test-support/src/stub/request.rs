//! What identifies a request to the stub: operation, target and attempt.

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Reads an object from S3.
    GetObject,
    /// Lists a page of the objects under a prefix.
    ListObjects,
    /// Claims a call in the ledger.
    Claim,
    /// Claims many calls that nobody has claimed, in a transaction.
    ClaimNew,
    /// Publishes an alert to SNS.
    Publish,
    /// Publishes a page to SNS.
    PublishPage,
    /// Notes in the ledger which of the two was published.
    Note,
    /// Marks calls as sent in the ledger.
    Sent,
    /// Releases a claim.
    Release,
    /// Reserves the next slot to publish in, which all instances share.
    Slot,
    /// Joins, opens or closes a summary that instances share.
    Share,
    /// Reads an item of the ledger.
    GetItem,
    /// Reserves the page of an hour for refused calls, or returns the reservation.
    Page,
    /// Opens a deadline in the watch table.
    OpenDeadline,
    /// Closes a deadline.
    CloseDeadline,
    /// Dismisses a deadline.
    Dismiss,
    /// Reads a page of the deadlines.
    ListDeadlines,
    /// Notes which steps of a deadline were reminded of.
    NoteReminded,
    /// Locks or unlocks the tick.
    Tick,
    /// Notes in the ledger that a log file was read.
    NoteFile,
    /// Reads from the ledger which log files were read.
    ReadFiles,
    /// Writes a chain of digest files to the watch table.
    Chain,
    /// Notes a call that stopped a trail in the watch table.
    NoteStop,
    /// Reads chains, or calls that stopped a trail.
    ListChains,
    /// Lists CloudTrail's public keys.
    ListPublicKeys,
}

/// One request. It is identified by its content and not by its time of arrival, so that a fault plan has the
/// same effect on a fast and on a slow machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    pub operation: Operation,
    /// `bucket/key` of an object, or bucket and query of a list, or the event IDs of a message, or the text of a page, or
    /// the IDs of items, or the kind of those that are listed.
    pub target: String,
    /// How many requests with this operation and target came before.
    pub attempt: u32,
}
