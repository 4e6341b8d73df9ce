//! Splits the top level of a log file, `{"Records":[{…},…]}`, into the elements of `Records` while bytes arrive.
//!
//! The splitter only finds where values end (strings, escapes and brackets, across chunks), so the file is never held
//! as a whole. The elements are parsed by the reader. For valid JSON, the splitter and a parser agree on the end of a
//! value; for invalid JSON, parsing the element fails. So exactly those files are accepted that parsing as a whole
//! would accept. If there are several members named `Records`, all are read, so that no record can be hidden in one
//! of them.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::{
    error::Incomplete,
    form::{self, List, known_file},
    page::{Member, Pages},
};

/// The maximum size of an element in bytes. Larger ones are not buffered. A record has at most 256 KB (AWS CloudTrail
/// User Guide, "CloudTrail record contents"); escapes can make its JSON longer.
pub(super) const MAX_ELEMENT: usize = 1024 * 1024;

/// One element of `Records`.
pub(super) enum Element<'a> {
    /// Its bytes, which may not be valid JSON, and the list that it is in.
    Json(&'a [u8], List),
    /// Larger than [`MAX_ELEMENT`]. The value is its size in bytes.
    TooLarge(u64),
}

/// A syntax error at a position in the uncompressed file.
pub(super) struct SplitError {
    pub(super) offset: u64,
    pub(super) message: String,
}

/// The state machine for the top level of a log file.
pub(super) struct Splitter {
    state: State,
    /// The position in the uncompressed file.
    offset: u64,
    /// The value being read.
    value: PartialValue,
    /// Whether a member `Records` was found, or what stands for it.
    records_seen: bool,
    /// Whether other forms than a log file are accepted.
    any_form: bool,
    /// The list being read.
    list: List,
    /// Whether that list is a member of the root object, and not the root itself.
    is_member: bool,
    /// The root object so far, as long as it can be a record itself.
    document: Option<Document>,
    /// The member being read, if it says whether a list is complete.
    member: Option<Member>,
    /// What an object with the member being read seems to be, and what to do.
    hint: Option<&'static str>,
    pages: Pages,
}

/// A root object that can be a record.
struct Document {
    /// Its position in the uncompressed file.
    start: u64,
    /// Its bytes, up to [`MAX_ELEMENT`].
    bytes: Vec<u8>,
    /// Its size so far.
    size: u64,
}

/// What the splitter expects next, or the value that it is in.
#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Before the root's `{`.
    Root,
    /// In a byte order mark, after so many of its bytes.
    Mark(usize),
    /// After `{`: a name or `}`.
    FirstName,
    /// After a comma: a name.
    Name,
    /// Inside a name.
    InName,
    /// After a name: a colon.
    Colon { list: Option<List> },
    /// After a colon: a value.
    Value { list: Option<List> },
    /// Inside the value of a member other than `Records`.
    InValue,
    /// After a member's value: a comma or `}`.
    AfterValue,
    /// After `[` of `Records`: an element or `]`.
    FirstElement,
    /// After a comma of `Records`: an element.
    NextElement,
    /// Inside an element.
    InElement,
    /// After an element: a comma or `]`.
    AfterElement,
    /// After the root's `}`: only white space.
    End,
}

/// A value whose end has not been found yet.
#[derive(Default)]
struct PartialValue {
    /// Its bytes, up to [`MAX_ELEMENT`].
    bytes: Vec<u8>,
    /// Its size so far.
    size: u64,
    /// The number of open brackets.
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Whether it is a number or literal, which ends before the next delimiter.
    bare: bool,
}

/// Whether a value ended in the given bytes.
enum Step {
    /// The value continues after these bytes.
    More,
    /// The value ended. The number of bytes that belong to it.
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

