//! The public keys of CloudTrail: asked for in each region, or from files with the saved output of
//! `aws cloudtrail list-public-keys`.
//!
//! A region that does not answer, because it is not enabled or the call is not allowed, leaves its digest files
//! unverified. That is never tampering.

use std::{fs, path::PathBuf};

use aws_config::{Region, SdkConfig};
use aws_sdk_cloudtrail::{Client, config::Builder, primitives::DateTime};
use base64::{Engine, engine::general_purpose::STANDARD};
use cloudhsm_alerts_core::{
    digest::{public_key::PublicKeys, signature::Keys},
    text::{chain, one_line},
};
use jiff::Timestamp;
use serde::Deserialize;

/// Where public keys come from.
pub(super) enum KeySource {
    /// CloudTrail in each region.
    CloudTrail(Box<SdkConfig>),
    /// Files, with their names.
    Files(PublicKeys, String),
    /// Nowhere.
    None,
}

/// The output of `aws cloudtrail list-public-keys`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    public_key_list: Vec<ListedKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedKey {
    value: String,
    fingerprint: String,
}

/// The keys of files. `None`: no file is named.
///
/// # Errors
/// A file cannot be read, or is something else.
pub(super) fn of_files(paths: &[PathBuf]) -> Result<Option<KeySource>, String> {
    if paths.is_empty() {
        return Ok(None);
    }
    let mut keys = PublicKeys::default();
    let mut names = Vec::new();
    for path in paths {
        let name = one_line(&path.to_string_lossy(), 500);
        let named = |error: String| format!("--public-keys {name}: {error}");
        let text = fs::read(path).map_err(|error| named(error.to_string()))?;
        let listed: Listed = serde_json::from_slice(&text).map_err(|error| {
            named(format!(
                "expected the output of `aws cloudtrail list-public-keys` ({})",
                one_line(&error.to_string(), 200)
            ))
        })?;
        for key in listed.public_key_list {
            let value = STANDARD
                .decode(key.value.trim())
                .map_err(|error| named(format!("Value is not Base64: {error}")))?;
            keys.add(&value, &key.fingerprint);
        }
        names.push(name);
    }
    Ok(Some(KeySource::Files(keys, names.join(", "))))
}

impl KeySource {
    pub(super) fn cloudtrail(sdk: &SdkConfig) -> KeySource {
        KeySource::CloudTrail(Box::new(sdk.clone()))
    }

    /// The keys with which digest files of a region were signed between two times.
    pub(super) async fn of(&self, region: &str, from: Timestamp, to: Timestamp) -> Keys {
        match self {
            KeySource::None => Keys::Unknown(
                "no public keys: name the saved output of `aws cloudtrail list-public-keys` with --public-keys"
                    .into(),
            ),
            KeySource::Files(keys, names) => Keys::Some(keys.clone(), names.clone()),
            KeySource::CloudTrail(sdk) => {
                match list(sdk, region, from, to).await {
                    Ok(keys) => Keys::Complete(keys),
                    Err(error) => Keys::Unknown(format!(
                        "ListPublicKeys in {} failed ({error})",
                        one_line(region, 40)
                    )),
                }
            }
        }
    }
}

async fn list(
    sdk: &SdkConfig,
    region: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<PublicKeys, String> {
    let config = Builder::from(sdk).region(Region::new(region.to_owned()));
    let client = Client::from_conf(config.build());
    let mut keys = PublicKeys::default();
    let mut page = None;
    loop {
        let output = client
            .list_public_keys()
            .start_time(DateTime::from_secs(from.as_second()))
            .end_time(DateTime::from_secs(to.as_second()))
            .set_next_token(page)
            .send()
            .await
            .map_err(|error| chain(&error))?;
        for key in output.public_key_list() {
            if let (Some(value), Some(fingerprint)) = (key.value(), key.fingerprint()) {
                keys.add(value.as_ref(), fingerprint);
            }
        }
        page = output.next_token;
        if page.is_none() {
            return Ok(keys);
        }
    }
}
