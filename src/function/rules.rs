//! Changed rules, looked for when an invocation's alerts are out, so that none waits for it.

use std::{sync::PoisonError, time::Duration};

use tracing::error;

use super::run::Run;
use crate::{payload::BatchMode, rule_source::Look};
use cloudhsm_alerts_core::alert::operator;

impl Run<'_> {
    /// Looks for changed rules. Trouble is counted each time and told once; it fails nothing, because alerting
    /// goes on with the rules that were good.
    pub(super) async fn look_for_rules(&mut self) {
        // A backfill tells the past, and its dry run nothing: the next log file that arrives looks.
        if self.deadline.publishing_is_over() || self.job.mode != BatchMode::Live {
            return;
        }
        let function = self.function;
        let at_start = function
            .at_start
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let found = match at_start {
            Some(trouble) => Err(trouble),
            None => self
                .deadline
                .answer(function.rules.refresh())
                .await
                .unwrap_or(Ok(Look::NotTaken)),
        };
        let trouble = match found {
            Ok(Look::NotTaken) => return,
            Ok(Look::Good) => {
                // Should they break again, that is told again.
                self.kept.told_trouble = None;
                self.kept.looked_in_vain = false;
                return;
            }
            Err(trouble) => trouble,
        };
        self.counts.rules_trouble += 1;
        let lines = trouble.lines();
        for line in &lines {
            error!(
                error_type = trouble.error_type(),
                "rules not loaded: {line}"
            );
        }
        // What the next look may find mended is told when it does not.
        let may_pass = trouble.is_temporary() && !self.kept.looked_in_vain;
        self.kept.looked_in_vain = trouble.is_temporary();
        if may_pass || self.kept.told_trouble.as_ref() == Some(&trouble) {
            return;
        }
        let uri = function
            .rules
            .uri()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message =
            operator::rules_not_loaded(&uri, &lines, self.rules.len(), function.clock.now());
        if !self.has_turn(Duration::MAX).await {
            // The next invocation tells it.
            return;
        }
        match self.send(&message).await {
            Ok(()) => self.kept.told_trouble = Some(trouble),
            Err(error) => error!(
                error_type = error.error_type(),
                "the operator alert about rules was not published, and will be tried again: {error}"
            ),
        }
    }
}
