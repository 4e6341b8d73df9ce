//! The line of each field of a rule file, for error messages.
//!
//! The engine's parser returns values without positions. A second YAML parser reads the same text and keeps
//! them. Only error messages depend on it.

use std::collections::HashMap;

use saphyr::{MarkedYaml, YamlData, YamlLoader};
use saphyr_parser::{Event, Parser, SpannedEventReceiver};

/// Deepest nesting; rules have five levels. YAML parsers recurse, and a file must not overflow the stack.
const MAX_DEPTH: usize = 40;

/// The lines of one YAML document, by path.
#[derive(Debug, Default)]
pub(super) struct Lines {
    by_path: HashMap<Vec<String>, usize>,
    /// Scalars, as written.
    texts: HashMap<Vec<String>, String>,
    /// Mappings and lists; true for a mapping without members.
    structures: HashMap<Vec<String>, bool>,
    /// The number of lines before the document in its file.
    before: usize,
}

impl Lines {
    /// Reads a document that starts after `before` lines of its file.
    ///
    /// # Errors
    /// The text is not YAML: the line, from 1, and the reason.
    pub(super) fn of(text: &str, before: usize) -> Result<Lines, (usize, String)> {
        // At the end of the text, the parser reports one line more than there is.
        let at = |line: usize| before + line.clamp(1, text.lines().count().max(1));
        let mut depth = 0_usize;
        let mut loader = YamlLoader::<MarkedYaml>::default();
        for event in Parser::new_from_str(text) {
            let (event, span) =
                event.map_err(|error| (at(error.marker().line()), error.info().to_owned()))?;
            if let Some(tag) = tag(&event) {
                let message =
                    format!("found the tag {tag}, which YAML parsers interpret differently");
                return Err((at(span.start.line()), message));
            }
            match &event {
                Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
                Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > MAX_DEPTH {
                let message = format!("found more than {MAX_DEPTH} levels of nesting");
                return Err((at(span.start.line()), message));
            }
            loader.on_event(event, span);
        }
        if let Some(error) = loader.error() {
            return Err((at(error.marker().line()), error.info().to_owned()));
        }
        let mut lines = Lines {
            by_path: HashMap::new(),
            texts: HashMap::new(),
            structures: HashMap::new(),
            before,
        };
        for document in &loader.into_documents() {
            lines.add(document, &mut Vec::new());
        }
        Ok(lines)
    }

    fn add(&mut self, node: &MarkedYaml<'_>, path: &mut Vec<String>) {
        match &node.data {
            YamlData::Mapping(members) => {
                self.structures.insert(path.clone(), members.is_empty());
                for (key, value) in members {
                    path.push(key.data.as_str().unwrap_or_default().to_owned());
                    self.by_path
                        .entry(path.clone())
                        .or_insert(key.span.start.line());
                    self.add(value, path);
                    path.pop();
                }
            }
            YamlData::Sequence(items) => {
                self.structures.insert(path.clone(), false);
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    self.by_path
                        .entry(path.clone())
                        .or_insert(item.span.start.line());
                    self.add(item, path);
                    path.pop();
                }
            }
            _ => {
                if let Some(text) = node.data.as_str() {
                    self.texts.insert(path.clone(), text.to_owned());
                }
            }
        }
    }

    /// These lines without any below the top level, which take most of the memory of a parsed file.
    pub(super) fn of_members(&self) -> Lines {
        Lines {
            by_path: self
                .by_path
                .iter()
                .filter(|(path, _)| path.len() == 1)
                .map(|(path, line)| (path.clone(), *line))
                .collect(),
            before: self.before,
            ..Lines::default()
        }
    }

    /// The members of the document's top level, with their lines.
    pub(super) fn members(&self) -> Vec<(&str, usize)> {
        let mut members: Vec<(&str, usize)> = self
            .by_path
            .iter()
            .filter(|(path, _)| path.len() == 1)
            .map(|(path, line)| (path[0].as_str(), self.before + line))
            .collect();
        members.sort_by_key(|(_, line)| *line);
        members
    }

