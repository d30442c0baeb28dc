//! The part of include/latentd_text.h about vocabularies and constraints.

use std::ffi::c_char;
use std::sync::Arc;

use crate::abi::{run, slice, text};
use crate::compile::Kind;
use crate::constraint::{Constraint, Limits};
use crate::tokenizer::TextTokenizer;
use crate::vocabulary::Vocabulary;

/// Constraints hold their vocabulary, so the handle may be freed before them.
pub struct VocabularyHandle(Arc<Vocabulary>);

#[no_mangle]
pub unsafe extern "C" fn latentd_vocabulary_new(
    tokenizer: *const TextTokenizer,
    end_ids: *const u32,
    num_end_ids: usize,
    out: *mut *mut VocabularyHandle,
) -> *mut c_char {
    run(|| {
        let vocabulary = unsafe { Vocabulary::new(&*tokenizer, slice(end_ids, num_end_ids))? };
        unsafe { *out = Box::into_raw(Box::new(VocabularyHandle(Arc::new(vocabulary)))) };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn latentd_vocabulary_free(vocabulary: *mut VocabularyHandle) {
    if !vocabulary.is_null() {
        drop(unsafe { Box::from_raw(vocabulary) });
    }
}

#[no_mangle]
pub unsafe extern "C" fn latentd_constraint_new(
    vocabulary: *const VocabularyHandle,
    kind: u32,
    source: *const u8,
    size: usize,
    limits: *const Limits,
    out: *mut *mut Constraint,
) -> *mut c_char {
    run(|| {
        let source = unsafe { text(source, size)? };
        let vocabulary = unsafe { &(*vocabulary).0 };
        let constraint = Constraint::new(vocabulary, Kind::of(kind)?, source, unsafe { &*limits })?;
        unsafe { *out = Box::into_raw(Box::new(constraint)) };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn latentd_constraint_clone(
    constraint: *const Constraint,
    out: *mut *mut Constraint,
) -> *mut c_char {
    run(|| {
        let copy = unsafe { (*constraint).duplicate()? };
        unsafe { *out = Box::into_raw(Box::new(copy)) };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn latentd_constraint_free(constraint: *mut Constraint) {
    if !constraint.is_null() {
        drop(unsafe { Box::from_raw(constraint) });
    }
}

#[no_mangle]
pub unsafe extern "C" fn latentd_constraint_mask(
    constraint: *mut Constraint,
    words: *mut u32,
    num_words: usize,
) -> *mut c_char {
    run(|| {
        let words = match num_words {
            0 => &mut [],
            _ => unsafe { std::slice::from_raw_parts_mut(words, num_words) },
        };
        unsafe { (*constraint).mask(words) }
    })
}

#[no_mangle]
pub unsafe extern "C" fn latentd_constraint_commit(
    constraint: *mut Constraint,
    id: u32,
) -> *mut c_char {
    run(|| unsafe { (*constraint).commit(id) })
}

#[no_mangle]
pub unsafe extern "C" fn latentd_constraint_state(
    constraint: *mut Constraint,
    accepting: *mut bool,
    finished: *mut bool,
) -> *mut c_char {
    run(|| {
        let is_accepting = unsafe { (*constraint).is_accepting()? };
        let is_finished = unsafe { (*constraint).is_finished()? };
        unsafe {
            *accepting = is_accepting;
            *finished = is_finished;
        }
        Ok(())
    })
}
