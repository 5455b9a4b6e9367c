//! Where JSON values end, in bytes that come piece by piece.
//!
//! A value is looked at byte by byte, once, and nothing is made of it: what follows may take it as
//! well-formed, but for what is inside of strings. What is wrong is said in the words of Go's
//! `encoding/json`, because etcd's users know them.

use std::mem;

use super::Problem;

/// How deep lists and objects may lie in each other; Go's figure.
const DEPTH_MAX: usize = 10_000;

/// Cuts what comes into values.
#[derive(Debug, Default)]
pub(in crate::api::gateway) struct Splitter {
    /// What has come and is part of no value that was taken.
    text: Vec<u8>,
    /// Where in it the value begins; before it are spaces.
    start: usize,
    /// So much of it was looked at.
    seen: usize,
    scanner: Scanner,
}

impl Splitter {
    /// Takes what has come.
    pub(in crate::api::gateway) fn push(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    /// The bytes that are kept of a value of which not all has come.
    pub(in crate::api::gateway) fn len(&self) -> usize {
        self.text.len()
    }

    /// The next value, when all of it is there.
    pub(in crate::api::gateway) fn next(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        while let Some(byte) = self.text.get(self.seen) {
            let step = self.scanner.step(*byte)?;
            match step {
                Step::Before => (self.start, self.seen) = (self.start + 1, self.seen + 1),
                Step::Within => self.seen += 1,
                Step::Last => {
                    self.seen += 1;
                    return Ok(Some(self.take()));
                }
                Step::Behind => return Ok(Some(self.take())),
            }
        }
        if self.start == self.seen {
            self.text.clear();
            (self.start, self.seen) = (0, 0);
        }
        Ok(None)
    }

    /// What is left when nothing more comes: a value that could have gone on, or none.
    pub(in crate::api::gateway) fn end(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        if let Some(value) = self.next()? {
            return Ok(Some(value));
        }
        if self.text.is_empty() {
            return Ok(None);
        }
        match self.scanner.step(b' ') {
            Ok(Step::Behind) => Ok(Some(self.take())),
            Ok(Step::Before | Step::Within | Step::Last) | Err(_) => {
                Err(Problem("unexpected EOF".to_owned()))
            }
        }
    }

    /// Takes what was looked at, but for the spaces in front.
    fn take(&mut self) -> Vec<u8> {
        let rest = self.text.split_off(self.seen);
        let mut value = mem::replace(&mut self.text, rest);
        value.drain(..self.start);
        (self.start, self.seen, self.scanner) = (0, 0, Scanner::default());
        value
    }
}

/// What a byte is to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A space before it.
    Before,
    /// A part of it.
    Within,
    /// The last of it.
    Last,
    /// The first behind it.
    Behind,
}

/// How far a value was looked at.
#[derive(Debug, Default)]
struct Scanner {
    state: State,
    /// What is open: a list, or else an object.
    open: Vec<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a value.
    #[default]
    Value,
    /// Behind the bracket of a list.
    ValueOrEnd,
    /// Behind the brace of an object.
    NameOrEnd,
    /// Behind a comma in an object.
    Name,
    /// Behind a name.
    Colon,
    /// Behind a value in a list or an object.
    Comma,
    /// In a string, which may be a name.
    Text {
        name: bool,
    },
    /// Behind its backslash.
    Escape {
        name: bool,
    },
    /// In the hexadecimal digits behind that, so many of which are missing.
    Digits {
        name: bool,
        left: u8,
    },
    /// Behind a minus.
    Minus,
    /// In a number, behind a leading zero, or in its other digits.
    Zero,
    Whole,
    /// Behind its point, and in the digits there.
    Point,
    Fraction,
    /// Behind the letter of its exponent, behind the sign, and in the digits.
    Exponent,
    Sign,
    Power,
    /// In a word, of which this is missing.
    Word {
        word: &'static str,
        rest: &'static str,
    },
}