    /// Whether the field exists.
    pub(super) fn has(&self, path: &[&str]) -> bool {
        self.by_path.contains_key(&owned(path))
    }

    /// Whether the value at a path is a mapping without members.
    pub(super) fn is_empty_mapping(&self, path: &[String]) -> bool {
        self.structures.get(path) == Some(&true)
    }

    /// Whether the value at a path is a mapping or a list.
    pub(super) fn is_structure(&self, path: &[String]) -> bool {
        self.structures.contains_key(path)
    }

    /// The string at a path, or the strings of the list there; `None` if it is neither.
    pub(super) fn texts(&self, path: &[&str]) -> Option<Vec<String>> {
        if let Some(text) = self.texts.get(&owned(path)) {
            return Some(vec![text.clone()]);
        }
        if !self.has(path) {
            return None;
        }
        let items = self
            .below(path)
            .filter(|(found, _)| found.len() == path.len() + 1)
            .count();
        (0..items)
            .map(|index| {
                let mut item = owned(path);
                item.push(index.to_string());
                self.texts.get(&item).cloned()
            })
            .collect()
    }

    /// Every path below a path, with its line, unordered.
    pub(super) fn below<'l>(
        &'l self,
        part: &'l [&'l str],
    ) -> impl Iterator<Item = (&'l [String], usize)> + 'l {
        self.by_path
            .iter()
            .filter(move |(path, _)| {
                path.len() > part.len() && path.iter().zip(part).all(|(name, part)| name == part)
            })
            .map(|(path, line)| (path.as_slice(), self.before + line))
    }

    /// The first line below a path with this field of a detection, regardless of its modifiers.
    pub(super) fn line_of_field(&self, part: &[&str], field: &str) -> usize {
        self.below(part)
            .filter(|(path, _)| {
                path.last()
                    .is_some_and(|key| key.split('|').next() == Some(field))
            })
            .map(|(_, line)| line)
            .min()
            .unwrap_or_else(|| self.line(part))
    }

    /// The line of a field, from 1. If the field is missing, the line of its closest parent.
    pub(super) fn line(&self, path: &[&str]) -> usize {
        let path = owned(path);
        (1..=path.len())
            .rev()
            .find_map(|length| self.by_path.get(&path[..length]))
            .map_or(self.before + 1, |line| self.before + line)
    }
}

/// The tag of a value, such as `!!str`.
fn tag(event: &Event<'_>) -> Option<String> {
    let tag = match event {
        Event::Scalar(_, _, _, tag)
        | Event::SequenceStart(_, tag)
        | Event::MappingStart(_, tag) => tag.as_ref()?,
        _ => return None,
    };
    let handle = match tag.handle.as_str() {
        "tag:yaml.org,2002:" => "!!",
        other => other,
    };
    Some(format!("{handle}{}", tag.suffix))
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|&name| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_fields() {
        let text = "title: T\ndetection:\n  call:\n    eventName:\n      - A\n      - B\n  # a comment\n  condition: call\n";
        let lines = Lines::of(text, 10).unwrap();
        for (path, line) in [
            (vec!["title"], 11),
            (vec!["detection", "call", "eventName"], 14),
            (vec!["detection", "call", "eventName", "1"], 16),
            (vec!["detection", "condition"], 18),
            (vec!["detection", "call", "missing"], 13),
            (vec!["missing"], 11),
        ] {
            assert_eq!(lines.line(&path), line, "{path:?}");
        }
        assert_eq!(Lines::of("a: [b\nc: d\n", 0).unwrap_err().0, 2);
        for (text, tag) in [
            ("a: 1\nb: !!str 5\n", "!!str"),
            ("a: 1\nb: !x\n  c: d\n", "!x"),
            ("a: 1\nb: [!y z]\n", "!y"),
        ] {
            let (line, message) = Lines::of(text, 0).unwrap_err();
            assert_eq!(line, 2, "{text}");
            assert!(
                message.starts_with(&format!("found the tag {tag}, ")),
                "{message}"
            );
        }
    }
}
