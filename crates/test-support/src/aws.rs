//! The surroundings of the real programs: moto as AWS on loopback, and AWS's Runtime Interface Emulator
//! in front of `bootstrap`, both as processes of their own, spoken to over HTTP.
//!
//! A test that needs them fails where they are missing; `make tools` installs them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

pub const REGION: &str = "us-west-2";
pub const BUCKET: &str = "cloudhsm-alerts-trail-111122223333";
/// The queue that messages of [`sqs`] come from.
pub const QUEUE_ARN: &str = "arn:aws:sqs:us-west-2:111122223333:notifications";
pub const FOLDER: &str = "AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23";

/// The key of the log file that every payload in `events/` names.
pub fn log_file_key() -> String {
    format!("{FOLDER}/111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz")
}

/// A second key that some of them name.
pub fn second_key() -> String {
    format!("{FOLDER}/111122223333_CloudTrail_us-west-2_20261123T0400Z_Vb72mRt5QxLd90Ns.json.gz")
}

/// The key of an object without a byte in it.
pub fn empty_key() -> String {
    format!("{FOLDER}/111122223333_CloudTrail_us-west-2_20261123T0355Z_w0eXq5Rz8TnYk2Uv.json.gz")
}

pub fn project() -> &'static Path {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This crate's folder is crates/test-support, two below the project's.
    folder.ancestors().nth(2).expect("two folders above")
}

/// A program of this project as cargo built it. Cargo builds those of a package before it runs the package's
/// tests, and gives them by variables only to the tests themselves: their folder is above that of the test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test's own path");
    let folder = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let program = folder.join(name);
    assert!(
        program.exists(),
        "{} is missing: run `cargo build --workspace`",
        program.display()
    );
    program
}

/// A client as the SDK's own, with the cryptography that the programs use.
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::rustls(CryptoMode::Ring))
        .build_https()
}

fn tool(path: &str) -> PathBuf {
    let tool = project().join("target/tools").join(path);
    assert!(
        tool.exists(),
        "{} is missing: run `make tools`",
        tool.display()
    );
    tool
}

/// Gzip without compression, so that a cut through the middle of the bytes is one through the middle of the
/// content.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).expect("writing into a Vec");
    encoder.finish().expect("writing into a Vec")
}

