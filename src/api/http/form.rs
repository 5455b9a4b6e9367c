//! The parameters of a request, which may be anything and are escaped.

/// The parameters in the part of a URI after the question mark, in order; none of them if one is not
/// text.
pub(super) fn parse(query: Option<&str>) -> Option<Vec<(String, String)>> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(name)?, unescape(value)?))
        })
        .collect()
}

/// Text with `+` for spaces and `%XX` for bytes. A `%` before anything else is itself.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => match escaped(after) {
                Some((byte, after)) => {
                    rest = after;
                    byte
                }
                None => b'%',
            },
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The byte of two hexadecimal digits, and what comes after them.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = text.split_first_chunk::<2>()?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let [high, low] = digits.map(digit);
    Some((high? << 4 | low?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Option<Vec<(String, String)>> {
        parse(Some(query))
    }

    fn pairs(expected: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    /// Escapes are taken back, names may be repeated, and a value may be missing.
    #[test]
    fn parameters_are_unescaped() {
        assert_eq!(parse(None), pairs(&[]));
        assert_eq!(parsed(""), pairs(&[]));
        assert_eq!(parsed("a=1&&a=2&b"), pairs(&[("a", "1"), ("a", "2"), ("b", "")]));
        assert_eq!(parsed("k=a%3Db%26+c%2B"), pairs(&[("k", "a=b& c+")]));
        assert_eq!(parsed("%C3%bc=%5B::1%5D%3a80"), pairs(&[("ü", "[::1]:80")]));
        assert_eq!(parsed("a=b=c"), pairs(&[("a", "b=c")]));
    }

    /// What is no escape is itself; what is no text is refused.
    #[test]
    fn odd_escapes() {
        assert_eq!(
            parsed("a=%&b=%4&c=%zz&d=%%41"),
            pairs(&[("a", "%"), ("b", "%4"), ("c", "%zz"), ("d", "%A")])
        );
        assert_eq!(parsed("a=%ff"), None);
    }
}
