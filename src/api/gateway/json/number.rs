//! Integers and bytes as they stand in JSON.

/// The integer that a number of JSON is: `7`, `7.0` and `70e-1` are the same. None when it is none, or
/// one that no integer type of messages has.
pub(super) fn integer(number: &str) -> Option<i128> {
    /// `u64::MAX` has so many.
    const DIGITS_MAX: usize = 20;
    let (negative, rest) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (digits, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let mut digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let exponent: i64 = exponent.parse().ok()?;
    let mut shift = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    while shift < 0 {
        digits = digits.strip_suffix('0')?;
        shift += 1;
    }
    let shift = usize::try_from(shift).ok()?;
    if digits.len().saturating_add(shift) > DIGITS_MAX {
        return None;
    }
    let number: i128 = format!("{digits}{}", "0".repeat(shift)).parse().ok()?;
    Some(if negative { -number } else { number })
}

/// The number that a text begins with, if it does, as a number may stand in a string. What follows
/// it must not be able to belong to it.
pub(super) fn leading_number(text: &str) -> Option<&str> {
    let digits =
        |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let mut end = usize::from(text.starts_with('-'));
    let whole = match text.get(end..)? {
        rest if rest.starts_with('0') => 1,
        rest => digits(rest),
    };
    if whole == 0 {
        return None;
    }
    end += whole;
    if let Some(fraction) = text.get(end..)?.strip_prefix('.') {
        let len = digits(fraction);
        if len == 0 {
            return None;
        }
        end += 1 + len;
    }
    if let Some(power) = text.get(end..)?.strip_prefix(['e', 'E']) {
        let sign = usize::from(power.starts_with(['+', '-']));
        let len = digits(power.get(sign..)?);
        if len == 0 {
            return None;
        }
        end += 1 + sign + len;
    }
    let goes_on = |c: char| c.is_ascii_alphanumeric() || "-+._".contains(c);
    let (number, rest) = text.split_at_checked(end)?;
    (!rest.starts_with(goes_on)).then_some(number)
}

/// The bytes of a text in base64: with either alphabet, with padding or without.
pub(in crate::api::gateway) fn base64(text: &str) -> Option<Vec<u8>> {
    let (plus, slash) = if text.contains(['-', '_']) { (b'-', b'_') } else { (b'+', b'/') };
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        other if other == plus => Some(62),
        other if other == slash => Some(63),
        _ => None,
    };
    // As in Go, lines may be broken.
    let plain: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let digits = if text.len().is_multiple_of(4) {
        if !plain.len().is_multiple_of(4) {
            return None;
        }
        let once = plain.strip_suffix('=').unwrap_or(&plain);
        once.strip_suffix('=').unwrap_or(once)
    } else {
        &plain
    };
    let mut bytes = Vec::with_capacity(digits.len());
    for group in digits.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            bits = bits << 6 | u32::from(digit(*byte)?);
        }
        let [_, first, second, third] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        let len = group.len().checked_sub(1).filter(|len| *len > 0)?;
        bytes.extend([first, second, third].into_iter().take(len));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However it is written, an integer is an integer.
    #[test]
    fn integers_have_many_faces() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-7", Some(-7)),
            ("7.0", Some(7)),
            ("1e2", Some(100)),
            ("1E+2", Some(100)),
            ("1.5e1", Some(15)),
            ("70e-1", Some(7)),
            ("18446744073709551615", Some(i128::from(u64::MAX))),
            ("0e999999999999999999999", Some(0)),
            ("7.5", None),
            ("1e-1", None),
            ("1e20", None),
            ("1e999999999999999999999", None),
            ("999999999999999999999", None),
        ] {
            assert_eq!(integer(text), expected, "{text}");
        }
    }

    /// In a string, the number counts that stands at its beginning, alone.
    #[test]
    fn numbers_in_strings() {
        for (text, expected) in [
            ("12", Some("12")),
            ("-1.5e+3", Some("-1.5e+3")),
            ("5 6", Some("5")),
            ("0", Some("0")),
            ("", None),
            ("-", None),
            ("007", None),
            ("5x", None),
            ("1.", None),
            ("1e", None),
            ("+5", None),
            ("true", None),
        ] {
            assert_eq!(leading_number(text), expected, "{text}");
        }
    }

    /// Both alphabets, with padding or without; what is neither is refused.
    #[test]
    fn base64_is_read_as_go_reads_it() {
        for (text, expected) in [
            ("", Some(&b""[..])),
            ("Zg==", Some(b"f")),
            ("Zg", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm8", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("AP8=", Some(b"\0\xff")),
            ("_-8", Some(b"\xff\xef")),
            ("/+8=", Some(b"\xff\xef")),
            // Bits that are over do not matter.
            ("Zh==", Some(b"f")),
            ("Zm9v\nZg==\r\n\n", Some(b"foof")),
        ] {
            assert_eq!(base64(text).as_deref(), expected, "{text:?}");
        }
        for text in ["Z", "Z===", "Zg=", "Zg===", "====", "Zm9v=", "Zg==Zg==", "_/8=", "!", "Zm9vZ"]
        {
            assert_eq!(base64(text), None, "{text:?}");
        }
    }
}
