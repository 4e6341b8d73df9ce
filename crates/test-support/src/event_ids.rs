//! The event IDs of a finding: of each call in it, the repeated ones too, in the order in which they stand.

use serde_json::Value;

pub fn event_ids(finding: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("an event ID").to_owned();
    let with_repeats = |uid: &Value, holder: &Value| -> Vec<String> {
        let repeats = holder["repeated_event_ids"].as_array();
        std::iter::once(uid)
            .chain(repeats.into_iter().flatten())
            .map(text)
            .collect()
    };
    match finding["evidences"].as_array() {
        Some(evidences) if finding["unmapped"]["summary"] == true => evidences
            .iter()
            .flat_map(|evidence| with_repeats(&evidence["uid"], &evidence["data"]))
            .collect(),
        _ => with_repeats(&finding["finding_info"]["uid"], &finding["unmapped"]),
    }
}
