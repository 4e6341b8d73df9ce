//! The hourly look at the chains of digest files: those that are silent, and the gaps before starting digest files.
//!
//! A chain exists once its first digest file arrived, so nothing is missed before. A call that stopped the trail explains
//! a gap, which is then only logged. Silence is published in any case, with that call.

use cloudhsm_alerts_core::{
    alert::trail::{Kind, TrailFinding},
    digest::{
        chain::{GRACE, HOUR},
        verdict::Interval,
    },
};
use jiff::Timestamp;
use tracing::info;

use super::findings;
use crate::{
    failure::Failure,
    invocation::{inbox::Inbox, publishing::Publishing},
    watch::{GAP_WAITS, SeenStop, WatchedChain, chain_id, explaining},
};

/// The tick's invocation has one unit.
const UNITS: [usize; 1] = [0];

/// What is to be published about a chain.
struct Notice {
    chain: WatchedChain,
    silence: Option<TrailFinding>,
    gaps: Vec<(Interval, TrailFinding)>,
    /// Gaps that a call explains.
    explained: Vec<Interval>,
}

/// Publishes what is to be published about each chain, and notes it.
pub(in crate::invocation) async fn run(publishing: &mut Publishing<'_>, inbox: &mut Inbox) {
    if !publishing.instance.settings.digest_audit {
        return;
    }
    let Some((chains, stops)) = list(publishing, inbox).await else {
        return;
    };
    let now = publishing.instance.clock.now();
    let notices: Vec<Notice> = chains
        .into_iter()
        .filter_map(|chain| notice(chain, &stops, now))
        .collect();
    let found = notices.iter().flat_map(|notice| {
        let gaps = notice.gaps.iter().map(|(_, finding)| finding);
        notice.silence.iter().chain(gaps)
    });
    let found = found.map(|it| (it.clone(), UNITS.to_vec())).collect();
    let done = findings::publish(found, publishing, inbox).await;
    for notice in notices {
        let is_done = |finding: &TrailFinding| {
            let is_below = finding.kind.severity() < publishing.instance.settings.min_severity;
            is_below || done.contains(&finding.id())
        };
        let silent_since = notice.silence.as_ref().filter(|it| is_done(it));
        let silent_since = silent_since.map(|_| notice.chain.newest.end);
        let mut gaps = notice.explained;
        let published = notice.gaps.iter().filter(|(_, finding)| is_done(finding));
        gaps.extend(published.map(|(gap, _)| *gap));
        if silent_since.is_none() && gaps.is_empty() {
            continue;
        }
        let chain = &notice.chain.newest.chain;
        let noting = publishing
            .state
            .watch
            .note_published(chain, silent_since, &gaps);
        if let Err(failure) = Failure::of_watch(publishing.deadline.response(noting).await) {
            inbox.fail(failure, &UNITS);
        }
    }
}

async fn list(
    publishing: &Publishing<'_>,
    inbox: &mut Inbox,
) -> Option<(Vec<WatchedChain>, Vec<SeenStop>)> {
    let watch = &publishing.state.watch;
    let listing = async {
        let (chains, foreign) = watch.chains().await?;
        Ok((chains, foreign, watch.stops().await?))
    };
    match Failure::of_watch(publishing.deadline.response(listing).await) {
        Ok((chains, foreign, stops)) => {
            inbox.counts.foreign_items += foreign as u64;
            Some((chains, stops))
        }
        Err(failure) => {
            inbox.fail(failure, &UNITS);
            None
        }
    }
}

fn notice(chain: WatchedChain, stops: &[SeenStop], now: Timestamp) -> Option<Notice> {
    let mut notice = Notice {
        silence: silence(&chain, stops, now),
        gaps: Vec::new(),
        explained: Vec::new(),
        chain,
    };
    for (gap, noticed) in &notice.chain.gaps {
        if now.duration_since(*noticed) < GAP_WAITS {
            continue;
        }
        match explaining(stops, &notice.chain.newest.chain, *gap) {
            Some(stop) => {
                info!(
                    chain = %notice.chain.newest.chain,
                    from = %gap.from,
                    to = %gap.to,
                    "no digest files, because logging was stopped: {}",
                    stop.describe()
                );
                notice.explained.push(*gap);
            }
            None => {
                let finding = gap_finding(&notice.chain, *gap);
                notice.gaps.push((*gap, finding));
            }
        }
    }
    let is_empty =
        notice.silence.is_none() && notice.gaps.is_empty() && notice.explained.is_empty();
    (!is_empty).then_some(notice)
}

/// The finding that a chain is silent, unless that was published. A backfill chain has no schedule.
fn silence(chain: &WatchedChain, stops: &[SeenStop], now: Timestamp) -> Option<TrailFinding> {
    let end = chain.newest.end;
    let is_silent = now.duration_since(end) > HOUR + GRACE;
    if !is_silent || chain.newest.chain.is_backfill || chain.silent_since == Some(end) {
        return None;
    }
    let period = Interval { from: end, to: now };
    let who = match explaining(stops, &chain.newest.chain, period) {
        Some(stop) => format!("The trail was stopped or changed: {}.", stop.describe()),
        None => "Who stopped it was not seen.".to_owned(),
    };
    Some(finding(
        Kind::DigestSilent,
        chain,
        period,
        format!("silent since {end}"),
        format!("No digest file has arrived since the one that ends at {end}. {who}"),
    ))
}

fn gap_finding(chain: &WatchedChain, gap: Interval) -> TrailFinding {
    let Interval { from, to } = gap;
    finding(
        Kind::DigestMissing,
        chain,
        gap,
        format!("gap from {from} to {to}"),
        format!(
            "No digest files between {from} and {to}. Logging was stopped and started again, or the digest files before the stop were deleted; who stopped it was not seen."
        ),
    )
}

fn finding(
    kind: Kind,
    chain: &WatchedChain,
    interval: Interval,
    what: String,
    detail: String,
) -> TrailFinding {
    let of = &chain.newest.chain;
    TrailFinding {
        kind,
        subject: format!("{} {what}", chain_id(of)),
        account: of.account.clone(),
        region: of.region.clone(),
        chain: Some(of.clone()),
        object: None,
        interval: Some(interval),
        detail,
        caller: None,
    }
}