impl Scanner {
    fn step(&mut self, byte: u8) -> Result<Step, Problem> {
        let is_space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.state {
            State::Value
            | State::ValueOrEnd
            | State::NameOrEnd
            | State::Name
            | State::Colon
            | State::Comma
                if is_space =>
            {
                return Ok(if self.state == State::Value && self.open.is_empty() {
                    Step::Before
                } else {
                    Step::Within
                });
            }
            State::ValueOrEnd if byte == b']' => return Ok(self.close()),
            State::Value | State::ValueOrEnd => return self.begin(byte),
            State::NameOrEnd if byte == b'}' => return Ok(self.close()),
            State::NameOrEnd | State::Name => {
                if byte != b'"' {
                    return Err(wrong(byte, "looking for beginning of object key string"));
                }
                self.state = State::Text { name: true };
            }
            State::Colon => {
                if byte != b':' {
                    return Err(wrong(byte, "after object key"));
                }
                self.state = State::Value;
            }
            State::Comma => return self.separate(byte),
            State::Text { name } => match byte {
                b'"' if name => self.state = State::Colon,
                b'"' => return Ok(self.ended()),
                b'\\' => self.state = State::Escape { name },
                ..0x20 => return Err(wrong(byte, "in string literal")),
                0x20.. => {}
            },
            State::Escape { name } => match byte {
                b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {
                    self.state = State::Text { name };
                }
                b'u' => self.state = State::Digits { name, left: 4 },
                _ => return Err(wrong(byte, "in string escape code")),
            },
            State::Digits { name, left } => {
                if !byte.is_ascii_hexdigit() {
                    return Err(wrong(byte, "in \\u hexadecimal character escape"));
                }
                self.state = match left {
                    0 | 1 => State::Text { name },
                    2.. => State::Digits { name, left: left - 1 },
                };
            }
            State::Word { word, rest } => return self.spell(byte, word, rest),
            State::Minus
            | State::Zero
            | State::Whole
            | State::Point
            | State::Fraction
            | State::Exponent
            | State::Sign
            | State::Power => return self.count(byte),
        }
        Ok(Step::Within)
    }

    /// The first byte of a value.
    fn begin(&mut self, byte: u8) -> Result<Step, Problem> {
        let word = |word: &'static str| State::Word { word, rest: word.get(1..).unwrap_or("") };
        self.state = match byte {
            b'{' | b'[' => {
                if self.open.len() >= DEPTH_MAX {
                    return Err(wrong(byte, "exceeded max depth"));
                }
                self.open.push(byte == b'[');
                if byte == b'[' { State::ValueOrEnd } else { State::NameOrEnd }
            }
            b'"' => State::Text { name: false },
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Whole,
            b't' => word("true"),
            b'f' => word("false"),
            b'n' => word("null"),
            _ => return Err(wrong(byte, "looking for beginning of value")),
        };
        Ok(Step::Within)
    }

    /// The first byte behind a value in a list or an object that is no space.
    fn separate(&mut self, byte: u8) -> Result<Step, Problem> {
        let in_list = self.open.last() == Some(&true);
        match (in_list, byte) {
            (true, b',') => self.state = State::Value,
            (false, b',') => self.state = State::Name,
            (true, b']') | (false, b'}') => return Ok(self.close()),
            (true, _) => return Err(wrong(byte, "after array element")),
            (false, _) => return Err(wrong(byte, "after object key:value pair")),
        }
        Ok(Step::Within)
    }

    fn close(&mut self) -> Step {
        self.open.pop();
        self.ended()
    }

    /// A value ended with this byte.
    fn ended(&mut self) -> Step {
        self.state = State::Comma;
        if self.open.is_empty() { Step::Last } else { Step::Within }
    }

    fn spell(&mut self, byte: u8, word: &'static str, rest: &'static str) -> Result<Step, Problem> {
        let mut rest = rest.chars();
        let expected = rest.next().unwrap_or_default();
        if char::from(byte) != expected {
            let place = format!("in literal {word} (expecting '{expected}')");
            return Err(wrong(byte, &place));
        }
        let rest = rest.as_str();
        self.state = State::Word { word, rest };
        Ok(if rest.is_empty() { self.ended() } else { Step::Within })
    }

    /// A byte of a number, or the first one behind it.
    fn count(&mut self, byte: u8) -> Result<Step, Problem> {
        let digit = byte.is_ascii_digit();
        let next = match self.state {
            State::Minus if byte == b'0' => Some(State::Zero),
            State::Minus | State::Whole if digit => Some(State::Whole),
            State::Zero | State::Whole if byte == b'.' => Some(State::Point),
            State::Point | State::Fraction if digit => Some(State::Fraction),
            State::Zero | State::Whole | State::Fraction if matches!(byte, b'e' | b'E') => {
                Some(State::Exponent)
            }
            State::Exponent if matches!(byte, b'+' | b'-') => Some(State::Sign),
            State::Exponent | State::Sign | State::Power if digit => Some(State::Power),
            State::Minus => return Err(wrong(byte, "in numeric literal")),
            State::Point => return Err(wrong(byte, "after decimal point in numeric literal")),
            State::Exponent | State::Sign => {
                return Err(wrong(byte, "in exponent of numeric literal"));
            }
            State::Zero | State::Whole | State::Fraction | State::Power => None,
            State::Value
            | State::ValueOrEnd
            | State::NameOrEnd
            | State::Name
            | State::Colon
            | State::Comma
            | State::Text { .. }
            | State::Escape { .. }
            | State::Digits { .. }
            | State::Word { .. } => None,
        };
        match next {
            Some(next) => {
                self.state = next;
                Ok(Step::Within)
            }
            None => self.behind_number(byte),
        }
    }

