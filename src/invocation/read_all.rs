//! Reads objects to their end, while what is found in them is queued. If that is too much, or a storm has an urgent call,
//! alerts are published before all is read.

use super::{
    inbox::Inbox,
    items::ObjectItem,
    publishing::Publishing,
    queue::Queue,
    reading::{Event, Readers, Report, Shared},
};

/// Reads these objects. `on_read` gets the result of each, after its findings. Returns those that no time was left for.
pub(super) async fn read_all(
    objects: Vec<ObjectItem>,
    shared: Shared<'_>,
    mut on_read: impl FnMut(Report, &mut Inbox),
    queue: &mut Queue,
    publishing: &mut Publishing<'_>,
    inbox: &mut Inbox,
) -> Vec<ObjectItem> {
    let mut readers = Readers::new(objects, shared);
    while let Some(event) = readers.next().await {
        match event {
            Event::Found(found) => {
                for found in found {
                    publishing.push(found, queue, inbox);
                    publishing.publish_urgent(queue, inbox).await;
                }
            }
            Event::Read(report) => on_read(*report, inbox),
        }
        if queue.is_full() || publishing.is_watch_full() {
            publishing.publish(queue.take(), false, inbox).await;
            publishing.write_watch(inbox).await;
        }
    }
    readers.unread().collect()
}
