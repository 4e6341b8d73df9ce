//! Which findings are wanted: the options `--since`, `--until`, `--actor`, `--account`, `--region`, `--resource`,
//! `--rule` and `--event-name`, and the [`Filter`] that they make.
//!
//! The values of one option are alternatives; different options must all hold. What they are compared with is in
//! [`names`], and times are in [`moment`]. A filter only says what is wanted; matching rules is the core's part, and
//! exceptions to rules are Sigma filters.

pub(crate) mod moment;
mod names;

use std::collections::BTreeMap;

use clap::{Args, error::ErrorKind};
use cloudhsm_alerts::clock::Clock;
use cloudhsm_alerts_core::{
    finding::Finding,
    record::Record,
    rules::{Rule, RuleSet},
};
use jiff::Timestamp;
use wildmatch::WildMatch;

use moment::Moment;

/// The options that choose findings, for every command that reads log files.
#[derive(Args, Clone, Debug, Default)]
#[command(
    next_help_heading = "Filters (values of one option: any of them; different options: all)"
)]
pub struct FilterOptions {
    /// Only calls at or after this time: 2026-11-01, 2026-11-01T08:00:00Z, or 90d or 12h before now
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// Only calls at or before this time; a date includes the whole day (UTC)
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// Only calls by this user, role, session, access key, service or caller's account: a name, ID or ARN
    #[arg(long, value_name = "NAME", value_parser = Pattern::parse)]
    actor: Vec<Pattern>,
    /// Only calls recorded in this account: its ID, or its name in --account-names
    #[arg(long, value_name = "ACCOUNT", value_parser = Pattern::parse)]
    account: Vec<Pattern>,
    /// Only calls in this region
    #[arg(long, value_name = "REGION", value_parser = Pattern::parse)]
    region: Vec<Pattern>,
    /// Only calls that name this cluster, HSM, backup or other resource: an ID, a name or an ARN
    #[arg(long, value_name = "ID", value_parser = Pattern::parse)]
    resource: Vec<Pattern>,
    /// Only calls that match this rule: its name or ID
    #[arg(long, value_name = "RULE", value_parser = Pattern::parse)]
    rule: Vec<Pattern>,
    /// Only calls of this operation, such as DeleteBackup
    #[arg(long, value_name = "NAME", value_parser = Pattern::parse)]
    event_name: Vec<Pattern>,
}

impl FilterOptions {
    /// The options that are used, as they were written: `--actor alice`.
    pub fn describe(&self) -> Vec<String> {
        let times = [("--since", &self.since), ("--until", &self.until)];
        let names = [
            ("--actor", &self.actor),
            ("--account", &self.account),
            ("--region", &self.region),
            ("--resource", &self.resource),
            ("--rule", &self.rule),
            ("--event-name", &self.event_name),
        ];
        let times = times
            .into_iter()
            .filter_map(|(option, time)| Some(format!("{option} {}", time.as_ref()?)));
        let names = names.into_iter().flat_map(|(option, patterns)| {
            patterns
                .iter()
                .map(move |pattern| format!("{option} {}", pattern.text))
        });
        times.chain(names).collect()
    }
}

/// A name in any case, in which `*` stands for any text and `?` for one character.
#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    wild: WildMatch,
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern, String> {
        if text.trim().is_empty() {
            return Err("expected a name, found an empty text".into());
        }
        Ok(Pattern {
            text: text.to_owned(),
            wild: WildMatch::new_case_insensitive(text),
        })
    }

    fn matches(&self, name: &str) -> bool {
        self.wild.matches(name)
    }
}

/// Decides which findings are wanted.
#[derive(Clone, Debug)]
pub struct Filter {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    options: FilterOptions,
}

impl Filter {
    /// The filter that the options make, for a time that is now.
    ///
    /// # Errors
    /// The options contradict each other, or a time is out of range. It is an error of usage.
    pub fn new(options: &FilterOptions, clock: &Clock) -> Result<Filter, clap::Error> {
        let now = clock.now();
        let at = |moment: &Option<Moment>, resolve: fn(&Moment, Timestamp) -> Option<Timestamp>| {
            let Some(moment) = moment else {
                return Ok(None);
            };
            let time = resolve(moment, now);
            time.map(Some).ok_or_else(|| {
                usage_error(
                    ErrorKind::ValueValidation,
                    format!("{moment}: the time is out of range"),
                )
            })
        };
        let since = at(&options.since, Moment::first)?;
        let until = at(&options.until, Moment::last)?;
        if let (Some(from), Some(to)) = (since, until)
            && from > to
            && let (Some(since), Some(until)) = (&options.since, &options.until)
        {
            return Err(usage_error(
                ErrorKind::ArgumentConflict,
                format!("--since {since} is later than --until {until}: no call can be in between"),
            ));
        }
        Ok(Filter {
            since,
            until,
            options: options.clone(),
        })
    }

