//! A list that somebody goes through: what is chosen in it, and what it is narrowed down to. What is chosen stays so while rows come, go and
//! change places.

#[derive(Clone, Debug, Default)]
pub struct List {
    /// In any letters; none: everything is shown.
    pub filter: String,
    chosen: Option<String>,
    at: usize,
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    By(isize),
    First,
    Last,
}

impl List {
    /// Whether a row that says `text` is shown.
    #[must_use]
    pub fn shows(&self, text: &str) -> bool {
        self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// Of rows with these keys, the chosen one; where that is gone, the one in its place.
    #[must_use]
    pub fn place(&self, keys: &[String]) -> Option<usize> {
        let found = self.chosen.as_ref().and_then(|chosen| keys.iter().position(|key| key == chosen));
        found.or_else(|| keys.len().checked_sub(1).map(|last| self.at.min(last)))
    }

    pub fn go(&mut self, go: Go, keys: &[String]) {
        let Some(place) = self.place(keys) else { return };
        let last = keys.len() - 1;
        self.at = match go {
            Go::By(steps) => place.saturating_add_signed(steps).min(last),
            Go::First => 0,
            Go::Last => last,
        };
        self.chosen = Some(keys[self.at].clone());
    }

    /// Takes notice of new rows, so that what is chosen now is still chosen when the next ones come.
    pub fn settle(&mut self, keys: &[String]) {
        self.go(Go::By(0), keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        text.chars().map(|c| c.to_string()).collect()
    }

    #[test]
    fn what_is_chosen_stays_chosen_when_rows_change_places() {
        let mut list = List::default();
        assert_eq!((list.place(&keys("")), list.place(&keys("abc"))), (None, Some(0)));
        list.go(Go::By(1), &keys("abc"));
        assert_eq!(list.place(&keys("cab")), Some(2));
        assert_eq!(list.place(&keys("ac")), Some(1), "the one in its place");
        assert_eq!(list.place(&keys("a")), Some(0));
    }

    #[test]
    fn nobody_goes_beyond_the_ends() {
        let mut list = List::default();
        for (go, place) in [(Go::By(-3), 0), (Go::By(100), 2), (Go::By(isize::MIN), 0), (Go::Last, 2), (Go::First, 0)] {
            list.go(go, &keys("abc"));
            assert_eq!(list.place(&keys("abc")), Some(place), "{go:?}");
        }
        list.go(Go::Last, &[]);
    }

    #[test]
    fn filters_take_any_letters() {
        let list = List { filter: "SerP".into(), ..List::default() };
        assert!(list.shows("the serp queue") && !list.shows("mail"));
    }
}
