//! TLS: which servers `bootstrap` trusts.

use std::io::Write;

use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, TOPIC_ARN, call, log_file_of, s3_notification, sample_key},
    runtime_api::Bootstrap,
    stub::{FaultPlan, Stub},
    tls::Authority,
};
use serde_json::Value;
use tempfile::NamedTempFile;

/// The reply to an invocation about one call, where AWS has a certificate of an authority, and the program has these
/// variables.
async fn reply(authority: &Authority, variables: &[(&str, &str)]) -> Value {
    let stub = Stub::start(FaultPlan::none()).await;
    let body = log_file_of(&[call("DeleteBackup", "e1")]);
    stub.state()
        .objects
        .insert(format!("{BUCKET}/{}", sample_key()), body);
    let server = authority.serve("localhost", &stub.endpoint).await;
    let variables = [
        &[
            ("ALERT_TOPIC_ARN", TOPIC_ARN),
            ("LEDGER_TABLE", "ledger"),
            ("AWS_MAX_ATTEMPTS", "1"),
        ],
        variables,
    ]
    .concat();
    let endpoint = format!("https://localhost:{}", server.port);
    let mut bootstrap = Bootstrap::start(&endpoint, &variables).await;
    bootstrap.invoke(&s3_notification(&[&sample_key()])).await
}

fn file_of(authority: &Authority) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(authority.pem().as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn an_authority_of_the_operators_own() {
    let authority = Authority::new("own");
    let file = file_of(&authority);
    let path = file.path().to_str().unwrap();
    let reply = reply(&authority, &[("SSL_CERT_FILE", path)]).await;
    assert_eq!(
        (&reply["published"], &reply["ledger_errors"]),
        (&1.into(), &Value::Null),
        "{reply}"
    );
}

#[tokio::test]
async fn an_authority_that_nobody_knows() {
    let [own, unknown] = ["own", "unknown"].map(Authority::new);
    let file = file_of(&own);
    let path = file.path().to_str().unwrap();
    let reply = reply(&unknown, &[("SSL_CERT_FILE", path)]).await;
    let message = reply["errorMessage"].as_str().unwrap_or_default();
    assert_eq!(reply["errorType"], "Object.Unavailable", "{reply}");
    assert!(
        message.contains("invalid peer certificate: UnknownIssuer"),
        "{reply}"
    );
}
