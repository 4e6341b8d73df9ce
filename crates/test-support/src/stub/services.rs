//! The services of the stub: parses a request, applies it to the state, and makes the response. DynamoDB is in
//! [`super::dynamodb`].

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{dynamodb, faults::ErrorKind, request::Operation, state::State};
use crate::{
    http::{Request, Response},
    published::Published,
};

/// A request with its operation and target, as in [`super::RequestKey`].
pub struct ParsedRequest {
    pub operation: Operation,
    pub target: String,
    /// The action of a DynamoDB request, such as `UpdateItem`.
    action: String,
    /// The body of a DynamoDB request.
    json: Value,
    /// The body of an SNS request, or the query of a list.
    form: HashMap<String, String>,
}

pub fn parse(request: &Request) -> ParsedRequest {
    let mut parsed = ParsedRequest {
        operation: Operation::GetObject,
        target: String::new(),
        action: String::new(),
        json: Value::Null,
        form: HashMap::new(),
    };
    if let Some(action) = request.headers.get("x-amz-target") {
        let (_, action) = action.split_once('.').expect("a target");
        parsed.json = serde_json::from_slice(&request.body).expect("JSON");
        if action == "ListPublicKeys" {
            parsed.operation = Operation::ListPublicKeys;
            parsed.target = signed_region(request);
            return parsed;
        }
        (parsed.operation, parsed.target) = dynamodb::identify(action, &parsed.json);
        action.clone_into(&mut parsed.action);
    } else if request.method == "POST" {
        parsed.form = parse_form(&request.body);
        assert_eq!(parsed.form["Action"], "Publish");
        let message = published(&parsed.form);
        if let Some(text) = message.page() {
            parsed.operation = Operation::PublishPage;
            parsed.target = text.to_owned();
        } else {
            parsed.operation = Operation::Publish;
            let mut ids = message.event_ids();
            ids.sort();
            parsed.target = match message.is_about_the_trail() {
                true => message.subject,
                false => ids.join(","),
            };
        }
    } else {
        let path = request.path.trim_start_matches('/');
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if query.contains("list-type=2") {
            parsed.operation = Operation::ListObjects;
            parsed.form = parse_form(query.as_bytes());
            parsed.target = format!("{}?{query}", path.trim_end_matches('/'));
        } else {
            parsed.target = percent_decode_str(path).decode_utf8_lossy().into_owned();
        }
    }
    parsed
}

/// The region that a request is signed for: `Credential=KEY/DATE/REGION/…`.
fn signed_region(request: &Request) -> String {
    let credential = request.headers.get("authorization").expect("a signature");
    credential.split('/').nth(2).expect("a region").to_owned()
}

fn parse_form(body: &[u8]) -> HashMap<String, String> {
    let text = std::str::from_utf8(body).expect("text");
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let decode = |text: &str| {
                let text = text.replace('+', " ");
                percent_decode_str(&text).decode_utf8_lossy().into_owned()
            };
            (decode(name), decode(value))
        })
        .collect()
}

/// The message of a Publish request.
fn published(form: &HashMap<String, String>) -> Published {
    let mut attributes = BTreeMap::new();
    for n in 1.. {
        let field = |name: &str| form.get(&format!("MessageAttributes.entry.{n}.{name}"));
        let Some(name) = field("Name") else { break };
        let value = (
            field("Value.DataType").expect("a type").clone(),
            field("Value.StringValue").expect("a value").clone(),
        );
        attributes.insert(name.clone(), value);
    }
    let body = match form.get("MessageStructure").map(String::as_str) {
        Some("json") => serde_json::from_str(&form["Message"]).expect("JSON"),
        other => {
            assert_eq!(other, None);
            form["Message"].clone().into()
        }
    };
    Published {
        topic: form["TopicArn"].clone(),
        subject: form.get("Subject").cloned().unwrap_or_default(),
        body,
        attributes,
    }
}

/// Applies a request to the state and returns the response.
pub fn handle(request: &Request, parsed: &ParsedRequest, state: &mut State) -> Response {
    match parsed.operation {
        Operation::GetObject => get_object(request, &parsed.target, state),
        Operation::ListObjects => list_objects(parsed, state),
        Operation::ListPublicKeys => list_public_keys(&parsed.target, state),
        Operation::Publish | Operation::PublishPage => publish(&parsed.form, state),
        _ => dynamodb::handle(&parsed.action, parsed.operation, &parsed.json, state),
    }
}

/// As [`handle`], but only half of the items of a BatchWriteItem are written.
pub fn handle_half(request: &Request, parsed: &ParsedRequest, state: &mut State) -> Response {
    if parsed.operation != Operation::Sent {
        return handle(request, parsed, state);
    }
    dynamodb::mark_half(&parsed.json, state)
}

fn list_public_keys(region: &str, state: &State) -> Response {
    let Some(keys) = state.public_keys.get(region) else {
        return dynamodb::error_response(ErrorKind::Denied);
    };
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| json!({"Value": key["Value"], "Fingerprint": key["Fingerprint"]}))
        .collect();
    Response {
        status: 200,
        headers: vec![("content-type", "application/x-amz-json-1.1".into())],
        body: json!({ "PublicKeyList": keys }).to_string().into_bytes(),
    }
}

