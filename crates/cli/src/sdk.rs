//! The AWS SDK's configuration for a person's machine: variables, profiles, single sign-on and all else that the
//! SDK looks for. The function reads its variables alone.

use aws_config::{BehaviorVersion, SdkConfig};
use cloudhsm_alerts::sdk::{http_client, timeouts};

/// The configuration that the SDK's default chain gives.
pub async fn config() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .timeout_config(timeouts())
        .load()
        .await
}
