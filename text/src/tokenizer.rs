//! A tokenizer.json with the exact bytes of its tokens.

use serde_json::Value as Json;
use tokenizers::{
    Model, OffsetType, PostProcessorWrapper, PreTokenizer, Tokenizer, TruncationDirection,
};

use crate::fewest::Fewest;
use crate::growth::{replace_growth, Growth, MAX_DECODER_GROWTH};
use crate::Outcome;

const MAX_VOCAB: u32 = 1 << 24;

/// How the file's decoder turns a token into bytes. A decoder is a chain of steps; the ones below act
/// on each token alone, so that bytes of a text are the bytes of its tokens in a row.
#[derive(Default)]
struct Decoding {
    byte_level: bool,
    byte_fallback: bool,
    replacements: Vec<(String, String)>,
    /// How many times as long all replacements in a row can make a token; 0 without any.
    growth: u64,
    /// Taken from the beginning of the whole text.
    leading_spaces: u32,
}

pub struct TextTokenizer {
    inner: Tokenizer,
    growth: Growth,
    fewest: Fewest,
    decoding: Decoding,
    vocab_size: u32,
}

/// What encode() makes of a text.
pub enum Encoded {
    Ids(Vec<u32>),
    /// More ids than were asked for: so many at least.
    AtLeast(usize),
}

fn text_of<'a>(step: &'a Json, path: &str) -> Outcome<&'a str> {
    step.pointer(path)
        .and_then(Json::as_str)
        .ok_or_else(|| format!("decoder: {} is not supported", step.get("pattern").unwrap_or(step)))
}

impl Decoding {
    fn add(&mut self, step: &Json, fused: &mut bool) -> Outcome<()> {
        match step["type"].as_str().unwrap_or("") {
            "Sequence" => {
                for inner in step["decoders"].as_array().into_iter().flatten() {
                    self.add(inner, fused)?;
                }
            }
            "ByteLevel" => self.byte_level = true,
            "ByteFallback" => self.byte_fallback = true,
            "Fuse" => *fused = true,
            "Replace" => {
                let from = text_of(step, "/pattern/String")?;
                let to = text_of(step, "/content")?;
                if from.is_empty() || *fused {
                    return Err("decoder: this Replace is not supported".into());
                }
                self.growth = self.growth.max(1).saturating_mul(replace_growth(step));
                if self.growth > MAX_DECODER_GROWTH {
                    return Err(format!(
                        "decoder: its Replace steps could make a token {} times as long (at most \
                         {MAX_DECODER_GROWTH})",
                        self.growth
                    ));
                }
                self.replacements.push((from.into(), to.into()));
            }
            "Strip" if *fused && step["content"] == " " && step["stop"] == 0 => {
                self.leading_spaces += step["start"].as_u64().unwrap_or(0).min(64) as u32;
            }
            "Metaspace" => {
                self.replacements.push((text_of(step, "/replacement")?.into(), " ".into()));
                self.leading_spaces += u32::from(step["prepend_scheme"] != "never");
            }
            other => {
                return Err(format!(
                "decoder type '{other}' is not supported here (supported: ByteLevel, Metaspace, \
                     or Replace, ByteFallback, Fuse, Strip of leading spaces)"
            ))
            }
        }
        Ok(())
    }

    fn bytes(&self, token: &str) -> Vec<u8> {
        if self.byte_fallback {
            if let Some(byte) = fallback_byte(token) {
                return vec![byte];
            }
        }
        let mut token = token.to_string();
        for (from, to) in &self.replacements {
            token = token.replace(from, to);
        }
        if self.byte_level {
            // A token with a character that stands for no byte (most added tokens) is its own text.
            if let Some(bytes) = token.chars().map(byte_of_char).collect::<Option<Vec<u8>>>() {
                return bytes;
            }
        }
        token.into_bytes()
    }
}

