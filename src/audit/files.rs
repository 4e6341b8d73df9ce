//! The log files that were read: each has an item in the ledger's table with the hash of its content.
//!
//! A digest file arrives within some two hours after the log files that it lists, and proves those whose hash is here.
//! An item says that the alerts about the log file were published, so it is written after that.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    operation::put_item::PutItemError,
    types::{AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure},
};
use cloudhsm_alerts_core::{
    fingerprint::Fingerprint,
    log_file::Sha256,
    object::ObjectRef,
    text::{hex, one_line},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::{
    clock::later,
    dynamodb::{RequestError, after_transactions, millis, seconds, string},
    ledger::LedgerError,
};

/// How long an item is kept: longer than a digest file takes to arrive, and than a failed invocation is retried.
const KEPT: std::time::Duration = std::time::Duration::from_secs(72 * 3600);
/// Keys in one BatchGetItem.
const MAX_KEYS: usize = 100;
/// Requests at a time.
const CONCURRENT: usize = 8;
/// Attempts to read keys that DynamoDB did not process.
const ATTEMPTS: usize = 5;
/// DynamoDB's limit for a partition key, in bytes.
const MAX_ID: usize = 2048;

/// A log file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadFile {
    pub(crate) object: ObjectRef,
    /// The hash of its uncompressed content.
    pub(crate) sha256: Sha256,
    pub(crate) e_tag: Option<String>,
    /// Compressed bytes.
    pub(crate) size: u64,
}

/// What is in the table about a log file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Noted {
    /// This content, now or before.
    Same,
    /// Another content, which was read before: its hash, as far as it can be read.
    Other(String),
}

/// The table.
#[derive(Debug)]
pub(crate) struct ReadFiles {
    client: Client,
    table: String,
}

/// The ID of a log file's item.
pub(crate) fn id(bucket: &str, key: &str) -> String {
    let id = format!("file#{bucket}/{key}");
    if id.len() <= MAX_ID {
        return id;
    }
    // S3's keys are shorter. A payload may name anything.
    let mut hash = Fingerprint::default();
    hash.add(bucket);
    hash.add(key);
    format!("file#{}", hex(&hash.finish()))
}

impl ReadFiles {
    pub(crate) fn new(client: Client, table: String) -> ReadFiles {
        ReadFiles { client, table }
    }

