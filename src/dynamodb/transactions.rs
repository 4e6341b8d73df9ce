//! Writes to items that a transaction of another instance may have: DynamoDB refuses them until it ends.
//! Source: Amazon DynamoDB Developer Guide, "Amazon DynamoDB Transactions: How it works".

use std::time::Duration;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// Pauses before a write is tried again whose item was part of a transaction.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];

/// The result of a write to an item. It is tried again while another instance's transaction has the item.
pub(crate) async fn after_transactions<T, E, F>(write: impl Fn() -> F) -> Result<T, SdkError<E>>
where
    E: ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E>>>,
{
    for pause in PAUSES {
        match write().await {
            Err(error) if error.code() == Some("TransactionConflictException") => {
                tokio::time::sleep(pause).await;
            }
            result => return result,
        }
    }
    write().await
}
