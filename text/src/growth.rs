//! How much longer a tokenizer.json's steps can make a text, bounded from the file alone: a chain of
//! three Replace of "a" by a thousand of them would make gigabytes of a request of one letter.

use serde_json::Value as Json;

use crate::Outcome;

/// A file beyond it is refused. Those in use make at most a few bytes of one (" " to "▁": three).
pub const MAX_NORMALIZER_GROWTH: u64 = 1024;
pub const MAX_DECODER_GROWTH: u64 = 16;

/// A text that could become longer than this before it is cut into tokens is refused.
const MAX_NORMALIZED_BYTES: u64 = 128 << 20;

fn len(step: &Json, path: &str) -> u64 {
    step.pointer(path).and_then(Json::as_str).map_or(0, |s| s.len() as u64)
}

/// Bytes out for a byte in, rounded up. Sound because a match of a string has its length, and one of a
/// regular expression may be empty and happens at most once before each byte and at the end.
pub fn replace_growth(step: &Json) -> u64 {
    let content = len(step, "/content");
    match len(step, "/pattern/String") {
        0 => 1 + content,
        pattern => content.div_ceil(pattern).max(1),
    }
}

/// Whether a Replace never makes a text shorter. What a regular expression matches has any length.
pub fn is_growing_replace(step: &Json) -> bool {
    let pattern = len(step, "/pattern/String");
    pattern > 0 && len(step, "/content") >= pattern
}

/// Of a step of the normalizer. Those that are not named map characters by Unicode or by a table of
/// the file: a few bytes each, and never again what they made.
fn step_growth(step: &Json) -> u64 {
    match step["type"].as_str().unwrap_or("") {
        "Sequence" => product(step["normalizers"].as_array().into_iter().flatten()),
        "Replace" => replace_growth(step),
        // Once before each stretch between special tokens.
        "Prepend" => 1 + len(step, "/prepend"),
        _ => 1,
    }
}

fn product<'a>(steps: impl Iterator<Item = &'a Json>) -> u64 {
    steps.fold(1, |all, step| all.saturating_mul(step_growth(step)))
}

/// Bounds what a normalizer makes of a text.
pub struct Growth(u64);

impl Growth {
    pub fn of_normalizer(normalizer: &Json) -> Outcome<Self> {
        let growth = step_growth(normalizer);
        if growth > MAX_NORMALIZER_GROWTH {
            return Err(format!(
                "normalizer: its Replace and Prepend steps could make a text {growth} times as long \
                 (at most {MAX_NORMALIZER_GROWTH})"
            ));
        }
        Ok(Growth(growth))
    }

    pub fn check(&self, text: &str) -> Outcome<()> {
        // A stretch of text may be empty, so that a Prepend acts on no byte: hence one more.
        if (text.len() as u64 + 1).saturating_mul(self.0) <= MAX_NORMALIZED_BYTES {
            return Ok(());
        }
        Err(format!(
            "{} bytes are too long for this tokenizer: its normalizer could make more than \
             {MAX_NORMALIZED_BYTES} of them",
            text.len()
        ))
    }
}
