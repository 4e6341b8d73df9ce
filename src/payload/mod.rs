//! Invocation payloads: what S3, SNS, SQS, EventBridge, CloudTrail, S3 Batch Operations and Lambda itself
//! send, told apart by their shape, and taken apart into things to do.
//!
//! This is the edge where an object's key is decoded, once (`key.rs`), and where a record is trusted or
//! refused: EventBridge hands over whole records, and only its own invocation proves that one is EventBridge's.
//! In a message, a record is the text of anyone who may send messages; a reference to an object is taken from
//! anywhere, because the object is read from the bucket. What cannot be read costs itself alone: it becomes an
//! [`Item::Bad`] between the others. Source: AWS Lambda Developer Guide, Amazon S3
//! User Guide ("Event message structure"), AWS CloudTrail User Guide ("Configuring Amazon SNS
//! notifications").

mod batch;
mod key;

use aws_lambda_events::{s3::S3Entity, sqs::SqsMessage};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

pub use batch::{BATCH_MODE, BatchMode, DEFAULT_MAX_MESSAGES, FileResult, Job, MAX_MESSAGES};
use cloudhsm_alerts_core::{
    json,
    object::{ObjectRef, Skip},
    record::{Record, not_a_record},
    redact::text_without_secrets,
    text::one_line,
};

/// Wrappings within wrappings (a destination record in an SNS envelope in an SQS message …) are opened
/// to this depth.
const MAX_DEPTH: u8 = 8;

/// S3's events after which there is nothing new to read, by the beginning of their names. An event of any other
/// name is read: it may be new, or another store's. A restore that is completed is one, too, because an archived
/// log file can be read from then on. Source: Amazon S3 User Guide, "Supported event types for SQS, SNS, and
/// Lambda"; for EventBridge, "Amazon EventBridge mapping and troubleshooting".
const NOT_CREATED: [&str; 10] = [
    "ObjectRemoved:",
    "ObjectRestore:Post",
    "ObjectRestore:Delete",
    "ReducedRedundancyLostObject",
    "Replication:",
    "LifecycleExpiration:",
    "LifecycleTransition",
    "IntelligentTiering",
    "ObjectTagging:",
    "ObjectAcl:",
];
/// The same for EventBridge's, by their detail types.
const NOT_CREATED_BRIDGE: [&str; 8] = [
    "Object Deleted",
    "Object Restore Initiated",
    "Object Restore Expired",
    "Object Storage Class Changed",
    "Object Access Tier Changed",
    "Object ACL Updated",
    "Object Tags Added",
    "Object Tags Deleted",
];

const RECOGNISED: &str = "an S3 notification, an SNS or SQS event that carries one, EventBridge's \"Object Created\" \
    or \"AWS API Call via CloudTrail\", CloudTrail's own SNS notification, an S3 Batch Operations task list, \
    or a Lambda destination record";

/// A payload, or a part of one, that cannot be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{at}: {message}")]
pub struct PayloadError {
    /// Which part, such as `Records[2]`.
    pub at: String,
    /// What was found and what was expected.
    pub message: String,
    /// Whether it was refused for where it came from, and not for what it is.
    pub is_untrusted: bool,
}

/// How a part of a payload got here.
#[derive(Debug, Clone, Copy)]
struct Path {
    /// Wrappings around it.
    depth: u8,
    /// Whether a record in it is EventBridge's, and not the text of whoever may send messages.
    is_trusted: bool,
}

impl Path {
    /// What Lambda itself was invoked with.
    const DIRECT: Path = Path {
        depth: 0,
        is_trusted: true,
    };

    /// Inside one more wrapping, which anyone may have made.
    fn wrapped(self) -> Path {
        Path {
            depth: self.depth + 1,
            is_trusted: false,
        }
    }
}

/// One thing to do, or not to.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A log file to read.
    Object(ObjectRef),
    /// A record that the payload itself carries, and the id of the event it came in.
    Record(Record, String),
    /// Something without records of management calls, by name.
    Skipped(Skip, String),
    /// Something that cannot be read.
    Bad(PayloadError),
}

/// One part of a payload that gets an answer of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// SQS's message id or S3 Batch Operations' task id; empty for the whole invocation.
    pub id: String,
    /// What it asks for.
    pub items: Vec<Item>,
}

