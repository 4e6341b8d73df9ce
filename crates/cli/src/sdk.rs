//! AWS SDK configuration from environment variables, profiles, IAM Identity Center and `aws login`. The function, in
//! contrast, reads environment variables only.
//!
//! The instance metadata service is asked last, and not for long: on a machine outside of AWS nothing answers there, and
//! somebody waits for the message that there are no credentials.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::{
    BehaviorVersion, SdkConfig,
    default_provider::credentials::DefaultCredentialsChain,
    environment::EnvironmentVariableRegionProvider,
    imds::{self, region::ImdsRegionProvider},
    meta::region::RegionProviderChain,
    profile::ProfileFileRegionProvider,
    provider_config::ProviderConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{
        self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future,
    },
};
use cloudhsm_alerts::{roots::http_client, sdk::timeouts};
use cloudhsm_alerts_core::text::{chain, one_line};
use tokio::runtime::{Builder, Runtime};

/// How long the metadata service has to accept a connection. Where there is one, it takes a millisecond.
const METADATA_TIMEOUT: Duration = Duration::from_millis(300);

const WAYS: &str = "no AWS credentials. Sign in with `aws sso login` (IAM Identity Center) or `aws login` and name the profile in AWS_PROFILE; or use a profile with credential_process, an assumed role or keys; or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; or run this where a role is attached";

/// The configuration of the SDK's default chain, with the HTTP client and timeouts of the function.
pub async fn config() -> SdkConfig {
    configured().await.0
}

/// The same, with credentials that were tried.
///
/// # Errors
/// There are no credentials. The message names the ways to have them.
pub async fn config_with_credentials() -> Result<SdkConfig, String> {
    let (config, chain) = configured().await;
    let first = chain
        .0
        .provide_credentials()
        .await
        .map_err(|error| missing(&error))?;
    let tried = Tried {
        first: Mutex::new(Some(first)),
        chain,
    };
    Ok(config
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(tried))
        .build())
}

fn missing(error: &CredentialsError) -> String {
    format!("{WAYS} ({})", one_line(&self::chain(error), 500))
}

async fn configured() -> (SdkConfig, Chain) {
    let provider_config = ProviderConfig::default().with_http_client(http_client());
    let metadata = imds::Client::builder()
        .configure(&provider_config)
        .max_attempts(1)
        .connect_timeout(METADATA_TIMEOUT)
        .build();
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(
            ImdsRegionProvider::builder()
                .configure(&provider_config)
                .imds_client(metadata.clone())
                .build(),
        )
        .region()
        .await;
    let credentials = DefaultCredentialsChain::builder()
        .configure(provider_config.with_region(region.clone()))
        .region(region.clone())
        .imds_client(metadata)
        .build()
        .await;
    let credentials = Chain(Arc::new(credentials));
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .timeout_config(timeouts())
        .region(region)
        .credentials_provider(credentials.clone())
        .load()
        .await;
    (config, credentials)
}

/// The default chain, with an error that names the ways to have credentials.
#[derive(Clone, Debug)]
struct Chain(Arc<DefaultCredentialsChain>);

impl Chain {
    async fn credentials(&self) -> provider::Result {
        let found = self.0.provide_credentials().await;
        found.map_err(|error| CredentialsError::not_loaded(missing(&error)))
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

/// Credentials that were tried, and then the chain: a program that gives credentials is run once, because it may ask for
/// a code.
#[derive(Debug)]
struct Tried {
    first: Mutex<Option<Credentials>>,
    chain: Chain,
}

impl Tried {
    async fn credentials(&self) -> provider::Result {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match first {
            Some(first) => Ok(first),
            None => self.chain.provide_credentials().await,
        }
    }
}

impl ProvideCredentials for Tried {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

/// The ARN of the caller, as AWS knows it.
///
/// # Errors
/// STS does not respond, or refuses.
pub async fn caller(config: &SdkConfig) -> Result<String, String> {
    let identity = aws_sdk_sts::Client::new(config)
        .get_caller_identity()
        .send()
        .await
        .map_err(|error| format!("who you are is not known: {}", self::chain(&error)))?;
    let arn = identity
        .arn()
        .ok_or("who you are is not known: STS gave no ARN")?;
    Ok(one_line(arn, 512))
}

/// A runtime on the current thread.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
