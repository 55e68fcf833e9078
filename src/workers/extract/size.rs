//! How long an input is, in tokens, before anyone pays for it. Bytes bound tokens from above, so most inputs are never
//! counted; the rest are counted with o200k_base, which is exact for some models and near for the others.

use std::sync::LazyLock;
use tiktoken_rs::{CoreBPE, O200K_BASE_PAT_STR, Rank};

/// `build.rs` says how it is written.
static VOCABULARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/o200k_base"));

/// Of 50 MB; the first text that needs counting makes it.
static TOKENIZER: LazyLock<CoreBPE> = LazyLock::new(|| {
    let ranked = (0..).zip(tokens(VOCABULARY)).map(|(rank, token): (Rank, _)| (token.to_vec(), rank));
    CoreBPE::new(ranked.collect(), Default::default(), O200K_BASE_PAT_STR).expect("the library's own pattern")
});

fn tokens(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first()?;
        let (token, after) = after.split_at(usize::from(*length));
        rest = after;
        Some(token)
    })
}

/// Far longer than any word, short enough that a run without spaces costs milliseconds.
const CHUNK_BYTES: usize = 4096;

/// Whether `text` has at most `max_tokens`; `Err` with the count if it has more. Counting computes; it is for a pool.
pub(super) fn at_most(text: &str, max_tokens: usize) -> Result<(), usize> {
    // No token is shorter than a byte.
    if text.len() <= max_tokens {
        return Ok(());
    }
    // A panic in the tokeniser counts as too long: the bound above is all that is known then.
    let counted = std::panic::catch_unwind(|| count(text)).unwrap_or(text.len());
    if counted <= max_tokens { Ok(()) } else { Err(counted) }
}

/// Counted in pieces, because the tokeniser's time grows with the square of a run without spaces; a token cut by a border
/// counts twice, which errs on the safe side.
fn count(text: &str) -> usize {
    let mut rest = text;
    let mut tokens = 0;
    while !rest.is_empty() {
        let end = (0..=CHUNK_BYTES.min(rest.len())).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (chunk, after) = rest.split_at(end.max(1));
        tokens += TOKENIZER.encode_ordinary(chunk).len();
        rest = after;
    }
    tokens
}

/// What a text about costs when nobody counted: four bytes a token, as English has it.
pub(super) const fn estimated(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_over_the_bound_are_counted_and_the_count_decides() {
        assert_eq!(at_most("short", 5), Ok(()));
        let words = "the quick brown fox ".repeat(1000);
        let tokens = count(&words);
        assert!((4_000..4_100).contains(&tokens), "{tokens}");
        assert_eq!(at_most(&words, tokens), Ok(()));
        assert_eq!(at_most(&words, tokens - 1), Err(tokens));
    }

    #[test]
    fn vocabulary_is_the_library_s_own() {
        let own = tiktoken_rs::o200k_base().expect("it brings one");
        for text in ["Where is the invoice?", "größe 漢字 🚀\n\n\tfn main() {}", "12345 67", "don't DON'T"] {
            assert_eq!(TOKENIZER.encode_ordinary(text), own.encode_ordinary(text), "{text}");
        }
        assert_eq!(tokens(VOCABULARY).count(), 199_998);
    }

    #[test]
    fn borders_between_pieces_fall_between_characters() {
        assert!(count(&"漢".repeat(5000)) > 0);
        assert!(count(&"🚀".repeat(5000)) > 0);
    }
}
