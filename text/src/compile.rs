//! From what a caller sends to a grammar of llguidance.

use std::fmt::Write;

use llguidance::api::TopLevelGrammar;
use serde_json::Value as Json;

use crate::Outcome;

/// latentd_constraint_kind of the header.
#[derive(Clone, Copy)]
pub enum Kind {
    JsonSchema,
    Regex,
    Choice,
    Lark,
}

impl Kind {
    pub fn of(number: u32) -> Outcome<Self> {
        match number {
            0 => Ok(Kind::JsonSchema),
            1 => Ok(Kind::Regex),
            2 => Ok(Kind::Choice),
            3 => Ok(Kind::Lark),
            _ => Err(format!("{number} is no kind of constraint")),
        }
    }
}

/// The compiler lays out items and properties one by one, and only then looks at its own limits.
const MAX_COUNT: f64 = 10_000.0;
/// Open brackets in a grammar, which its parser meets by recursion.
const MAX_NESTING: usize = 128;

/// Regexes of one constraint together. Compiling takes memory by their length squared at worst.
const MAX_REGEX_BYTES: usize = 16 << 10;

pub fn grammar(kind: Kind, source: &str) -> Outcome<TopLevelGrammar> {
    match kind {
        Kind::JsonSchema => {
            let schema = serde_json::from_str(source).map_err(|e| format!("not JSON: {e}"))?;
            check_schema(&schema, &mut 0)?;
            Ok(TopLevelGrammar::from_json_schema(schema))
        }
        Kind::Regex => {
            count_regex(source, &mut 0)?;
            Ok(TopLevelGrammar::from_lark(format!("start: /{}/", regex_literal(source)?)))
        }
        Kind::Choice => {
            let choices: Vec<String> = serde_json::from_str(source)
                .map_err(|_| "choices are a JSON array of strings".to_string())?;
            if choices.is_empty() {
                return Err("there are no choices".into());
            }
            Ok(TopLevelGrammar::from_lark(format!("start: /(?:{})/", any_of(&choices))))
        }
        Kind::Lark => {
            count_regex(source, &mut 0)?;
            check_nesting(source)?;
            Ok(TopLevelGrammar::from_lark(source.to_string()))
        }
    }
}

fn count_regex(regex: &str, total: &mut usize) -> Outcome<()> {
    *total += regex.len();
    match *total > MAX_REGEX_BYTES {
        true => Err(format!("its regexes have more than {MAX_REGEX_BYTES} bytes")),
        false => Ok(()),
    }
}

fn check_schema(schema: &Json, regex_bytes: &mut usize) -> Outcome<()> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err("a JSON Schema is an object or a boolean".into());
    }
    if schema.get("x-guidance").is_some() {
        return Err("x-guidance is not supported".into());
    }
    check_part(schema, regex_bytes)
}

/// Goes through all that could be a schema, also where a member is only named like a keyword.
fn check_part(part: &Json, regex_bytes: &mut usize) -> Outcome<()> {
    match part {
        Json::Array(items) => items.iter().try_for_each(|item| check_part(item, regex_bytes)),
        Json::Object(members) => {
            members.iter().try_for_each(|(key, value)| check_member(key, value, regex_bytes))
        }
        _ => Ok(()),
    }
}

fn check_member(key: &str, value: &Json, regex_bytes: &mut usize) -> Outcome<()> {
    match (key, value) {
        ("const" | "enum" | "default" | "examples", _) => return Ok(()),
        ("$ref", Json::String(uri)) if !uri.starts_with('#') => {
            return Err(format!("$ref '{uri}' is not inside the schema; a remote one is refused"));
        }
        ("pattern", Json::String(regex)) => count_regex(regex, regex_bytes)?,
        ("patternProperties", Json::Object(members)) => {
            members.keys().try_for_each(|regex| count_regex(regex, regex_bytes))?
        }
        (
            "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minLength" | "maxLength",
            Json::Number(count),
        ) if count.as_f64().is_some_and(|count| count > MAX_COUNT) => {
            return Err(format!("{key}: {count} is above {MAX_COUNT}"));
        }
        _ => {}
    }
    check_part(value, regex_bytes)
}

/// `regex` between the slashes of a Lark grammar: only a slash needs another spelling.
fn regex_literal(regex: &str) -> Outcome<String> {
    if regex.is_empty() {
        return Ok("(?:)".into());
    }
    let mut out = String::with_capacity(regex.len() + 8);
    let mut chars = regex.chars();
    while let Some(c) = chars.next() {
        match c {
            '/' => out.push_str("\\/"),
            '\\' => match chars.next() {
                None | Some('\n' | '\r') => {
                    return Err("a backslash of the regex escapes nothing".into())
                }
                Some(escaped) => out.extend(['\\', escaped]),
            },
            c => out.push(c),
        }
    }
    Ok(out)
}

/// A regex for just these strings. Whatever could mean something is spelt by its code point.
fn any_of(choices: &[String]) -> String {
    let mut out = String::new();
    for (i, choice) in choices.iter().enumerate() {
        if i > 0 {
            out.push('|');
        }
        for c in choice.chars() {
            if c.is_ascii_alphanumeric() {
                out.push(c);
            } else {
                let _ = write!(out, "\\x{{{:x}}}", c as u32);
            }
        }
    }
    out
}

/// Counts brackets wherever they stand, so also those of strings that leave them open.
fn check_nesting(source: &str) -> Outcome<()> {
    let mut depth = 0usize;
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(format!("brackets are nested deeper than {MAX_NESTING}"));
        }
    }
    Ok(())
}
