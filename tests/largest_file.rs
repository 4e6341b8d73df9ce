//! The largest file CloudTrail sends, 50 MB compressed and 370 MB of JSON, inside the smallest function.

use cloudhsm_alerts_test_support::aws::{Aws, FOLDER, Lambda, notification};
use cloudhsm_alerts_test_support::log_files::LogFiles;
use serde_json::json;

#[test]
fn the_largest_file_fits_the_smallest_function() {
    let (file, count) = LogFiles::new(1).largest();
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
    assert!(peak < 48 * 1024, "{peak} KiB resident");
}