/// A template without the text would make the same few ids of every text.
fn shows_text(post_processor: &PostProcessorWrapper) -> Outcome<bool> {
    fn shows(step: &Json) -> bool {
        let list = |key: &str| step[key].as_array().cloned().unwrap_or_default();
        match step["type"].as_str().unwrap_or("") {
            "Sequence" => list("processors").iter().all(shows),
            "TemplateProcessing" => {
                list("single").iter().any(|piece| piece.get("Sequence").is_some())
            }
            _ => true,
        }
    }
    serde_json::to_value(post_processor).map(|json| shows(&json)).map_err(|e| e.to_string())
}

/// "<0x0A>" and the like. The library takes what from_str_radix takes, "<0x+A>" included.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// The inverse of GPT-2's byte alphabet: printable Latin-1 bytes stand for themselves, the other 68
/// are U+0100 onwards in the order of the bytes.
fn byte_of_char(c: char) -> Option<u8> {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    match c as u32 {
        b if printable(b) => Some(b as u8),
        c if c >= 0x100 => (0..=255u8).filter(|&b| !printable(b as u32)).nth(c as usize - 0x100),
        _ => None,
    }
}

impl TextTokenizer {
    pub fn new(json: &[u8]) -> Outcome<Self> {
        let mut inner = Tokenizer::from_bytes(json).map_err(|e| e.to_string())?;
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        let normalizer = serde_json::to_value(inner.get_normalizer()).map_err(|e| e.to_string())?;
        let growth = Growth::of_normalizer(&normalizer)?;
        let decoder = serde_json::to_value(inner.get_decoder()).map_err(|e| e.to_string())?;
        if decoder.is_null() {
            return Err("it has no decoder".into());
        }
        if !inner.get_post_processor().map_or(Ok(true), shows_text)? {
            return Err("post_processor: its template leaves the text out".into());
        }
        let fewest = Fewest::new(&inner)?;
        let mut decoding = Decoding::default();
        decoding.add(&decoder, &mut false)?;
        let largest = inner.get_vocab(true).into_values().max();
        let vocab_size = largest.map_or(0, |id| id.saturating_add(1));
        if vocab_size == 0 || vocab_size > MAX_VOCAB {
            return Err(format!("its ids must end below {MAX_VOCAB} and there must be one"));
        }
        Ok(TextTokenizer { inner, growth, fewest, decoding, vocab_size })
    }

    /// Stops as soon as it is certain that the text alone has more than `max_ids`: by its length, by
    /// its pieces, or when so many are made.
    pub fn encode(&self, text: &str, add_special: bool, max_ids: usize) -> Outcome<Encoded> {
        let at_least = self.fewest.of_text(text);
        if at_least > max_ids {
            return Ok(Encoded::AtLeast(at_least));
        }
        self.growth.check(text)?;
        self.encode_pieces(text, add_special, max_ids).map_err(|e| e.to_string())
    }

    /// As the library's encode_fast, with a look at the pieces on the way.
    fn encode_pieces(
        &self,
        text: &str,
        add_special: bool,
        max_ids: usize,
    ) -> tokenizers::Result<Encoded> {
        let inner = &self.inner;
        let added = inner.get_added_vocabulary();
        let mut pieces = added.extract_and_normalize(inner.get_normalizer(), text);
        if let Some(pre_tokenizer) = inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        let at_least = self.fewest.of_pieces(&pieces);
        if at_least > max_ids {
            return Ok(Encoded::AtLeast(at_least));
        }
        let enough = Some((max_ids.saturating_add(1), TruncationDirection::Right));
        inner.get_model().tokenize_in_pretokenized(&mut pieces, enough)?;
        let encoding = pieces.into_encoding(None, 0, OffsetType::None)?;
        if encoding.len() > max_ids {
            return Ok(Encoded::AtLeast(encoding.len()));
        }
        let encoding = inner.post_process(encoding, None, add_special)?;
        Ok(Encoded::Ids(encoding.get_ids().to_vec()))
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Outcome<String> {
        self.inner.decode(ids, skip_special).map_err(|e| e.to_string())
    }

    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.inner.id_to_token(id).map_or(Vec::new(), |token| self.decoding.bytes(&token))
    }

    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    pub fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary();
        added.simple_id_to_token(id).is_some_and(|token| added.is_special_token(&token))
    }

    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    pub fn leading_spaces(&self) -> u32 {
        self.decoding.leading_spaces
    }
}
