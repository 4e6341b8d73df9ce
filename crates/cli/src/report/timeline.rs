//! The timeline: calls as marks on lanes along an axis of time.
//!
//! Most of the time nothing happens, and then much in a few minutes. So long quiet times are shortened, and the axis
//! says so. The picture is laid out here and drawn by the template.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{call::Call, lane::Lane};

/// Width of the picture, in its own units.
pub(super) const WIDTH: f64 = 1120.0;
/// Where the axis begins; lanes are named in front of it.
pub(super) const LEFT: f64 = 218.0;
const RIGHT: f64 = 1096.0;
/// Width of a shortened quiet time.
const BREAK: f64 = 34.0;
/// Least width of what lies between two of them.
const MIN_PART: f64 = 90.0;
/// Least length of a quiet time that is shortened, in seconds.
const MIN_QUIET: i64 = 3600;
/// Maximum number of quiet times that are shortened.
const MAX_BREAKS: usize = 5;
/// Marks that are nearer than this stand on rows of their own.
const MARK: f64 = 15.0;
const ROW: f64 = 17.0;
const LANE_PADDING: f64 = 10.0;
/// Maximum number of rows of a lane. Further marks overlap.
const MAX_ROWS: usize = 12;
/// Maximum number of lanes. What is left shares lanes.
const MAX_LANES: usize = 120;
/// Above the lanes: the call that is pointed at, and the axis.
const TOP: f64 = 92.0;
/// Least distance of two times on the axis.
const TICK: f64 = 92.0;

/// Steps between the times on the axis, in seconds.
const STEPS: [i64; 19] = [
    1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    1_209_600, 2_592_000, 7_776_000, 31_536_000,
];

pub(super) struct Timeline {
    pub height: f64,
    pub lanes: Vec<DrawnLane>,
    pub marks: Vec<Mark>,
    pub ticks: Vec<Tick>,
    /// Where quiet time is shortened.
    pub breaks: Vec<f64>,
}

pub(super) struct DrawnLane {
    pub label: String,
    pub full: String,
    pub is_indented: bool,
    pub top: f64,
    pub height: f64,
}

pub(super) struct Mark {
    /// The position of the call among those that are listed.
    pub call: usize,
    pub x: f64,
    pub y: f64,
}

pub(super) struct Tick {
    pub x: f64,
    pub date: Option<String>,
    pub time: String,
}

/// Lays out calls, which come in order of time.
pub(super) fn of(calls: &[&Call], clusters: &BTreeMap<String, String>) -> Timeline {
    let axis = Axis::of(calls.iter().filter_map(|call| call.time));
    let mut lanes: BTreeMap<Lane, Vec<(usize, f64)>> = BTreeMap::new();
    for (position, call) in calls.iter().enumerate() {
        let mut lane = call.lane.clone();
        if let Some(cluster) = clusters.get(&lane.name).filter(|_| lane.is_backup()) {
            lane.set_cluster(cluster);
        }
        // A call without a time stands at the end.
        let x = call.time.map_or(RIGHT, |time| axis.x(time));
        lanes.entry(lane).or_default().push((position, x));
    }
    let lanes = limited(lanes);
    let mut timeline = Timeline {
        height: 0.0,
        lanes: Vec::new(),
        marks: Vec::with_capacity(calls.len()),
        ticks: axis.ticks(),
        breaks: axis.breaks(),
    };
    let mut top = TOP;
    for (lane, calls) in lanes {
        let mut rows: Vec<f64> = Vec::new();
        for (call, x) in calls {
            let free = rows.iter().position(|last| x - last >= MARK);
            let row = free.unwrap_or_else(|| rows.len().min(MAX_ROWS - 1));
            match rows.get_mut(row) {
                Some(last) => *last = x,
                None => rows.push(x),
            }
            timeline.marks.push(Mark {
                call,
                x: rounded(x),
                y: top + LANE_PADDING + ROW * row as f64 + ROW / 2.0,
            });
        }
        let height = LANE_PADDING * 2.0 + ROW * rows.len().max(1) as f64;
        timeline.lanes.push(DrawnLane {
            label: shortened(
                &lane.label(),
                if lane.cluster_of_backup().is_some() {
                    26
                } else {
                    28
                },
            ),
            full: format!("{} {}", lane.kind, lane.label()),
            is_indented: lane.cluster_of_backup().is_some(),
            top,
            height,
        });
        top += height;
    }
    timeline.height = top + 8.0;
    timeline.marks.sort_by_key(|mark| mark.call);
    timeline
}

/// The lanes with most calls, and one for the others of each kind.
fn limited(lanes: BTreeMap<Lane, Vec<(usize, f64)>>) -> BTreeMap<Lane, Vec<(usize, f64)>> {
    if lanes.len() <= MAX_LANES {
        return lanes;
    }
    let mut by_size: Vec<(Lane, Vec<(usize, f64)>)> = lanes.into_iter().collect();
    by_size.sort_by(|(a, few), (b, many)| many.len().cmp(&few.len()).then_with(|| a.cmp(b)));
    let rest = by_size.split_off(MAX_LANES);
    let mut lanes: BTreeMap<Lane, Vec<(usize, f64)>> = by_size.into_iter().collect();
    for (lane, calls) in rest {
        lanes.entry(lane.others()).or_default().extend(calls);
    }
    for calls in lanes.values_mut() {
        calls.sort_by_key(|(position, _)| *position);
    }
    lanes
}

fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn rounded(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// Time along the picture, in parts between shortened quiet times.
struct Axis {
    parts: Vec<Part>,
}

/// From a time to a time, in seconds since 1970, and where that is in the picture.
#[derive(Clone, Copy)]
struct Part {
    from: i64,
    to: i64,
    left: f64,
    right: f64,
}

impl Axis {
    fn of(times: impl Iterator<Item = Timestamp>) -> Axis {
        let mut seconds: Vec<i64> = times.map(|time| time.as_second()).collect();
        seconds.sort_unstable();
        seconds.dedup();
        let (Some(first), Some(last)) = (seconds.first(), seconds.last()) else {
            return Axis { parts: Vec::new() };
        };
        // The longest gaps are shortened while each is a fifth of what is left.
        let mut gaps: Vec<(i64, i64)> = seconds.windows(2).map(|two| (two[0], two[1])).collect();
        gaps.sort_by_key(|(from, to)| (from - to, *from));
        let mut left = (last - first).max(1);
        let mut quiet = Vec::new();
        for (from, to) in gaps.into_iter().take(MAX_BREAKS) {
            let length = to - from;
            if length * 5 < left || length < MIN_QUIET {
                break;
            }
            quiet.push((from, to));
            left -= length;
        }
        quiet.sort_unstable();
        let starts = std::iter::once(*first).chain(quiet.iter().map(|(_, to)| *to));
        let ends = quiet.iter().map(|(from, _)| *from).chain([*last]);
        let ranges: Vec<(i64, i64)> = starts.zip(ends).collect();
        let total: i64 = ranges.iter().map(|(from, to)| to - from).sum();
        let count = ranges.len() as f64;
        let free = RIGHT - 14.0 - (LEFT + 14.0) - BREAK * (count - 1.0) - MIN_PART * count;
        let mut x = LEFT + 14.0;
        let mut parts = Vec::new();
        for (from, to) in ranges {
            let share = match total {
                0 => 1.0 / count,
                total => (to - from) as f64 / total as f64,
            };
            let width = MIN_PART + free * share;
            parts.push(Part {
                from,
                to,
                left: x,
                right: x + width,
            });
            x += width + BREAK;
        }
        Axis { parts }
    }

    fn x(&self, time: Timestamp) -> f64 {
        let second = time.as_second();
        self.parts
            .iter()
            .find(|part| second <= part.to)
            .or(self.parts.last())
            .map_or(LEFT, |part| part.x(second))
    }

    fn breaks(&self) -> Vec<f64> {
        self.parts
            .windows(2)
            .map(|two| rounded((two[0].right + two[1].left) / 2.0))
            .collect()
    }

    /// The beginning of each part, and round times within it.
    fn ticks(&self) -> Vec<Tick> {
        let mut ticks = Vec::new();
        let mut last_date = String::new();
        let mut add = |x: f64, second: i64, has_seconds: bool| {
            let time = Timestamp::from_second(second).unwrap_or_default();
            let date = time.strftime("%Y-%m-%d").to_string();
            let is_new = date != last_date;
            last_date.clone_from(&date);
            ticks.push(Tick {
                x: rounded(x),
                date: is_new.then_some(date),
                time: time
                    .strftime(if has_seconds { "%H:%M:%S" } else { "%H:%M" })
                    .to_string(),
            });
        };
        for part in &self.parts {
            let length = part.to - part.from;
            let width = part.right - part.left;
            let fits = ((width / TICK) as i64).max(1);
            let step = STEPS
                .into_iter()
                .find(|step| length <= step * fits)
                .unwrap_or(STEPS[STEPS.len() - 1]);
            let has_seconds = step < 60 && length > 0;
            add(part.x(part.from), part.from, has_seconds);
            let mut second = (part.from.div_euclid(step) + 1) * step;
            let mut last = part.left;
            while second <= part.to && length > 0 {
                let x = part.x(second);
                if x - last >= TICK * 0.8 {
                    add(x, second, has_seconds);
                    last = x;
                }
                second += step;
            }
        }
        ticks
    }
}

impl Part {
    fn x(self, second: i64) -> f64 {
        if self.to == self.from {
            return (self.left + self.right) / 2.0;
        }
        let share = (second - self.from) as f64 / (self.to - self.from) as f64;
        self.left + (self.right - self.left) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(times: &[&str]) -> Axis {
        Axis::of(times.iter().map(|time| time.parse().unwrap()))
    }

    #[test]
    fn quiet_time_is_shortened_and_order_kept() {
        let times = [
            "2026-09-01T00:00:00Z",
            "2026-11-23T03:41:00Z",
            "2026-11-23T03:45:00Z",
            "2026-11-23T03:52:00Z",
        ];
        let axis = axis(&times);
        assert_eq!(axis.parts.len(), 2);
        let places: Vec<f64> = times
            .iter()
            .map(|time| axis.x(time.parse().unwrap()))
            .collect();
        assert!(
            places.windows(2).all(|two| two[1] - two[0] > MARK),
            "{places:?}"
        );
        assert!(
            places.iter().all(|x| (LEFT..=RIGHT).contains(x)),
            "{places:?}"
        );
        let first: Vec<_> = axis
            .ticks()
            .into_iter()
            .filter_map(|tick| tick.date)
            .collect();
        assert_eq!(first, ["2026-09-01", "2026-11-23"]);
    }

    #[test]
    fn the_widest_range_of_times_has_few_ticks() {
        let axis = axis(&[
            "0001-01-01T00:00:00Z",
            "9998-12-30T00:00:00Z",
            "2026-11-23T03:41:00Z",
        ]);
        assert!(axis.ticks().len() < 20, "{}", axis.ticks().len());
        assert!(Axis::of(std::iter::empty()).ticks().is_empty());
    }
}