    /// Notes that a log file was read, unless it is known with another content.
    pub(crate) async fn note(&self, file: &ReadFile, now: Timestamp) -> Result<Noted, LedgerError> {
        let object = &file.object;
        let sha256 = hex(&file.sha256);
        let mut request = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("id", string(&id(&object.bucket, &object.key)))
            .item("sha256", string(&sha256))
            .item("size", AttributeValue::N(file.size.to_string()))
            .item("read_at", millis(now))
            .item("expires_at", seconds(later(now, KEPT)))
            .condition_expression("attribute_not_exists(id) OR #sha256 = :sha256")
            .expression_attribute_names("#sha256", "sha256")
            .expression_attribute_values(":sha256", string(&sha256))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some(e_tag) = &file.e_tag {
            request = request.item("e_tag", string(&one_line(e_tag, 128)));
        }
        if let Some(version) = &object.version_id {
            request = request.item("version_id", string(&one_line(version, 1024)));
        }
        let error = match after_transactions(|| request.clone().send()).await {
            Ok(_) => return Ok(Noted::Same),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                let before = failed.item().and_then(|item| item.get("sha256"));
                let before = before.and_then(|value| value.as_s().ok());
                Ok(Noted::Other(before.map_or_else(
                    || "another one".to_owned(),
                    |before| one_line(before, 64),
                )))
            }
            _ => Err(RequestError::of(&error).into()),
        }
    }

    /// The hashes of those of these log files that were read, in hexadecimal digits, by the IDs of their items.
    pub(crate) async fn hashes(
        &self,
        ids: Vec<String>,
    ) -> Result<HashMap<String, String>, LedgerError> {
        let requests: Vec<_> = ids.chunks(MAX_KEYS).map(|ids| self.batch(ids)).collect();
        stream::iter(requests)
            .buffer_unordered(CONCURRENT)
            .try_fold(HashMap::new(), |mut all, some| async move {
                all.extend(some);
                Ok(all)
            })
            .await
    }

    async fn batch(&self, ids: &[String]) -> Result<HashMap<String, String>, LedgerError> {
        let mut keys: Vec<HashMap<String, AttributeValue>> = ids
            .iter()
            .map(|id| HashMap::from([("id".to_owned(), string(id))]))
            .collect();
        let mut found = HashMap::new();
        for _ in 0..ATTEMPTS {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(std::mem::take(&mut keys)))
                .consistent_read(true)
                .projection_expression("id, sha256")
                .build()
                .map_err(|error| LedgerError::NotALedger(error.to_string()))?;
            let output = self
                .client
                .batch_get_item()
                .request_items(&self.table, wanted)
                .send()
                .await
                .map_err(|error| RequestError::of(&error))?;
            for item in output
                .responses
                .into_iter()
                .flatten()
                .flat_map(|(_, items)| items)
            {
                let text = |name: &str| item.get(name)?.as_s().ok().cloned();
                if let (Some(id), Some(sha256)) = (text("id"), text("sha256")) {
                    found.insert(id, sha256);
                }
            }
            keys = output
                .unprocessed_keys
                .into_iter()
                .flatten()
                .flat_map(|(_, left)| left.keys)
                .collect();
            if keys.is_empty() {
                return Ok(found);
            }
        }
        Err(LedgerError::Throttled(
            "BatchGetItem left keys unprocessed".to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use cloudhsm_alerts_test_support::moto::Moto;

    use super::*;

    #[test]
    fn every_request_is_valid() {
        let aws = Moto::start();
        aws.table("ledger", "id");
        let files = ReadFiles::new(aws.dynamodb(), "ledger".into());
        let now: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
        let file = |n: u8| ReadFile {
            object: ObjectRef {
                bucket: "trail".into(),
                key: format!("AWSLogs/{n}"),
                version_id: (n == 0).then(|| "v1".into()),
            },
            sha256: [n; 32],
            e_tag: (n == 0).then(|| "\"e\"".into()),
            size: 7,
        };
        let other = ReadFile {
            sha256: [9; 32],
            ..file(0)
        };
        let ids = (0..250)
            .map(|n| id("trail", &format!("AWSLogs/{n}")))
            .collect();
        let hashes = aws.block_on(async {
            for n in 0..120 {
                assert_eq!(files.note(&file(n), now).await, Ok(Noted::Same));
            }
            assert_eq!(files.note(&file(0), now).await, Ok(Noted::Same));
            let noted = files.note(&other, now).await;
            assert_eq!(noted, Ok(Noted::Other(hex(&[0; 32]))));
            files.hashes(ids).await.unwrap()
        });
        let expected = (0..120).map(|n| (id("trail", &format!("AWSLogs/{n}")), hex(&[n; 32])));
        assert_eq!(hashes, expected.collect());
        let item = &aws.items("ledger")["file#trail/AWSLogs/0"];
        let expires = (now.as_second() + 72 * 3600).to_string();
        for (name, value) in [
            ("sha256", string(&hex(&[0; 32]))),
            ("e_tag", string("\"e\"")),
            ("version_id", string("v1")),
            ("size", AttributeValue::N("7".into())),
            ("read_at", millis(now)),
            ("expires_at", AttributeValue::N(expires)),
        ] {
            assert_eq!(item.get(name), Some(&value), "{name}");
        }
    }

    #[test]
    fn every_key_of_s3_fits_and_longer_ones_have_ids_of_their_own() {
        assert_eq!(id("b", "AWSLogs/x"), "file#b/AWSLogs/x");
        let bucket = "b".repeat(63);
        let longest = id(&bucket, &"k".repeat(1024));
        assert_eq!(longest.len(), 5 + 63 + 1 + 1024);
        let [first, second] = ["a", "b"].map(|last| id("b", &("é".repeat(1024) + last)));
        assert_eq!((first.len(), second.len()), (37, 37));
        assert_ne!(first, second);
    }
}