    fn behind_number(&mut self, byte: u8) -> Result<Step, Problem> {
        self.state = State::Comma;
        if self.open.is_empty() { Ok(Step::Behind) } else { self.step(byte) }
    }
}

fn wrong(byte: u8, place: &str) -> Problem {
    Problem(format!("invalid character {} {place}", shown(byte)))
}

/// A byte as Go shows it, as if it were a character.
fn shown(byte: u8) -> String {
    let inside = match byte {
        b'\'' => "\\'".to_owned(),
        b'\\' => "\\\\".to_owned(),
        0x07 => "\\a".to_owned(),
        0x08 => "\\b".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\n' => "\\n".to_owned(),
        0x0b => "\\v".to_owned(),
        0x0c => "\\f".to_owned(),
        b'\r' => "\\r".to_owned(),
        ..0x20 | 0x7f => format!("\\x{byte:02x}"),
        0x80..0xa0 | 0xad => format!("\\u{byte:04x}"),
        plain => char::from(plain).to_string(),
    };
    format!("'{inside}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values in a text that comes in pieces of so many bytes, and what is wrong behind them.
    fn split(text: &str, piece: usize) -> (Vec<String>, Option<String>) {
        let (mut splitter, mut values) = (Splitter::default(), Vec::new());
        let mut pieces = text.as_bytes().chunks(piece);
        loop {
            let piece = pieces.next();
            splitter.push(piece.unwrap_or_default());
            let is_over = piece.is_none();
            loop {
                match if is_over { splitter.end() } else { splitter.next() } {
                    Ok(Some(value)) => values.push(String::from_utf8(value).unwrap()),
                    Ok(None) if is_over => return (values, None),
                    Ok(None) => break,
                    Err(problem) => return (values, Some(problem.to_string())),
                }
            }
        }
    }

    /// Values follow one another with or without spaces, whatever the pieces are in which they come.
    #[test]
    fn values_are_cut() {
        let text = " {\"a\":[1,{\"b\":null}],\"c\\\"}\":-0.5e+3}[ ]\n{ }true\"x\\u00e9\"12 0 ";
        let expected = [
            "{\"a\":[1,{\"b\":null}],\"c\\\"}\":-0.5e+3}",
            "[ ]",
            "{ }",
            "true",
            "\"x\\u00e9\"",
            "12",
            "0",
        ];
        for piece in 1..=text.len() {
            assert_eq!(split(text, piece), (expected.map(str::to_owned).to_vec(), None), "{piece}");
        }
        assert_eq!(split(" \n ", 1), (Vec::new(), None));
    }

    /// What is wrong is said as Go says it.
    #[test]
    fn what_is_no_json_is_named() {
        for (text, complaint) in [
            ("abc", "invalid character 'a' looking for beginning of value"),
            ("{", "unexpected EOF"),
            ("[1", "unexpected EOF"),
            ("1.", "unexpected EOF"),
            ("nul", "unexpected EOF"),
            ("{,}", "invalid character ',' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{\"a\"}", "invalid character '}' after object key"),
            ("{\"a\":1]", "invalid character ']' after object key:value pair"),
            ("[1}", "invalid character '}' after array element"),
            ("[01]", "invalid character '1' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("[\"\n\"]", "invalid character '\\n' in string literal"),
            ("[\"\\x\"]", "invalid character 'x' in string escape code"),
            ("[\"\\u00g\"]", "invalid character 'g' in \\u hexadecimal character escape"),
            ("[-x]", "invalid character 'x' in numeric literal"),
            ("[1.x]", "invalid character 'x' after decimal point in numeric literal"),
            ("[1e+]", "invalid character ']' in exponent of numeric literal"),
            ("[trux]", "invalid character 'x' in literal true (expecting 'e')"),
            ("'", "invalid character '\\'' looking for beginning of value"),
            ("\u{1}", "invalid character '\\x01' looking for beginning of value"),
            ("\u{e9}", "invalid character '\u{c3}' looking for beginning of value"),
        ] {
            assert_eq!(split(text, 1), (Vec::new(), Some(complaint.to_owned())), "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert_eq!(
            split(&deep, 100).1.as_deref(),
            Some("invalid character '[' exceeded max depth")
        );
    }
}
