//! Writes HTML as text: closes every element that it opens, and escapes all text and attributes, since names in the figures
//! may come from anywhere.

use std::fmt::Write;

/// A piece of a page, as text that grows.
#[derive(Debug, Default)]
pub(super) struct Html {
    text: String,
}

/// The names and values of an element's attributes.
/// Values are escaped when they are written; names come from this program only.
type Attributes<'a> = &'a [(&'a str, &'a str)];

impl Html {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Writes an element with others inside.
    ///
    /// A closure and not a pair of calls, so that no element stays open.
    pub(super) fn inside(
        &mut self,
        tag: &str,
        attributes: Attributes<'_>,
        fill: impl FnOnce(&mut Self),
    ) {
        self.open(tag, attributes);
        fill(self);
        // Writing to a string can't fail.
        _ = writeln!(self.text, "</{tag}>");
    }

    /// Writes a section of the page with its heading; `id` is what links name.
    ///
    /// The heading labels the section for screen readers (`aria-labelledby`).
    pub(super) fn section(&mut self, id: &str, title: &str, fill: impl FnOnce(&mut Self)) {
        let heading = format!("{id}-title");
        let attributes = [("id", id), ("aria-labelledby", &*heading)];
        self.inside("section", &attributes, |html| {
            html.element("h2", &[("id", &heading)], title);
            fill(html);
        });
    }

    /// Writes an element with text, which is escaped.
    pub(super) fn element(&mut self, tag: &str, attributes: Attributes<'_>, text: &str) {
        self.inside(tag, attributes, |html| html.text(text));
    }

    /// Writes an element that has no end, such as `meta` (HTML standard, "void elements").
    pub(super) fn void(&mut self, tag: &str, attributes: Attributes<'_>) {
        self.open(tag, attributes);
    }

    /// Writes text, escaped.
    pub(super) fn text(&mut self, text: &str) {
        escape(&mut self.text, text);
    }

    /// Writes what is HTML or SVG already. It must come from this program: nothing is escaped.
    pub(super) fn raw(&mut self, made: &str) {
        self.text.push_str(made);
    }

    /// Writes a list without numbers; each item is escaped.
    pub(super) fn list<T: AsRef<str>>(&mut self, items: &[T]) {
        self.inside("ul", &[], |html| {
            for item in items {
                html.element("li", &[], item.as_ref());
            }
        });
    }

    /// Writes a table; the first row is the head, the first cell of each row its name. It scrolls by itself where it is too wide.
    pub(super) fn table<R: AsRef<[String]>>(&mut self, caption: &str, rows: &[R]) {
        let Some((head, body)) = rows.split_first() else {
            return;
        };
        // Something that scrolls must be reachable by the keyboard and have a name (WCAG 2.1.1 and
        // 4.1.2).
        let region = [
            ("class", "scroll"),
            ("role", "region"),
            ("aria-label", caption),
            ("tabindex", "0"),
        ];
        self.inside("div", &region, |html| {
            html.inside("table", &[], |html| {
                html.element("caption", &[], caption);
                html.inside("thead", &[], |html| {
                    html.inside("tr", &[], |html| {
                        for cell in head.as_ref() {
                            // An empty head would be read out as a header without a name.
                            match cell.is_empty() {
                                true => html.element("td", &[], ""),
                                false => html.element("th", &[("scope", "col")], cell),
                            }
                        }
                    });
                });
                html.inside("tbody", &[], |html| {
                    body.iter().for_each(|row| html.row(row))
                });
            });
        });
    }

    /// Writes a row; its first cell names it.
    fn row<R: AsRef<[String]>>(&mut self, row: &R) {
        self.inside("tr", &[], |html| {
            for (column, cell) in row.as_ref().iter().enumerate() {
                match column {
                    0 => html.element("th", &[("scope", "row")], cell),
                    _ => html.element("td", &[], cell),
                }
            }
        });
    }

    /// Returns what was written.
    pub(super) fn done(self) -> String {
        self.text
    }

    fn open(&mut self, tag: &str, attributes: Attributes<'_>) {
        self.text.push('<');
        self.text.push_str(tag);
        for (name, value) in attributes {
            // Attributes are always in double quotation marks, which `escape` replaces.
            _ = write!(self.text, " {name}=\"");
            escape(&mut self.text, value);
            self.text.push('"');
        }
        self.text.push('>');
    }
}

/// Appends a text so that it is safe in an element and in an attribute between quotation marks.
pub(super) fn escape(into: &mut String, text: &str) {
    for sign in text.chars() {
        match sign {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            // Control signs are errors in HTML (its standard, "preprocessing the input stream"); the replacement sign shows that something was there.
            sign if sign.is_control() && sign != '\n' && sign != '\t' => into.push('\u{fffd}'),
            sign => into.push(sign),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_are_escaped() {
        let mut html = Html::new();
        html.element("p", &[("title", "a\"b")], "<script>&\u{7}");
        assert_eq!(
            html.done(),
            "<p title=\"a&quot;b\">&lt;script&gt;&amp;\u{fffd}</p>\n"
        );
    }

    #[test]
    fn a_table_has_a_caption_and_scopes() {
        let mut html = Html::new();
        let rows = [["", "a"], ["x", "1"]].map(|row| row.map(str::to_owned));
        html.table("What <it> is", &rows);
        let text = html.done();
        for part in [
            "<caption>What &lt;it&gt; is</caption>",
            "<th scope=\"col\">a</th>",
            "<th scope=\"row\">x</th>",
            "tabindex=\"0\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
