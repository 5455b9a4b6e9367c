//! Texts as Go writes them: quoted, in hex, durations.

use std::{fmt::Write, time::Duration};

/// Bytes in double quotes, as `%q` writes them: what is printable stays, the rest is escaped.
pub(in crate::cli) fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::with_capacity(bytes.len().saturating_add(2));
    quoted.push('"');
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|character| escape(character, &mut quoted));
        for byte in chunk.invalid() {
            push(&mut quoted, format_args!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    quoted
}

fn escape(character: char, text: &mut String) {
    match character {
        '"' | '\\' => text.extend(['\\', character]),
        '\u{7}' => text.push_str("\\a"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\u{b}' => text.push_str("\\v"),
        // What the library would escape is not printable, but for quotes.
        plain if plain == '\'' || plain.escape_debug().len() == 1 => text.push(plain),
        ascii if u32::from(ascii) < 0x80 => push(text, format_args!("\\x{:02x}", u32::from(ascii))),
        short if u32::from(short) < 0x1_0000 => {
            push(text, format_args!("\\u{:04x}", u32::from(short)));
        }
        long => push(text, format_args!("\\U{:08x}", u32::from(long))),
    }
}

/// Bytes as `\x61\x62`.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(4));
    for byte in bytes {
        push(&mut text, format_args!("\\x{byte:02x}"));
    }
    text
}

/// A duration as Go writes it: `1m2.5s`, `12.3ms`, `0s`.
pub(in crate::cli) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.is_zero() {
        return "0s".to_owned();
    }
    if seconds < 60 {
        return format!("{duration:?}");
    }
    let rest = Duration::new(seconds % 60, duration.subsec_nanos());
    let rest = if rest < Duration::from_secs(1) {
        // The library would go over to milliseconds.
        let text = format!("{:?}", rest.saturating_add(Duration::from_secs(1)));
        format!("0{}", text.strip_prefix('1').unwrap_or(&text))
    } else {
        format!("{rest:?}")
    };
    let minutes = seconds / 60;
    if minutes < 60 {
        format!("{minutes}m{rest}")
    } else {
        format!("{}h{}m{rest}", minutes / 60, minutes % 60)
    }
}

fn push(text: &mut String, piece: std::fmt::Arguments<'_>) {
    text.write_fmt(piece).expect("writing to a string succeeds");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of character that Go tells apart.
    #[test]
    fn texts_are_quoted_as_gos() {
        assert_eq!(quote(b"a'b\"c\\"), r#""a'b\"c\\""#);
        assert_eq!(quote(b"\x07\x08\x0c\n\r\t\x0b\x00\x7f"), r#""\a\b\f\n\r\t\v\x00\x7f""#);
        assert_eq!(quote("é 世 \u{200b} \u{10ffff}".as_bytes()), r#""é 世 \u200b \U0010ffff""#);
        assert_eq!(quote(b"v\x01\xff\xe4\xb8"), r#""v\x01\xff\xe4\xb8""#);
        assert_eq!(hex(b"a\xff"), r"\x61\xff");
    }

    /// From nothing to hours.
    #[test]
    fn durations_are_written_as_gos() {
        for (millis, text) in [
            (0, "0s"),
            (12, "12ms"),
            (1_500, "1.5s"),
            (60_000, "1m0s"),
            (60_500, "1m0.5s"),
            (61_250, "1m1.25s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_duration(Duration::from_nanos(11_187_186)), "11.187186ms");
    }
}
