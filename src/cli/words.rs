//! A line as words, as a shell or Go would read them.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use bytes::Bytes;

/// The words of a line: in single quotes as they are, in double quotes with Go's escapes, else up to
/// the next space. None when a quote is not closed or an escape is none.
pub(super) fn words(line: &str) -> Option<Vec<OsString>> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start());
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '\'' => {
                let (word, after) = rest.strip_prefix('\'')?.split_once('\'')?;
                (Bytes::copy_from_slice(word.as_bytes()), after)
            }
            '"' => unquote(rest)?,
            _ => {
                let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                (Bytes::copy_from_slice(word.as_bytes()), after)
            }
        };
        words.push(OsString::from_vec(word.to_vec()));
        rest = after.trim_start();
    }
    Some(words)
}

/// The text in double quotes, or in back quotes, at the beginning, and what follows it.
pub(super) fn unquote(text: &str) -> Option<(Bytes, &str)> {
    if let Some(raw) = text.strip_prefix('`') {
        let (inside, after) = raw.split_once('`')?;
        return Some((Bytes::copy_from_slice(inside.as_bytes()), after));
    }
    let (mut bytes, mut rest) = (Vec::new(), text.strip_prefix('"')?);
    loop {
        let mut characters = rest.chars();
        match characters.next()? {
            '"' => return Some((bytes.into(), characters.as_str())),
            '\\' => rest = escaped(characters.as_str(), &mut bytes)?,
            plain => {
                bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
                rest = characters.as_str();
            }
        }
    }
}

/// Reads what follows a backslash, and returns what follows that.
fn escaped<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let mut characters = text.chars();
    let byte = match characters.next()? {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        'x' => {
            let (number, after) = digits(characters.as_str(), 2, 16)?;
            bytes.push(u8::try_from(number).ok()?);
            return Some(after);
        }
        wide @ ('u' | 'U') => {
            let count = if wide == 'u' { 4 } else { 8 };
            let (number, after) = digits(characters.as_str(), count, 16)?;
            let character = char::from_u32(number)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(after);
        }
        '0'..='7' => {
            let (number, after) = digits(text, 3, 8)?;
            bytes.push(u8::try_from(number).ok()?);
            return Some(after);
        }
        _ => return None,
    };
    bytes.push(byte);
    Some(characters.as_str())
}

fn digits(text: &str, count: usize, base: u32) -> Option<(u32, &str)> {
    let (digits, after) = text.split_at_checked(count)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    Some((u32::from_str_radix(digits, base).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of word.
    #[test]
    fn words_are_read_as_gos() {
        let read = |line: &str| {
            let words = words(line)?;
            Some(words.into_iter().map(|word| word.into_vec()).collect::<Vec<_>>())
        };
        assert_eq!(
            read(r#" put "a \"b\"\n\x00\377\u4e16" 'c "d"\n'  e"f  "#).unwrap(),
            [&b"put"[..], b"a \"b\"\n\x00\xff\xe4\xb8\x96", b"c \"d\"\\n", b"e\"f"]
        );
        assert_eq!(read("").unwrap(), Vec::<Vec<u8>>::new());
        for bad in ["\"a", "'a", r#""\q""#, r#""\x0""#, r#""\400""#, r#""\ud800""#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
