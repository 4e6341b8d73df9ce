//! Where a digest file says it is, compared with where it was found.
//!
//! A bucket that was replicated or copied has the digest files of another bucket: each of them names the place that it
//! was delivered to. That is one remark about the copy, and the objects that it names are looked for in the copy. Any
//! other difference means that an authentic digest file was put in the place of another one.

use super::{
    document::Digest,
    key::{Chain, DigestKey},
};

/// Where a digest file says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Where it was found.
    Here,
    /// At the same place of another bucket or prefix.
    Copied(Origin),
    /// Elsewhere: the address that it names.
    Elsewhere(String),
}

/// The bucket and prefix that a copy was made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The bucket.
    pub bucket: String,
    /// What precedes `AWSLogs/`.
    pub prefix: Option<String>,
}

impl Placement {
    /// Compares the place in a digest file with the one at which it was found.
    pub fn of(found: &DigestKey, digest: &Digest) -> Placement {
        let elsewhere = || Placement::Elsewhere(format!("s3://{}/{}", digest.bucket, digest.key));
        let Some(named) = DigestKey::parse(&digest.bucket, &digest.key) else {
            return elsewhere();
        };
        let origin = Origin {
            bucket: named.chain.bucket.clone(),
            prefix: named.chain.prefix.clone(),
        };
        let mut moved = found.clone();
        moved.chain.bucket.clone_from(&origin.bucket);
        moved.chain.prefix.clone_from(&origin.prefix);
        if named.end != digest.end || moved.key() != digest.key {
            return elsewhere();
        }
        if *found == named {
            Placement::Here
        } else {
            Placement::Copied(origin)
        }
    }

    /// Where an object that the digest file names is looked for: in a copy, the copy of it.
    pub fn here(&self, chain: &Chain, bucket: &str, key: &str) -> (String, String) {
        let unchanged = || (bucket.to_owned(), key.to_owned());
        let Placement::Copied(origin) = self else {
            return unchanged();
        };
        let rest = match &origin.prefix {
            _ if bucket != origin.bucket => None,
            Some(prefix) => key
                .strip_prefix(prefix.as_str())
                .and_then(|rest| rest.strip_prefix('/')),
            None => Some(key),
        };
        match (rest, &chain.prefix) {
            (Some(rest), Some(prefix)) => (chain.bucket.clone(), format!("{prefix}/{rest}")),
            (Some(rest), None) => (chain.bucket.clone(), rest.to_owned()),
            (None, _) => unchanged(),
        }
    }
}
