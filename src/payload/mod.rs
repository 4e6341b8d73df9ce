//! Invocation payloads: what S3, SNS, SQS, EventBridge, CloudTrail, S3 Batch Operations and Lambda destinations send,
//! recognized by its shape and converted to a list of items.
//!
//! An object's key is decoded here and nowhere else (`key.rs`). Whether a record is trusted is decided here, too:
//! EventBridge sends whole records, and only if EventBridge itself invokes the function is it certain that EventBridge
//! wrote them. Anyone who may send messages to a topic or queue can write a record into one. A reference to an object
//! is always accepted, because the object is read from the bucket. A part that cannot be read becomes an
//! [`Item::Bad`] and does not affect the others.
//!
//! Source: AWS Lambda Developer Guide; Amazon S3 User Guide, "Event message structure"; AWS CloudTrail User Guide,
//! "Configuring Amazon SNS notifications for CloudTrail".

mod batch;
mod key;
mod removal;

use aws_lambda_events::{s3::S3Entity, sqs::SqsMessage};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

pub use batch::{BATCH_MODE, BatchMode, DEFAULT_MAX_MESSAGES, FileResult, Job, MAX_MESSAGES};
pub use removal::Removal;

use cloudhsm_alerts_core::{
    json,
    object::{ObjectRef, Skip},
    record::{Record, not_a_record},
    redact::text_without_secrets,
    text::one_line,
};

/// Maximum levels of nesting, such as a destination record in an SNS message in an SQS message.
const MAX_DEPTH: u8 = 8;

/// Prefixes of the names of S3 events that create no object. An event with any other name is read, because it can be
/// a new one, or one of an S3-compatible store. `ObjectRestore:Completed` is read, because an archived log file can be
/// read from then on. Source: Amazon S3 User Guide, "Supported event types for SQS, SNS, and Lambda".
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
/// The same for S3 events from EventBridge, by detail type. Source: Amazon S3 User Guide, "Amazon EventBridge mapping
/// and troubleshooting".
const NOT_CREATED_DETAIL_TYPES: [&str; 8] = [
    "Object Deleted",
    "Object Restore Initiated",
    "Object Restore Expired",
    "Object Storage Class Changed",
    "Object Access Tier Changed",
    "Object ACL Updated",
    "Object Tags Added",
    "Object Tags Deleted",
];

/// The detail type of a schedule's events. Source: Amazon EventBridge User Guide, "Creating a rule that runs on a
/// schedule".
const SCHEDULED: &str = "Scheduled Event";

/// The shapes that are recognized, for error messages.
const RECOGNIZED: &str = "an S3 notification, an SNS or SQS event that contains one, the EventBridge event \
    \"Object Created\" or \"AWS API Call via CloudTrail\", CloudTrail's own SNS notification, an S3 Batch Operations \
    task list, or a Lambda destination record";

/// A payload, or a part of one, that cannot be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{at}: {message}")]
pub struct PayloadError {
    /// The part, such as `Records[2]`.
    pub at: String,
    /// What was found and what was expected.
    pub message: String,
    /// Whether it is a record that was refused because anyone can have written it.
    pub is_untrusted: bool,
}

/// How a part is nested in the payload.
#[derive(Debug, Clone, Copy)]
struct Nesting {
    /// Messages and destination records around it.
    depth: u8,
    /// Whether a record in it is certainly from EventBridge.
    is_trusted: bool,
}

impl Nesting {
    /// The payload that Lambda invoked the function with.
    const TOP: Nesting = Nesting {
        depth: 0,
        is_trusted: true,
    };

    /// One level deeper, in a message that anyone can have written.
    fn inner(self) -> Nesting {
        Nesting {
            depth: self.depth + 1,
            is_trusted: false,
        }
    }
}

/// One element of a payload.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A log file to read.
    Object(ObjectRef),
    /// A digest file, by its name. It holds no records, and is skipped unless digest files are checked.
    Digest(ObjectRef),
    /// The removal of a log file or a digest file, of which S3 itself notified. It is skipped unless digest files are
    /// checked.
    Removed(Removal),
    /// A record in the payload itself, and the ID of the event that contains it.
    Record(Record, String),
    /// An object or message without records of management calls, and its name.
    Skipped(Skip, String),
    /// A part that cannot be read.
    Bad(PayloadError),
}

