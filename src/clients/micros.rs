//! Money as providers print it, in millionths, without a float in between.

/// Millionths of what the JSON number `text` says, rounded half up; `None` for what is no amount: negative, absurdly large,
/// not a number.
pub(super) fn of(text: &str) -> Option<u64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    // 30 digits fit into the arithmetic below, and no price has them.
    let plain = !whole.is_empty() && digits.len() <= 30 && digits.bytes().all(|b| b.is_ascii_digit());
    let digits: u128 = plain.then(|| digits.parse().ok()).flatten()?;
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(6)?;
    let power = |n: u32| 10_u128.checked_pow(n);
    let micros = match u32::try_from(shift) {
        Ok(up) => digits.checked_mul(power(up)?)?,
        Err(_) => power(shift.unsigned_abs()).map_or(0, |divisor| (digits + divisor / 2) / divisor),
    };
    u64::try_from(micros).ok()
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn amounts_are_read_to_the_millionth_and_nonsense_is_none() {
        for (text, micros) in [
            ("0.002", Some(2000)),
            ("0.0000005", Some(1)),
            ("0.00000049", Some(0)),
            ("6e-05", Some(60)),
            ("6.25E-5", Some(63)),
            ("1.5e+3", Some(1_500_000_000)),
            ("12", Some(12_000_000)),
            ("0", Some(0)),
            ("1e-400", Some(0)),
            ("-1", None),
            ("1e400", None),
            ("NaN", None),
            ("", None),
            (".5", None),
            ("\"0.1\"", None),
        ] {
            assert_eq!(of(text), micros, "{text}");
        }
    }
}
