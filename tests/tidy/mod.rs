//! House rules that a compiler cannot check.