/// A part of a payload that has its own result in the reply.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unit {
    /// SQS's message ID or the task ID of S3 Batch Operations; empty for a whole invocation.
    pub id: String,
    /// Its items.
    pub items: Vec<Item>,
}

/// What a payload is trusted for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trusted<'s> {
    /// ARNs of SQS queues whose messages may hold records.
    pub queues: &'s [String],
    /// The ARN of the EventBridge rule whose scheduled events are ticks.
    pub tick_rule: Option<&'s str>,
}

/// A payload, by the kind of reply that its sender expects.
#[derive(Debug, Clone, PartialEq)]
pub enum Invocation {
    /// The hourly event of the schedule, by which people are reminded of deadlines.
    Tick,
    /// The whole invocation succeeds or fails.
    Whole(Unit),
    /// SQS: the messages that failed.
    Sqs {
        /// Name of the queue; empty if the messages do not contain it.
        queue: String,
        /// The messages.
        messages: Vec<Unit>,
    },
    /// S3 Batch Operations: a result for each task.
    Batch {
        /// Repeated in the reply.
        schema_version: String,
        /// Repeated in the reply.
        invocation_id: String,
        /// The job.
        job: Job,
        /// The tasks.
        tasks: Vec<Unit>,
    },
}

/// Reads a payload. It does not fail: each part that cannot be read is an [`Item::Bad`]. Records in messages are
/// refused, except in messages of trusted queues.
pub fn read(payload: &Value, trusted: Trusted<'_>) -> Invocation {
    if is_tick(payload, trusted.tick_rule) {
        return Invocation::Tick;
    }
    if let Some(messages) =
        records(payload).filter(|list| !list.is_empty() && list.iter().any(is_sqs))
    {
        let units = messages
            .iter()
            .enumerate()
            .map(|(index, message)| sqs_unit(message, index, trusted.queues))
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
        items: items(payload, "payload", Nesting::TOP),
    })
}

/// Whether a payload is the event of the schedule: only as Lambda was invoked with, never inside a message, and only of
/// this rule.
fn is_tick(payload: &Value, rule: Option<&str>) -> bool {
    let Some(rule) = rule else {
        return false;
    };
    let is = |member: &str, expected: &str| {
        payload.get(member).and_then(Value::as_str) == Some(expected)
    };
    let resources = payload.get("resources").and_then(Value::as_array);
    is("detail-type", SCHEDULED)
        && is("source", "aws.events")
        && resources.is_some_and(|resources| *resources == [rule])
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
    // At the top level Lambda sets the ARN. Anyone can write one into a nested message.
    let arn = message.get("eventSourceARN").and_then(Value::as_str);
    let nesting = Nesting {
        is_trusted: arn.is_some_and(|arn| trusted_queues.iter().any(|queue| queue == arn)),
        ..Nesting::TOP.inner()
    };
    Unit {
        items: sqs_items(message, &at, nesting),
        id,
    }
}

/// The items in a message's body; `nesting` is that of the body.
fn sqs_items(message: &Value, at: &str, nesting: Nesting) -> Vec<Item> {
    match SqsMessage::deserialize(message).map(|message| message.body) {
        Ok(Some(body)) => message_items(&body, &format!("{at}.body"), nesting),
        Ok(None) => vec![bad(
            at,
            "expected an SQS message with a body, found one without",
        )],
        Err(error) => vec![bad(at, &format!("not an SQS message: {error}"))],
    }
}

