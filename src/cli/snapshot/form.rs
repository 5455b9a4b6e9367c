//! In which form an answer about a file is written; the forms are etcdutl's.

use crate::cli::{Error, Output, error::Exit, print::Format};

/// A form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Form {
    Simple,
    Fields,
    Json,
    Table,
}

/// An answer in all forms.
pub(super) struct Answer<'a> {
    /// What stands above the columns of the table, and in them.
    pub(super) columns: &'a [(&'a str, String)],
    /// The same as fields: a name, and a value as it is written.
    pub(super) fields: &'a [(&'a str, String)],
    pub(super) json: String,
}

impl Form {
    /// The form of that name, if there is one.
    pub(super) fn of(format: Format) -> Result<Self, Error> {
        match format {
            Format::Simple => Ok(Self::Simple),
            Format::Fields => Ok(Self::Fields),
            Format::Json => Ok(Self::Json),
            Format::Table => Ok(Self::Table),
            Format::Protobuf => Err(format.unsupported()),
        }
    }

    pub(in crate::cli) fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "simple" => Ok(Self::Simple),
            "fields" => Ok(Self::Fields),
            "json" => Ok(Self::Json),
            "table" => Ok(Self::Table),
            "protobuf" => Err(Error::new(Exit::Feature, "protobuf not supported as output format")),
            _ => Err(Error::new(Exit::Feature, "unsupported output format")),
        }
    }

    pub(super) fn write(self, answer: &Answer<'_>, output: &mut Output) -> Result<(), Error> {
        match self {
            Self::Simple => {
                let cells = answer.columns.iter().map(|(_, cell)| cell.as_str());
                output.line(cells.collect::<Vec<_>>().join(", "))
            }
            Self::Fields => {
                let lines =
                    answer.fields.iter().map(|(name, value)| format!("\"{name}\" : {value}\n"));
                output.text(lines.collect::<String>().as_bytes())
            }
            Self::Json => output.line(&answer.json),
            Self::Table => output.text(table(answer.columns).as_bytes()),
        }
    }
}

/// A head in capitals, and a row, within lines.
fn table(columns: &[(&str, String)]) -> String {
    let width = |(title, cell): &(&str, String)| title.chars().count().max(cell.chars().count());
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let line = |left: char, middle: &str, right: char| {
        let parts: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}\n", parts.join(middle))
    };
    let row = |cells: Vec<String>| format!("│{}│\n", cells.join("│"));
    let head = columns
        .iter()
        .zip(&widths)
        .map(|((title, _), width)| format!(" {:^width$} ", title.to_uppercase()));
    let cells = columns.iter().zip(&widths).map(|((_, cell), width)| format!(" {cell:>width$} "));
    [
        line('┌', "┬", '┐'),
        row(head.collect()),
        line('├', "┼", '┤'),
        row(cells.collect()),
        line('└', "┴", '┘'),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns are as wide as what is in them; numbers stand to the right.
    #[test]
    fn a_table_has_lines() {
        let columns = [("hash", "7bb0".to_owned()), ("total size", "20 kB".to_owned())];
        let expected = "\
┌──────┬────────────┐
│ HASH │ TOTAL SIZE │
├──────┼────────────┤
│ 7bb0 │      20 kB │
└──────┴────────────┘
";
        assert_eq!(table(&columns), expected);
    }

    /// Forms are told apart as etcdutl does.
    #[test]
    fn other_forms_are_refused() {
        assert_eq!(Form::parse("json").unwrap(), Form::Json);
        let refused = |text| Form::parse(text).unwrap_err().to_string();
        assert_eq!(refused("protobuf"), "protobuf not supported as output format");
        assert_eq!(refused("yaml"), "unsupported output format");
    }
}
