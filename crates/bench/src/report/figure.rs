//! A chart on the page: its forms for wide and narrow screens, its caption, and its figures as a table.

use super::html::Html;

/// A chart in its forms, what it shows, and the same as a table.
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
        if rows.len() > 1 {
            as_table(html, table, rows);
        }
    });
}

/// One of several charts beside each other: its title stands above it.
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

fn as_table(html: &mut Html, title: &str, rows: &[Vec<String>]) {
    html.inside("details", &[], |html| {
        html.element("summary", &[], &format!("As a table: {title}"));
        html.table(title, rows);
    });
}
