//! Counts tokens plausibly and always the same: a token for every four characters of a word begun, and for every mark.

/// What a message costs beside its text: role and frame.
pub(super) const MESSAGE: u64 = 4;

pub(super) fn count(text: &str) -> u64 {
    pieces(text).map(|piece| piece.chars().count().div_ceil(4) as u64).sum()
}

/// The first `tokens` tokens of `text`.
pub(super) fn cut(text: &str, tokens: u64) -> &str {
    let mut left = tokens;
    let mut end = 0;
    for piece in pieces(text) {
        let cost = piece.chars().count().div_ceil(4) as u64;
        let start = piece.as_ptr() as usize - text.as_ptr() as usize;
        if cost > left {
            let chars = usize::try_from(left * 4).unwrap_or(usize::MAX);
            let within: usize = piece.chars().take(chars).map(char::len_utf8).sum();
            return &text[..if left == 0 { end } else { start + within }];
        }
        left -= cost;
        end = start + piece.len();
    }
    text
}

/// Words, and marks by themselves.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().flat_map(|word| word.split_inclusive(|c: char| !c.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cut_to_its_tokens_has_no_more_of_them() {
        let text = "{\"title\":\"Photosynthesis and respiration\",\"week\":12} überall";
        let all = count(text);
        assert_eq!(cut(text, all), text);
        for tokens in 0..all {
            assert!(count(cut(text, tokens)) <= tokens, "{tokens}");
            assert!(text.starts_with(cut(text, tokens)));
        }
    }
}
