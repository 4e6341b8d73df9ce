//! Log files and digest files that somebody removed, of which S3 notifies within seconds. The digest file that lists a
//! log file proves an hour later whether it had been read.
//!
//! A thousand removals are a thousand notifications, so the first one of a caller in an hour is a finding, and the others
//! are counted as the same.

use cloudhsm_alerts_core::{
    alert::trail::{Kind, TrailFinding},
    digest::verdict::Interval,
    object::{ObjectRef, Skip},
    text::one_line,
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::CONCURRENT;
use crate::{
    failure::Failure,
    invocation::{inbox::Inbox, items::RemovalItem, reading::Shared},
    payload::Removal,
    s3::{self, FetchError},
};

/// The findings about these removals, with the units that named them. A temporary error fails them.
pub(super) async fn look(
    removals: Vec<RemovalItem>,
    shared: Shared<'_>,
    inbox: &mut Inbox,
) -> Vec<(TrailFinding, Vec<usize>)> {
    let looked: Vec<(RemovalItem, Option<Result<bool, FetchError>>)> = stream::iter(removals)
        .map(|item| async move {
            let looking = is_gone(&item.removal, shared);
            let is_gone = shared.deadline.while_reading(looking).await;
            (item, is_gone)
        })
        .buffered(CONCURRENT)
        .collect()
        .await;
    let mut findings = Vec::new();
    for (
        RemovalItem {
            removal,
            unit,
            item,
        },
        is_gone,
    ) in looked
    {
        let object = removal.object.clone();
        let failure = match is_gone {
            Some(Ok(true)) => {
                findings.push((finding(&removal, shared.now), vec![unit]));
                continue;
            }
            Some(Ok(false)) => {
                let what = format!("removal of {object}, which is there");
                inbox.skip(Skip::NotCreated, &what, unit);
                continue;
            }
            Some(Err(error)) => Failure::Object { object, error },
            None => Failure::ObjectOutOfTime { object, read: 0 },
        };
        inbox.fail_item(item, failure, &[unit]);
    }
    findings
}

/// Whether the object cannot be read any more. Deleting a delete marker brings it back, and is notified as the deletion of
/// a version, too.
async fn is_gone(removal: &Removal, shared: Shared<'_>) -> Result<bool, FetchError> {
    if removal.is_hidden {
        return Ok(true);
    }
    let current = ObjectRef {
        version_id: None,
        ..removal.object.clone()
    };
    match s3::open(shared.client, &current).await {
        Ok(_) | Err(FetchError::Archived(_)) => Ok(false),
        Err(error) if error.is_temporary() => Err(error),
        // It is gone, or it cannot be shown that it is there.
        Err(_) => Ok(true),
    }
}

fn finding(removal: &Removal, now: Timestamp) -> TrailFinding {
    let Removal {
        object,
        is_hidden,
        caller,
        source_ip,
        ..
    } = removal;
    let time = removal.time.unwrap_or(now);
    let how = match is_hidden {
        true => "A delete marker hides it",
        false => "It was deleted, and no version of it can be read by its key",
    };
    let (account, region) = object.account_and_region().unwrap_or_default();
    let or_unknown = |text: &str| match text {
        "" => "unknown".to_owned(),
        text => one_line(text, 256),
    };
    TrailFinding {
        kind: Kind::FileRemoved,
        subject: format!(
            "{} {caller} {}",
            object.bucket,
            time.strftime("%Y-%m-%dT%H")
        ),
        account: account.to_owned(),
        region: region.to_owned(),
        chain: None,
        object: Some((object.bucket.clone(), object.key.clone())),
        interval: Some(Interval {
            from: time,
            to: time,
        }),
        detail: format!(
            "{how} since {}. S3 names as the caller {}, from {}. There is one message an hour for each caller: the same caller may have removed others.",
            time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            or_unknown(caller),
            or_unknown(source_ip),
        ),
        caller: Some(caller.clone()).filter(|caller| !caller.is_empty()),
    }
}