/// A payload, by the reply that its sender wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Invocation {
    /// Success or failure of the whole.
    Whole(Unit),
    /// SQS: the messages that failed.
    Sqs {
        /// Name of the queue; empty where the messages do not say it.
        queue: String,
        /// The messages.
        messages: Vec<Unit>,
    },
    /// S3 Batch Operations: a result for each task.
    Batch {
        /// Echoed in the reply.
        schema_version: String,
        /// Echoed in the reply.
        invocation_id: String,
        /// The job.
        job: Job,
        /// The tasks.
        tasks: Vec<Unit>,
    },
}

/// Reads a payload. Never fails as a whole: what cannot be read is an item of its own. Records in messages are
/// refused, but in those of `trusted_queues`, which are ARNs of SQS queues.
pub fn read(payload: &Value, trusted_queues: &[String]) -> Invocation {
    if let Some(messages) =
        records(payload).filter(|list| !list.is_empty() && list.iter().any(is_sqs))
    {
        let units = messages
            .iter()
            .enumerate()
            .map(|(index, message)| sqs_unit(message, index, trusted_queues))
            .collect();
        // All messages of one invocation come from one queue.
        let queue = messages
            .first()
            .and_then(|message| message.get("eventSourceARN"))
            .and_then(Value::as_str)
            .and_then(|arn| arn.rsplit(':').next())
            .unwrap_or_default()
            .to_owned();
        return Invocation::Sqs {
            queue,
            messages: units,
        };
    }
    if is_batch(payload) {
        return batch(payload);
    }
    Invocation::Whole(Unit {
        id: String::new(),
        items: items(payload, "payload", Path::DIRECT),
    })
}

fn records(payload: &Value) -> Option<&Vec<Value>> {
    payload.get("Records")?.as_array()
}

fn is_sqs(record: &Value) -> bool {
    record.get("eventSource").and_then(Value::as_str) == Some("aws:sqs")
        || (record.get("body").is_some() && record.get("messageId").is_some())
}

fn is_batch(payload: &Value) -> bool {
    payload.get("tasks").is_some_and(Value::is_array)
        && payload.get("invocationSchemaVersion").is_some()
}

fn sqs_unit(message: &Value, index: usize, trusted_queues: &[String]) -> Unit {
    let at = format!("Records[{index}]");
    let id = message
        .get("messageId")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    // Lambda names the queue; inside another wrapping, anyone could.
    let arn = message.get("eventSourceARN").and_then(Value::as_str);
    let path = Path {
        is_trusted: arn.is_some_and(|arn| trusted_queues.iter().any(|queue| queue == arn)),
        ..Path::DIRECT.wrapped()
    };
    Unit {
        items: sqs_items(message, &at, path),
        id,
    }
}

/// What a message's body holds; `path` is the body's.
fn sqs_items(message: &Value, at: &str, path: Path) -> Vec<Item> {
    match SqsMessage::deserialize(message).map(|message| message.body) {
        Ok(Some(body)) => text(&body, &format!("{at}.body"), path),
        Ok(None) => vec![bad(at, "an SQS message without a body")],
        Err(error) => vec![bad(at, &format!("not an SQS message: {error}"))],
    }
}

fn batch(payload: &Value) -> Invocation {
    let text = |name: &str| {
        payload
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let job = Job::of(payload);
    let tasks = payload.get("tasks").and_then(Value::as_array);
    Invocation::Batch {
        schema_version: text("invocationSchemaVersion"),
        invocation_id: text("invocationId"),
        tasks: tasks
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(index, task)| Unit {
                id: task
                    .get("taskId")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                items: vec![match &job {
                    Ok(_) => task_item(task, &format!("tasks[{index}]")),
                    Err(message) => bad("job.userArguments", message),
                }],
            })
            .collect(),
        job: job.unwrap_or_default(),
    }
}

