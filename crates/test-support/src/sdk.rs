//! The AWS SDK's configuration for AWS on loopback. The HTTP client is the caller's: the function's own, or moto's.

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};

use crate::fixtures::REGION;

/// Nothing comes from the environment.
pub fn sdk_config(endpoint: &str, client: SharedHttpClient, retries: RetryConfig) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(client)
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(retries)
        .build()
}