/// The ETag of an object, with its quotation marks.
fn e_tag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// A page of objects in order of their keys. The continuation token is the last key of the page before.
fn list_objects(parsed: &ParsedRequest, state: &State) -> Response {
    let bucket = parsed.target.split('?').next().unwrap_or_default();
    let parameter = |name: &str| parsed.form.get(name).map_or("", String::as_str);
    let (prefix, after) = (parameter("prefix"), parameter("continuation-token"));
    let key = |target: &'_ String| Some(target.strip_prefix(bucket)?.strip_prefix('/')?.to_owned());
    let mut objects: Vec<(String, &[u8])> = state
        .objects
        .iter()
        .filter_map(|(target, body)| Some((key(target)?, body.as_slice())))
        .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after)
        .collect();
    objects.sort_unstable();
    let page_size = state.page_size.unwrap_or(1000);
    let is_truncated = objects.len() > page_size;
    objects.truncate(page_size);
    let escaped = |key: &str| key.replace('&', "&amp;").replace('<', "&lt;");
    let mut body = format!("<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>");
    if is_truncated && let Some((last, _)) = objects.last() {
        body += &format!(
            "<NextContinuationToken>{}</NextContinuationToken>",
            escaped(last)
        );
    }
    for (key, content) in &objects {
        body += &format!(
            "<Contents><Key>{}</Key><ETag>{}</ETag><Size>{}</Size></Contents>",
            escaped(key),
            e_tag(content),
            content.len()
        );
    }
    body += "</ListBucketResult>";
    Response {
        status: 200,
        headers: vec![("content-type", "application/xml".into())],
        body: body.into_bytes(),
    }
}

fn get_object(request: &Request, target: &str, state: &State) -> Response {
    let Some(body) = state.objects.get(target) else {
        return xml_error(404, "NoSuchKey");
    };
    let e_tag = e_tag(body);
    if let Some(wanted) = request.headers.get("if-match")
        && *wanted != e_tag
    {
        return xml_error(412, "PreconditionFailed");
    }
    let mut response = Response {
        status: 200,
        headers: vec![("etag", e_tag)],
        body: body.clone(),
    };
    for (name, value) in state.metadata.get(target).into_iter().flatten() {
        let header = match name.as_str() {
            "signature" => "x-amz-meta-signature",
            "signature-algorithm" => "x-amz-meta-signature-algorithm",
            other => panic!("the stub has no metadata {other}"),
        };
        response.headers.push((header, value.clone()));
    }
    if let Some(range) = request.headers.get("range") {
        let from: usize = range
            .strip_prefix("bytes=")
            .and_then(|range| range.strip_suffix('-'))
            .expect("from a byte to the end")
            .parse()
            .expect("a number");
        response.status = 206;
        response.body.drain(..from);
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        response.headers.push(("content-range", range));
    }
    response
}

fn publish(form: &HashMap<String, String>, state: &mut State) -> Response {
    let message = published(form);
    // SNS counts the message and its attributes.
    let bytes = form["Message"].len()
        + message
            .attributes
            .iter()
            .map(|(name, (data_type, value))| name.len() + data_type.len() + value.len())
            .sum::<usize>();
    let subject = &message.subject;
    // The limits of SNS.
    let is_valid = bytes <= 262_144
        && (message.page().is_some() || (1..100).contains(&subject.len()))
        && subject.bytes().all(|b| (32..127).contains(&b));
    if !is_valid {
        return xml_error(400, "InvalidParameter");
    }
    state.messages.push(message);
    let id = state.messages.len();
    let body = format!(
        "<PublishResponse><PublishResult><MessageId>{id}</MessageId></PublishResult></PublishResponse>"
    );
    Response {
        status: 200,
        headers: vec![("content-type", "text/xml".into())],
        body: body.into_bytes(),
    }
}

fn xml_error(status: u16, code: &str) -> Response {
    let error = format!("<Error><Code>{code}</Code><Message>injected</Message></Error>");
    Response {
        status,
        headers: vec![("content-type", "application/xml".into())],
        body: error.into_bytes(),
    }
}

/// The error response of a service.
pub fn error_response(operation: Operation, kind: ErrorKind) -> Response {
    match operation {
        Operation::GetObject | Operation::ListObjects => match kind {
            ErrorKind::Internal => xml_error(500, "InternalError"),
            ErrorKind::Unavailable => xml_error(503, "SlowDown"),
            ErrorKind::Throttled => xml_error(503, "SlowDown"),
            ErrorKind::Denied => xml_error(403, "AccessDenied"),
            ErrorKind::InTransaction => panic!("S3 has no transactions"),
        },
        Operation::Publish | Operation::PublishPage => {
            let (status, code) = match kind {
                ErrorKind::Internal => (500, "InternalFailure"),
                ErrorKind::Unavailable => (503, "ServiceUnavailable"),
                ErrorKind::Throttled => (400, "Throttling"),
                ErrorKind::Denied => (403, "AuthorizationError"),
                ErrorKind::InTransaction => panic!("SNS has no transactions"),
            };
            let mut response = xml_error(status, code);
            let error = String::from_utf8(response.body).expect("UTF-8");
            response.body = format!("<ErrorResponse>{error}</ErrorResponse>").into_bytes();
            response
        }
        _ => dynamodb::error_response(kind),
    }
}
