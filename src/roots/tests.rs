use aws_sdk_s3::{
    Client as S3,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use cloudhsm_alerts_test_support::{
    stub::{FaultPlan, Stub},
    tls::Authority,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use sha2::{Digest, Sha256};

use super::*;
use crate::sdk::error_message;

/// A client that trusts one authority.
fn trusting_only(authority: &Authority) -> SharedHttpClient {
    trusting(TrustStore::empty().with_pem_certificate(authority.pem()))
}

/// What became of a request, and whether all later ones are made with the system's roots.
#[derive(Debug, PartialEq)]
enum Sent {
    WithAmazon,
    WithSystem,
    Refused(&'static str),
}

/// Reads an object from a server with a certificate for `name`. Here AWS is at `localhost`.
async fn get(
    amazon: &Authority,
    system: &Authority,
    server: &Authority,
    host: &str,
    name: &str,
) -> Sent {
    let stub = Stub::start(FaultPlan::none()).await;
    stub.state()
        .objects
        .insert("bucket/key".into(), b"content".to_vec());
    let server = server.serve(name, &stub.endpoint).await;
    let roots = Arc::new(Roots {
        amazon: trusting_only(amazon),
        system: trusting_only(system),
        is_amazon_first: |uri| uri.starts_with("https://localhost:"),
        is_system_used: AtomicBool::new(false),
    });
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(SharedHttpClient::new(Client(Arc::clone(&roots))))
        .endpoint_url(format!("https://{host}:{}", server.port))
        .force_path_style(true)
        .region(Region::new("us-west-2"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    let response = S3::from_conf(config)
        .get_object()
        .bucket("bucket")
        .key("key")
        .send()
        .await;
    let is_system_used = roots.is_system_used.load(Ordering::Relaxed);
    match response {
        Ok(_) if is_system_used => Sent::WithSystem,
        Ok(_) => Sent::WithAmazon,
        Err(error) => {
            let message = error_message(&error);
            let causes = ["UnknownIssuer", "not valid for name"];
            Sent::Refused(
                causes
                    .into_iter()
                    .find(|cause| message.contains(cause))
                    .unwrap_or_else(|| panic!("{message}")),
            )
        }
    }
}

#[tokio::test]
async fn the_systems_roots_are_asked_only_when_amazons_do_not_do() {
    let [amazon, system, unknown] = ["amazon", "system", "unknown"].map(Authority::new);
    for (server, host, name, expected) in [
        (&amazon, "localhost", "localhost", Sent::WithAmazon),
        (&system, "localhost", "localhost", Sent::WithSystem),
        (
            &unknown,
            "localhost",
            "localhost",
            Sent::Refused("UnknownIssuer"),
        ),
        // No store makes up for a wrong name.
        (
            &amazon,
            "localhost",
            "other",
            Sent::Refused("not valid for name"),
        ),
        // A server that is not AWS's.
        (
            &amazon,
            "127.0.0.1",
            "127.0.0.1",
            Sent::Refused("UnknownIssuer"),
        ),
    ] {
        let sent = get(&amazon, &system, server, host, name).await;
        assert_eq!(sent, expected, "{host} with a certificate for {name}");
    }
}

#[test]
fn addresses_of_aws() {
    for (uri, expected) in [
        (
            "https://bucket.s3.us-west-2.amazonaws.com/key?x-id=GetObject",
            true,
        ),
        ("https://dynamodb.us-west-2.amazonaws.com", true),
        (
            "https://123456789012.ddb.us-west-2.amazonaws.com:443/",
            true,
        ),
        ("https://sns.us-west-2.api.aws/", true),
        ("http://127.0.0.1:4566/", true),
        ("https://localhost:4566/s3.amazonaws.com", false),
        ("https://s3.example?.amazonaws.com", false),
        ("https://s3.cn-north-1.amazonaws.com.cn/key", false),
        ("https://amazonaws.com.example/", false),
        ("https://notamazonaws.com/", false),
    ] {
        assert_eq!(is_aws_or_plain(uri), expected, "{uri}");
    }
}

/// The hashes of the keys are those that Amazon publishes: <https://www.amazontrust.com/repository/>.
#[test]
fn the_roots_are_amazons() {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(AMAZON_ROOTS) {
        roots.add(root.unwrap()).unwrap();
    }
    let hashes: Vec<String> = roots
        .roots
        .iter()
        .map(|root| {
            // The key's information without the tag and the length of its sequence, which are part of the hash.
            let key = &root.subject_public_key_info;
            let length = key.len();
            let mut hash = Sha256::new();
            match u8::try_from(length) {
                Ok(short @ ..0x80) => hash.update([0x30, short]),
                Ok(length) => hash.update([0x30, 0x81, length]),
                Err(_) => hash.update([&[0x30, 0x82][..], &(length as u16).to_be_bytes()].concat()),
            }
            hash.update(key);
            hash.finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        })
        .collect();
    assert_eq!(
        hashes,
        [
            "fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2",
            "7f4296fc5b6a4e3b35d3c369623e364ab1af381d8fa7121533c9d6c633ea2461",
            "36abc32656acfc645c61b71613c4bf21c787f5cabbee48348d58597803d7abc9",
            "f7ecded5c66047d28ed6466b543c40e0743abe81d109254dcf845d4c2c7853c5",
            "2b071c59a0a0ae76b0eadb2bad23bad4580b69c3601b630c2eaf0613afa83f92",
        ]
    );
}
