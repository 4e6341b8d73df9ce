//! Where an audit reads: a bucket, or a folder with a copy of one.
//!
//! A folder has the same keys as the bucket, from `AWSLogs` on. It has no metadata, so there is no signature beside a
//! digest file.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use cloudhsm_alerts::s3::{self, FetchError};
use cloudhsm_alerts_core::{
    digest::{
        document::MAX_UNCOMPRESSED,
        file_state::FileState,
        signature::{ALGORITHM_METADATA, SIGNATURE_METADATA, SignatureError, of_metadata},
    },
    log_file::{ContentReader, DEFAULT_MAX_UNCOMPRESSED, Sha256},
    object::ObjectRef,
    text::one_line,
};
use tokio::{runtime::Handle, task};
use walkdir::WalkDir;

use crate::address::Address;

/// Bytes that are read of a file at a time.
const CHUNK: usize = 128 * 1024;
/// When a backfill digest file was made, in its metadata.
const GENERATED_METADATA: &str = "backfill-generation-timestamp";

/// A bucket or a folder.
pub(super) enum Source {
    Bucket {
        client: Client,
        bucket: String,
        /// As it was typed.
        prefix: String,
    },
    Folder {
        /// The folder that has `AWSLogs`.
        root: PathBuf,
        /// The folder that was named, which may be below.
        named: PathBuf,
        /// What it is a copy of. Empty: not known.
        bucket: String,
        /// With a slash at its end, unless it is empty.
        prefix: String,
    },
}

/// The content of a digest file's object.
pub(super) struct DigestObject {
    pub bytes: Vec<u8>,
    /// `None`: a copy without metadata.
    pub signature: Option<Result<String, SignatureError>>,
    pub generated: Option<String>,
}

impl Source {
    pub(super) fn bucket(sdk: &SdkConfig, address: &Address) -> Source {
        Source::Bucket {
            client: s3::client(sdk),
            bucket: address.bucket.clone(),
            prefix: address.key.clone(),
        }
    }

    /// # Errors
    /// There is no such folder, or `--as` is not an address.
    pub(super) fn folder(path: &Path, copy_of: Option<&Path>) -> Result<Source, String> {
        let shown = || one_line(&path.to_string_lossy(), 500);
        let named = path
            .canonicalize()
            .map_err(|error| format!("{}: {error}", shown()))?;
        if !named.is_dir() {
            return Err(format!(
                "{}: expected a folder with AWSLogs, or s3://BUCKET",
                shown()
            ));
        }
        let below = named
            .ancestors()
            .find(|folder| folder.file_name().is_some_and(|name| name == "AWSLogs"));
        let root = below.and_then(Path::parent).unwrap_or(&named).to_owned();
        let (bucket, prefix) = match copy_of {
            None => (String::new(), String::new()),
            Some(typed) => {
                let address = Address::parse(typed).ok_or_else(|| {
                    format!(
                        "--as {}: expected s3://BUCKET or s3://BUCKET/PREFIX",
                        one_line(&typed.to_string_lossy(), 500)
                    )
                })?;
                let prefix = address.key.trim_end_matches('/');
                let slash = if prefix.is_empty() { "" } else { "/" };
                (address.bucket, format!("{prefix}{slash}"))
            }
        };
        Ok(Source::Folder {
            root,
            named,
            bucket,
            prefix,
        })
    }

    /// The bucket of the keys.
    pub(super) fn bucket_name(&self) -> &str {
        match self {
            Source::Bucket { bucket, .. } | Source::Folder { bucket, .. } => bucket,
        }
    }

    /// An object for people.
    pub(super) fn shown(&self, bucket: &str, key: &str) -> String {
        match self {
            Source::Folder { bucket: own, .. } if own.is_empty() && bucket.is_empty() => {
                one_line(key, 2048)
            }
            _ => format!("s3://{}/{}", one_line(bucket, 256), one_line(key, 2048)),
        }
    }

    /// The place that is audited.
    pub(super) fn describe(&self) -> String {
        match self {
            Source::Bucket { bucket, prefix, .. } => self.shown(bucket, prefix),
            Source::Folder { named, .. } => one_line(&named.to_string_lossy(), 500),
        }
    }

    /// The keys below a prefix that come after another one, in order. `each` is called for every key, until it returns
    /// false.
    ///
    /// # Errors
    /// They cannot be listed.
    pub(super) async fn keys(
        &self,
        prefix: &str,
        after: Option<String>,
        each: &mut impl FnMut(&str) -> bool,
    ) -> Result<(), String> {
        match self {
            Source::Bucket { client, bucket, .. } => {
                let mut page = None;
                loop {
                    let listed = s3::list_after(client, bucket, prefix, after.clone(), page)
                        .await
                        .map_err(|error| format!("{}: {error}", self.shown(bucket, prefix)))?;
                    if !listed.objects.iter().all(|listed| each(&listed.object.key)) {
                        return Ok(());
                    }
                    page = listed.next;
                    if page.is_none() {
                        return Ok(());
                    }
                }
            }
            Source::Folder { .. } => {
                let Some(folder) = self.path(prefix) else {
                    return Ok(());
                };
                if !folder.exists() {
                    return Ok(());
                }
                for entry in WalkDir::new(&folder).follow_links(true).sort_by_file_name() {
                    let entry = entry.map_err(|error| one_line(&error.to_string(), 500))?;
                    let key = self.key_of(entry.path());
                    let is_wanted = entry.file_type().is_file()
                        && after.as_ref().is_none_or(|after| key > *after);
                    if is_wanted && !each(&key) {
                        return Ok(());
                    }
                }
                Ok(())
            }
        }
    }

