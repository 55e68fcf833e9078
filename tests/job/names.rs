//! The one grammar of names, and ids.

use proptest::prelude::*;
use windlass::job::{JobId, Name};

#[test]
fn a_name_begins_with_a_letter_or_digit_and_has_up_to_128_of_the_grammar() {
    let longest = "x".repeat(128);
    for good in ["a", "Z", "0", "serp.refresh", "kw:rust", "a_b-c.d:e", "0-", &longest] {
        assert_eq!(Name::new(good).unwrap().as_str(), good);
    }
    let too_long = "x".repeat(129);
    for bad in ["", "_a", ".a", "-a", ":a", "a b", "a/b", "a\0", "a\n", "ä", "aé", "{a}", "a*", "а", &too_long] {
        assert!(Name::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_bad_name_is_shown_without_its_whole_length() {
    let error = Name::new(&"🦀".repeat(1000)).unwrap_err().to_string();
    assert_eq!(error.matches('🦀').count(), 40);
    let control = Name::new("a\nb").unwrap_err().to_string();
    assert!(control.ends_with(r#"got "a\nb""#), "{control}");
}

#[test]
fn names_pad_like_other_text() {
    assert_eq!(format!("[{:<4}|{:>4}]", Name::literal("ab"), Name::literal("cd")), "[ab  |  cd]");
}

proptest! {
    #[test]
    fn what_the_grammar_says_is_what_is_accepted(text in "\\PC{0,6}|[A-Za-z0-9_.:-]{0,130}") {
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c));
        prop_assert_eq!(Name::is_valid(&text), first && rest && text.len() <= 128);
        prop_assert_eq!(Name::new(&text).is_ok(), Name::is_valid(&text));
        if let Ok(name) = Name::new(&text) {
            let json = serde_json::to_string(&name).unwrap();
            prop_assert_eq!(serde_json::from_str::<Name>(&json).unwrap(), name);
        }
    }

    #[test]
    fn an_id_is_read_back_as_it_was_written(bits in any::<u128>()) {
        let id = JobId(uuid::Uuid::from_u128(bits));
        prop_assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        prop_assert_eq!(serde_json::from_str::<JobId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }
}
