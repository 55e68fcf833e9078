//! House rules that no compiler checks, as tests with kind messages: who may call whom, and what no file may contain.

mod arrows;
mod source;
mod words;
