//! The largest file CloudTrail sends, 50 MB compressed and 370 MB of JSON, inside the smallest function.

mod common;

use std::io::Write;

use common::{Aws, FOLDER, Lambda, call, notification};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;

/// A log file of at least so many bytes of JSON, compressed; one call to CloudHSM at its very end.
fn largest(uncompressed: usize) -> (Vec<u8>, u64) {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut state = 7_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 16
    };
    let (mut written, mut count) = (0, 0);
    gzip.write_all(b"{\"Records\":[").unwrap();
    while written < uncompressed {
        let mut record = call("PutObject", &format!("{:016x}-{:016x}", next(), next()));
        record["eventSource"] = "s3.amazonaws.com".into();
        record["userAgent"] = "[aws-sdk-java/1.12.488 Linux/5.4.247-169.350.amzn2int.x86_64 OpenJDK_64-Bit_Server_VM/25.372-b08]".into();
        record["requestParameters"] = json!({"bucketName": "data", "key": format!("{:012x}/{:012x}", next(), next()), "note": "says cloudhsm.amazonaws.com"});
        record["additionalEventData"] = json!({"SignatureVersion": "SigV4", "CipherSuite": "ECDHE-RSA-AES128-GCM-SHA256",
            "x-amz-id-2": format!("{:016x}{:016x}{:016x}", next(), next(), next()), "bytesTransferredOut": next() % 100_000});
        record["resources"] = json!([{"accountId": "111122223333", "type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::data"}]);
        let text = record.to_string();
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.write_all(b",").unwrap();
        written += text.len() + 1;
        count += 1;
    }
    gzip.write_all(call("DeleteCluster", "last").to_string().as_bytes())
        .unwrap();
    gzip.write_all(b"]}").unwrap();
    (gzip.finish().unwrap(), count + 1)
}

#[test]
fn the_largest_file_fits_the_smallest_function() {
    let (file, count) = largest(370_000_000);
    assert!(
        file.len() > 40_000_000,
        "{} bytes compressed are not the largest file",
        file.len()
    );
    let aws = Aws::start();
    let topic = aws.topic("t");
    let key = format!("{FOLDER}/111122223333_CloudTrail_us-west-2_20261123T0355Z_largest.json.gz");
    aws.put(&key, file);
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let reply = lambda.invoke(&notification(&[&key]));
    assert_eq!(
        (&reply["records"], &reply["published"]),
        (&json!(count), &json!(1)),
        "{reply}"
    );
    let peak = lambda.peak_resident_kib();
    println!("peak resident size: {peak} KiB");
    assert!(peak < 128 * 1024, "{peak} KiB resident");
}
