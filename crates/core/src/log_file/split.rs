//! The top level of a log file, `{"Records":[{…},…]}`, taken apart into its elements as the bytes
//! arrive, without building a tree of the whole.
//!
//! The splitter finds where a value ends (strings, escapes and brackets, over chunk borders) and hands
//! its bytes on; whether those bytes are JSON, and what they say, is decided in [`super`] by
//! serde_json. An element ends for the splitter exactly where it ends for a JSON parser as long as it
//! is JSON at all, so splitting first and parsing then accepts the same files as parsing the whole.
//! Every member named `Records` counts, should there be two, so that none can hide behind another.

use serde::de::IgnoredAny;

/// An element larger than this is passed over without being kept. A record is at most 256 KB
/// (AWS CloudTrail User Guide, "CloudTrail record contents"); its escapes may lengthen it.
pub(super) const MAX_ELEMENT: usize = 1024 * 1024;

/// One element of `Records`.
pub(super) enum Element<'a> {
    Json(&'a [u8]),
    /// Passed over: larger than [`MAX_ELEMENT`]; its size in bytes.
    TooLarge(u64),
}

/// What the splitter expected and did not find, at a byte of the uncompressed file.
pub(super) struct SplitError {
    pub(super) offset: u64,
    pub(super) message: String,
}

pub(super) struct Splitter {
    state: State,
    /// Bytes taken so far.
    offset: u64,
    value: PartialValue,
    records_seen: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Before the root's `{`.
    Root,
    /// Behind `{`: a name or `}`.
    FirstName,
    /// Behind a comma: a name.
    Name,
    /// Inside a name.
    InName,
    /// Behind a name: a colon.
    Colon { records: bool },
    /// Behind a colon: a value.
    Value { records: bool },
    /// Inside the value of a member other than `Records`.
    InValue,
    /// Behind a member's value: a comma or `}`.
    AfterValue,
    /// Behind `[` of `Records`: an element or `]`.
    FirstElement,
    /// Behind a comma of `Records`: an element.
    NextElement,
    /// Inside an element.
    InElement,
    /// Behind an element: a comma or `]`.
    AfterElement,
    /// Behind the root's `}`: white space only.
    End,
}

/// A value whose end has not been seen yet.
#[derive(Default)]
struct PartialValue {
    bytes: Vec<u8>,
    size: u64,
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// A number or a word: it ends before the first byte that cannot belong to it.
    bare: bool,
}

enum Step {
    /// The value goes on behind these bytes.
    More,
    /// The value ended after so many of these bytes.
    Ended(usize),
}

impl PartialValue {
    fn start(&mut self, first: u8) {
        self.bytes.clear();
        self.size = 0;
        self.depth = 0;
        self.in_string = false;
        self.escaped = false;
        self.bare = !matches!(first, b'{' | b'[' | b'"');
    }

    fn take(&mut self, input: &[u8]) -> Step {
        let end = self.find_end(input);
        let taken = end.unwrap_or(input.len());
        self.size += taken as u64;
        if self.size <= MAX_ELEMENT as u64 {
            self.bytes.extend_from_slice(&input[..taken]);
        }
        end.map_or(Step::More, Step::Ended)
    }

    /// How many bytes of `input` belong to the value, if it ends in it.
    fn find_end(&mut self, input: &[u8]) -> Option<usize> {
        if self.bare {
            return input
                .iter()
                .position(|b| matches!(b, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'));
        }
        let mut at = 0;
        while at < input.len() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                    at += 1;
                    continue;
                }
                let hit = memchr::memchr2(b'"', b'\\', &input[at..])?;
                at += hit + 1;
                if input[at - 1] == b'\\' {
                    self.escaped = true;
                    continue;
                }
                self.in_string = false;
                if self.depth == 0 {
                    return Some(at);
                }
                continue;
            }
            match input[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        None
    }

    fn too_large(&self) -> bool {
        self.size > MAX_ELEMENT as u64
    }
}

impl Splitter {
    pub(super) fn new() -> Splitter {
        Splitter {
            state: State::Root,
            offset: 0,
            value: PartialValue::default(),
            records_seen: false,
        }
    }

    /// Bytes taken so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether an element may start here.
    pub(super) fn expects_element(&self) -> bool {
        matches!(self.state, State::FirstElement | State::NextElement)
    }

    /// Elements were taken that are not the splitter's business, so many bytes from where it expects one:
    /// up to the start of the next one, or with `behind` to the end of the last one.
    pub(super) fn elements_passed(&mut self, count: usize, behind: bool) {
        self.offset += count as u64;
        if behind {
            self.state = State::AfterElement;
        } else if count > 0 {
            self.state = State::NextElement;
        }
    }

