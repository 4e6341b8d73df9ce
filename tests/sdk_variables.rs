//! Environment variables of the AWS SDK. The function does not use the SDK's default configuration chain, so each
//! variable that it supports is tested here.

use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, TOPIC_ARN, call, log_file_of, s3_notification, sample_key},
    runtime_api::Bootstrap,
    stub::{FaultPlan, Stub},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
};

/// A proxy that refuses every connection. Returns its URL, and a channel with the request line of each attempt.
async fn proxy() -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (attempts, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = BufReader::new(&mut stream).lines();
            let request_line = head.next_line().await.unwrap().unwrap_or_default();
            while head
                .next_line()
                .await
                .unwrap()
                .is_some_and(|line| !line.is_empty())
            {}
            attempts.send(request_line).unwrap();
            let _ = stream
                .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    (url, received)
}

/// Invokes the function behind the proxy with these variables. Returns the request lines that the proxy received.
async fn connections(variables: &[(&str, &str)]) -> Vec<String> {
    let (url, mut received) = proxy().await;
    let mut all = vec![
        ("ALERT_TOPIC_ARN", TOPIC_ARN),
        ("HTTPS_PROXY", &url),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
    ];
    all.extend(variables);
    let mut bootstrap = Bootstrap::start("http://127.0.0.1:9", &all).await;
    let reply = bootstrap.invoke(&s3_notification(&[&sample_key()])).await;
    assert_eq!(reply["errorType"], "Object.Unavailable", "{reply}");
    let mut request_lines = Vec::new();
    while let Ok(line) = received.try_recv() {
        request_lines.push(line);
    }
    request_lines
}

#[tokio::test]
async fn region_proxy_and_attempts() {
    assert_eq!(
        connections(&[("AWS_MAX_ATTEMPTS", "2")]).await,
        vec![format!("CONNECT {BUCKET}.s3.us-west-2.amazonaws.com:443 HTTP/1.1"); 2]
    );
}

#[tokio::test]
async fn fips_and_dual_stack_endpoints() {
    for (variables, host) in [
        (
            vec![("AWS_USE_FIPS_ENDPOINT", "true")],
            ".s3-fips.us-west-2.amazonaws.com",
        ),
        (
            vec![
                ("AWS_USE_DUALSTACK_ENDPOINT", "true"),
                ("AWS_REGION", "eu-west-1"),
            ],
            ".s3.dualstack.eu-west-1.amazonaws.com",
        ),
    ] {
        let variables = [variables, vec![("AWS_MAX_ATTEMPTS", "1")]].concat();
        assert_eq!(
            connections(&variables).await,
            [format!("CONNECT {BUCKET}{host}:443 HTTP/1.1")]
        );
    }
}

/// For emulators of a single service.
#[tokio::test]
async fn an_endpoint_for_each_service() {
    let stub = Stub::start(FaultPlan::none()).await;
    let body = log_file_of(&[call("DeleteBackup", "e1")]);
    stub.state()
        .objects
        .insert(format!("{BUCKET}/{}", sample_key()), body);
    // Each takes precedence over AWS_ENDPOINT_URL.
    let variables = [
        ("ALERT_TOPIC_ARN", TOPIC_ARN),
        ("LEDGER_TABLE", "ledger"),
        ("AWS_ENDPOINT_URL_S3", stub.endpoint.as_str()),
        ("AWS_ENDPOINT_URL_SNS", &stub.endpoint),
        ("AWS_ENDPOINT_URL_DYNAMODB", &stub.endpoint),
    ];
    let mut bootstrap = Bootstrap::start("http://127.0.0.1:9", &variables).await;
    let reply = bootstrap.invoke(&s3_notification(&[&sample_key()])).await;
    assert_eq!(
        reply["errorType"],
        json!(null),
        "{reply}\n{}",
        bootstrap.log()
    );
    assert_eq!(stub.state().alerts_by_event_id().len(), 1);
}
