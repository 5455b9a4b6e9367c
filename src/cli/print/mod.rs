//! How answers are shown: in the formats of etcdctl, byte for byte.
//!
//! An [`Answer`] says what it looks like in each of them; [`Printer`] knows which one is wanted. JSON
//! and the wire form follow from the message, the others are written by hand, as they are there.
//!
//! Absent on purpose: what commands say while they work, which is the same in all formats.

mod endpoint;
mod json;
mod kv;
mod lease;
mod maintenance;
mod member;
mod quote;
mod table;

use clap::Args;
use prost::Message;

use super::{
    Output,
    error::{Error, Exit},
};
use crate::proto::etcdserverpb::ResponseHeader;

pub(super) use self::{
    endpoint::{EndpointHash, EndpointHealth, EndpointStatus, Endpoints, size},
    json::{Json, descriptors},
    kv::{Pairs, Values, Watched},
    lease::{Revoked, TimeToLive},
    maintenance::{Downgraded, Moved},
    member::{Added, Changed},
    quote::{go_duration, quote},
    table::Table,
};

/// The arguments of all commands that show something.
#[derive(Args, Clone, Debug)]
pub(super) struct PrintArgs {
    /// How answers are written: simple, fields, json, protobuf or table [env: QUORATE_WRITE_OUT, ETCDCTL_WRITE_OUT] [default: simple]
    #[arg(short = 'w', long, global = true, value_name = "FORMAT")]
    #[arg(help_heading = "Client options")]
    write_out: Option<String>,
    /// Write bytes, and ids where they are numbers, in hex
    #[arg(long, global = true, help_heading = "Client options")]
    hex: bool,
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// For people, and for lines of a shell.
    Simple,
    /// A line for each field.
    Fields,
    /// One line of JSON.
    Json,
    /// The message as it came.
    Protobuf,
    /// Rows and columns.
    Table,
}

impl Format {
    /// The format of that name.
    fn of(name: &str) -> Result<Self, Error> {
        match name {
            "simple" => Ok(Self::Simple),
            "fields" => Ok(Self::Fields),
            "json" => Ok(Self::Json),
            "protobuf" => Ok(Self::Protobuf),
            "table" => Ok(Self::Table),
            _ => Err(Error::new(Exit::Feature, "unsupported output format")),
        }
    }

    /// That an answer is not known in this format, in etcdctl's words.
    pub(super) fn unsupported(self) -> Error {
        let name = match self {
            Self::Simple => "simple",
            Self::Fields => "fields",
            Self::Json => "json",
            Self::Protobuf => "protobuf",
            Self::Table => "table",
        };
        Error::new(Exit::Feature, format!("{name} not supported as output format"))
    }
}

/// Shows answers in the format that is wanted.
pub(super) struct Printer {
    pub(super) format: Format,
    hex: bool,
    pub(super) output: Output,
}

impl Printer {
    /// Takes the format from the flag, else from the environment.
    pub(super) fn new(args: &PrintArgs, environment: &[(String, String)]) -> Result<Self, Error> {
        let variable = |name| {
            let found =
                environment.iter().find(|(other, value)| other == name && !value.is_empty());
            found.map(|(_, value)| value.as_str())
        };
        let named = args.write_out.as_deref();
        let named = named
            .or_else(|| variable("QUORATE_WRITE_OUT"))
            .or_else(|| variable("ETCDCTL_WRITE_OUT"));
        let format = named.map_or(Ok(Format::Simple), Format::of)?;
        Ok(Self { format, hex: args.hex, output: Output })
    }

    /// Shows an answer.
    ///
    /// # Errors
    ///
    /// When the answer is not known in the format, as in etcdctl.
    pub(super) fn show<A: Answer>(&mut self, answer: &A) -> Result<(), Error> {
        let mut page = Page { text: Vec::new(), hex: self.hex };
        let known = match self.format {
            Format::Simple => {
                answer.simple(&mut page);
                true
            }
            Format::Fields => answer.fields(&mut page),
            Format::Json => {
                page.text = answer.json(self.hex).into_bytes();
                page.text.push(b'\n');
                true
            }
            Format::Protobuf => answer.protobuf().is_some_and(|message| {
                page.text = message;
                true
            }),
            Format::Table => answer.table().is_some_and(|table| {
                page.text = table.render().into_bytes();
                true
            }),
        };
        if !known {
            return Err(self.format.unsupported());
        }
        self.output.text(&page.text)
    }
}

/// What is shown at the end of a command.
pub(super) trait Answer {
    /// As lines for people.
    fn simple(&self, page: &mut Page);

    /// As a line for each field, and whether there is such a form.
    fn fields(&self, _: &mut Page) -> bool {
        false
    }

    /// As one line of JSON, which encoders of Go's would write.
    fn json(&self, hex: bool) -> String;

    /// As a message, if it is one.
    fn protobuf(&self) -> Option<Vec<u8>>;

    /// As rows and columns, if it has such.
    fn table(&self) -> Option<Table> {
        None
    }
}

/// Text that is being put together.
pub(super) struct Page {
    text: Vec<u8>,
    hex: bool,
}

impl Page {
    /// Adds a line. Keys and values are bytes, and stay as they are.
    pub(super) fn line(&mut self, line: impl AsRef<[u8]>) {
        self.text.extend_from_slice(line.as_ref());
        self.text.push(b'\n');
    }

    /// Adds a line of bytes, in hex if that is wanted.
    fn bytes(&mut self, bytes: &[u8]) {
        if self.hex { self.line(quote::hex(bytes)) } else { self.line(bytes) }
    }

    /// Adds a field whose value is shown as it is.
    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        self.line(format!("\"{name}\" : {value}"));
    }

    /// Adds a field that is a text or bytes.
    fn text(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.line(format!("\"{name}\" : {}", quote(value.as_ref())));
    }

    /// Adds a field with the id of a cluster or of a member.
    fn id(&mut self, name: &str, id: u64) {
        if self.hex { self.field(name, format_args!("{id:x}")) } else { self.field(name, id) }
    }

    /// Adds a field with the id of a lease.
    fn lease(&mut self, name: &str, id: i64) {
        if self.hex { self.field(name, format_args!("{id:016x}")) } else { self.field(name, id) }
    }

    /// Adds the fields of a header.
    fn header(&mut self, header: Option<&ResponseHeader>) {
        let header = header.copied().unwrap_or_default();
        self.id("ClusterID", header.cluster_id);
        self.id("MemberID", header.member_id);
        // Answers about members have none.
        if header.revision > 0 {
            self.field("Revision", header.revision);
        }
        self.field("RaftTerm", header.raft_term);
    }
}

/// An answer that is a message.
fn wire(message: &impl Message) -> Option<Vec<u8>> {
    Some(message.encode_to_vec())
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// What a printer would write.
    pub(crate) fn shown(answer: &impl Answer, format: Format, hex: bool) -> Option<String> {
        let mut page = Page { text: Vec::new(), hex };
        match format {
            Format::Simple => answer.simple(&mut page),
            Format::Fields if !answer.fields(&mut page) => return None,
            Format::Fields => {}
            Format::Json => return Some(answer.json(hex)),
            Format::Protobuf => page.text = answer.protobuf()?,
            Format::Table => return answer.table().map(|table| table.render()),
        }
        Some(String::from_utf8_lossy(&page.text).into_owned())
    }
}
