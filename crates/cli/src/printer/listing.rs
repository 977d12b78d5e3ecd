// SPDX-License-Identifier: Apache-2.0
//! Listings as `--format` wants them: a table, a table of one's own columns, JSON or a template, one line per row.

use serde_json::{Map, Value};

use super::table::align;
use crate::template::{Template, TemplateError};

/// What `--format` says in front of a template whose columns shall be lined up under headings.
const TABLE: &str = "table ";

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
        "json" => Ok(rows.iter().map(|row| format!("{row}\n")).collect()),
        _ => {
            let (lined_up, text) = match format.strip_prefix(TABLE) {
                Some(text) => (true, text),
                None => (false, format),
            };
            let template: Template = text.parse()?;
            let header = lined_up.then(|| headings(columns, rows));
            let lines = header.iter().chain(rows).map(|row| template.render(row)).collect::<Result<Vec<_>, _>>()?;
            if lined_up {
                let cells = |line: &String| line.split('\t').map(str::to_owned).collect();
                return Ok(align(&lines.iter().map(cells).collect::<Vec<Vec<String>>>()));
            }
            Ok(lines.into_iter().map(|line| line + "\n").collect())
        }
    }
}

/// A field's text, without the quotes of JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A row that has the headings as its values.
fn headings(columns: &[(&str, &str)], rows: &[Value]) -> Value {
    let fields = rows.iter().filter_map(Value::as_object).flat_map(Map::keys).map(String::as_str);
    let known = columns.iter().map(|(heading, field)| ((*field).to_owned(), Value::from(*heading)));
    let spelled = fields.map(|field| (field.to_owned(), Value::from(spell(field))));
    Value::Object(spelled.chain(known).collect())
}

/// `CreatedSince` as a heading: `CREATED SINCE`.
fn spell(field: &str) -> String {
    let mut heading = String::new();
    let mut previous = 'A';
    for c in field.chars() {
        if c.is_uppercase() && previous.is_lowercase() {
            heading.push(' ');
        }
        heading.extend(c.to_uppercase());
        previous = c;
    }
    heading
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
    }

    #[test]
    fn a_field_that_is_not_there_is_said() {
        assert!(render("{{.Colour}}", COLUMNS, &rows()).is_err());
    }
}
