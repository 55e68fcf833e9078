//! `/v1/schedules`: recurring rules, shown and changed. When they are due is `job::schedule`'s word, firing them the engine's.
