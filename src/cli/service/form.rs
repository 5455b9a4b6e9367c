//! In which form an answer is written.
//!
//! `simple` has a line for each thing, with commas between its fields where there are several, as the
//! other commands write lists. `table` has the same fields under a head. `json` is the answer as the
//! API has it: the JSON form of protobuf with the names of the `.proto`, every field written.

use std::borrow::Cow;

use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};

use crate::{
    cli::{
        Error, Output,
        print::{Format, descriptors},
    },
    proto::registry::{
        Change, ClearOverrideResponse, DeregisterResponse, ListServicesResponse, RegisterResponse,
        ResolveResponse, SetOverrideResponse,
    },
};

/// A form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Lines for scripts and people
    Simple,
    /// The same under a head
    Table,
    /// What the API answered
    Json,
}

impl Form {
    /// The form of that name; there are no others.
    pub(super) fn of(format: Format) -> Result<Self, Error> {
        match format {
            Format::Simple => Ok(Self::Simple),
            Format::Table => Ok(Self::Table),
            Format::Json => Ok(Self::Json),
            Format::Fields | Format::Protobuf => Err(format.unsupported()),
        }
    }
}

/// Rows under a head.
pub(super) struct Table<const COLUMNS: usize> {
    pub(super) head: [&'static str; COLUMNS],
    pub(super) rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// Writes the rows, or the answer that they were made of.
    pub(super) fn write(
        &self,
        form: Form,
        answer: &impl Answer,
        output: &mut Output,
    ) -> Result<(), Error> {
        match form {
            Form::Simple => {
                let rows = self.printable().rows;
                let lines = rows.iter().map(|row| row.join(", ") + "\n");
                output.text(lines.collect::<String>().as_bytes())
            }
            Form::Table => output.text(self.printable().aligned().as_bytes()),
            Form::Json => output.line(json(answer)),
        }
    }

    fn printable(&self) -> Self {
        let row = |row: &[String; COLUMNS]| row.each_ref().map(|it| printable(it).into_owned());
        let rows = self.rows.iter().map(row);
        Self { head: self.head, rows: rows.collect() }
    }

    /// The columns as wide as what is in them, two spaces apart.
    fn aligned(&self) -> String {
        let mut widths = self.head.map(|title| title.chars().count());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let head = line(self.head.to_vec());
        let rows = self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
        std::iter::once(head).chain(rows).collect()
    }
}

/// A text without characters that move the cursor, end lines or worse: anybody may have written it.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let escaped = text.chars().map(|c| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    });
    escaped.collect()
}

/// Writes a sentence, or the answer that it tells.
pub(super) fn tell(
    sentence: &str,
    form: Form,
    answer: &impl Answer,
    output: &mut Output,
) -> Result<(), Error> {
    match form {
        Form::Simple | Form::Table => output.line(sentence),
        Form::Json => output.line(json(answer)),
    }
}

/// A message of the registry, with the name that its type has in the `.proto`.
pub(super) trait Answer: Message {
    const NAME: &'static str;
}

macro_rules! answers {
    ($($type:ident),+ $(,)?) => {
        $(impl Answer for $type {
            const NAME: &'static str = concat!("quorate.registry.v1.", stringify!($type));
        })+
    };
}

answers! {
    Change, ClearOverrideResponse, DeregisterResponse, ListServicesResponse, RegisterResponse,
    ResolveResponse, SetOverrideResponse,
}

/// A message as JSON, in one line.
pub(super) fn json<M: Answer>(message: &M) -> String {
    let descriptor =
        descriptors().get_message_by_name(M::NAME).expect("each answer is in the descriptors");
    let bytes = message.encode_to_vec();
    let message = DynamicMessage::decode(descriptor, bytes.as_slice())
        .expect("the descriptor is the one that the type was made from");
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
    let mut text = Vec::new();
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
        .expect("messages have strings for keys, and memory takes all bytes");
    String::from_utf8(text).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::registry::Instance;

    /// Columns begin where those of other lines begin, and lines end with what is in them.
    #[test]
    fn columns_are_aligned() {
        let rows =
            [["a", "long enough", ""], ["longer", "b", "c"]].map(|row| row.map(str::to_owned));
        let table = Table { head: ["ID", "WHAT", "ZONE"], rows: rows.to_vec() };

        let expected = "ID      WHAT         ZONE\na       long enough\nlonger  b            c\n";
        assert_eq!(table.aligned(), expected);
    }

    /// A value does not make lines of its own, nor does it reach the terminal.
    #[test]
    fn values_stay_in_their_lines() {
        assert_eq!(printable("größe 1"), "größe 1");
        assert_eq!(printable("a\nb\u{1b}[2J\u{9b}c"), "a\\nb\\u{1b}[2J\\u{9b}c");
        let table = Table { head: ["ID"], rows: vec![["a\r\nb".to_owned()]] };
        assert_eq!(table.printable().aligned(), "ID\na\\r\\nb\n");
    }

    /// The names of the `.proto`, in its order; 64-bit numbers as texts, as in the JSON of protobuf.
    #[test]
    fn json_is_that_of_protobuf() {
        let instance = Instance { id: "a".to_owned(), lease_id: 1 << 60, ..Instance::default() };
        let text = json(&ResolveResponse { revision: 7, instances: vec![instance] });

        assert!(text.starts_with(r#"{"revision":"7","instances":[{"namespace":"","#), "{text}");
        assert!(text.contains(r#""lease_id":"1152921504606846976""#), "{text}");
        assert!(!text.contains("\"weight\""), "an absent field was written: {text}");
    }

    /// Each answer has a descriptor under its name.
    #[test]
    fn every_answer_can_be_written() {
        for text in [
            json(&Change::default()),
            json(&ClearOverrideResponse::default()),
            json(&DeregisterResponse::default()),
            json(&ListServicesResponse::default()),
            json(&RegisterResponse::default()),
            json(&SetOverrideResponse::default()),
        ] {
            assert!(text.starts_with('{') && text.ends_with('}'), "{text}");
        }
    }
}
