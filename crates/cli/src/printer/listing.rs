// SPDX-License-Identifier: Apache-2.0
//! Listings as `--format` wants them: a table, a table of one's own columns, JSON or a template, one line per row.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

use super::table::align;
use crate::template::{Template, TemplateError, spelled};

/// What `--format` says in front of a template whose columns shall be lined up under headings.
const TABLE: &str = "table ";
/// The field of a row that holds its labels by their names, for `.Label "NAME"`. It is not printed.
const LABELS: &str = "Label";

/// The lines of `rows`, which are JSON objects. `columns` are those of the plain table: a heading and a row's field.
///
/// # Errors
/// A template that is none, or names a field that the rows do not have.
pub(crate) fn render(format: &str, columns: &[(&str, &str)], rows: &[Value]) -> Result<String, TemplateError> {
    match format {
        "table" => {
            let header = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
            let cells = |row: &Value| columns.iter().map(|(_, field)| plain(&row[*field])).collect();
            Ok(align(&std::iter::once(header).chain(rows.iter().map(cells)).collect::<Vec<Vec<String>>>()))
        }
        "json" => Ok(rows.iter().map(|row| format!("{}\n", split(row).0)).collect()),
        _ => {
            let template: Template = format.strip_prefix(TABLE).unwrap_or(format).parse()?;
            let lines = rows.iter().map(|row| {
                let (row, labels) = split(row);
                template.render_row(&row, labels)
            });
            let lines = lines.collect::<Result<Vec<String>, _>>()?;
            if !format.starts_with(TABLE) {
                return Ok(lines.into_iter().map(|line| line + "\n").collect());
            }
            let header = template.render_headings(&headings(columns, rows))?;
            let cells = |line: &String| line.split('\t').map(str::to_owned).collect();
            Ok(align(&std::iter::once(&header).chain(&lines).map(cells).collect::<Vec<Vec<String>>>()))
        }
    }
}

/// The template that `format` is, if it is one.
pub(crate) fn template(format: &str) -> Result<Option<Template>, TemplateError> {
    match format {
        "table" | "json" => Ok(None),
        _ => format.strip_prefix(TABLE).unwrap_or(format).parse().map(Some),
    }
}

/// Labels in one line.
pub(crate) fn labels(labels: Option<&HashMap<String, String>>) -> String {
    let mut list: Vec<String> = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    list.sort();
    list.join(",")
}

/// A row as it is printed, and its labels.
fn split(row: &Value) -> (Cow<'_, Value>, Option<&Value>) {
    let Some(labels) = row.get(LABELS) else { return (Cow::Borrowed(row), None) };
    let mut shown = row.clone();
    if let Value::Object(fields) = &mut shown {
        fields.remove(LABELS);
    }
    (Cow::Owned(shown), Some(labels))
}

/// A field's text, without the quotes of JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A row that has the headings as its values.
fn headings(columns: &[(&str, &str)], rows: &[Value]) -> Value {
    // Where there are no rows, those of the plain table are all that is known.
    let fields = rows.first().and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str);
    let known = columns.iter().map(|(heading, field)| ((*field).to_owned(), Value::from(*heading)));
    let spelled = fields.map(|field| (field.to_owned(), Value::from(spelled(field))));
    Value::Object(spelled.chain(known).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[(&str, &str)] = &[("IMAGE ID", "ID"), ("SIZE", "Size")];

    fn rows() -> Vec<Value> {
        vec![json!({"ID": "0123456789ab", "Size": "4kB", "CreatedSince": "now"})]
    }

    #[test]
    fn each_format_has_its_form() {
        let render = |format| render(format, COLUMNS, &rows()).unwrap();
        assert_eq!(render("table"), "IMAGE ID       SIZE\n0123456789ab   4kB\n");
        assert_eq!(render("table {{.Size}}\\t{{.CreatedSince}}"), "SIZE      CREATED SINCE\n4kB       now\n");
        assert_eq!(render("{{.ID}} {{.Size}}"), "0123456789ab 4kB\n");
        assert_eq!(render("json").parse::<Value>().unwrap(), rows()[0]);
        assert_eq!(render("table {{.ID | upper}}"), "IMAGE ID\n0123456789AB\n");
    }

    #[test]
    fn a_label_is_asked_for_by_its_name() {
        let rows = [json!({"ID": "1", "Label": {"org.tier": "web"}}), json!({"ID": "2", "Label": {}})];
        let render = |format| render(format, COLUMNS, &rows).unwrap();
        assert_eq!(render("{{.ID}}={{.Label \"org.tier\"}}"), "1=web\n2=\n");
        assert_eq!(render("table {{.ID}}\t{{.Label \"org.tier\"}}"), "IMAGE ID   tier\n1          web\n2          \n");
        assert_eq!(render("json"), "{\"ID\":\"1\"}\n{\"ID\":\"2\"}\n");
    }

    #[test]
    fn a_field_that_is_not_there_is_said() {
        assert!(render("{{.Colour}}", COLUMNS, &rows()).is_err());
    }
}
