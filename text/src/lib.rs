//! Tokenizers, chat templates and constraints on output behind a C ABI. The contract is include/latentd_text.h.

mod abi;
mod compile;
mod constraint;
mod constraint_abi;
mod fewest;
mod growth;
mod guard;
mod json;
mod meter;
mod template;
mod tokenizer;
mod vocabulary;
mod watch;

/// One line for the caller.
pub type Outcome<T> = Result<T, String>;

/// Why there is no result, in one line, and whether a limit is the reason.
pub struct Refusal {
    pub text: String,
    pub over_limit: bool,
}

impl Refusal {
    pub fn of_limit(text: impl Into<String>) -> Self {
        Refusal { text: text.into(), over_limit: true }
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Refusal { text, over_limit: false }
    }
}

#[global_allocator]
static ALLOCATOR: meter::MeteredAllocator = meter::MeteredAllocator;
