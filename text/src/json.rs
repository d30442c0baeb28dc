//! The `tojson` filter as transformers defines it: Python's json.dumps with ensure_ascii=False.

use std::fmt::Write;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use crate::guard::LimitedString;

const MAX_DEPTH: usize = 256;

pub fn failure(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text.into())
}

/// Over a limit of the rendering.
pub fn over_limit(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::OutOfFuel, text.into())
}

struct Dumper {
    out: LimitedString,
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
}

/// `value | tojson(indent=…, ensure_ascii=…, separators=…, sort_keys=…)`; at most `limit` bytes.
pub fn tojson(
    value: &Value,
    indent: Option<Value>,
    kwargs: Kwargs,
    limit: usize,
) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<Value>>("indent")?,
    };
    let indent = match indent.filter(|v| !v.is_none()) {
        None => None,
        Some(v) => Some(match v.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(i64::try_from(v)?.clamp(0, 64) as usize),
        }),
    };
    let separators = kwargs.get::<Option<Vec<String>>>("separators")?;
    let (item_separator, key_separator) = match separators.as_deref() {
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(failure("tojson: separators are two strings")),
    };
    let mut dumper = Dumper {
        out: LimitedString::new(limit),
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
        item_separator,
        key_separator,
    };
    kwargs.assert_all_used()?;
    dumper.value(value, 0)?;
    Ok(Value::from(dumper.out.finish()?))
}

impl Dumper {
    fn put(&mut self, text: &str) -> Result<(), Error> {
        self.out.write_str(text).map_err(|_| over_limit("tojson: the text is too long"))
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(over_limit("tojson: nested too deep"));
        }
        match value.kind() {
            ValueKind::None => self.put("null"),
            ValueKind::Bool => self.put(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.put(&value.to_string()),
            ValueKind::Number => self.put(&python_float(f64::try_from(value.clone())?)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.items(value, depth),
            ValueKind::Map => self.map(value, depth),
            kind => Err(failure(format!("tojson: a value of type {kind} is not JSON"))),
        }
    }

    fn newline(&mut self, depth: usize) -> Result<(), Error> {
        let Some(indent) = self.indent.clone() else { return Ok(()) };
        self.put("\n")?;
        (0..depth).try_for_each(|_| self.put(&indent))
    }

    fn items(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.put("[")?;
        let mut any = false;
        for item in value.try_iter()?.checked() {
            self.between(&mut any, depth)?;
            self.value(&item?, depth + 1)?;
        }
        self.close(any, depth, "]")
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.put("{")?;
        let mut keys = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
        if self.sort_keys {
            keys.sort();
        }
        let mut any = false;
        for key in keys {
            self.between(&mut any, depth)?;
            match key.kind() {
                ValueKind::String => self.string(key.as_str().unwrap_or_default())?,
                ValueKind::None => self.put("\"null\"")?,
                ValueKind::Bool => {
                    self.put(if key.is_true() { "\"true\"" } else { "\"false\"" })?
                }
                ValueKind::Number => self.put(&format!("\"{key}\""))?,
                kind => return Err(failure(format!("tojson: a key of type {kind} is not JSON"))),
            }
            let separator = self.key_separator.clone();
            self.put(&separator)?;
            self.value(&value.get_item(&key)?, depth + 1)?;
        }
        self.close(any, depth, "}")
    }

    fn between(&mut self, any: &mut bool, depth: usize) -> Result<(), Error> {
        if std::mem::replace(any, true) {
            let separator = self.item_separator.clone();
            self.put(&separator)?;
        }
        self.newline(depth + 1)
    }

    fn close(&mut self, any: bool, depth: usize, bracket: &str) -> Result<(), Error> {
        if any {
            self.newline(depth)?;
        }
        self.put(bracket)
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.put("\"")?;
        for c in text.chars() {
            match c {
                '"' => self.put("\\\"")?,
                '\\' => self.put("\\\\")?,
                '\n' => self.put("\\n")?,
                '\r' => self.put("\\r")?,
                '\t' => self.put("\\t")?,
                '\u{8}' => self.put("\\b")?,
                '\u{c}' => self.put("\\f")?,
                c if (c as u32) < 0x20 => self.put(&format!("\\u{:04x}", c as u32))?,
                c if self.ensure_ascii && !c.is_ascii() => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.put(&format!("\\u{unit:04x}"))?;
                    }
                }
                c => self.put(c.encode_utf8(&mut [0; 4]))?,
            }
        }
        self.put("\"")
    }
}

/// Python's repr of a float: shortest digits that read back, an exponent of at least two digits
/// outside 1e-4 ..= 1e16.
fn python_float(x: f64) -> String {
    if !x.is_finite() {
        let name = if x.is_nan() { "NaN" } else { "Infinity" };
        return if x < 0.0 { format!("-{name}") } else { name.into() };
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        format!("{x:?}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}
