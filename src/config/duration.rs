//! Durations as users of etcd write them: `5s`, `500ms`, `1m30s`.

use std::time::Duration;

/// Reads a duration: whole numbers, each with a unit, added up.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 5s, 500ms or 1m30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = rest.split_at(digits);
        let letters = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, next) = unit.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = match unit {
            "us" => Some(Duration::from_micros(number)),
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            _ => None,
        };
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = next;
    }
    if total.is_zero() { Err(wrong()) } else { Ok(total) }
}

/// Writes whole milliseconds as [`parse`] reads them.
pub(super) fn print(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 1_000 == 0 => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units add up.
    #[test]
    fn numbers_with_units_are_added_up() {
        assert_eq!(parse("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
    }

    /// What is printed can be read.
    #[test]
    fn durations_round_trip() {
        for millis in [1, 1_500, 600_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(&print(duration)), Ok(duration));
        }
    }

    /// A number without a unit could mean anything.
    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5x",
            "1s5",
            "-1s",
            "0s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse(text).is_err(), "{text:?} was taken");
        }
    }
}