    /// Takes the next bytes of the file; each element that ends in them goes to `sink`. With `pause`, it
    /// stops before the `{` of an element, unless that is the first byte. Returns how many bytes it took.
    pub(super) fn push<E>(
        &mut self,
        input: &[u8],
        pause: bool,
        sink: &mut impl FnMut(Element<'_>, u64) -> Result<(), E>,
    ) -> Result<usize, E>
    where
        E: From<SplitError>,
    {
        let start = self.offset;
        let mut at = 0;
        while at < input.len() {
            self.offset = start + at as u64;
            match self.state {
                State::InName | State::InValue | State::InElement => {
                    match self.value.take(&input[at..]) {
                        Step::More => at = input.len(),
                        Step::Ended(length) => {
                            at += length;
                            self.offset = start + at as u64;
                            self.value_ended(sink)?;
                        }
                    }
                }
                _ if matches!(input[at], b' ' | b'\t' | b'\n' | b'\r') => at += 1,
                State::FirstElement | State::NextElement
                    if pause && at > 0 && input[at] == b'{' =>
                {
                    return Ok(at);
                }
                state => {
                    let (next, consumed) = self.expect(state, input[at])?;
                    self.state = next;
                    at += consumed;
                }
            }
        }
        self.offset = start + input.len() as u64;
        Ok(input.len())
    }

    /// The file has ended: an error where its root has not, or where it had no `Records`.
    pub(super) fn finish(&self) -> Result<(), SplitError> {
        match self.state {
            State::End if self.records_seen => Ok(()),
            State::End => Err(self.error(
                "this is not a CloudTrail log file: its top level has no member \"Records\"",
            )),
            State::Root => Err(self.error("the file has no content: expected {\"Records\":[…]}")),
            _ => Err(self.error("the JSON ends before its root object is closed")),
        }
    }

    /// The state behind one significant byte, and how many bytes that used (0: the byte starts a
    /// value and belongs to it).
    fn expect(&mut self, state: State, byte: u8) -> Result<(State, usize), SplitError> {
        let found = char::from(byte).escape_default();
        Ok(match (state, byte) {
            (State::Root, b'{') => (State::FirstName, 1),
            (State::FirstName, b'}') | (State::AfterValue, b'}') => (State::End, 1),
            (State::FirstName | State::Name, b'"') => {
                self.value.start(byte);
                (State::InName, 0)
            }
            (State::Colon { records }, b':') => (State::Value { records }, 1),
            (State::Value { records: true }, b'[') => {
                self.records_seen = true;
                (State::FirstElement, 1)
            }
            (State::Value { records: true }, _) => {
                return Err(self.error(&format!(
                    "the member \"Records\" is not a list: expected '[', found '{found}'"
                )));
            }
            (State::Value { records: false }, b',' | b']' | b'}' | b':') => {
                return Err(self.error(&format!("expected a value, found '{found}'")));
            }
            (State::Value { records: false }, _) => {
                self.value.start(byte);
                (State::InValue, 0)
            }
            (State::AfterValue, b',') => (State::Name, 1),
            (State::FirstElement, b']') | (State::AfterElement, b']') => (State::AfterValue, 1),
            (State::AfterElement, b',') => (State::NextElement, 1),
            (State::FirstElement | State::NextElement, b',' | b']' | b'}' | b':') => {
                return Err(self.error(&format!("expected a record, found '{found}'")));
            }
            (State::FirstElement | State::NextElement, _) => {
                self.value.start(byte);
                (State::InElement, 0)
            }
            (State::Root, b'[') => {
                return Err(self.error(
                    "this is not a CloudTrail log file: expected an object {\"Records\":[…]}, found a list",
                ));
            }
            (state, _) => {
                let expected = match state {
                    State::Root => "'{'",
                    State::FirstName => "a member's name or '}'",
                    State::Name => "a member's name",
                    State::Colon { .. } => "':'",
                    State::AfterValue => "',' or '}'",
                    State::AfterElement => "',' or ']'",
                    _ => "the end of the file",
                };
                return Err(self.error(&format!("expected {expected}, found '{found}'")));
            }
        })
    }

    fn value_ended<E>(
        &mut self,
        sink: &mut impl FnMut(Element<'_>, u64) -> Result<(), E>,
    ) -> Result<(), E>
    where
        E: From<SplitError>,
    {
        let start = self.offset - self.value.size;
        match self.state {
            State::InElement => {
                self.state = State::AfterElement;
                let element = if self.value.too_large() {
                    Element::TooLarge(self.value.size)
                } else {
                    Element::Json(&self.value.bytes)
                };
                sink(element, start)
            }
            State::InName => {
                let name: String = self.parse("the name of a member")?;
                self.state = State::Colon {
                    records: name == "Records",
                };
                Ok(())
            }
            _ => {
                let IgnoredAny = self.parse("the value of a member")?;
                self.state = State::AfterValue;
                Ok(())
            }
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T, SplitError> {
        if self.value.too_large() {
            return Err(self.error(&format!(
                "{what} beside \"Records\" has {} bytes, more than {MAX_ELEMENT}",
                self.value.size
            )));
        }
        serde_json::from_slice(&self.value.bytes)
            .map_err(|e| self.error(&format!("{what} is not JSON: {e}")))
    }

    fn error(&self, message: &str) -> SplitError {
        SplitError {
            offset: self.offset,
            message: message.to_owned(),
        }
    }
}