    /// The path of a key in the folder. `None`: the key has parts that would leave it.
    fn path(&self, key: &str) -> Option<PathBuf> {
        let Source::Folder { root, prefix, .. } = self else {
            return None;
        };
        let rest = key.strip_prefix(prefix.as_str())?;
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        let is_inside = parts.iter().all(|part| !matches!(*part, "." | ".."));
        is_inside.then(|| root.join(parts.join("/")))
    }

    /// The key of a path in the folder.
    pub(super) fn key_of(&self, path: &Path) -> String {
        match self {
            Source::Folder { root, prefix, .. } => {
                let rest = path.strip_prefix(root).unwrap_or(path);
                format!("{prefix}{}", rest.to_string_lossy().replace('\\', "/"))
            }
            Source::Bucket { .. } => path.to_string_lossy().into_owned(),
        }
    }

    /// Reads the object of a digest file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn digest(&self, bucket: &str, key: &str) -> Result<DigestObject, String> {
        let too_large = || "the object is larger than any digest file".to_owned();
        match self {
            Source::Bucket { client, .. } => {
                let mut body = s3::open(client, &object(bucket, key))
                    .await
                    .map_err(|error| error.to_string())?;
                let signature = of_metadata(
                    body.metadata(SIGNATURE_METADATA),
                    body.metadata(ALGORITHM_METADATA),
                );
                let generated = body.metadata(GENERATED_METADATA).map(str::to_owned);
                let mut bytes = Vec::new();
                while let Some(chunk) = s3::next_chunk(&mut body)
                    .await
                    .map_err(|error| error.to_string())?
                {
                    bytes.extend_from_slice(chunk.as_ref());
                    if bytes.len() as u64 > MAX_UNCOMPRESSED {
                        return Err(too_large());
                    }
                }
                Ok(DigestObject {
                    bytes,
                    signature: Some(signature),
                    generated,
                })
            }
            Source::Folder { .. } => {
                let path = self.path(key).ok_or("the name leaves the folder")?;
                let file = File::open(path).map_err(|error| error.to_string())?;
                let mut bytes = Vec::new();
                file.take(MAX_UNCOMPRESSED + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|error| error.to_string())?;
                if bytes.len() as u64 > MAX_UNCOMPRESSED {
                    return Err(too_large());
                }
                Ok(DigestObject {
                    bytes,
                    signature: None,
                    generated: None,
                })
            }
        }
    }

    /// Compares a log file with the hash that is listed. It is inflated and hashed on a thread of its own.
    pub(super) async fn check(&self, bucket: &str, key: &str, expected: &Sha256) -> FileState {
        match self {
            Source::Bucket { client, .. } => {
                let body = match s3::open(client, &object(bucket, key)).await {
                    Ok(body) => body,
                    Err(FetchError::NotFound(_)) => return FileState::Missing,
                    Err(error) => return FileState::NotChecked(error.to_string()),
                };
                let handle = Handle::current();
                let mut body = body;
                blocking(*expected, move || {
                    let chunk = handle.block_on(s3::next_chunk(&mut body));
                    let chunk = chunk.map_err(|error| error.to_string())?;
                    Ok(chunk.map(|chunk| chunk.as_ref().to_vec()))
                })
                .await
            }
            Source::Folder { bucket: own, .. } => {
                let path = self.path(key).filter(|_| bucket == own);
                let Some(path) = path else {
                    return FileState::NotChecked(format!(
                        "it lies in another bucket: {}",
                        self.shown(bucket, key)
                    ));
                };
                let mut file = match File::open(path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        return FileState::Missing;
                    }
                    Err(error) => return FileState::NotChecked(error.to_string()),
                };
                blocking(*expected, move || {
                    let mut chunk = vec![0; CHUNK];
                    let length = file.read(&mut chunk).map_err(|error| error.to_string())?;
                    chunk.truncate(length);
                    Ok((length > 0).then_some(chunk))
                })
                .await
            }
        }
    }

    /// The whole of a log file that is known to be small enough, for its records.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn log_file(
        &self,
        bucket: &str,
        key: &str,
        each: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<(), String> {
        match self {
            Source::Bucket { client, .. } => {
                let mut body = s3::open(client, &object(bucket, key))
                    .await
                    .map_err(|error| error.to_string())?;
                while let Some(chunk) = s3::next_chunk(&mut body)
                    .await
                    .map_err(|error| error.to_string())?
                {
                    if !each(chunk.as_ref()) {
                        break;
                    }
                }
                Ok(())
            }
            Source::Folder { .. } => {
                let path = self.path(key).ok_or("the name leaves the folder")?;
                let mut file = File::open(path).map_err(|error| error.to_string())?;
                let mut chunk = vec![0; CHUNK];
                loop {
                    let length = file.read(&mut chunk).map_err(|error| error.to_string())?;
                    if length == 0 || !each(&chunk[..length]) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn object(bucket: &str, key: &str) -> ObjectRef {
    ObjectRef {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version_id: None,
    }
}

/// Hashes what `next` returns, on a thread for blocking work.
async fn blocking(
    expected: Sha256,
    mut next: impl FnMut() -> Result<Option<Vec<u8>>, String> + Send + 'static,
) -> FileState {
    let hashed = task::spawn_blocking(move || {
        let mut reader = ContentReader::new(DEFAULT_MAX_UNCOMPRESSED);
        loop {
            match next() {
                Err(error) => return FileState::NotChecked(error),
                Ok(None) => return FileState::of(&expected, reader.finish().as_ref()),
                Ok(Some(chunk)) => {
                    if let Err(error) = reader.push(&chunk) {
                        return FileState::of(&expected, Err(&error));
                    }
                }
            }
        }
    });
    hashed
        .await
        .unwrap_or_else(|_| FileState::NotChecked("reading it failed unexpectedly".into()))
}
