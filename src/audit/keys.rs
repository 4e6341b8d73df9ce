//! The public keys with which CloudTrail signs digest files: listed in the region of the digest file, and kept by the
//! instance.
//!
//! A region that refuses to list them, because it is not enabled in this account or the role may not, makes its digest
//! files unverified. That is never tampering. A region that does not respond is a temporary error.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_config::SdkConfig;
use aws_sdk_cloudtrail::{
    Client,
    config::{Builder, Region},
    error::{ProvideErrorMetadata, SdkError},
    primitives::DateTime,
};
use cloudhsm_alerts_core::digest::{public_key::PublicKeys, signature::Keys};
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::{clock::later, sdk};

/// How long a refusal is remembered. Otherwise each digest file of the region would cause a request.
const REFUSED_FOR: Duration = Duration::from_secs(3600);
/// Most pages of a list. A region has one key, or two.
const MAX_PAGES: usize = 20;

/// A failed request. A retry can succeed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum KeysError {
    /// CloudTrail throttled the request.
    #[error("CloudTrail throttled ListPublicKeys ({0})")]
    Throttled(String),
    /// Anything else, such as a lost connection or a service error.
    #[error("CloudTrail did not list its public keys: {0}")]
    Unavailable(String),
}

impl KeysError {
    /// The stable name in a failed invocation's `errorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            KeysError::Throttled(_) => "PublicKeys.Throttled",
            KeysError::Unavailable(_) => "PublicKeys.Unavailable",
        }
    }
}

/// The keys that this instance knows.
#[derive(Debug)]
pub(crate) struct KeyCache {
    sdk: SdkConfig,
    regions: BTreeMap<String, RegionKeys>,
}

#[derive(Debug)]
struct RegionKeys {
    client: Client,
    keys: PublicKeys,
    /// Why they are not listed, and until when that is taken for granted.
    refused: Option<(String, Timestamp)>,
}

/// Which key is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) region: &'a str,
    pub(crate) fingerprint: &'a str,
    /// The time in which it was in use.
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// A response of CloudTrail.
enum Listed {
    Keys(PublicKeys),
    Refused(String),
}

impl KeyCache {
    pub(crate) fn new(sdk: &SdkConfig) -> KeyCache {
        KeyCache {
            sdk: sdk.clone(),
            regions: BTreeMap::new(),
        }
    }

    /// The keys of a region, with the one that is wanted if CloudTrail lists it.
    pub(crate) async fn find(
        &mut self,
        wanted: Wanted<'_>,
        now: Timestamp,
    ) -> Result<Keys, KeysError> {
        let sdk = &self.sdk;
        let known = self
            .regions
            .entry(wanted.region.to_owned())
            .or_insert_with(|| RegionKeys {
                client: client(sdk, wanted.region),
                keys: PublicKeys::default(),
                refused: None,
            });
        if known.keys.find(wanted.fingerprint).is_some() {
            return Ok(Keys::Complete(known.keys.clone()));
        }
        if let Some((reason, until)) = &known.refused
            && *until > now
        {
            return Ok(Keys::Unknown(reason.clone()));
        }
        match list(&known.client, wanted).await? {
            Listed::Keys(keys) => {
                known.refused = None;
                if keys.find(wanted.fingerprint).is_some() {
                    known.keys = keys.clone();
                }
                Ok(Keys::Complete(keys))
            }
            Listed::Refused(reason) => {
                let reason = format!("ListPublicKeys in {} is refused ({reason})", wanted.region);
                known.refused = Some((reason.clone(), later(now, REFUSED_FOR)));
                Ok(Keys::Unknown(reason))
            }
        }
    }
}

fn client(sdk: &SdkConfig, region: &str) -> Client {
    let config = Builder::from(sdk).region(Region::new(region.to_owned()));
    Client::from_conf(config.build())
}

async fn list(client: &Client, wanted: Wanted<'_>) -> Result<Listed, KeysError> {
    // Signed some time after its end.
    let to = wanted
        .to
        .checked_add(SignedDuration::from_hours(1))
        .unwrap_or(wanted.to);
    let mut keys = PublicKeys::default();
    let mut page = None;
    let mut seen = BTreeSet::new();
    for _ in 0..MAX_PAGES {
        let output = client
            .list_public_keys()
            .start_time(DateTime::from_secs(wanted.from.as_second()))
            .end_time(DateTime::from_secs(to.as_second()))
            .set_next_token(page)
            .send()
            .await;
        let output = match output {
            Ok(output) => output,
            Err(error) => return refused(&error).map(Listed::Refused),
        };
        for key in output.public_key_list() {
            if let (Some(value), Some(fingerprint)) = (key.value(), key.fingerprint()) {
                keys.add(value.as_ref(), fingerprint);
            }
        }
        page = output.next_token.filter(|token| seen.insert(token.clone()));
        if page.is_none() {
            return Ok(Listed::Keys(keys));
        }
    }
    Ok(Listed::Keys(keys))
}

/// Why a request is refused, or the error if a retry can succeed.
fn refused<E>(error: &SdkError<E>) -> Result<String, KeysError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let message = sdk::error_message(error);
    let code = error.code().unwrap_or_default();
    match code.strip_suffix("Exception").unwrap_or(code) {
        "AccessDenied"
        // A region that is not enabled in the account does not know its credentials.
        | "UnrecognizedClient"
        | "InvalidClientTokenId"
        | "AuthFailure"
        | "OptInRequired"
        | "SubscriptionRequired"
        | "OperationNotPermitted"
        | "UnsupportedOperation" => Ok(message),
        "Throttling" | "ThrottledRequest" | "TooManyRequests" | "RequestLimitExceeded"
        | "SlowDown" => Err(KeysError::Throttled(message)),
        _ => Err(KeysError::Unavailable(message)),
    }
}
