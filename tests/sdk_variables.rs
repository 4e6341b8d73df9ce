//! Variables of the AWS SDK that an operator may set beside this project's own: the function, which asks for them
//! itself, does what they say.

use cloudhsm_alerts_test_support::stub::{Plan, Stub, runtime::Bootstrap};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
};

const TOPIC: &str = "arn:aws:sns:us-west-2:111122223333:alerts";
const KEY: &str =
    "AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_a.json";

fn notification() -> serde_json::Value {
    json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": "trail"}, "object": {"key": KEY, "size": 1}}}]})
}

/// A proxy that refuses every connection and says to where it was asked for one.
async fn proxy() -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, asks) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = BufReader::new(&mut stream).lines();
            let first = head.next_line().await.unwrap().unwrap_or_default();
            while head
                .next_line()
                .await
                .unwrap()
                .is_some_and(|line| !line.is_empty())
            {}
            asked.send(first).unwrap();
            let _ = stream
                .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    (url, asks)
}

async fn connections(variables: &[(&str, &str)]) -> Vec<String> {
    let (url, mut asks) = proxy().await;
    let mut all = vec![
        ("ALERT_TOPIC_ARN", TOPIC),
        ("HTTPS_PROXY", &url),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
    ];
    all.extend(variables);
    let mut bootstrap = Bootstrap::start("http://127.0.0.1:9", &all).await;
    let reply = bootstrap.invoke(&notification()).await;
    assert_eq!(reply["errorType"], "Object.Unavailable", "{reply}");
    let mut asked = Vec::new();
    while let Ok(ask) = asks.try_recv() {
        asked.push(ask);
    }
    asked
}

#[tokio::test]
async fn region_proxy_and_attempts() {
    assert_eq!(
        connections(&[("AWS_MAX_ATTEMPTS", "2")]).await,
        ["CONNECT trail.s3.us-west-2.amazonaws.com:443 HTTP/1.1"; 2]
    );
}

#[tokio::test]
async fn fips_and_dual_stack_endpoints() {
    for (variables, host) in [
        (
            vec![("AWS_USE_FIPS_ENDPOINT", "true")],
            "trail.s3-fips.us-west-2.amazonaws.com",
        ),
        (
            vec![
                ("AWS_USE_DUALSTACK_ENDPOINT", "true"),
                ("AWS_REGION", "eu-west-1"),
            ],
            "trail.s3.dualstack.eu-west-1.amazonaws.com",
        ),
    ] {
        let variables = [variables, vec![("AWS_MAX_ATTEMPTS", "1")]].concat();
        assert_eq!(
            connections(&variables).await,
            [format!("CONNECT {host}:443 HTTP/1.1")]
        );
    }
}

/// As emulators need it that stand for one service only.
#[tokio::test]
async fn an_endpoint_for_each_service() {
    let stub = Stub::start(Plan::quiet()).await;
    let body = json!({"Records": [cloudhsm_alerts_test_support::stub::call("DeleteBackup", "e1")]})
        .to_string();
    stub.world()
        .objects
        .insert(format!("trail/{KEY}"), body.into_bytes());
    // Each wins over the one for all.
    let variables = [
        ("ALERT_TOPIC_ARN", TOPIC),
        ("LEDGER_TABLE", "ledger"),
        ("AWS_ENDPOINT_URL_S3", stub.endpoint.as_str()),
        ("AWS_ENDPOINT_URL_SNS", &stub.endpoint),
        ("AWS_ENDPOINT_URL_DYNAMODB", &stub.endpoint),
    ];
    let mut bootstrap = Bootstrap::start("http://127.0.0.1:9", &variables).await;
    let reply = bootstrap.invoke(&notification()).await;
    assert_eq!(
        reply["errorType"],
        json!(null),
        "{reply}\n{}",
        bootstrap.log()
    );
    assert_eq!(stub.world().told().len(), 1);
}
