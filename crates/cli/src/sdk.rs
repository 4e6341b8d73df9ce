//! AWS SDK configuration from environment variables, profiles and IAM Identity Center. The function, in contrast,
//! reads environment variables only.

use std::io;

use aws_config::{BehaviorVersion, SdkConfig};
use cloudhsm_alerts::{roots::http_client, sdk::timeouts};
use tokio::runtime::{Builder, Runtime};

/// The configuration of the SDK's default chain, with the HTTP client and timeouts of the function.
pub async fn config() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .timeout_config(timeouts())
        .load()
        .await
}

/// A runtime on the current thread.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
