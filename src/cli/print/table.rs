//! Rows and columns in a frame, aligned as etcdctl aligns them.

/// A table with a head.
pub(in crate::cli) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows. The names of columns are shown in capitals.
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, which has a cell for each column.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The rows with commas between their cells, as the simple form has them.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.rows.iter().map(|row| row.join(", "))
    }

    /// The frame, with heads in the middle of their columns and cells to the right.
    pub(super) fn render(&self) -> String {
        let head: Vec<String> =
            self.head.iter().map(|name| name.replace('_', " ").to_uppercase()).collect();
        let widths: Vec<usize> = head
            .iter()
            .enumerate()
            .map(|(column, name)| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.chain([name]).map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let rule = |left: char, middle: &str, right: char| {
            let bars: Vec<String> =
                widths.iter().map(|width| "─".repeat(width.saturating_add(2))).collect();
            format!("{left}{}{right}\n", bars.join(middle))
        };
        let line = |cells: Vec<String>| format!("│ {} │\n", cells.join(" │ "));
        let mut text = rule('┌', "┬", '┐');
        let heads = head.iter().zip(&widths).map(|(name, &width)| format!("{name:^width$}"));
        text.push_str(&line(heads.collect()));
        text.push_str(&rule('├', "┼", '┤'));
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}"));
            text.push_str(&line(cells.collect()));
        }
        text + &rule('└', "┴", '┘')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns are as wide as the widest cell.
    #[test]
    fn heads_are_centred_and_cells_end_together() {
        let mut table = Table::new(&["endpoint", "hash_revision"]);
        table.row(vec!["http://127.0.0.1:2379".to_owned(), "22".to_owned()]);
        table.row(vec!["a".to_owned(), "7".to_owned()]);

        assert_eq!(
            table.render(),
            "┌───────────────────────┬───────────────┐\n\
             │       ENDPOINT        │ HASH REVISION │\n\
             ├───────────────────────┼───────────────┤\n\
             │ http://127.0.0.1:2379 │            22 │\n\
             │                     a │             7 │\n\
             └───────────────────────┴───────────────┘\n"
        );
    }
}