fn batch(payload: &Value) -> Invocation {
    let member = |name: &str| {
        payload
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let job = Job::of(payload);
    let tasks = payload.get("tasks").and_then(Value::as_array);
    Invocation::Batch {
        schema_version: member("invocationSchemaVersion"),
        invocation_id: member("invocationId"),
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

/// Schema 1.0 has the bucket's ARN, schema 2.0 its name. Both encode the key.
fn task_item(task: &Value, at: &str) -> Item {
    let member = |name: &str| {
        task.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let bucket =
        member("s3Bucket").or_else(|| member("s3BucketArn").and_then(|arn| arn.rsplit(':').next()));
    match (bucket, member("s3Key")) {
        (Some(bucket), Some(key)) => encoded_object(bucket, key, member("s3VersionId"), at),
        _ => bad(
            at,
            "expected a task with s3Key and s3Bucket or s3BucketArn, found one without",
        ),
    }
}

/// The items of a payload, or of a part that is itself a payload.
fn items(payload: &Value, at: &str, nesting: Nesting) -> Vec<Item> {
    if nesting.depth > MAX_DEPTH {
        return vec![bad(
            at,
            &format!("expected at most {MAX_DEPTH} levels of nesting, found more"),
        )];
    }
    let Some(fields) = payload.as_object() else {
        return vec![unknown(payload, at)];
    };
    let member = |name: &str| fields.get(name).and_then(Value::as_str);

    // A Lambda destination record.
    if let Some(original) = fields.get("requestPayload") {
        return items(original, &format!("{at}.requestPayload"), nesting.inner());
    }
    if let Some(list) = records(payload) {
        return list
            .iter()
            .enumerate()
            .flat_map(|(index, record)| {
                notification_record(record, &format!("{at}.Records[{index}]"), nesting)
            })
            .collect();
    }
    if member("Event") == Some("s3:TestEvent") {
        let bucket = member("Bucket").unwrap_or("(no bucket name)");
        return vec![Item::Skipped(
            Skip::TestEvent,
            format!("s3:TestEvent of bucket {}", one_line(bucket, 256)),
        )];
    }
    // An SNS message in SQS, without raw message delivery.
    if let (Some("Notification"), Some(message)) = (member("Type"), member("Message")) {
        return message_items(message, &format!("{at}.Message"), nesting.inner());
    }
    if let Some(detail_type) = member("detail-type") {
        return vec![event_bridge(fields, detail_type, at, nesting)];
    }
    if let (Some(bucket), Some(keys)) = (member("s3Bucket"), fields.get("s3ObjectKey")) {
        return cloudtrail_notification(bucket, keys, at);
    }
    if is_batch(payload)
        && let Invocation::Batch { tasks, .. } = batch(payload)
    {
        return tasks.into_iter().flat_map(|task| task.items).collect();
    }
    vec![unknown(payload, at)]
}

/// The items in an SNS message or in the body of an SQS message.
fn message_items(message: &str, at: &str, nesting: Nesting) -> Vec<Item> {
    match json::parse(message.as_bytes()) {
        Ok(Value::String(inner)) if nesting.depth <= MAX_DEPTH => {
            message_items(&inner, at, nesting.inner())
        }
        Ok(payload) => items(&payload, at, nesting),
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

/// The items in an element of `Records`: of an S3 notification, an SNS event or an SQS event.
fn notification_record(record: &Value, at: &str, nesting: Nesting) -> Vec<Item> {
    if let Some(s3) = record.get("s3") {
        return vec![s3_record(record, s3, at, nesting)];
    }
    if let Some(sns) = record.get("Sns") {
        return match sns.get("Message").and_then(Value::as_str) {
            Some(message) => message_items(message, &format!("{at}.Sns.Message"), nesting.inner()),
            None => vec![bad(
                at,
                "expected an SNS record with a Message, found one without",
            )],
        };
    }
    if is_sqs(record) {
        return sqs_items(record, at, nesting.inner());
    }
    if record.get("eventVersion").is_some() && record.get("eventID").is_some() {
        return vec![bad(
            at,
            "expected a notification, found a CloudTrail record; to read a log file on this machine, use `cloudhsm-alerts scan`",
        )];
    }
    vec![unknown(record, at)]
}

fn s3_record(record: &Value, s3: &Value, at: &str, nesting: Nesting) -> Item {
    // Only `s3` is deserialized: the type of the whole record requires members that emulators leave out.
    let entity = match S3Entity::deserialize(s3) {
        Ok(entity) => entity,
        Err(error) => return bad(at, &format!("not an S3 notification record: {error}")),
    };
    let (Some(bucket), Some(key)) = (entity.bucket.name, entity.object.key) else {
        return bad(
            at,
            "expected an S3 notification record with bucket name and object key, found one without",
        );
    };
    let item = encoded_object(&bucket, &key, entity.object.version_id.as_deref(), at);
    let event_name = record
        .get("eventName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let name = event_name.trim_start_matches("s3:");
    if !NOT_CREATED.iter().any(|kind| name.starts_with(kind)) {
        return item;
    }
    not_created(item, event_name, nesting, |object| {
        Removal::of_record(name, record, object)
    })
}

/// The item of a notification that an object was not created. `removal` is its removal, if that is what it is about.
fn not_created(
    item: Item,
    name: &str,
    nesting: Nesting,
    removal: impl FnOnce(&ObjectRef) -> Option<Removal>,
) -> Item {
    let (Item::Object(object) | Item::Digest(object)) = item else {
        return item;
    };
    let is_removal = nesting.is_trusted && object.account_and_region().is_some();
    match is_removal.then(|| removal(&object)).flatten() {
        Some(removal) => Item::Removed(removal),
        None => Item::Skipped(
            Skip::NotCreated,
            format!("{} of {object}", one_line(name, 64)),
        ),
    }
}

fn event_bridge(
    fields: &Map<String, Value>,
    detail_type: &str,
    at: &str,
    nesting: Nesting,
) -> Item {
    let source = fields
        .get("source")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let event_id = fields
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or("(no id)");
    // Only AWS services can send events whose source begins with `aws.`; anyone who may put events can use others.
    if !source.starts_with("aws.") {
        return bad(
            at,
            &format!(
                "expected an EventBridge event with the source of an AWS service, such as \"aws.s3\", found {source:?}"
            ),
        );
    }
    if detail_type == SCHEDULED {
        let rules = fields.get("resources").unwrap_or(&Value::Null);
        return bad(
            at,
            &format!(
                "expected a scheduled event of the rule TICK_RULE_ARN that invokes the function itself, found one of {}",
                one_line(&rules.to_string(), 256)
            ),
        );
    }
    let Some(detail) = fields.get("detail").and_then(Value::as_object) else {
        return bad(
            at,
            "expected an EventBridge event with detail, found one without",
        );
    };
    if detail_type.ends_with("via CloudTrail") {
        if let Some(found) = not_a_record(detail) {
            return bad(
                at,
                &format!("expected a CloudTrail record in detail, {found}"),
            );
        }
        if !nesting.is_trusted {
            return untrusted(detail, at);
        }
        return Item::Record(Record::new(0, detail.clone()), event_id.to_owned());
    }
    let string_at = |pointer: &str| {
        Value::Object(detail.clone())
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    match (source, string_at("/bucket/name"), string_at("/object/key")) {
        ("aws.s3", Some(bucket), Some(key)) => {
            let item = object(bucket, key, string_at("/object/version-id"), at);
            if !NOT_CREATED_DETAIL_TYPES.contains(&detail_type) {
                return item;
            }
            not_created(item, detail_type, nesting, |object| {
                Removal::of_event(detail_type, &Value::Object(fields.clone()), object)
            })
        }
        ("aws.s3", ..) => bad(
            at,
            "expected an EventBridge event of S3 with bucket name and object key, found one without",
        ),
        _ => bad(
            at,
            &format!(
                "expected the EventBridge event \"Object Created\" or \"AWS API Call via CloudTrail\", found {detail_type:?} of {source:?}"
            ),
        ),
    }
}

/// CloudTrail does not encode its keys. It sends a list, or a single key as a string.
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
                &format!("expected a key as a string, found {}", json::kind(key)),
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
        return bad(
            at,
            "expected a bucket name and an object key, found an empty one",
        );
    }
    let skip = Skip::by_name(&key);
    let object = ObjectRef {
        bucket,
        key,
        // In some payloads, objects of unversioned buckets have the version ID "null" or an empty one.
        version_id: version_id.filter(|version| !version.is_empty() && version != "null"),
    };
    match skip {
        Some(Skip::Digest) => Item::Digest(object),
        Some(skip) => Item::Skipped(skip, object.to_string()),
        None => Item::Object(object),
    }
}

/// A record that anyone who may send messages can have written: to cause a false alert, or so that the real call
/// counts as its duplicate.
fn untrusted(detail: &Map<String, Value>, at: &str) -> Item {
    let member = |name: &str| {
        let value = detail.get(name).and_then(Value::as_str);
        one_line(value.unwrap_or("(none)"), 128)
    };
    Item::Bad(PayloadError {
        at: one_line(at, 200),
        message: format!(
            "expected a reference to a log file, or a CloudTrail record from EventBridge itself, found a record in a \
             message (event ID {}, {} of {}), which anyone who may send messages can have written; look for the event \
             ID in CloudTrail; if your own EventBridge rule sends calls to a queue, see TRUSTED_QUEUES",
            member("eventID"),
            member("eventName"),
            member("eventSource")
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

/// A part of an unknown shape: the error has the names of its members.
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
        &format!("unknown payload, {found}; expected {RECOGNIZED}"),
    )
}

#[cfg(test)]
mod tests;
