//! Values of flags: what Go takes for each kind of them, and how a setting of ours wants it.

use super::gates;

/// Go's words for a value that is none of its kind.
const PARSE: &str = "parse error";
/// Go's words for a number that is too large or too small.
const RANGE: &str = "value out of range";

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// True or false; the flag alone means true.
    Switch,
    /// Any text.
    Text,
    /// URLs with commas between them.
    Urls,
    /// A duration with its unit.
    Duration,
    /// A whole number that is not below 0, of so many bits.
    Unsigned(u32),
    /// A whole number of 64 bits.
    Signed,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these words.
    Choices(&'static [&'static str]),
    /// `Name=bool,...`.
    Gates,
    /// Anything, for nothing: what was gone before the versions that we follow.
    Ignored,
}

impl Kind {
    /// The value as a setting of ours reads it, or why Go would not take it.
    pub(super) fn read(self, text: &str) -> Result<String, String> {
        match self {
            Self::Text | Self::Ignored => Ok(text.to_owned()),
            Self::Switch => boolean(text).map(|it| it.to_string()).map_err(str::to_owned),
            Self::Urls => urls(text),
            Self::Duration => duration(text).map(print).ok_or_else(|| PARSE.to_owned()),
            Self::Unsigned(bits) => {
                let max = if bits == 32 { i128::from(u32::MAX) } else { i128::from(u64::MAX) };
                integer(text, 0, max).map_err(|why| match (bits, why) {
                    // Go has no flag of that size, and etcd's own says more.
                    (32, PARSE) => format!("strconv.ParseUint: parsing {text:?}: invalid syntax"),
                    (32, why) => format!("strconv.ParseUint: parsing {text:?}: {why}"),
                    (_, why) => why.to_owned(),
                })
            }
            Self::Signed => {
                integer(text, i128::from(i64::MIN), i128::from(i64::MAX)).map_err(str::to_owned)
            }
            Self::Choice(words) if words.contains(&text) => Ok(text.to_owned()),
            Self::Choice(_) => Err("invalid value".to_owned()),
            Self::Choices(words) => match text.split(',').find(|word| !words.contains(word)) {
                None => Ok(text.to_owned()),
                Some(word) => Err(format!("invalid value {word:?}")),
            },
            Self::Gates => gates::parse(text).map(|_| text.to_owned()),
        }
    }

    /// The value that a number of a file means, where that is not its text.
    pub(super) fn of_nanoseconds(nanoseconds: i128) -> String {
        print(nanoseconds)
    }
}

/// What Go's `ParseBool` takes.
pub(super) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(PARSE),
    }
}

/// What Go's `ParseInt` takes with base 0, in decimal.
fn integer(text: &str, min: i128, max: i128) -> Result<String, &'static str> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) if min < 0 => (true, digits),
        Some(_) => return Err(PARSE),
        None => (false, text.strip_prefix('+').filter(|_| min < 0).unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..).unwrap_or_default()),
        Some("0b") => (2, lower.get(2..).unwrap_or_default()),
        Some("0o") => (8, lower.get(2..).unwrap_or_default()),
        Some(octal) if octal.starts_with('0') => (8, lower.get(1..).unwrap_or_default()),
        Some(_) | None => (10, lower.as_str()),
    };
    let digits = digits.replace('_', "");
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(PARSE);
    }
    let number = i128::from_str_radix(&digits, base).map_err(|_| RANGE)?;
    let number = if negative { -number } else { number };
    if (min..=max).contains(&number) { Ok(number.to_string()) } else { Err(RANGE) }
}

/// Nanoseconds of what Go's `ParseDuration` takes.
fn duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        // What is below a nanosecond does not count, and 18 digits reach below it.
        let fraction = fraction.get(..18).unwrap_or(fraction);
        if let Ok(part) = fraction.parse::<i128>() {
            let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            total = total.checked_add(part.checked_mul(unit)? / scale)?;
        }
        rest = next;
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).ok().map(i128::from)
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// A duration as our settings read it. Less than a microsecond is one.
fn print(nanoseconds: i128) -> String {
    let micros = match nanoseconds / 1_000 {
        0 if nanoseconds > 0 => 1,
        micros => micros,
    };
    match micros {
        0 => "0s".to_owned(),
        _ if micros % 1_000_000 == 0 => format!("{}s", micros / 1_000_000),
        _ if micros % 1_000 == 0 => format!("{}ms", micros / 1_000),
        _ => format!("{micros}us"),
    }
}

