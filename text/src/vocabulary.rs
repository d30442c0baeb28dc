//! The tokens of a tokenizer as constraints see them: a trie of their bytes.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::ParserFactory;

use crate::tokenizer::TextTokenizer;
use crate::watch::Stuck;
use crate::Outcome;

/// Bits of a word of a mask.
const WORD: usize = 32;

pub struct Vocabulary {
    pub factory: ParserFactory,
    /// Compilations left behind, of all constraints for this vocabulary.
    pub stuck: Arc<Stuck>,
    /// Tokens that may follow a complete text, and nothing else. Not empty.
    end_ids: Vec<u32>,
    /// Tokens that stand for bytes of a text, as a mask.
    ordinary: Vec<u32>,
    size: u32,
}

impl Vocabulary {
    pub fn new(tokenizer: &TextTokenizer, end_ids: &[u32]) -> Outcome<Self> {
        let size = tokenizer.vocab_size();
        let Some(&end_id) = end_ids.first() else {
            return Err("a constraint needs a token that ends a text, and there is none".into());
        };
        if let Some(id) = end_ids.iter().find(|&&id| id >= size) {
            return Err(format!("end token {id} is not below {size}, the size of the vocabulary"));
        }
        let mut ordinary = vec![0u32; (size as usize).div_ceil(WORD)];
        let mut bytes_of = Vec::with_capacity(size as usize);
        for id in 0..size {
            let bytes = tokenizer.token_bytes(id);
            // The library takes a first byte 0xff, which no UTF-8 has, for the mark of special tokens.
            let is_text = !tokenizer.is_special(id)
                && !end_ids.contains(&id)
                && bytes.first().is_some_and(|&b| b != TokTrie::SPECIAL_TOKEN_MARKER);
            if is_text {
                ordinary[id as usize / WORD] |= 1 << (id as usize % WORD);
            }
            bytes_of.push(if is_text { bytes } else { Vec::new() });
        }
        let trie = TokTrie::from(&TokRxInfo::new(size, end_id), &bytes_of);
        // The approximate environment forces no tokenization: a mask holds every token that fits.
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).map_err(|e| e.to_string())?;
        factory.quiet();
        let limits = factory.limits_mut();
        // The library's own limits bound the work of a step. Its allowance for a compilation is cut to
        // a quarter: what is entangled on purpose takes a hundred times what its authors count with.
        limits.initial_lexer_fuel = 250_000;
        // Committing a byte takes time by the square of this at worst, where a grammar is ambiguous.
        limits.max_items_in_row = 1000;
        limits.verbose_errors = false;
        Ok(Vocabulary { factory, stuck: Arc::default(), end_ids: end_ids.to_vec(), ordinary, size })
    }

    pub fn is_end(&self, id: u32) -> bool {
        self.end_ids.contains(&id)
    }

    pub fn is_ordinary(&self, id: u32) -> bool {
        id < self.size && self.ordinary[id as usize / WORD] >> (id as usize % WORD) & 1 == 1
    }

    pub fn new_mask(&self) -> Vec<u32> {
        vec![0; self.ordinary.len()]
    }

    /// `allowed` without what is no text, and with the end tokens if `may_end`; zeros beyond. Whether
    /// the end tokens are all there is.
    pub fn write_mask(&self, allowed: &[u32], may_end: bool, words: &mut [u32]) -> Outcome<bool> {
        if words.len() < self.ordinary.len() {
            return Err(format!("a mask has {} words at least", self.ordinary.len()));
        }
        words.fill(0);
        for ((word, allowed), ordinary) in words.iter_mut().zip(allowed).zip(&self.ordinary) {
            *word = allowed & ordinary;
        }
        let goes_on = words.iter().any(|&word| word != 0);
        if may_end {
            for &id in &self.end_ids {
                words[id as usize / WORD] |= 1 << (id as usize % WORD);
            }
        }
        match goes_on || may_end {
            true => Ok(!goes_on),
            false => Err("no text of the vocabulary's tokens satisfies it".into()),
        }
    }
}