    /// The number of bytes of `input` that belong to the value, if it ends there.
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
            any_form: false,
            list: List::Records,
            is_member: true,
            document: None,
            member: None,
            hint: None,
            pages: Pages::default(),
        }
    }

    /// Accepts other forms than a log file, too.
    pub(super) fn accept_any_form(&mut self) {
        self.any_form = true;
    }

    /// The position in the uncompressed file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether a record can start here.
    pub(super) fn expects_element(&self) -> bool {
        self.list == List::Records && matches!(self.state, State::FirstElement | State::NextElement)
    }

    /// Skips elements that were read by the scanner: `length` bytes, starting where an element is expected. They end
    /// after an element if `after_element`, and otherwise where the next element is expected.
    pub(super) fn skip_elements(&mut self, length: usize, after_element: bool) {
        self.offset += length as u64;
        if after_element {
            self.state = State::AfterElement;
        } else if length > 0 {
            self.state = State::NextElement;
        }
    }

    /// Reads the next bytes of the file. Complete elements go to `sink`, with the position of their first byte. With
    /// `pause`, it stops before the `{` of an element, unless that is the first byte. Returns the number of bytes read.
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
            let from = at;
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
                    if pause && at > 0 && input[at] == b'{' && self.list == List::Records =>
                {
                    return Ok(at);
                }
                state => {
                    let (next, consumed) = self.expect(state, input[at])?;
                    self.state = next;
                    at += consumed;
                }
            }
            if self.document.is_some() {
                self.add_to_document(&input[from..at], sink)?;
            }
        }
        self.offset = start + input.len() as u64;
        Ok(input.len())
    }

    /// Ends the file. Fails if the root object is incomplete or has no member `Records`.
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

    /// Why the file does not have all records, although its JSON is complete.
    pub(super) fn incomplete(&self) -> Option<&Incomplete> {
        self.pages.incomplete()
    }

    /// The next state after a byte that is not white space, and the number of bytes consumed: 0 if the byte starts a
    /// value, which then consumes it.
    fn expect(&mut self, state: State, byte: u8) -> Result<(State, usize), SplitError> {
        let found = char::from(byte).escape_default();
        Ok(match (state, byte) {
            (State::End, b'{') if self.any_form => self.start_document(),
            (State::Root, b'{') if self.any_form => self.start_document(),
            (State::Root | State::End, b'[') if self.any_form => {
                self.records_seen = true;
                self.list = List::Records;
                self.is_member = false;
                (State::FirstElement, 1)
            }
            (State::Root | State::End, 0xef) if self.any_form => (State::Mark(1), 1),
            (State::Mark(1), 0xbb) => (State::Mark(2), 1),
            (State::Mark(2), 0xbf) if self.records_seen => (State::End, 1),
            (State::Mark(2), 0xbf) => (State::Root, 1),
            (State::Root | State::FirstName | State::FirstElement, byte)
                if known_file(byte, self.any_form).is_some()
                    && (state == State::Root || byte == 0) =>
            {
                return Err(self.error(known_file(byte, self.any_form).unwrap_or_default()));
            }
            (State::Root, b'{') => (State::FirstName, 1),
            (State::FirstName, b'}') | (State::AfterValue, b'}') => {
                self.pages.end();
                (State::End, 1)
            }
            (State::FirstName | State::Name, b'"') => {
                self.value.start(byte);
                (State::InName, 0)
            }
            (State::Colon { list }, b':') => (State::Value { list }, 1),
            (State::Value { list: Some(list) }, b'[') => {
                self.records_seen = true;
                self.list = list;
                self.is_member = true;
                self.document = None;
                self.pages.list(list);
                (State::FirstElement, 1)
            }
            (State::Value { list: Some(list) }, _) => {
                return Err(self.error(&format!(
                    "the member \"{}\" is not a list: expected '[', found '{found}'",
                    list.member()
                )));
            }
            (State::Value { list: None }, b',' | b']' | b'}' | b':') => {
                return Err(self.error(&format!("expected a value, found '{found}'")));
            }
            (State::Value { list: None }, _) => {
                self.value.start(byte);
                (State::InValue, 0)
            }
            (State::AfterValue, b',') => (State::Name, 1),
            (State::FirstElement | State::AfterElement, b']') if self.is_member => {
                (State::AfterValue, 1)
            }
            (State::FirstElement | State::AfterElement, b']') => (State::End, 1),
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
                    State::Mark(_) => "the rest of a byte order mark",
                    State::End if self.any_form => "the end of the file or another document",
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

    /// Starts a root object that can be a record. The next state, and the number of bytes consumed.
    fn start_document(&mut self) -> (State, usize) {
        self.document = Some(Document {
            start: self.offset,
            bytes: Vec::new(),
            size: 0,
        });
        (State::FirstName, 1)
    }

    /// Adds bytes to the root object. If it ends with them, it is an element itself: it has no list.
    fn add_to_document<E>(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(Element<'_>, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(document) = &mut self.document else {
            return Ok(());
        };
        document.size += bytes.len() as u64;
        if document.size <= MAX_ELEMENT as u64 {
            document.bytes.extend_from_slice(bytes);
        }
        if self.state != State::End {
            return Ok(());
        }
        self.records_seen = true;
        let Some(document) = self.document.take() else {
            return Ok(());
        };
        let element = if document.size > MAX_ELEMENT as u64 {
            Element::TooLarge(document.size)
        } else {
            Element::Json(&document.bytes, List::Records)
        };
        sink(element, document.start)
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
                    Element::Json(&self.value.bytes, self.list)
                };
                sink(element, start)
            }
            State::InName => {
                let name: String = self.parse("the name of a member")?;
                if self.any_form {
                    self.member = Member::of_name(&name);
                    self.hint = form::hint(&name);
                }
                self.state = State::Colon {
                    list: List::of_member(&name, self.any_form),
                };
                Ok(())
            }
            _ => {
                match self.member.take() {
                    Some(member) => {
                        let value: Value = self.parse("the value of a member")?;
                        self.pages.member(member, &value);
                    }
                    None => {
                        let IgnoredAny = self.parse("the value of a member")?;
                    }
                }
                self.state = State::AfterValue;
                Ok(())
            }
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T, SplitError> {
        if self.value.too_large() {
            let hint = self
                .hint
                .map_or_else(String::new, |hint| format!("; {hint}"));
            return Err(self.error(&format!(
                "{what} beside \"Records\" has {} bytes, more than {MAX_ELEMENT}{hint}",
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
