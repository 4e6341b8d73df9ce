//! Pages: whether the output of a command of the AWS CLI has all that the command can give.
//!
//! `lookup-events` and `get-query-results` answer in pages, and a page with a `NextToken` is not the last one. The AWS
//! CLI joins the pages of the first command, unless an option limits them; of the second one, it prints a single page.
//! A following page may be in the same file. If the last page of a list is not there, the records were read, and the
//! file is incomplete. A log file has no pages.
//! Source: AWS CloudTrail API Reference (`LookupEvents`, `GetQueryResults`); AWS CLI User Guide, "Pagination".

use serde_json::Value;

use super::{error::Incomplete, form::List};
use crate::text::one_line;

/// A member beside a list which says whether the list is complete.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Member {
    NextToken,
    QueryStatus,
}

impl Member {
    pub(super) fn of_name(name: &str) -> Option<Member> {
        match name {
            "NextToken" => Some(Member::NextToken),
            "QueryStatus" => Some(Member::QueryStatus),
            _ => None,
        }
    }
}

/// The pages in a file.
#[derive(Default)]
pub(super) struct Pages {
    /// The page being read.
    page: Page,
    /// The lists whose last page in the file is not the last one, or is of a query that has not finished.
    incomplete: Vec<(List, Incomplete)>,
}

/// A page.
#[derive(Default)]
struct Page {
    list: Option<List>,
    has_token: bool,
    /// The status of a query that has not finished.
    status: Option<String>,
}

impl Page {
    /// What it lacks.
    fn incomplete(self) -> Option<Incomplete> {
        match (self.list?, self.status) {
            (List::Rows, Some(status)) => Some(Incomplete::Query { status }),
            (List::Rows, None) => self.has_token.then_some(Incomplete::Rows),
            (List::Events, _) => self.has_token.then_some(Incomplete::Events),
            (List::Records, _) => None,
        }
    }
}

impl Pages {
    /// The page being read has a list.
    pub(super) fn list(&mut self, list: List) {
        self.page.list = Some(list);
    }

    /// The page being read has a member.
    pub(super) fn member(&mut self, member: Member, value: &Value) {
        match (member, value) {
            (_, Value::Null) => {}
            (Member::NextToken, value) => self.page.has_token = value != "",
            (Member::QueryStatus, Value::String(status)) if status == "FINISHED" => {}
            (Member::QueryStatus, Value::String(status)) => {
                self.page.status = Some(one_line(status, 40));
            }
            (Member::QueryStatus, _) => {}
        }
    }

    /// The page being read ends.
    pub(super) fn end(&mut self) {
        let page = std::mem::take(&mut self.page);
        let Some(list) = page.list else {
            return;
        };
        let found = page.incomplete();
        // A page continues those before it.
        self.incomplete.retain(|(known, _)| *known != list);
        self.incomplete.extend(found.map(|found| (list, found)));
    }

    /// Why the file is not complete.
    pub(super) fn incomplete(&self) -> Option<&Incomplete> {
        self.incomplete.first().map(|(_, found)| found)
    }
}
