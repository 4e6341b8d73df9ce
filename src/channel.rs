//! Channels: the topics that the function publishes to, and which of them have a call's message.
//!
//! Every alert goes to the alert topic, from which people get e-mail and machines JSON. An alert that is severe enough
//! also goes to the paging topic, as a short text for SMS and pagers. The two succeed and fail separately.

use std::{
    fmt,
    ops::{Index, IndexMut},
};

/// One of the two topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// `ALERT_TOPIC_ARN`.
    Alert,
    /// `PAGING_TOPIC_ARN`.
    Page,
}

impl Channel {
    const ALL: [Channel; 2] = [Channel::Alert, Channel::Page];

    /// What is published to it, which is also its name in the ledger's table.
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Alert => "alert",
            Channel::Page => "page",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A value for each channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerChannel<T> {
    /// That of the alert topic.
    pub alert: T,
    /// That of the paging topic.
    pub page: T,
}

impl<T> Index<Channel> for PerChannel<T> {
    type Output = T;

    fn index(&self, channel: Channel) -> &T {
        match channel {
            Channel::Alert => &self.alert,
            Channel::Page => &self.page,
        }
    }
}

impl<T> IndexMut<Channel> for PerChannel<T> {
    fn index_mut(&mut self, channel: Channel) -> &mut T {
        match channel {
            Channel::Alert => &mut self.alert,
            Channel::Page => &mut self.page,
        }
    }
}

/// Whether SNS has accepted the message about a call, for each channel.
pub type Delivered = PerChannel<bool>;

impl Delivered {
    /// From the text in the ledger's table; no text: none.
    pub fn parse(text: Option<&str>) -> Delivered {
        let mut delivered = Delivered::default();
        for channel in Channel::ALL {
            delivered[channel] =
                text.is_some_and(|text| text.split(' ').any(|name| name == channel.as_str()));
        }
        delivered
    }

    /// The text for the ledger's table; `None` if no channel has the message.
    pub fn text(self) -> Option<String> {
        let names: Vec<&str> = Channel::ALL
            .into_iter()
            .filter(|channel| self[*channel])
            .map(Channel::as_str)
            .collect();
        (!names.is_empty()).then(|| names.join(" "))
    }

    /// What either of two has.
    #[must_use]
    pub fn or(self, other: Delivered) -> Delivered {
        Delivered {
            alert: self.alert || other.alert,
            page: self.page || other.page,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_is_read_as_it_was_written() {
        for (alert, page, text) in [
            (false, false, None),
            (true, false, Some("alert")),
            (false, true, Some("page")),
            (true, true, Some("alert page")),
        ] {
            let delivered = Delivered { alert, page };
            assert_eq!(delivered.text().as_deref(), text);
            assert_eq!(Delivered::parse(text), delivered);
        }
    }
}