/// Schema 1.0 names the bucket by its ARN, 2.0 by its name; both encode the key.
fn task_item(task: &Value, at: &str) -> Item {
    let text = |name: &str| {
        task.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let bucket =
        text("s3Bucket").or_else(|| text("s3BucketArn").and_then(|arn| arn.rsplit(':').next()));
    match (bucket, text("s3Key")) {
        (Some(bucket), Some(key)) => encoded_object(bucket, key, text("s3VersionId"), at),
        _ => bad(at, "a task without s3Key and s3Bucket or s3BucketArn"),
    }
}

fn items(payload: &Value, at: &str, path: Path) -> Vec<Item> {
    if path.depth > MAX_DEPTH {
        return vec![bad(at, &format!("wrapped more than {MAX_DEPTH} times"))];
    }
    let Some(fields) = payload.as_object() else {
        return vec![unknown(payload, at)];
    };
    let text_of = |name: &str| fields.get(name).and_then(Value::as_str);

    if let Some(original) = fields.get("requestPayload") {
        return items(original, &format!("{at}.requestPayload"), path.wrapped());
    }
    if let Some(list) = records(payload) {
        return list
            .iter()
            .enumerate()
            .flat_map(|(index, record)| {
                notification_record(record, &format!("{at}.Records[{index}]"), path)
            })
            .collect();
    }
    if text_of("Event") == Some("s3:TestEvent") {
        let bucket = text_of("Bucket").unwrap_or("(no bucket named)");
        return vec![Item::Skipped(
            Skip::TestEvent,
            format!("s3:TestEvent of bucket {}", one_line(bucket, 256)),
        )];
    }
    if let (Some("Notification"), Some(message)) = (text_of("Type"), text_of("Message")) {
        return text(message, &format!("{at}.Message"), path.wrapped());
    }
    if let Some(detail_type) = text_of("detail-type") {
        return vec![event_bridge(fields, detail_type, at, path)];
    }
    if let (Some(bucket), Some(keys)) = (text_of("s3Bucket"), fields.get("s3ObjectKey")) {
        return cloudtrail_notification(bucket, keys, at);
    }
    if is_batch(payload)
        && let Invocation::Batch { tasks, .. } = batch(payload)
    {
        return tasks.into_iter().flat_map(|task| task.items).collect();
    }
    vec![unknown(payload, at)]
}

/// A payload that arrives as text: the message of SNS, the body of SQS.
fn text(message: &str, at: &str, path: Path) -> Vec<Item> {
    match json::parse(message.as_bytes()) {
        Ok(Value::String(inner)) if path.depth <= MAX_DEPTH => text(&inner, at, path.wrapped()),
        Ok(payload) => items(&payload, at, path),
        Err(_) if message.trim().trim_end_matches('.') == "CloudTrail validation message" => {
            vec![Item::Skipped(
                Skip::ValidationMessage,
                "CloudTrail validation message".into(),
            )]
        }
        Err(error) => vec![bad(
            at,
            &format!(
                "expected JSON, found {:?} ({error})",
                one_line(&text_without_secrets(message), 60)
            ),
        )],
    }
}

fn notification_record(record: &Value, at: &str, path: Path) -> Vec<Item> {
    if let Some(s3) = record.get("s3") {
        return vec![s3_record(record, s3, at)];
    }
    if let Some(sns) = record.get("Sns") {
        return match sns.get("Message").and_then(Value::as_str) {
            Some(message) => text(message, &format!("{at}.Sns.Message"), path.wrapped()),
            None => vec![bad(at, "an SNS record without a Message")],
        };
    }
    if is_sqs(record) {
        return sqs_items(record, at, path.wrapped());
    }
    if record.get("eventVersion").is_some() && record.get("eventID").is_some() {
        return vec![bad(
            at,
            "this is a CloudTrail record, not a notification: to read a log file on this machine, use `cloudhsm-alerts scan`",
        )];
    }
    vec![unknown(record, at)]
}

fn s3_record(record: &Value, s3: &Value, at: &str) -> Item {
    // Of the record only `s3` is read: emulators leave other members out that the full type demands.
    let entity = match S3Entity::deserialize(s3) {
        Ok(entity) => entity,
        Err(error) => return bad(at, &format!("not an S3 notification record: {error}")),
    };
    let (Some(bucket), Some(key)) = (entity.bucket.name, entity.object.key) else {
        return bad(
            at,
            "an S3 notification record without bucket name and object key",
        );
    };
    let item = encoded_object(&bucket, &key, entity.object.version_id.as_deref(), at);
    let event_name = record
        .get("eventName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let name = event_name.trim_start_matches("s3:");
    match item {
        Item::Object(object) if NOT_CREATED.iter().any(|kind| name.starts_with(kind)) => {
            Item::Skipped(
                Skip::NotCreated,
                format!("{} of {object}", one_line(event_name, 64)),
            )
        }
        item => item,
    }
}

fn event_bridge(fields: &Map<String, Value>, detail_type: &str, at: &str, path: Path) -> Item {
    let source = fields
        .get("source")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let event_id = fields
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or("(no id)");
    // Sources that begin with `aws.` are AWS's alone; anybody who may put events can use another one.
    if !source.starts_with("aws.") {
        return bad(
            at,
            &format!(
                "an EventBridge event of source {source:?}; expected one of AWS's own, such as \"aws.s3\""
            ),
        );
    }
    let Some(detail) = fields.get("detail").and_then(Value::as_object) else {
        return bad(at, "an EventBridge event without detail");
    };
    if detail_type.ends_with("via CloudTrail") {
        if let Some(found) = not_a_record(detail) {
            return bad(
                at,
                &format!("expected a CloudTrail record in detail, {found}"),
            );
        }
        if !path.is_trusted {
            return untrusted(detail, at);
        }
        return Item::Record(Record::new(0, detail.clone()), event_id.to_owned());
    }
    let text_at = |path: &str| {
        Value::Object(detail.clone())
            .pointer(path)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    match (source, text_at("/bucket/name"), text_at("/object/key")) {
        ("aws.s3", Some(bucket), Some(key)) => {
            if !NOT_CREATED_BRIDGE.contains(&detail_type) {
                object(bucket, key, text_at("/object/version-id"), at)
            } else {
                Item::Skipped(
                    Skip::NotCreated,
                    format!(
                        "{} of s3://{}",
                        one_line(detail_type, 64),
                        one_line(&bucket, 256)
                    ),
                )
            }
        }
        ("aws.s3", ..) => bad(
            at,
            "an EventBridge event of S3 without bucket name and object key",
        ),
        _ => bad(
            at,
            &format!(
                "an EventBridge event {detail_type:?} of {source:?}; expected \"Object Created\" or \"AWS API Call via CloudTrail\""
            ),
        ),
    }
}

/// CloudTrail gives its keys as they are, in a list, or one as plain text.
fn cloudtrail_notification(bucket: &str, keys: &Value, at: &str) -> Vec<Item> {
    let keys = match keys {
        Value::Array(keys) => keys.as_slice(),
        single => std::slice::from_ref(single),
    };
    keys.iter()
        .enumerate()
        .map(|(index, key)| match key.as_str() {
            Some(key) => object(bucket.to_owned(), key.to_owned(), None, at),
            None => bad(
                &format!("{at}.s3ObjectKey[{index}]"),
                &format!("expected a key as text, found {}", json::kind(key)),
            ),
        })
        .collect()
}

fn encoded_object(bucket: &str, key: &str, version: Option<&str>, at: &str) -> Item {
    match key::decode(key) {
        Ok(key) => object(bucket.to_owned(), key, version.map(str::to_owned), at),
        Err(message) => bad(at, &message),
    }
}

fn object(bucket: String, key: String, version_id: Option<String>, at: &str) -> Item {
    if bucket.is_empty() || key.is_empty() {
        return bad(at, "an empty bucket name or object key");
    }
    let skip = Skip::by_name(&key);
    let object = ObjectRef {
        bucket,
        key,
        // An unversioned bucket's objects have the version "null" or an empty one in some payloads.
        version_id: version_id.filter(|version| !version.is_empty() && version != "null"),
    };
    match skip {
        Some(skip) => Item::Skipped(skip, object.to_string()),
        None => Item::Object(object),
    }
}

/// A record that anyone who may send messages can have written: to raise a false alarm, or to have the real
/// call taken for a duplicate.
fn untrusted(detail: &Map<String, Value>, at: &str) -> Item {
    let text = |name: &str| {
        let value = detail.get(name).and_then(Value::as_str);
        one_line(value.unwrap_or("(none)"), 128)
    };
    Item::Bad(PayloadError {
        at: one_line(at, 200),
        message: format!(
            "a CloudTrail record in a message (event ID {}, {} of {}), which anyone who may send messages can write; \
             expected records from EventBridge itself, or a reference to a log file: look for the event ID in \
             CloudTrail, and see TRUSTED_QUEUES if EventBridge sends to a queue of yours",
            text("eventID"),
            text("eventName"),
            text("eventSource")
        ),
        is_untrusted: true,
    })
}

fn bad(at: &str, message: &str) -> Item {
    Item::Bad(PayloadError {
        is_untrusted: false,
        at: one_line(at, 200),
        message: one_line(message, 600),
    })
}

fn unknown(payload: &Value, at: &str) -> Item {
    let found = match payload {
        Value::Object(fields) if fields.is_empty() => "an empty object".to_owned(),
        Value::Object(fields) => {
            let names: Vec<String> = fields
                .keys()
                .take(8)
                .map(|name| one_line(name, 40))
                .collect();
            format!("an object with {}", names.join(", "))
        }
        other => json::kind(other).to_owned(),
    };
    bad(
        at,
        &format!("unknown payload, {found}; expected {RECOGNISED}"),
    )
}

#[cfg(test)]
mod tests;
