//! AWS on loopback: moto as a server, with clients to put objects and to read what was published.

use std::{
    collections::{BTreeMap, HashMap},
    process::Command,
};

use aws_config::{SdkConfig, retry::RetryConfig};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use serde_json::Value;

use crate::{
    digests::Object,
    fixtures::BUCKET,
    process::{Process, tool},
    published::Published,
    sdk::sdk_config,
};

/// An item of a DynamoDB table.
pub type Item = HashMap<String, AttributeValue>;

/// A moto server with S3, SNS and DynamoDB. It has the versioned bucket [`BUCKET`] from the start.
pub struct Moto {
    _process: Process,
    pub endpoint: String,
    runtime: tokio::runtime::Runtime,
    sdk: SdkConfig,
}

impl Moto {
    pub fn start() -> Moto {
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
        // The cryptography of the programs, so that no second library is compiled.
        let http_client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::rustls(CryptoMode::Ring))
            .build_https();
        let sdk = sdk_config(&endpoint, http_client, RetryConfig::standard());
        let aws = Moto {
            _process: process,
            endpoint,
            runtime,
            sdk,
        };
        aws.create_bucket();
        aws
    }

    pub fn s3(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::new(&self.sdk)
    }

    /// Runs a future on the runtime of the clients.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Deletes an object of [`BUCKET`].
    pub fn delete(&self, key: &str) {
        self.runtime
            .block_on(self.s3().delete_object().bucket(BUCKET).key(key).send())
            .expect("deleted");
    }

    fn sns(&self) -> aws_sdk_sns::Client {
        aws_sdk_sns::Client::new(&self.sdk)
    }

    fn create_bucket(&self) {
        use aws_sdk_s3::types::{
            BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration,
            VersioningConfiguration,
        };
        let location = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::UsWest2)
            .build();
        let versioning = VersioningConfiguration::builder()
            .status(BucketVersioningStatus::Enabled)
            .build();
        self.runtime.block_on(async {
            self.s3()
                .create_bucket()
                .bucket(BUCKET)
                .create_bucket_configuration(location)
                .send()
                .await
                .expect("a bucket");
            self.s3()
                .put_bucket_versioning()
                .bucket(BUCKET)
                .versioning_configuration(versioning)
                .send()
                .await
                .expect("versioning");
        });
    }

    /// Puts an object into [`BUCKET`] and returns its version ID.
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

    /// Puts objects with their metadata into [`BUCKET`].
    pub fn put_objects(&self, objects: &BTreeMap<String, Object>) {
        for (key, object) in objects {
            let request = self
                .s3()
                .put_object()
                .bucket(BUCKET)
                .key(key)
                .set_metadata(Some(object.metadata.clone().into_iter().collect()))
                .body(object.body.clone().into());
            self.runtime.block_on(request.send()).expect("an object");
        }
    }

    /// The keys of [`BUCKET`] under a prefix.
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

    /// The content of an object of [`BUCKET`].
    pub fn get(&self, key: &str) -> Vec<u8> {
        self.runtime.block_on(async {
            let object = self.s3().get_object().bucket(BUCKET).key(key).send().await;
            let body = object.expect("an object").body.collect().await;
            body.expect("its body").to_vec()
        })
    }

    /// Creates a topic with an e-mail subscriber, and returns its ARN.
    pub fn topic(&self, name: &str) -> String {
        self.topic_with(name, "email", "oncall@example.com")
    }

    /// Creates a topic with an SMS subscriber, and returns its ARN.
    pub fn paging_topic(&self, name: &str) -> String {
        self.topic_with(name, "sms", "+12065550100")
    }

    fn topic_with(&self, name: &str, protocol: &str, endpoint: &str) -> String {
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
            sns.subscribe()
                .topic_arn(&arn)
                .protocol(protocol)
                .endpoint(endpoint)
                .send()
                .await
                .expect("a subscription");
            arn
        })
    }

    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.sdk)
    }

    /// Creates a table with the partition key `key`.
    pub fn table(&self, name: &str, key: &str) {
        self.create_table(name, &[key]);
    }

    /// Creates a watch table: its partition key is `kind` and its sort key `id`.
    pub fn watch_table(&self, name: &str) {
        self.create_table(name, &["kind", "id"]);
    }

    /// Creates a table with a partition key and, if there are two, a sort key.
    fn create_table(&self, name: &str, keys: &[&str]) {
        use aws_sdk_dynamodb::types::{
            AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
        };
        let mut request = self
            .dynamodb()
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest);
        for (key, key_type) in keys.iter().zip([KeyType::Hash, KeyType::Range]) {
            let attribute = AttributeDefinition::builder()
                .attribute_name(*key)
                .attribute_type(ScalarAttributeType::S)
                .build()
                .expect("an attribute");
            let schema = KeySchemaElement::builder()
                .attribute_name(*key)
                .key_type(key_type)
                .build()
                .expect("a key");
            request = request.attribute_definitions(attribute).key_schema(schema);
        }
        self.runtime.block_on(request.send()).expect("a table");
    }

    /// The items of a table, by their `id`.
    pub fn items(&self, table: &str) -> BTreeMap<String, Item> {
        let request = self.dynamodb().scan().table_name(table);
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
        let request = self
            .dynamodb()
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

    /// The messages of a topic, in the order of publishing.
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
        // A topic that was deleted and created again is listed twice.
        topics
            .iter()
            .filter(|topic| topic["arn"] == arn)
            .flat_map(|topic| {
                topic["sent_notifications"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default()
            })
            .map(|notification| published(arn, &notification))
            .collect()
    }
}

/// From moto's record of a message: `[message id, message, subject, attributes, group id]`. Moto does not keep the
/// message structure: only an alert is JSON.
fn published(topic: &str, notification: &Value) -> Published {
    let string = |value: &Value| value.as_str().expect("a string").to_owned();
    let attributes = notification[3].as_object().into_iter().flatten();
    let message = string(&notification[1]);
    Published {
        topic: topic.to_owned(),
        subject: notification[2].as_str().unwrap_or_default().to_owned(),
        body: serde_json::from_str(&message).unwrap_or_else(|_| message.into()),
        attributes: attributes
            .map(|(name, value)| {
                (
                    name.clone(),
                    (string(&value["Type"]), string(&value["Value"])),
                )
            })
            .collect(),
    }
}
