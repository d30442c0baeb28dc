//! A chat template: parsing, and the environment that transformers gives it.

use std::ffi::CString;
use std::fmt::Write;
use std::sync::Arc;

use minijinja::machinery::{self, ast, CodeGenerator};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat;

use crate::guard::LimitedString;
use crate::json::{failure, over_limit, tojson};
use crate::meter::Meter;
use crate::watch::{self, Job, Stuck};
use crate::{guard, Outcome, Refusal};

const NAME: &str = "chat_template";
const MAX_SOURCE_BYTES: usize = 1 << 20;
const RECURSION_LIMIT: usize = 200;

/// latentd_template_limits of the header.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Limits {
    pub fuel: u64,
    pub output_bytes: u64,
    pub memory_bytes: u64,
    pub cpu_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { fuel: 1 << 21, output_bytes: 4 << 20, memory_bytes: 64 << 20, cpu_ms: 1000 }
    }
}

pub struct ChatTemplate {
    source: Arc<str>,
    stuck: Arc<Stuck>,
}

/// One line: the problem and where it is. What raise_exception was given stands alone.
fn describe(error: &Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_string);
    match (error.kind(), error.line()) {
        (ErrorKind::OutOfFuel, _) if error.detail().is_none() => "it takes too many steps".into(),
        (ErrorKind::BadSerialization, _) => what,
        (_, Some(line)) => format!("line {line}: {what}"),
        _ => what,
    }
}

/// Whether `error`, or one behind it, is of a limit: steps, or what json::over_limit makes.
fn is_over_limit(error: &Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            let is_endless = error.detail() == Some("recursion limit exceeded");
            if is_endless || error.kind() == ErrorKind::OutOfFuel {
                return true;
            }
        }
        next = error.source();
    }
    false
}

/// transformers' `{% generation %}` block only marks text for training: it is its content.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let tag = &rest[at..];
        let Some(end) = tag.find("%}").map(|e| e + 2) else { break };
        let inside = tag[2..end - 2].trim_matches(['-', '+']).trim();
        out.push_str(&rest[..at]);
        match inside {
            "generation" => out.push_str(&tag[..end].replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag[..end].replace("endgeneration", "endif")),
            _ => {
                out.push_str("{%");
                rest = &tag[2..];
                continue;
            }
        }
        rest = &tag[end..];
    }
    out + rest
}

fn syntax() -> Outcome<SyntaxConfig> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| e.to_string())
}

fn parse(source: &str) -> Outcome<ast::Stmt<'_>> {
    machinery::parse(source, NAME, syntax()?).map_err(|e| describe(&e))
}

fn strftime(format: &str, unix_seconds: i64) -> Result<String, Error> {
    let format = CString::new(format).map_err(|_| failure("strftime_now: bad format"))?;
    let mut buffer = [0u8; 256];
    let now: libc::time_t = unix_seconds;
    // SAFETY: all pointers are to live locals, and strftime writes at most the size it is told.
    let size = unsafe {
        let mut broken_down = std::mem::zeroed();
        libc::localtime_r(&now, &mut broken_down);
        let size = buffer.len();
        libc::strftime(buffer.as_mut_ptr().cast(), size, format.as_ptr(), &broken_down)
    };
    Ok(String::from_utf8_lossy(&buffer[..size]).into_owned())
}

