//! Limits on what a template can make while it runs.
//!
//! minijinja bounds the number of instructions, but one instruction can double a string or print a
//! list that holds itself many times over. So a compiled template is rewritten: what `~` makes is made
//! here within a limit, literal text goes out through the formatter like any value, and the result of
//! every other instruction that can grow something passes through `CHECK`.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{ObjectRepr, Value};
use minijinja::{Environment, Error, Output, State};

use crate::json::{failure, over_limit};
use crate::meter;

/// Names that no template can spell, so that none can shadow them.
const CHECK: &str = "<check>";
const CHECK_STORED: &str = "<check stored>";
const CONCAT: &str = "<concat>";
const TICK: &str = "<tick>";

const MAX_ITEMS: usize = 1 << 18;
const MAX_DEPTH: usize = 256;

/// A string of at most `limit` bytes.
pub struct LimitedString {
    text: String,
    limit: usize,
}

impl LimitedString {
    pub fn new(limit: usize) -> Self {
        LimitedString { text: String::new(), limit }
    }

    pub fn finish(self) -> Result<String, Error> {
        check_limits()?;
        Ok(self.text)
    }
}

impl Write for LimitedString {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.limit - self.text.len() || meter::over_limit().is_some() {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

pub fn check_limits() -> Result<(), Error> {
    meter::over_limit().map_or(Ok(()), |why| Err(over_limit(why)))
}

fn too_long(limit: usize) -> Error {
    meter::over_limit()
        .map_or_else(|| over_limit(format!("it makes more than {limit} bytes")), over_limit)
}

/// `values` as text in a row, within the limit. Weighed first: a namespace may hold itself.
fn join_text(values: &[&Value], limit: usize) -> Result<String, Error> {
    let mut out = LimitedString::new(limit);
    for value in values {
        weigh(value, 0, &mut 0, false)?;
        write!(out, "{value}").map_err(|_| too_long(limit))?;
    }
    out.finish()
}

/// `value` as text, within the limit.
pub fn to_text(value: &Value, limit: usize) -> Result<String, Error> {
    join_text(&[value], limit)
}

fn is_lazy(value: &Value) -> bool {
    value.as_object().is_some_and(|o| o.repr() == ObjectRepr::Iterable && !value.is_tuple())
}

/// Whether `value` is what namespace() makes: the only object that a template can change, so the only
/// way to a value that holds itself.
fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|o| o.type_name().ends_with("::Namespace"))
}

/// Walks `value` as printing or comparing it would, every shared part as often as it occurs.
/// An error if that is more than MAX_ITEMS values or MAX_DEPTH levels.
fn weigh(value: &Value, depth: usize, items: &mut usize, storing: bool) -> Result<(), Error> {
    let Some(object) = value.as_object() else { return Ok(()) };
    if depth > MAX_DEPTH {
        return Err(over_limit(format!("it nests values deeper than {MAX_DEPTH}")));
    }
    if storing && is_namespace(value) {
        return Err(failure("it puts a namespace into a namespace"));
    }
    let mut visit = |item: &Value| {
        *items += 1;
        if *items > MAX_ITEMS {
            return Err(over_limit(format!("it makes a value of more than {MAX_ITEMS} items")));
        }
        if *items % 1024 == 0 {
            check_limits()?;
        }
        weigh(item, depth + 1, items, storing)
    };
    match object.repr() {
        ObjectRepr::Map => {
            for (_, item) in object.try_iter_pairs().into_iter().flatten() {
                visit(&item)?;
            }
        }
        ObjectRepr::Seq | ObjectRepr::Iterable => {
            for item in value.try_iter()?.checked() {
                visit(&item?)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Within limits; and what would be computed at every use (slices, filtered lists) is computed now, so
/// that such values never stack up.
fn check(value: Value, limit: usize, storing: bool) -> Result<Value, Error> {
    check_limits()?;
    if value.as_str().is_some_and(|s| s.len() > limit) {
        return Err(too_long(limit));
    }
    weigh(&value, 0, &mut 0, storing)?;
    if !is_lazy(&value) {
        return Ok(value);
    }
    Ok(Value::from(value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?))
}

/// Adds what rewritten templates call, and the formatter that checks all output.
pub fn install(env: &mut Environment<'static>, limit: usize) {
    env.add_function(CHECK, move |value: Value| check(value, limit, false));
    env.add_function(CHECK_STORED, move |value: Value| check(value, limit, true));
    env.add_function(CONCAT, move |a: Value, b: Value| join_text(&[&a, &b], limit));
    env.add_function(TICK, check_limits);
    env.set_formatter(move |out: &mut Output, _: &mut State, value: &Value| {
        check_limits()?;
        match value.as_str() {
            Some(text) => out.write_str(text)?,
            None => out.write_str(&to_text(value, limit)?)?,
        }
        Ok(())
    });
}

fn expand<'s>(instruction: &Instruction<'s>) -> Vec<Instruction<'s>> {
    use Instruction::*;
    let check = CallFunction(CHECK, Some(1));
    match instruction {
        EmitRaw(text) => vec![LoadConst(Value::from(*text)), Emit],
        StringConcat => vec![CallFunction(CONCAT, Some(2))],
        Add | Mul | Slice | EndCapture | ApplyFilter(..) | CallFunction(..) | CallMethod(..)
        | CallObject(..) | BuildList(_) | BuildTuple(_) | BuildMap(_) => {
            vec![instruction.clone(), check]
        }
        // Constant expressions are computed by the compiler.
        LoadConst(value) if value.as_object().is_some() && !value.is_kwargs() => {
            vec![instruction.clone(), check]
        }
        // On the stack: the value, then the namespace it goes into.
        SetAttr(_) => {
            vec![Swap, CallFunction(CHECK_STORED, Some(1)), Swap, instruction.clone()]
        }
        Iterate(_) => vec![instruction.clone(), CallFunction(TICK, Some(0)), DiscardTop],
        other => vec![other.clone()],
    }
}

fn retarget(instruction: &mut Instruction<'_>, new_index: &[u32]) {
    use Instruction::*;
    match instruction {
        Iterate(target)
        | Jump(target)
        | JumpIfFalse(target)
        | JumpIfFalseOrPop(target)
        | JumpIfTrueOrPop(target)
        | BuildMacro(_, target, _) => {
            *target = new_index[*target as usize];
        }
        _ => {}
    }
}

/// The same program with the checks in it. A jump to an instruction becomes a jump to the first of
/// those that replace it; the check after an instruction is never a target of its own.
pub fn rewrite<'s>(old: &Instructions<'s>) -> Instructions<'s> {
    let mut new = Instructions::new(old.name(), old.source());
    let mut new_index = Vec::new();
    let mut count = 0;
    for index in 0.. {
        let Some(instruction) = old.get(index) else { break };
        new_index.push(count);
        for replacement in expand(instruction) {
            count = 1 + match old.get_span(index) {
                Some(span) => new.add_with_span(replacement, span),
                None => new.add_with_line(replacement, old.get_line(index).unwrap_or(0) as u16),
            };
        }
    }
    new_index.push(count);
    for index in 0..count {
        if let Some(instruction) = new.get_mut(index) {
            retarget(instruction, &new_index);
        }
    }
    new
}

pub fn rewrite_blocks<'s>(
    blocks: &BTreeMap<&'s str, Instructions<'s>>,
) -> BTreeMap<&'s str, Instructions<'s>> {
    blocks.iter().map(|(name, body)| (*name, rewrite(body))).collect()
}
