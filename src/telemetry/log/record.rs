//! An event as etcd's log has it: when, how grave, from where, what, and its fields as JSON.

use std::{
    fmt::{self, Debug, Write},
    time::SystemTime,
};

use tracing::{
    Event, Level, Metadata,
    field::{Field, Visit},
};

/// What etcd's lines have in front of the fields of an event. A field of that name gets a line
/// below in front of its own, since a name that comes twice means either.
const OWN_NAMES: &[&str] = &["level", "ts", "caller", "msg"];

/// The message and the fields of an event.
#[derive(Default)]
pub(super) struct Record {
    pub(super) message: String,
    /// `"name":value` pairs, each with a comma in front.
    pub(super) fields: String,
}

impl Record {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut record = Self::default();
        event.record(&mut record);
        record
    }

    fn field(&mut self, field: &Field, value: &str) {
        let name = field.name().trim_start_matches("r#");
        let prefix = if OWN_NAMES.contains(&name) { "_" } else { "" };
        self.fields.push(',');
        quote(&mut self.fields, &format!("{prefix}{name}"));
        self.fields.push(':');
        self.fields.push_str(value);
    }

    fn text(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            text.clone_into(&mut self.message);
        } else {
            let mut quoted = String::new();
            quote(&mut quoted, text);
            self.field(field, &quoted);
        }
    }
}

impl Visit for Record {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.field(field, &value.to_string());
        } else {
            self.text(field, &value.to_string()); // JSON has no number for it
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, &value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, &value.to_string());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.field(field, &value.to_string());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.field(field, &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, if value { "true" } else { "false" });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, &format!("{value:?}"));
    }
}

/// Writes a text as a JSON string, whatever is in it.
pub(super) fn quote(into: &mut String, text: &str) {
    into.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => into.extend(['\\', character]),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            control if control.is_control() => {
                write!(into, "\\u{:04x}", u32::from(control))
                    .expect("writing to a string succeeds");
            }
            plain => into.push(plain),
        }
    }
    into.push('"');
}

/// etcd's word for a level; it knows none below `debug`.
pub(super) fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

/// The moment in UTC with microseconds.
pub(super) fn now() -> impl fmt::Display {
    #[expect(clippy::disallowed_methods, reason = "lines of the log say when they were written")]
    let now = SystemTime::now();
    humantime::format_rfc3339_micros(now)
}

/// The last folder, the file and the line that an event comes from.
pub(super) fn caller(metadata: &Metadata<'_>) -> String {
    let path = metadata.file().unwrap_or_else(|| metadata.target());
    let mut steps = path.rsplitn(3, '/');
    let short = match (steps.next(), steps.next()) {
        (Some(file), Some(folder)) => format!("{folder}/{file}"),
        (Some(file), None) => file.to_owned(),
        (None, _) => String::new(),
    };
    format!("{short}:{}", metadata.line().unwrap_or_default())
}