/// The arguments that make a result longer than its input in one call.
fn check_growth(value: &Value, method: &str, args: &[Value], limit: usize) -> Result<(), Error> {
    let too_long = || over_limit(format!("{method} makes more than {limit} bytes"));
    let text = value.as_str().unwrap_or_default();
    match (method, args) {
        ("replace", [old, new, ..]) => {
            let (Some(old), Some(new)) = (old.as_str(), new.as_str()) else { return Ok(()) };
            let hits = text.matches(old).count();
            if hits.saturating_mul(new.len()).saturating_add(text.len()) > limit {
                return Err(too_long());
            }
        }
        ("join", [items, ..]) => {
            let mut size = 0usize;
            for item in items.try_iter()?.checked() {
                let item = item?;
                let bytes = match item.as_str() {
                    Some(s) => s.len(),
                    None => guard::to_text(&item, limit)?.len(),
                };
                size = size.saturating_add(bytes).saturating_add(text.len());
                if size > limit {
                    return Err(too_long());
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn call_method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
    limit: usize,
) -> Result<Value, Error> {
    if value.kind() == ValueKind::String {
        if method == "format" {
            return Err(failure("str.format is not supported"));
        }
        check_growth(value, method, args, limit)?;
    }
    pycompat::unknown_method_callback(state, value, method, args)
}

/// Filters whose arguments can ask for more than their input holds.
fn add_filters(env: &mut Environment<'static>, limit: usize) {
    // They take widths and counts; no chat template needs them.
    for name in ["batch", "slice", "format", "pprint", "zip", "chain"] {
        env.remove_filter(name);
    }
    env.add_filter("tojson", move |value: &Value, indent: Option<Value>, kwargs: Kwargs| {
        tojson(value, indent, kwargs, limit)
    });
    env.add_filter("string", move |value: &Value| guard::to_text(value, limit));
    env.add_filter("replace", move |state: &mut State, text: Value, old: Value, new: Value| {
        let text = Value::from(guard::to_text(&text, limit)?);
        call_method(state, &text, "replace", &[old, new], limit)
    });
    env.add_filter(
        "join",
        move |state: &mut State, items: Value, by: Option<Value>, kw: Kwargs| {
            let attribute = kw.get::<Option<Value>>("attribute")?;
            let by = match by {
                Some(by) => by,
                None => kw.get::<Option<Value>>("d")?.unwrap_or_else(|| Value::from("")),
            };
            kw.assert_all_used()?;
            let items = match attribute {
                None => items,
                Some(name) => items
                    .try_iter()?
                    .checked()
                    .map(|item| item?.get_item(&name))
                    .collect::<Result<Value, Error>>()?,
            };
            let by = Value::from(guard::to_text(&by, limit)?);
            call_method(state, &by, "join", &[items], limit)
        },
    );
    env.add_filter(
        "indent",
        move |text: Value,
              width: Option<Value>,
              first: Option<bool>,
              blank: Option<bool>,
              kw: Kwargs| {
            let width = width.or(kw.get::<Option<Value>>("width")?).unwrap_or(Value::from(4));
            let first = first.or(kw.get::<Option<bool>>("first")?).unwrap_or(false);
            let blank = blank.or(kw.get::<Option<bool>>("blank")?).unwrap_or(false);
            kw.assert_all_used()?;
            indent(&guard::to_text(&text, limit)?, &width, first, blank, limit)
        },
    );
}

/// Jinja's indent: every line but the first (unless `first`) and empty ones (unless `blank`).
fn indent(text: &str, by: &Value, first: bool, blank: bool, limit: usize) -> Result<String, Error> {
    let by = match by.as_str() {
        Some(by) => by.to_string(),
        None => " ".repeat(
            by.as_usize()
                .filter(|&w| w <= 256)
                .ok_or_else(|| failure("indent: the width must be 0 to 256"))?,
        ),
    };
    let mut out = LimitedString::new(limit);
    for (index, line) in text.split('\n').enumerate() {
        let newline = if index > 0 { "\n" } else { "" };
        let is_indented = if index == 0 { first } else { blank || !line.is_empty() };
        let margin = if is_indented { &by } else { "" };
        write!(out, "{newline}{margin}{line}").map_err(|_| over_limit("indent: too long"))?;
    }
    out.finish()
}

fn environment(limits: &Limits, fuel: u64, now_unix_seconds: i64) -> Environment<'static> {
    let limit = limits.output_bytes as usize;
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_recursion_limit(RECURSION_LIMIT);
    env.set_fuel(Some(fuel));
    env.set_unknown_method_callback(move |state, value, method, args| {
        call_method(state, value, method, args, limit)
    });
    add_filters(&mut env, limit);
    env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::BadSerialization, message))
    });
    env.add_function("strftime_now", move |format: &str| strftime(format, now_unix_seconds));
    // Python's str is a sequence; templates rely on it to tell text from None.
    env.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
    });
    guard::install(&mut env, limit);
    env
}

fn render_here(
    source: &str,
    context_json: &str,
    limits: &Limits,
    now_unix_seconds: i64,
) -> Result<String, Refusal> {
    let context: Value =
        serde_json::from_str(context_json).map_err(|e| format!("the variables: {e}"))?;
    if context.kind() != ValueKind::Map {
        return Err(String::from("the variables are not a JSON object").into());
    }
    // Long conversations are long programs: about ten instructions a message, many bytes each.
    let fuel = limits.fuel.saturating_add(16 * context_json.len() as u64);
    let env = environment(limits, fuel, now_unix_seconds);
    let tree = parse(source)?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&tree);
    let (main, blocks) = generator.finish();
    let (main, blocks) = (guard::rewrite(&main), guard::rewrite_blocks(&blocks));
    let mut text = String::new();
    let mut out = machinery::make_string_output(&mut text);
    machinery::eval(&env, &main, context, &blocks, &mut out, AutoEscape::None)
        .map(|_| ())
        .map_err(|e| Refusal { text: describe(&e), over_limit: is_over_limit(&e) })?;
    if text.len() as u64 > limits.output_bytes {
        let text = format!("it makes more than {} bytes", limits.output_bytes);
        return Err(Refusal::of_limit(text));
    }
    Ok(text)
}

/// `f` within the limits. One rendering that could not be stopped is enough to refuse the next: the
/// template is the operator's, and it is broken.
fn within<T: Send + 'static>(
    limits: &Limits,
    stuck: &Arc<Stuck>,
    f: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let job = Job { name: "chat-template", cpu_ms: limits.cpu_ms, wall_ms: u64::MAX, max_stuck: 1 };
    watch::within(&job, &Arc::new(Meter::new(limits.memory_bytes)), stuck, f)
}

impl ChatTemplate {
    pub fn new(source: &str) -> Outcome<Self> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(format!("it is longer than {MAX_SOURCE_BYTES} bytes"));
        }
        let source: Arc<str> = without_generation_tags(source).into();
        let checked = source.clone();
        let stuck = Arc::new(Stuck::default());
        within(&Limits::default(), &stuck, move || Ok(parse(&checked).map(|_| ())?))
            .map_err(|refusal| refusal.text)?;
        Ok(ChatTemplate { source, stuck })
    }

    pub fn render(&self, context_json: &str, limits: Limits, now: i64) -> Result<String, Refusal> {
        let (source, context) = (self.source.clone(), context_json.to_string());
        within(&limits, &self.stuck, move || render_here(&source, &context, &limits, now))
    }
}
