//! A grammar and how far a text has come in it.

use std::fmt::Display;
use std::sync::Arc;

use llguidance::Matcher;

use crate::compile::{self, Kind};
use crate::meter::{over_limit, Meter};
use crate::vocabulary::Vocabulary;
use crate::watch::{within, Job};
use crate::Outcome;

/// latentd_constraint_limits of the header.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Limits {
    pub source_bytes: u64,
    pub memory_bytes: u64,
    pub cpu_ms: u64,
    pub wall_ms: u64,
}

/// The library's limits end a compilation long before ours. Should one escape them, a few more may
/// follow it before constraints are refused as long as they last.
const MAX_STUCK: usize = 4;
/// Of what the library says: it may quote the caller's source.
const MAX_MESSAGE_BYTES: usize = 300;

pub struct Constraint {
    vocabulary: Arc<Vocabulary>,
    kind: Kind,
    /// Of the constraint and all its clones, which share one allowance.
    meter: Arc<Meter>,
    /// None after an error: nothing more can be said.
    matcher: Option<Matcher>,
    /// An end token was committed, or a mask held nothing else.
    ended: bool,
}

/// What the library says, in one line that a caller can use: without the place in the grammar that we
/// made of a regex, without the state and the options that it appends.
fn short(kind: Kind, message: &str) -> String {
    if message.contains("special token") {
        return "a grammar cannot ask for special tokens".into();
    }
    if message.starts_with("NoExtension") {
        return "no text of the vocabulary's tokens satisfies it".into();
    }
    if message.contains("panic: ") {
        return "it cannot be compiled".into();
    }
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let reason = lines.clone().find_map(|line| line.strip_prefix("error: "));
    let first = lines.next().unwrap_or_default();
    let text = match (reason, first.split_once("(in regex): ")) {
        (Some(reason), _) => format!("invalid regex: {reason}"),
        (None, Some((_, reason))) => format!("invalid regex: {reason}"),
        _ if matches!(kind, Kind::Lark) => first.into(),
        _ => first.trim_start_matches("at 1(8): ").into(),
    };
    let end = text.find(". Enable '").unwrap_or(text.len()).min(MAX_MESSAGE_BYTES);
    let end = (0..=end).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    text[..end].into()
}

/// On the compiling thread. The first mask is made there as well: it shows whether anything satisfies
/// the grammar, and it is the one that meets the whole of a huge lexeme.
fn compile(vocabulary: &Vocabulary, kind: Kind, source: &str) -> Outcome<(Matcher, bool)> {
    let grammar = compile::grammar(kind, source)?;
    let failed = |e: &dyn Display| short(kind, &e.to_string());
    let mut parser = vocabulary.factory.create_parser(grammar).map_err(|e| failed(&e))?;
    parser.start_without_prompt();
    let mut matcher = Matcher::new(Ok(parser));
    let may_end = matcher.is_accepting().map_err(|e| failed(&e))?;
    let allowed = matcher.compute_mask_or_eos().map_err(|e| failed(&e))?;
    let only_end =
        vocabulary.write_mask(allowed.as_slice(), may_end, &mut vocabulary.new_mask())?;
    over_limit().map_or(Ok((matcher, only_end)), |why| Err(why.into()))
}

impl Constraint {
    pub fn new(
        vocabulary: &Arc<Vocabulary>,
        kind: Kind,
        source: &str,
        limits: &Limits,
    ) -> Outcome<Self> {
        if source.len() as u64 > limits.source_bytes {
            return Err(format!(
                "it is {} bytes long, more than the {} allowed",
                source.len(),
                limits.source_bytes
            ));
        }
        let meter = Arc::new(Meter::new(limits.memory_bytes));
        let job = Job {
            name: "constraint",
            cpu_ms: limits.cpu_ms,
            wall_ms: limits.wall_ms,
            max_stuck: MAX_STUCK,
        };
        let (source, theirs) = (source.to_string(), vocabulary.clone());
        let work = move || Ok(compile(&theirs, kind, &source)?);
        let (matcher, ended) =
            within(&job, &meter, &vocabulary.stuck, work).map_err(|refusal| refusal.text)?;
        meter.never_park();
        Ok(Constraint {
            vocabulary: vocabulary.clone(),
            kind,
            meter,
            matcher: Some(matcher),
            ended,
        })
    }

    /// Runs one step on the meter. After an error the constraint is of no more use, and empty.
    fn step<T, E: Display>(&mut self, f: impl FnOnce(&mut Matcher) -> Result<T, E>) -> Outcome<T> {
        let Some(matcher) = &mut self.matcher else {
            return Err("the constraint has failed before".into());
        };
        let (meter, kind) = (self.meter.clone(), self.kind);
        let result = meter.measure(|| f(matcher).map_err(|e| short(kind, &e.to_string())));
        let result = result.and_then(|value| match meter.is_over() {
            true => Err("it takes too much memory".into()),
            false => Ok(value),
        });
        if result.is_err() {
            meter.measure(|| self.matcher = None);
        }
        result
    }

    pub fn is_accepting(&mut self) -> Outcome<bool> {
        Ok(self.ended || self.step(|matcher| matcher.is_accepting())?)
    }

    pub fn is_finished(&mut self) -> Outcome<bool> {
        Ok(self.ended || self.step(|matcher| Outcome::Ok(matcher.is_stopped()))?)
    }

    pub fn mask(&mut self, words: &mut [u32]) -> Outcome<()> {
        if self.is_finished()? {
            return self.vocabulary.write_mask(&[], true, words).map(|_| ());
        }
        let may_end = self.is_accepting()?;
        let allowed = self.step(|matcher| matcher.compute_mask_or_eos())?;
        self.ended = self.vocabulary.write_mask(allowed.as_slice(), may_end, words)?;
        Ok(())
    }

    pub fn commit(&mut self, id: u32) -> Outcome<()> {
        let refused = || Err(format!("token {id} does not fit the constraint here"));
        if self.vocabulary.is_end(id) {
            if !self.is_accepting()? {
                return refused();
            }
            self.ended = true;
            return Ok(());
        }
        if self.is_finished()? || !self.vocabulary.is_ordinary(id) {
            return refused();
        }
        if self.step(|matcher| matcher.validate_tokens(&[id]))? == 0 {
            return refused();
        }
        self.step(|matcher| matcher.consume_token(id))
    }

    /// A copy with a state of its own, on the same allowance of memory.
    pub fn duplicate(&self) -> Outcome<Self> {
        let Some(matcher) = &self.matcher else {
            return Err("the constraint has failed before".into());
        };
        let copy = self.meter.measure(|| matcher.deep_clone());
        let duplicate = Constraint {
            vocabulary: self.vocabulary.clone(),
            kind: self.kind,
            meter: self.meter.clone(),
            matcher: Some(copy),
            ended: self.ended,
        };
        match self.meter.is_over() {
            true => Err("it takes too much memory".into()),
            false => Ok(duplicate),
        }
    }
}

impl Drop for Constraint {
    fn drop(&mut self) {
        self.meter.clone().measure(|| self.matcher = None);
    }
}
