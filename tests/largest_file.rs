//! The largest log file that CloudTrail delivers, 50 MB compressed and 370 MB of JSON, in a function of 128 MB.

use cloudhsm_alerts_test_support::{
    emulator::Lambda,
    fixtures::{key_named, s3_notification},
    log_files::LogFiles,
    moto::Moto,
};
use serde_json::json;

#[test]
fn the_largest_file_fits_the_smallest_function() {
    let (file, count) = LogFiles::new(1).largest();
    let aws = Moto::start();
    let topic = aws.topic("t");
    let key = key_named("largest");
    aws.put(&key, file);
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let reply = lambda.invoke(&s3_notification(&[&key]));
    assert_eq!(
        (&reply["records"], &reply["published"]),
        (&json!(count), &json!(1)),
        "{reply}"
    );
    let peak = lambda.peak_resident_kib();
    println!("peak resident size: {peak} KiB");
    assert!(peak < 48 * 1024, "{peak} KiB resident");
}
