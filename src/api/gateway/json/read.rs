//! Messages from well-formed JSON, as Go's `protojson` reads them, and with its words for what is
//! wrong.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, OneofDescriptor, Value,
};

use super::{
    Problem,
    number::{base64, integer, leading_number},
};

/// How deep messages may lie in each other: as deep as they may when they are decoded.
const DEPTH_MAX: usize = 100;

/// A place in a value, which may take what it reads from as well-formed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    /// Whether a name that no field has is refused.
    is_strict: bool,
}

/// A brace, a bracket, a string, a number or a word.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    raw: &'a str,
    at: usize,
}

impl Token<'_> {
    fn is_text(self) -> bool {
        self.raw.starts_with('"')
    }

    fn is_number(self) -> bool {
        self.raw.starts_with(|c: char| c == '-' || c.is_ascii_digit())
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(value: &'a str, is_strict: bool) -> Self {
        Self { whole: value, rest: value, is_strict }
    }

    /// Reads the message that the value is.
    pub(super) fn read(mut self, kind: &MessageDescriptor) -> Result<DynamicMessage, Problem> {
        self.message(kind, 1)
    }

    /// The next token. Commas and colons are where they must be, and say nothing.
    fn token(&mut self) -> Token<'a> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n', ',', ':']);
        let len = match self.rest.chars().next() {
            Some('{' | '}' | '[' | ']') => 1,
            Some('"') => text_len(self.rest),
            _ => {
                let behind = |c: char| " \t\r\n,:{}[]\"".contains(c);
                self.rest.find(behind).unwrap_or(self.rest.len())
            }
        };
        let at = self.whole.len() - self.rest.len();
        let (raw, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.rest = rest;
        Token { raw, at }
    }

    fn peek(mut self) -> Token<'a> {
        self.token()
    }

    fn message(
        &mut self,
        kind: &MessageDescriptor,
        depth: usize,
    ) -> Result<DynamicMessage, Problem> {
        if depth > DEPTH_MAX {
            return Err(Problem("proto: exceeded max recursion depth".to_owned()));
        }
        let open = self.token();
        if open.raw != "{" {
            return Err(self.unexpected(open));
        }
        let mut message = DynamicMessage::new(kind.clone());
        let mut seen = Seen::default();
        loop {
            let name = self.token();
            if name.raw == "}" {
                return Ok(message);
            }
            let Some(field) = self.field(kind, name)? else {
                self.skip()?;
                continue;
            };
            if !seen.fields.insert(field.number()) {
                return Err(self.wrong(name, &format!("duplicate field {}", name.raw)));
            }
            if self.peek().raw == "null" {
                self.token();
                continue;
            }
            if let Some(oneof) = field.containing_oneof()
                && !seen.first_of(&oneof)
            {
                let (raw, oneof) = (name.raw, oneof.full_name());
                let what = format!("error parsing {raw}, oneof {oneof} is already set");
                return Err(self.wrong(name, &what));
            }
            if let Some(value) = self.value(&field, depth)? {
                message.set_field(&field, value);
            }
        }
    }

    /// The field of a name: that of the `.proto` file, or the same in camel case.
    fn field(
        &self,
        kind: &MessageDescriptor,
        name: Token<'_>,
    ) -> Result<Option<FieldDescriptor>, Problem> {
        let text = self.text(name)?;
        let field = kind.get_field_by_json_name(&text).or_else(|| kind.get_field_by_name(&text));
        if field.is_none() && self.is_strict {
            return Err(self.wrong(name, &format!("unknown field {}", name.raw)));
        }
        Ok(field)
    }

    /// The value of a field; none when it is passed over.
    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Result<Option<Value>, Problem> {
        if field.is_list() {
            return self.list(field, depth).map(Some);
        }
        if field.is_map() {
            return self.map(field, depth).map(Some);
        }
        self.single(field, depth)
    }

    fn single(&mut self, field: &FieldDescriptor, depth: usize) -> Result<Option<Value>, Problem> {
        let kind = field.kind();
        if let Kind::Message(kind) = &kind {
            let message = self.message(kind, depth + 1)?;
            return Ok(Some(Value::Message(message)));
        }
        let token = self.token();
        self.scalar(&kind, token)?.ok_or_else(|| {
            let (kind, name, raw) = (name_of(&kind), field.json_name(), token.raw);
            self.wrong(token, &format!("invalid value for {kind} field {name}: {raw}"))
        })
    }

    fn list(&mut self, field: &FieldDescriptor, depth: usize) -> Result<Value, Problem> {
        let open = self.token();
        if open.raw != "[" {
            return Err(self.unexpected(open));
        }
        let mut values = Vec::new();
        while self.peek().raw != "]" {
            values.extend(self.single(field, depth)?);
        }
        self.token();
        Ok(Value::List(values))
    }

    fn map(&mut self, field: &FieldDescriptor, depth: usize) -> Result<Value, Problem> {
        let open = self.token();
        if open.raw != "{" {
            return Err(self.unexpected(open));
        }
        let Kind::Message(entry) = field.kind() else { return Err(self.unexpected(open)) };
        let mut values = BTreeMap::new();
        loop {
            let name = self.token();
            if name.raw == "}" {
                return Ok(Value::Map(values.into_iter().collect()));
            }
            let text = self.text(name)?;
            if entry.map_entry_key_field().kind() != Kind::String {
                return Err(self.wrong(name, &format!("invalid key: {}", name.raw)));
            }
            if let Some(value) = self.single(&entry.map_entry_value_field(), depth)?
                && values.insert(MapKey::String(text), value).is_some()
            {
                return Err(self.wrong(name, &format!("duplicate map key {}", name.raw)));
            }
        }
    }

    /// What a token means for a field of a kind: none inside when it is passed over, none at all when
    /// it means nothing.
    fn scalar(&self, kind: &Kind, token: Token<'_>) -> Result<Option<Option<Value>>, Problem> {
        let value = match kind {
            Kind::Bool => match token.raw {
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                _ => None,
            },
            Kind::String if token.is_text() => Some(Value::String(self.text(token)?)),
            Kind::Bytes if token.is_text() => {
                base64(&self.text(token)?).map(|bytes| Value::Bytes(Bytes::from(bytes)))
            }
            Kind::String | Kind::Bytes => None,
            Kind::Enum(values) if token.is_text() => {
                let value = values.get_value_by_name(&self.text(token)?);
                let value = value.map(|value| Value::EnumNumber(value.number()));
                return Ok((value.is_some() || !self.is_strict).then_some(value));
            }
            Kind::Enum(_) if token.is_number() => {
                let number = integer(token.raw).and_then(|number| i32::try_from(number).ok());
                number.map(Value::EnumNumber)
            }
            Kind::Enum(_) => None,
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                self.integer(token)?.and_then(|it| it.try_into().ok()).map(Value::I32)
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                self.integer(token)?.and_then(|it| it.try_into().ok()).map(Value::I64)
            }
            Kind::Uint32 | Kind::Fixed32 => {
                self.integer(token)?.and_then(|it| it.try_into().ok()).map(Value::U32)
            }
            Kind::Uint64 | Kind::Fixed64 => {
                self.integer(token)?.and_then(|it| it.try_into().ok()).map(Value::U64)
            }
            // No message has fields of these kinds, and a message is no single token.
            Kind::Double | Kind::Float | Kind::Message(_) => None,
        };
        Ok(value.map(Some))
    }

    fn integer(&self, token: Token<'_>) -> Result<Option<i128>, Problem> {
        if token.is_text() {
            let text = self.text(token)?;
            let is_trimmed = text.trim() == text;
            return Ok(is_trimmed.then(|| leading_number(&text).and_then(integer)).flatten());
        }
        Ok(token.is_number().then(|| integer(token.raw)).flatten())
    }

    /// What a string says.
    fn text(&self, token: Token<'_>) -> Result<String, Problem> {
        let inside = token.raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
        let mut rest = inside.unwrap_or_default();
        let mut text = String::with_capacity(rest.len());
        while let Some((plain, escape)) = rest.split_once('\\') {
            text.push_str(plain);
            let wrong = |len: usize| {
                let shown: String = escape.chars().take(len).collect();
                self.syntax(
                    token,
                    &format!("invalid escape code {:?} in string", format!("\\{shown}")),
                )
            };
            let (kind, behind) = escape.split_at_checked(1).ok_or_else(|| wrong(1))?;
            rest = behind;
            text.push(match kind {
                "b" => '\u{8}',
                "f" => '\u{c}',
                "n" => '\n',
                "r" => '\r',
                "t" => '\t',
                "u" => {
                    let (character, behind) = unit(behind).ok_or_else(|| wrong(5))?;
                    rest = behind;
                    character
                }
                itself => itself.chars().next().ok_or_else(|| wrong(1))?,
            });
        }
        text.push_str(rest);
        Ok(text)
    }

    /// Passes over a value.
    fn skip(&mut self) -> Result<(), Problem> {
        let mut depth = 0_usize;
        loop {
            let token = self.token();
            match token.raw {
                "{" | "[" => depth += 1,
                "}" | "]" => depth = depth.saturating_sub(1),
                "" => return Ok(()),
                _ if token.is_text() => drop(self.text(token)?),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn unexpected(&self, token: Token<'_>) -> Problem {
        self.syntax(token, &format!("unexpected token {}", token.raw))
    }

    fn syntax(&self, token: Token<'_>, what: &str) -> Problem {
        Problem(format!("proto: syntax error {}: {what}", self.place(token)))
    }

    fn wrong(&self, token: Token<'_>, what: &str) -> Problem {
        Problem(format!("proto: {}: {what}", self.place(token)))
    }

    fn place(&self, token: Token<'_>) -> String {
        let before = self.whole.get(..token.at).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        format!("(line {}:{})", before.matches('\n').count() + 1, line.chars().count() + 1)
    }
}

/// What was set of a message.
#[derive(Debug, Default)]
struct Seen {
    fields: BTreeSet<u32>,
    oneofs: Vec<OneofDescriptor>,
}

impl Seen {
    /// Whether nothing of this was set yet. From now on something is.
    fn first_of(&mut self, oneof: &OneofDescriptor) -> bool {
        let is_first = !self.oneofs.contains(oneof);
        self.oneofs.push(oneof.clone());
        is_first
    }
}

/// The bytes of a string that a text begins with, quotes included.
fn text_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The character that four hexadecimal digits name, or that two such units name together, and what is
/// behind them.
fn unit(text: &str) -> Option<(char, &str)> {
    let (digits, behind) = text.split_at_checked(4)?;
    let first = u16::from_str_radix(digits, 16).ok()?;
    if let Some(Ok(character)) = char::decode_utf16([first]).next() {
        return Some((character, behind));
    }
    let (digits, behind) = behind.strip_prefix("\\u")?.split_at_checked(4)?;
    let second = u16::from_str_radix(digits, 16).ok()?;
    let character = char::decode_utf16([first, second]).next()?.ok()?;
    Some((character, behind))
}

/// What a kind is called in a `.proto` file.
fn name_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Double => "double",
        Kind::Float => "float",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Uint32 => "uint32",
        Kind::Uint64 => "uint64",
        Kind::Sint32 => "sint32",
        Kind::Sint64 => "sint64",
        Kind::Fixed32 => "fixed32",
        Kind::Fixed64 => "fixed64",
        Kind::Sfixed32 => "sfixed32",
        Kind::Sfixed64 => "sfixed64",
        Kind::Bool => "bool",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Enum(_) => "enum",
        Kind::Message(_) => "message",
    }
}
