//! The functions of include/latentd_text.h: pointers in and out, panics to errors.

use std::ffi::{c_char, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

use crate::template::{ChatTemplate, Limits};
use crate::tokenizer::{Encoded, TextTokenizer};
use crate::Outcome;

#[repr(C)]
pub struct Bytes {
    data: *mut u8,
    size: usize,
}

#[repr(C)]
pub struct Ids {
    data: *mut u32,
    size: usize,
}

fn one_line(text: &str) -> CString {
    let line = text.split(['\0', '\n', '\r']).map(str::trim).collect::<Vec<_>>().join(" ");
    CString::new(line.trim()).unwrap_or_default()
}

/// What a panic said. The payload is a string for every `panic!` with a message.
pub fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let said = payload
        .downcast_ref::<&str>()
        .map(|s| s.to_string())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    format!("internal failure: {said}")
}

/// Panics become errors, so the default report on stderr would only say it twice. llguidance puts a
/// hook of its own, which walks the stack, in front of what it finds at its first use: that is now.
pub fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = llguidance::panic_utils::catch_unwind(|| Ok(()));
        std::panic::set_hook(Box::new(|_| {}));
    });
}

pub fn run(f: impl FnOnce() -> Outcome<()>) -> *mut c_char {
    silence_panics();
    let result = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|p| Err(panic_text(&*p)));
    match result {
        Ok(()) => std::ptr::null_mut(),
        Err(text) => one_line(&text).into_raw(),
    }
}

/// # Safety
/// `data` points to `size` values, or `size` is 0.
pub unsafe fn slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        return &[];
    }
    unsafe { std::slice::from_raw_parts(data, size) }
}

pub unsafe fn text<'a>(data: *const u8, size: usize) -> Outcome<&'a str> {
    std::str::from_utf8(unsafe { slice(data, size) })
        .map_err(|e| format!("not UTF-8 at byte {}", e.valid_up_to()))
}

fn give_bytes(bytes: Vec<u8>) -> Bytes {
    let boxed = bytes.into_boxed_slice();
    let size = boxed.len();
    Bytes { data: Box::into_raw(boxed) as *mut u8, size }
}

#[no_mangle]
pub unsafe extern "C" fn latentd_text_error_free(error: *mut c_char) {
    if !error.is_null() {
        drop(unsafe { CString::from_raw(error) });
    }
}

#[no_mangle]
pub unsafe extern "C" fn latentd_text_bytes_free(bytes: Bytes) {
    let raw = std::ptr::slice_from_raw_parts_mut(bytes.data, bytes.size);
    drop(unsafe { Box::from_raw(raw) });
}

#[no_mangle]
pub unsafe extern "C" fn latentd_text_ids_free(ids: Ids) {
    let raw = std::ptr::slice_from_raw_parts_mut(ids.data, ids.size);
    drop(unsafe { Box::from_raw(raw) });
}

#[no_mangle]
pub unsafe extern "C" fn latentd_tokenizer_new(
    json: *const u8,
    size: usize,
    out: *mut *mut TextTokenizer,
) -> *mut c_char {
    run(|| {
        let tokenizer = TextTokenizer::new(unsafe { slice(json, size) })?;
        unsafe { *out = Box::into_raw(Box::new(tokenizer)) };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn latentd_tokenizer_free(tokenizer: *mut TextTokenizer) {
    if !tokenizer.is_null() {
        drop(unsafe { Box::from_raw(tokenizer) });
    }
}

#[no_mangle]
pub unsafe extern "C" fn latentd_tokenizer_encode(
    tokenizer: *const TextTokenizer,
    data: *const u8,
    size: usize,
    add_special: bool,
    max_ids: usize,
    out: *mut Ids,
    at_least: *mut usize,
) -> *mut c_char {
    run(|| {
        let (ids, more) =
            match unsafe { (*tokenizer).encode(text(data, size)?, add_special, max_ids)? } {
                Encoded::Ids(ids) => (ids, 0),
                Encoded::AtLeast(count) => (Vec::new(), count),
            };
        let boxed = ids.into_boxed_slice();
        let size = boxed.len();
        unsafe {
            *out = Ids { data: Box::into_raw(boxed) as *mut u32, size };
            *at_least = more;
        }
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn latentd_tokenizer_decode(
    tokenizer: *const TextTokenizer,
    ids: *const u32,
    num_ids: usize,
    skip_special: bool,
    out: *mut Bytes,
) -> *mut c_char {
    run(|| {
        let decoded = unsafe { (*tokenizer).decode(slice(ids, num_ids), skip_special)? };
        unsafe { *out = give_bytes(decoded.into_bytes()) };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn latentd_tokenizer_token_bytes(
    tokenizer: *const TextTokenizer,
    id: u32,
    out: *mut Bytes,
) -> *mut c_char {
    run(|| {
        unsafe { *out = give_bytes((*tokenizer).token_bytes(id)) };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn latentd_tokenizer_token_id(
    tokenizer: *const TextTokenizer,
    token: *const u8,
    size: usize,
    found: *mut bool,
    id: *mut u32,
) -> *mut c_char {
    run(|| {
        let looked_up = unsafe { (*tokenizer).token_id(text(token, size)?) };
        unsafe {
            *found = looked_up.is_some();
            *id = looked_up.unwrap_or(0);
        }
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn latentd_tokenizer_is_special(
    tokenizer: *const TextTokenizer,
    id: u32,
) -> bool {
    unsafe { (*tokenizer).is_special(id) }
}

#[no_mangle]
pub unsafe extern "C" fn latentd_tokenizer_vocab_size(tokenizer: *const TextTokenizer) -> u32 {
    unsafe { (*tokenizer).vocab_size() }
}

#[no_mangle]
pub unsafe extern "C" fn latentd_tokenizer_leading_spaces(tokenizer: *const TextTokenizer) -> u32 {
    unsafe { (*tokenizer).leading_spaces() }
}

#[no_mangle]
pub unsafe extern "C" fn latentd_template_new(
    source: *const u8,
    size: usize,
    out: *mut *mut ChatTemplate,
) -> *mut c_char {
    run(|| {
        let chat_template = ChatTemplate::new(unsafe { text(source, size)? })?;
        unsafe { *out = Box::into_raw(Box::new(chat_template)) };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn latentd_template_free(chat_template: *mut ChatTemplate) {
    if !chat_template.is_null() {
        drop(unsafe { Box::from_raw(chat_template) });
    }
}

#[no_mangle]
pub unsafe extern "C" fn latentd_template_render(
    chat_template: *const ChatTemplate,
    context_json: *const u8,
    size: usize,
    limits: *const Limits,
    now_unix_seconds: i64,
    out: *mut Bytes,
    over_limit: *mut bool,
) -> *mut c_char {
    run(|| {
        unsafe { *over_limit = false };
        let context = unsafe { text(context_json, size)? };
        let rendered = unsafe { (*chat_template).render(context, *limits, now_unix_seconds) };
        let rendered = rendered.map_err(|refusal| {
            unsafe { *over_limit = refusal.over_limit };
            refusal.text
        })?;
        unsafe { *out = give_bytes(rendered.into_bytes()) };
        Ok(())
    })
}
