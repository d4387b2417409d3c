//! Places a chart on the page: its forms for wide and narrow screens, its caption, and its figures as a table.

use super::html::Html;

/// Writes a chart in all its forms, its caption, and the same figures as a table. The style sheet shows the one form that
/// fits the screen. `rows` begins with the head; without further rows there is no table.
///
/// `table` is the table's title; it must say by itself what the table shows, since a screen reader
/// may jump to it.
pub(super) fn figure(
    html: &mut Html,
    charts: &[String],
    caption: &str,
    table: &str,
    rows: &[Vec<String>],
) {
    html.inside("figure", &[], |html| {
        charts.iter().for_each(|chart| html.raw(chart));
        html.element("figcaption", &[], caption);
        // A head without rows is no table.
        if rows.len() > 1 {
            as_table(html, table, rows);
        }
    });
}

/// Writes one of several charts beside each other, with its title above it.
///
/// `says` is a sentence below the title, which may be empty. The arguments are otherwise those of
/// [`figure`].
pub(super) fn panel(
    html: &mut Html,
    chart: &str,
    (title, says): (&str, &str),
    table: &str,
    rows: &[Vec<String>],
) {
    html.inside("figure", &[], |html| {
        html.inside("figcaption", &[], |html| {
            html.element("strong", &[], title);
            html.text(says);
        });
        html.raw(chart);
        if rows.len() > 1 {
            as_table(html, table, rows);
        }
    });
}

/// Writes a table that is closed until the reader opens it.
fn as_table(html: &mut Html, title: &str, rows: &[Vec<String>]) {
    html.inside("details", &[], |html| {
        html.element("summary", &[], &format!("As a table: {title}"));
        html.table(title, rows);
    });
}