    /// Whether `--rule` is used.
    pub fn names_rules(&self) -> bool {
        !self.options.rule.is_empty()
    }

    /// Checks that each `--rule` names a rule: a misspelled name would otherwise look like "nothing happened".
    ///
    /// # Errors
    /// A name is not known. It is an error of usage.
    pub fn check_rules(&self, rules: &RuleSet) -> Result<(), clap::Error> {
        for wanted in &self.options.rule {
            let known = rules.rules();
            if known.iter().any(|rule| names_rule(wanted, rule)) {
                continue;
            }
            let similar = known
                .iter()
                .find(|rule| rule.name.contains(&wanted.text.to_lowercase()))
                .map_or_else(
                    || "`cloudhsm-alerts rules list` shows all rules".to_owned(),
                    |rule| format!("did you mean {}?", rule.name),
                );
            return Err(usage_error(
                ErrorKind::ValueValidation,
                format!("--rule {:?}: there is no such rule; {similar}", wanted.text),
            ));
        }
        Ok(())
    }

    /// The option that excludes a finding; `None`: it is wanted. `account_name` gives the configured name of an
    /// account ID.
    pub fn excluded_by<'n>(
        &self,
        finding: &Finding,
        account_name: impl Fn(&str) -> Option<&'n str>,
    ) -> Option<&'static str> {
        if let Some(option) = self.record_excluded_by(&finding.record, account_name) {
            return Some(option);
        }
        let rules = finding
            .rules
            .iter()
            .chain(finding.suppressed.iter().map(|suppressed| &suppressed.rule));
        let wanted = &self.options.rule;
        let is_wanted = wanted.is_empty()
            || rules
                .into_iter()
                .any(|rule| wanted.iter().any(|pattern| names_rule(pattern, rule)));
        (!is_wanted).then_some("--rule")
    }

    /// The option that excludes a record, whatever rules it matches; `None`: it is wanted.
    ///
    /// A call without a valid time is wanted in every period: what cannot be decided is shown.
    pub fn record_excluded_by<'n>(
        &self,
        record: &Record,
        account_name: impl Fn(&str) -> Option<&'n str>,
    ) -> Option<&'static str> {
        if self.since.is_some() || self.until.is_some() {
            let time = record.event_time();
            if let (Some(time), Some(since)) = (time, self.since)
                && time < since
            {
                return Some("--since");
            }
            if let (Some(time), Some(until)) = (time, self.until)
                && time > until
            {
                return Some("--until");
            }
        }
        let options = &self.options;
        let excludes = |wanted: &[Pattern], found: &dyn Fn() -> Vec<String>| {
            !wanted.is_empty() && {
                let found = found();
                !wanted
                    .iter()
                    .any(|pattern| found.iter().any(|name| pattern.matches(name)))
            }
        };
        if excludes(&options.event_name, &|| {
            vec![record.event_name().to_owned()]
        }) {
            return Some("--event-name");
        }
        if excludes(&options.region, &|| {
            record.region().map(str::to_owned).into_iter().collect()
        }) {
            return Some("--region");
        }
        if excludes(&options.account, &|| {
            let id = record.account();
            let name = id.as_deref().and_then(&account_name).map(str::to_owned);
            id.into_iter().chain(name).collect()
        }) {
            return Some("--account");
        }
        if excludes(&options.actor, &|| names::of_actor(record)) {
            return Some("--actor");
        }
        excludes(&options.resource, &|| names::of_resources(record)).then_some("--resource")
    }
}

fn names_rule(pattern: &Pattern, rule: &Rule) -> bool {
    pattern.matches(&rule.name) || pattern.matches(&rule.id)
}

/// An error of usage, which ends the program with exit code 2.
pub fn usage_error(kind: ErrorKind, message: String) -> clap::Error {
    clap::Error::raw(kind, format!("{message}\n"))
}

/// Counts of findings that were filtered out, by the first option that excludes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilteredOut(BTreeMap<&'static str, u64>);

impl FilteredOut {
    /// Counts a finding.
    pub fn count(&mut self, option: &'static str) {
        *self.0.entry(option).or_default() += 1;
    }

    /// Adds other counts.
    pub fn add(&mut self, other: FilteredOut) {
        for (option, count) in other.0 {
            *self.0.entry(option).or_default() += count;
        }
    }

    /// The sum.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// `3 filtered out (2 by --actor, 1 by --since)`.
    pub fn describe(&self) -> String {
        let by: Vec<String> = self
            .0
            .iter()
            .map(|(option, count)| format!("{count} by {option}"))
            .collect();
        format!("{} filtered out ({})", self.total(), by.join(", "))
    }
}

#[cfg(test)]
mod tests;
