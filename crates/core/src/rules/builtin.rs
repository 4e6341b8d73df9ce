//! The built-in rules: `rules/**/*.yml`, which the build script puts into the program.
//!
//! It does so twice, as they are written and as the parser has made them; what a start needs of them is the
//! latter. Its tests hold the two against each other, so that here nothing is checked again.

use std::{
    io::{self, Read},
    sync::{Arc, LazyLock},
};

use rsigma_ir::{IrRule, RaiseOptions, raise_rule};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    RuleFile, Said,
    document::{self, Document, Origin, Trust},
    position::Lines,
    problem::{Problem, Weight},
    response::Response,
    watched::Watched,
};

/// `rules/**/*.yml`, listed by the build script: (path in the project, content).
pub(super) const BUILTIN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/builtin_rules.rs"));

/// The same, parsed by the build script, without what no alert needs: files, one after the other, each with its
/// rule, as JSON, packed by zlib.
const PARSED: Packed = Packed {
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/builtin_rules.json.zlib")),
    length: include!(concat!(env!("OUT_DIR"), "/builtin_rules.length")),
};

/// In the same order, what they say to people.
const WORDS: Packed = Packed {
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/builtin_words.json.zlib")),
    length: include!(concat!(env!("OUT_DIR"), "/builtin_words.length")),
};

/// JSON values, one after the other, packed by zlib, and their length before that.
struct Packed {
    bytes: &'static [u8],
    length: usize,
}

impl Packed {
    /// Hands on one after the other: a start takes longer the more memory it touches.
    #[expect(
        clippy::disallowed_types,
        reason = "the build script has packed it, and its size is known"
    )]
    fn each<T: DeserializeOwned>(&self, mut sink: impl FnMut(T)) -> io::Result<()> {
        let mut text = String::with_capacity(self.length);
        flate2::read::ZlibDecoder::new(self.bytes).read_to_string(&mut text)?;
        for value in serde_json::Deserializer::from_str(&text).into_iter() {
            sink(value?);
        }
        Ok(())
    }
}

/// What the built-in rule in this place says to people.
pub(super) fn said(place: usize) -> &'static Said {
    static ALL: LazyLock<Vec<Said>> = LazyLock::new(|| {
        let mut all = Vec::new();
        let outcome = WORDS.each(|(description, response): (Option<String>, Option<Value>)| {
            let response = response.map_or(Ok(Response::default()), |value| Response::of(&value));
            all.push(response.map(|response| Said {
                description: description.unwrap_or_default(),
                response,
            }));
        });
        match outcome.map(|()| all.into_iter().collect()) {
            Ok(Ok(all)) => all,
            // The build script has written them, and the tests read each.
            wrong => unreachable!("the words of the built-in rules: {wrong:?}"),
        }
    });
    &ALL[place]
}

/// The rule files compiled into this program.
pub fn builtin_files() -> Vec<RuleFile> {
    BUILTIN
        .iter()
        .map(|(name, text)| RuleFile {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        })
        .collect()
}

/// Each as a document, of whose text nothing is left but the rule.
pub(super) fn documents(watched: &Watched, problems: &mut Vec<Problem>) -> Vec<Document> {
    let without_attributes = RaiseOptions {
        include_custom_attributes: false,
    };
    let mut documents = Vec::new();
    let mut place = 0;
    let outcome = PARSED.each(|(file, rule): (String, IrRule)| {
        let origin = Arc::new(Origin {
            file,
            lines: Lines::default(),
            alone: true,
            trust: Trust::BuiltIn { place },
        });
        let content = raise_rule(&rule, &without_attributes)
            .map_err(|error| vec![origin.error(&[], error.to_string(), None)])
            .and_then(|sigma| document::rule(&origin, sigma, None, watched));
        match content {
            Ok(content) => documents.push(Document { origin, content }),
            Err(found) => problems.extend(found),
        }
        place += 1;
    });
    if let Err(error) = outcome {
        problems.push(Problem {
            weight: Weight::Error,
            file: "the built-in rules".into(),
            line: None,
            field: String::new(),
            message: error.to_string(),
            hint: None,
        });
    }
    documents
}
