//! One invocation, from payload to reply.
//!
//! Every object is read and every finding alerted before a failure is reported: nothing of a batch is lost because
//! of something else in it. An alert belongs to the units (SQS messages, Batch tasks, or the whole invocation) whose
//! objects contained its call; if it cannot be published, they fail.
//!
//! [`run`] is the flow. [`inbox`] has the units and their results, [`read_all`] has the loop in which objects are read
//! by [`reading`], [`queue`] has the calls that wait, in the compact form of [`pending`], [`grouping`] groups and orders them, [`publishing`] publishes alerts
//! about them, [`deadlines`] has what they open and close, [`stops`] those that stopped a trail, and [`reload`] loads changed rules and account names
//! afterwards. [`audit`] checks CloudTrail's digest files. [`tick`] is the flow of the hourly invocation that publishes
//! reminders.

mod audit;
mod deadlines;
mod grouping;
mod inbox;
mod items;
mod pending;
mod publishing;
mod queue;
mod read_all;
mod reading;
mod reload;
mod run;
mod stops;
mod tick;

pub(crate) use run::run;
