//! The AWS SDK: its configuration in Lambda, and the text of its errors.
//!
//! In Lambda, region and credentials are environment variables. The SDK's default provider chain (profiles, assumed
//! roles, single sign-on, instance metadata) would only make the program larger. The command line uses that chain.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig,
    default_provider::{
        checksums::{request_checksum_calculation_provider, response_checksum_validation_provider},
        endpoint_url::endpoint_url_provider,
        ignore_configured_endpoint_urls::ignore_configured_endpoint_urls_provider,
        retry_config, use_dual_stack, use_fips,
    },
    environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider},
    meta::region::ProvideRegion,
    provider_config::ProviderConfig,
    timeout::TimeoutConfig,
};
use aws_sdk_s3::{
    config::SharedCredentialsProvider,
    error::{ProvideErrorMetadata, SdkError},
};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use cloudhsm_alerts_core::text::{chain, one_line};

use crate::roots::http_client;

/// The configuration from the variables that Lambda sets, and those of the SDK that an operator may set.
/// Source: AWS SDKs and Tools Reference Guide, "Environment variables list".
///
/// # Panics
/// `AWS_RETRY_MODE` or `AWS_MAX_ATTEMPTS` has an invalid value.
pub async fn config_in_lambda() -> SdkConfig {
    let region: Option<Region> = EnvironmentVariableRegionProvider::new().region().await;
    let environment = ProviderConfig::without_region().with_region(region.clone());
    let ignore_endpoints = ignore_configured_endpoint_urls_provider(&environment)
        .await
        .unwrap_or_default();
    let endpoint = if ignore_endpoints {
        None
    } else {
        endpoint_url_provider(&environment).await
    };
    let retries = retry_config::default_provider()
        .configure(&environment)
        .retry_config()
        .await;
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client())
        .region(region)
        .credentials_provider(SharedCredentialsProvider::new(
            EnvironmentVariableCredentialsProvider::new(),
        ))
        .timeout_config(timeouts())
        .retry_config(retries)
        .service_config(Variables { ignore_endpoints });
    config
        .set_endpoint_url(endpoint)
        .set_use_fips(use_fips::use_fips_provider(&environment).await)
        .set_use_dual_stack(use_dual_stack::use_dual_stack_provider(&environment).await)
        .set_request_checksum_calculation(request_checksum_calculation_provider(&environment).await)
        .set_response_checksum_validation(
            response_checksum_validation_provider(&environment).await,
        );
    config.build()
}

/// Settings of one service, such as `AWS_ENDPOINT_URL_SNS`.
#[derive(Debug)]
struct Variables {
    ignore_endpoints: bool,
}

impl LoadServiceConfig for Variables {
    #[expect(
        clippy::disallowed_methods,
        reason = "the SDK chooses the variables and checks their values"
    )]
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        if self.ignore_endpoints && key.env() == "AWS_ENDPOINT_URL" {
            return None;
        }
        // As the SDK spells a service: `AWS_ENDPOINT_URL_S3_CONTROL` for "S3 Control".
        let service = key.service_id().replace([' ', '-'], "_").to_uppercase();
        std::env::var(format!("{}_{service}", key.env()))
            .or_else(|_| std::env::var(key.env()))
            .ok()
    }
}

/// Timeouts, so that one request without a response does not use up the invocation.
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .read_timeout(Duration::from_secs(20))
        .operation_timeout(Duration::from_secs(60))
        .build()
}

/// A failed request on one line: the service's error code and message, otherwise the chain of causes.
pub(crate) fn error_message<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => one_line(&format!("{code}: {message}"), 500),
        (Some(code), None) => one_line(code, 500),
        _ => chain(error),
    }
}