/// A process and all it started, ended with this value.
struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Process {
    /// Starts a program in a process group of its own; what it prints is collected.
    fn start(command: &mut Command) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        for stream in streams.into_iter().flatten() {
            let output = Arc::clone(&output);
            thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    let mut output = output.lock().expect("no holder panics");
                    output.push_str(&String::from_utf8_lossy(&line));
                    output.push('\n');
                }
            });
        }
        Process { child, output }
    }

    fn output(&self) -> String {
        self.output.lock().expect("no holder panics").clone()
    }

    /// Asks until there is an answer; the program's own output explains where there is none.
    fn wait_for<T>(&self, what: &str, mut ask: impl FnMut(&str) -> Option<T>) -> T {
        for _ in 0..1200 {
            if let Some(answer) = ask(&self.output()) {
                return answer;
            }
            thread::sleep(Duration::from_millis(25));
        }
        panic!(
            "no {what} within 30 seconds; its output:\n{}",
            self.output()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

pub type Item = std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>;

/// AWS on loopback: S3, SNS, SQS and DynamoDB.
pub struct Aws {
    _process: Process,
    pub endpoint: String,
    runtime: tokio::runtime::Runtime,
    sdk: SdkConfig,
}

impl Aws {
    pub fn start() -> Aws {
        let process = Process::start(
            Command::new(tool("moto/bin/moto_server"))
                .args(["-H", "127.0.0.1", "-p", "0"])
                .env("PYTHONUNBUFFERED", "1"),
        );
        let endpoint = process.wait_for("address of moto", |output| {
            let (_, rest) = output.split_once("Running on ")?;
            Some(rest.lines().next()?.trim().to_owned())
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let sdk = runtime.block_on(
            aws_config::defaults(BehaviorVersion::latest())
                .http_client(http_client())
                .endpoint_url(&endpoint)
                .region(Region::new(REGION))
                .credentials_provider(aws_sdk_s3::config::Credentials::new(
                    "test", "test", None, None, "test",
                ))
                .load(),
        );
        let aws = Aws {
            _process: process,
            endpoint,
            runtime,
            sdk,
        };
        aws.make_bucket();
        aws
    }

    pub fn s3(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::new(&self.sdk)
    }

    /// Runs a future of the code under test to its end.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Deletes an object of the trail bucket.
    pub fn delete(&self, key: &str) {
        self.runtime
            .block_on(self.s3().delete_object().bucket(BUCKET).key(key).send())
            .expect("deleted");
    }

    fn sns(&self) -> aws_sdk_sns::Client {
        aws_sdk_sns::Client::new(&self.sdk)
    }

    /// The trail bucket, versioned.
    fn make_bucket(&self) {
        use aws_sdk_s3::types::{
            BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration,
            VersioningConfiguration,
        };
        let place = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::UsWest2)
            .build();
        let versioned = VersioningConfiguration::builder()
            .status(BucketVersioningStatus::Enabled)
            .build();
        self.runtime.block_on(async {
            self.s3()
                .create_bucket()
                .bucket(BUCKET)
                .create_bucket_configuration(place)
                .send()
                .await
                .expect("a bucket");
            self.s3()
                .put_bucket_versioning()
                .bucket(BUCKET)
                .versioning_configuration(versioned)
                .send()
                .await
                .expect("a versioned bucket");
        });
    }

    /// Puts an object into the trail bucket; gives its version.
    pub fn put(&self, key: &str, body: Vec<u8>) -> String {
        self.runtime
            .block_on(
                self.s3()
                    .put_object()
                    .bucket(BUCKET)
                    .key(key)
                    .body(body.into())
                    .send(),
            )
            .expect("an object")
            .version_id
            .expect("the bucket is versioned")
    }

    /// The keys of the trail bucket that begin so.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self
            .runtime
            .block_on(
                self.s3()
                    .list_objects_v2()
                    .bucket(BUCKET)
                    .prefix(prefix)
                    .send(),
            )
            .expect("a list");
        let keys = listed.contents().iter();
        keys.filter_map(|entry| entry.key().map(str::to_owned))
            .collect()
    }

    /// An object of the trail bucket.
    pub fn get(&self, key: &str) -> Vec<u8> {
        self.runtime.block_on(async {
            let object = self.s3().get_object().bucket(BUCKET).key(key).send().await;
            let body = object.expect("an object").body.collect().await;
            body.expect("its body").to_vec()
        })
    }

    /// A topic with an e-mail and an SMS subscriber; gives its ARN.
    pub fn topic(&self, name: &str) -> String {
        let sns = self.sns();
        self.runtime.block_on(async {
            let arn = sns
                .create_topic()
                .name(name)
                .send()
                .await
                .expect("a topic")
                .topic_arn
                .expect("its ARN");
            for (protocol, endpoint) in [("email", "oncall@example.com"), ("sms", "+12065550100")] {
                sns.subscribe()
                    .topic_arn(&arn)
                    .protocol(protocol)
                    .endpoint(endpoint)
                    .send()
                    .await
                    .expect("a subscription");
            }
            arn
        })
    }

    /// A table for the ledger, whose only key is `key`.
    pub fn table(&self, name: &str, key: &str) {
        use aws_sdk_dynamodb::types::{
            AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
        };
        let attribute = AttributeDefinition::builder()
            .attribute_name(key)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .expect("an attribute");
        let schema = KeySchemaElement::builder()
            .attribute_name(key)
            .key_type(KeyType::Hash)
            .build()
            .expect("a key");
        let request = aws_sdk_dynamodb::Client::new(&self.sdk)
            .create_table()
            .table_name(name)
            .attribute_definitions(attribute)
            .key_schema(schema)
            .billing_mode(BillingMode::PayPerRequest);
        self.runtime.block_on(request.send()).expect("a table");
    }

    /// What a table holds, by `id`: DynamoDB's own JSON of each item.
    pub fn items(&self, table: &str) -> std::collections::BTreeMap<String, Item> {
        let request = aws_sdk_dynamodb::Client::new(&self.sdk)
            .scan()
            .table_name(table);
        let output = self.runtime.block_on(request.send()).expect("a scan");
        output
            .items
            .unwrap_or_default()
            .into_iter()
            .map(|item| {
                let id = item["id"].as_s().expect("id is a string").clone();
                (id, item)
            })
            .collect()
    }

    /// Puts an item into a table.
    pub fn put_item(&self, table: &str, item: Item) {
        let request = aws_sdk_dynamodb::Client::new(&self.sdk)
            .put_item()
            .table_name(table)
            .set_item(Some(item));
        self.runtime.block_on(request.send()).expect("an item");
    }

    pub fn delete_topic(&self, arn: &str) {
        self.runtime
            .block_on(self.sns().delete_topic().topic_arn(arn).send())
            .expect("deleted");
    }

    /// What subscribers of a topic got, in the order of publishing.
    pub fn published(&self, arn: &str) -> Vec<Published> {
        let data: Value = ureq::get(format!("{}/moto-api/data.json", self.endpoint))
            .call()
            .expect("moto answers")
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_json()
            .expect("JSON");
        let topics = data["sns"]["Topic"].as_array().cloned().unwrap_or_default();
        // A topic that was deleted and made again is there twice.
        topics
            .iter()
            .filter(|topic| topic["arn"] == arn)
            .flat_map(|topic| {
                topic["sent_notifications"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default()
            })
            .map(|notification| Published::read(&notification))
            .collect()
    }
}

/// One published message, as subscribers of each protocol get it.
#[derive(Debug, Clone)]
pub struct Published {
    pub subject: String,
    pub body: Value,
    pub attributes: Value,
}

impl Published {
    /// moto keeps a notification as a tuple: (message id, message, subject, attributes, group id).
    fn read(notification: &Value) -> Published {
        let message = notification[1].as_str().expect("a message");
        Published {
            subject: notification[2].as_str().expect("a subject").to_owned(),
            body: serde_json::from_str(message).expect("MessageStructure=json"),
            attributes: notification[3].clone(),
        }
    }

    pub fn text(&self, protocol: &str) -> &str {
        self.body[protocol].as_str().unwrap_or_default()
    }

    pub fn finding(&self) -> Value {
        serde_json::from_str(self.text("default")).expect("the finding is JSON")
    }

    /// Data type and value of an attribute.
    pub fn attribute(&self, name: &str) -> (String, String) {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let attribute = &self.attributes[name];
        (text(&attribute["Type"]), text(&attribute["Value"]))
    }

    /// `severity EventName outcome`, from the attributes.
    pub fn summary(&self) -> String {
        ["severity", "event_name", "outcome"]
            .map(|name| self.attribute(name).1)
            .join(" ")
    }
}

/// The real `bootstrap` behind the Runtime Interface Emulator.
pub struct Lambda {
    process: Process,
    address: String,
}

impl Lambda {
    pub fn start(aws: &Aws, variables: &[(&str, &str)]) -> Lambda {
        let [address, runtime_api] = [free_address(), free_address()];
        let mut command = Command::new(tool("rie"));
        command
            .args([
                "--log-level",
                "info",
                "--runtime-interface-emulator-address",
            ])
            .arg(&address)
            .arg("--runtime-api-address")
            .arg(&runtime_api)
            .arg(program("bootstrap"))
            .env_clear()
            .envs(variables.iter().copied())
            .env("AWS_LAMBDA_FUNCTION_NAME", "cloudhsm-alerts")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "300")
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_ENDPOINT_URL", &aws.endpoint);
        let process = Process::start(&mut command);
        process.wait_for("listening emulator", |_| TcpStream::connect(&address).ok());
        Lambda { process, address }
    }

    /// Invokes the function and gives its reply; a failure is `{"errorType": …, "errorMessage": …}`.
    pub fn invoke(&self, payload: &Value) -> Value {
        self.invoke_text(&payload.to_string())
    }

    /// The same with a payload that is sent as it is.
    pub fn invoke_text(&self, payload: &str) -> Value {
        let url = format!(
            "http://{}/2015-03-31/functions/function/invocations",
            self.address
        );
        let mut response = ureq::post(url)
            .config()
            .http_status_as_error(false)
            .build()
            .send(payload)
            .unwrap_or_else(|error| panic!("{error}; output:\n{}", self.log()));
        let text = response.body_mut().read_to_string().expect("text");
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text:?}; output:\n{}", self.log()))
    }

    /// What emulator and function have printed.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The function's largest resident size so far, in KiB, as Linux counts it.
    pub fn peak_resident_kib(&self) -> u64 {
        // The emulator puts the function into a process group of its own; it stays the emulator's child.
        let emulator = self.process.child.id().to_string();
        let found = Command::new("pgrep")
            .args(["-P", &emulator, "-x", "bootstrap"])
            .output()
            .expect("pgrep runs");
        let pid = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .unwrap_or_else(|error| panic!("bootstrap's process {pid:?}: {error}"));
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .expect("VmHWM in kB")
    }
}

/// Runs the command line in a folder.
pub fn run(arguments: &[&str], folder: &Path) -> Output {
    Command::new(program("cloudhsm-alerts"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .output()
        .expect("the program runs")
}

/// Its exit code, what it printed, and what it said.
pub fn shown(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A free address on loopback, at the moment of asking.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .to_string()
}

pub fn event(name: &str) -> Value {
    let path = project().join("events").join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The log file of `events/`, gzipped as CloudTrail delivers it.
pub fn log_file() -> Vec<u8> {
    let path = project().join("events/log-files/cloudhsm-calls.json");
    gzip(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// A call to CloudHSM with an event ID.
pub fn call(event_name: &str, event_id: &str) -> Value {
    json!({
        "eventVersion": "1.11",
        "userIdentity": {"type": "IAMUser", "userName": "alice", "accountId": "111122223333", "arn": "arn:aws:iam::111122223333:user/alice"},
        "eventTime": "2026-11-23T03:50:00Z",
        "eventSource": "cloudhsm.amazonaws.com",
        "eventName": event_name,
        "awsRegion": REGION,
        "sourceIPAddress": "203.0.113.7",
        "userAgent": "aws-cli/2.31.0",
        "requestParameters": {"clusterId": "cluster-lk3jhgf4dsa"},
        "responseElements": null,
        "eventID": event_id,
        "recipientAccountId": "111122223333",
    })
}

/// A log file of records, not compressed.
pub fn records(records: &[Value]) -> Vec<u8> {
    json!({ "Records": records }).to_string().into_bytes()
}

/// An S3 notification for keys of the trail bucket, encoded as S3 does.
pub fn notification(keys: &[&str]) -> Value {
    let records: Vec<Value> = keys
        .iter()
        .map(|key| {
            let encoded = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC);
            json!({
                "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": BUCKET}, "object": {"key": encoded.to_string(), "size": 1}},
            })
        })
        .collect();
    json!({ "Records": records })
}

/// An SQS event with one body for each message.
pub fn sqs(bodies: &[Value]) -> Value {
    let messages: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| json!({"messageId": format!("m{n}"), "body": body.to_string(), "eventSource": "aws:sqs", "eventSourceARN": QUEUE_ARN}))
        .collect();
    json!({ "Records": messages })
}
