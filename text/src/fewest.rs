//! How few tokens a text can have, without cutting it into them: a prompt that cannot fit is refused
//! at once. A bound is given only where it is proved: no step may drop or shorten text, and no token
//! may stand for text of any length.

use serde_json::Value as Json;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    Model, ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString, Tokenizer,
};

use crate::growth::is_growing_replace;
use crate::Outcome;

/// Lengths are in bytes of the text or, after byte-level pre-tokenization, in characters, of which
/// there is one for each byte.
pub struct Fewest {
    byte_level: bool,
    /// None: there is no bound.
    longest_token: Option<usize>,
}

fn kind(step: &Json) -> &str {
    step["type"].as_str().unwrap_or("")
}

fn all(steps: &Json, holds: fn(&Json) -> bool) -> bool {
    steps.as_array().into_iter().flatten().all(holds)
}

/// Unicode normal forms, trimming and the like may shorten a text.
fn keeps_length(normalizer: &Json) -> bool {
    match kind(normalizer) {
        "" => normalizer.is_null(),
        "Sequence" => all(&normalizer["normalizers"], keeps_length),
        "Prepend" => true,
        "Replace" => is_growing_replace(normalizer),
        _ => false,
    }
}

/// Those that cut at white space drop it.
fn keeps_text(pre_tokenizer: &Json) -> bool {
    match kind(pre_tokenizer) {
        "" => pre_tokenizer.is_null(),
        "Sequence" => all(&pre_tokenizer["pretokenizers"], keeps_text),
        "Split" | "Punctuation" => pre_tokenizer["behavior"] != "Removed",
        "ByteLevel" | "Metaspace" | "Digits" => true,
        _ => false,
    }
}

fn has_byte_level(pre_tokenizer: &Json) -> bool {
    let inner = pre_tokenizer["pretokenizers"].as_array();
    kind(pre_tokenizer) == "ByteLevel" || inner.into_iter().flatten().any(has_byte_level)
}

/// Whether every byte has a token: BPE drops what has none, or makes any length of it one unknown token.
fn knows_all_bytes(bpe: &BPE, byte_level: bool) -> bool {
    let is_plain = |affix: &Option<String>| affix.as_ref().is_none_or(String::is_empty);
    let knows_alphabet = || {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        alphabet.iter().all(|c| bpe.token_to_id(&c.to_string()).is_some())
    };
    let falls_back = || {
        bpe.byte_fallback
            && (0..=255u8).all(|byte| bpe.token_to_id(&format!("<{byte:#04X}>")).is_some())
    };
    is_plain(&bpe.continuing_subword_prefix)
        && is_plain(&bpe.end_of_word_suffix)
        && (byte_level && knows_alphabet() || falls_back())
}

fn longest_token(
    inner: &Tokenizer,
    pre_tokenizer: &Json,
    byte_level: bool,
) -> Outcome<Option<usize>> {
    let normalizer = serde_json::to_value(inner.get_normalizer()).map_err(|e| e.to_string())?;
    let ModelWrapper::BPE(bpe) = inner.get_model() else { return Ok(None) };
    let added = inner.get_added_tokens_decoder();
    // With lstrip or rstrip a token takes all white space beside it.
    let is_exact = added
        .values()
        .all(|token| !token.lstrip && !token.rstrip && (!token.normalized || normalizer.is_null()));
    if !is_exact
        || !keeps_length(&normalizer)
        || !keeps_text(pre_tokenizer)
        || !knows_all_bytes(bpe, byte_level)
    {
        return Ok(None);
    }
    let of_model = bpe.get_vocab().into_keys().map(|token| units(&token, byte_level)).max();
    let of_added = added.values().map(|token| token.content.len()).max();
    Ok(of_model.max(of_added).filter(|&longest| longest > 0))
}

fn units(text: &str, byte_level: bool) -> usize {
    if byte_level {
        text.chars().count()
    } else {
        text.len()
    }
}

impl Fewest {
    pub fn new(inner: &Tokenizer) -> Outcome<Self> {
        let pre_tokenizer =
            serde_json::to_value(inner.get_pre_tokenizer()).map_err(|e| e.to_string())?;
        let byte_level = has_byte_level(&pre_tokenizer);
        let longest_token = longest_token(inner, &pre_tokenizer, byte_level)?;
        Ok(Fewest { byte_level, longest_token })
    }

    /// Of a text; 0 where nothing is known.
    pub fn of_text(&self, text: &str) -> usize {
        self.longest_token.map_or(0, |longest| text.len().div_ceil(longest))
    }

    /// Of its pieces, which no token spans: closer, and at least their number.
    pub fn of_pieces(&self, pieces: &PreTokenizedString) -> usize {
        let Some(longest) = self.longest_token else { return 0 };
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
        splits.iter().map(|(text, ..)| units(text, self.byte_level).div_ceil(longest)).sum()
    }
}