/// URLs each once and in order, as etcd keeps them. None is no value: the default stays.
fn urls(text: &str) -> Result<String, String> {
    let mut urls = Vec::new();
    for url in text.split(',').filter(|_| !text.is_empty()).map(str::trim) {
        if url == "*" && text == "*" {
            return Ok(text.to_owned()); // all origins
        }
        match url.split_once("://") {
            Some(("http" | "https", rest)) => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                if !authority.contains(':') || authority.ends_with(']') {
                    let reason = "URL address does not have the form \"host:port\"";
                    return Err(format!("{reason}: {url}"));
                }
                if rest.contains('/') && !path.is_empty() {
                    return Err(format!("URL must not contain a path: {url}"));
                }
            }
            Some(("unix" | "unixs", _)) => {}
            // Go reads unix:name, too.
            Some(_) | None if url.starts_with("unix:") || url.starts_with("unixs:") => {}
            Some(_) | None => {
                return Err(format!("URL scheme must be http, https, unix, or unixs: {url}"));
            }
        }
        urls.push(url);
    }
    urls.sort_unstable();
    urls.dedup();
    Ok(urls.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, text: &str) -> String {
        kind.read(text).unwrap_or_else(|why| format!("! {why}"))
    }

    /// Go's durations, with fractions and any order of units, in ours.
    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("0", "0s"),
            ("0h", "0s"),
            ("1.5h", "5400s"),
            ("1h15m30.918s", "4530918ms"),
            ("100ms", "100ms"),
            (".5s", "500ms"),
            ("1µs", "1us"),
            ("1ns", "1us"),
            ("-5s", "-5s"),
            ("2562047h47m16.854775807s", "9223372036854775us"),
            ("", "! parse error"),
            ("5", "! parse error"),
            ("5x", "! parse error"),
            (".s", "! parse error"),
            ("9999999999h", "! parse error"),
        ] {
            assert_eq!(read(Kind::Duration, text), expected, "{text}");
        }
    }

    /// Go's integers, in any base.
    #[test]
    fn integers_are_gos() {
        for (text, expected) in [
            ("0", "0"),
            ("007", "7"),
            ("0x10", "16"),
            ("0b11", "3"),
            ("0o17", "15"),
            ("1_000", "1000"),
            ("4294967295", "4294967295"),
            ("18446744073709551616", "! value out of range"),
            ("-1", "! parse error"),
            ("+1", "! parse error"),
            ("1.5", "! parse error"),
            ("1e3", "! parse error"),
            ("", "! parse error"),
        ] {
            assert_eq!(read(Kind::Unsigned(64), text), expected, "{text}");
        }
        let refused = "! strconv.ParseUint: parsing \"x\": invalid syntax";
        assert_eq!(read(Kind::Unsigned(32), "x"), refused);
        let refused = "! strconv.ParseUint: parsing \"4294967296\": value out of range";
        assert_eq!(read(Kind::Unsigned(32), "4294967296"), refused);
        assert_eq!(read(Kind::Signed, "-8589934592"), "-8589934592");
        assert_eq!(read(Kind::Signed, "9223372036854775808"), "! value out of range");
    }

    /// URLs are sorted and listed once, and refused in etcd's words.
    #[test]
    fn urls_are_etcds() {
        for (text, expected) in [
            ("http://b:1, http://a:1,http://b:1", "http://a:1,http://b:1"),
            ("", ""),
            ("*", "*"),
            ("unix://a:1", "unix://a:1"),
            ("unixs:/run/etcd.sock", "unixs:/run/etcd.sock"),
            ("https://[::1]:2379", "https://[::1]:2379"),
            ("a:1", "! URL scheme must be http, https, unix, or unixs: a:1"),
            ("http://a", "! URL address does not have the form \"host:port\": http://a"),
            ("http://a:1/x", "! URL must not contain a path: http://a:1/x"),
        ] {
            assert_eq!(read(Kind::Urls, text), expected, "{text}");
        }
    }

    /// Words are taken from their lists only.
    #[test]
    fn choices_are_closed() {
        let kind = Kind::Choice(&["new", "existing"]);
        assert_eq!(
            (read(kind, "new"), read(kind, "")),
            ("new".to_owned(), "! invalid value".to_owned())
        );
        let kind = Kind::Choices(&["a", "b"]);
        assert_eq!(read(kind, "b,a"), "b,a");
        assert_eq!(read(kind, "a,c"), "! invalid value \"c\"");
    }
}
