// SPDX-License-Identifier: Apache-2.0
//! Fields between commas, as in `--mount` and `--gpus`: a field with commas of its own stands in double quotes, in which two
//! quotes are one (CSV, as Docker reads it).

/// The fields of `text`, without their quotes; `None` where one is empty or a quote is left open.
pub(super) fn fields(text: &str) -> Option<Vec<String>> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => fields.last_mut()?.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut()?.push(other),
        }
    }
    (!quoted && fields.iter().all(|field| !field.is_empty())).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_may_have_commas_and_quotes() {
        let read = |text: &str| fields(text).map(|fields| fields.join("|"));
        assert_eq!(read("a,b=c").as_deref(), Some("a|b=c"));
        assert_eq!(
            read(r#"type=volume,"volume-opt=o=addr=1.2.3.4,rw",x"#).as_deref(),
            Some("type=volume|volume-opt=o=addr=1.2.3.4,rw|x")
        );
        assert_eq!(read(r#""say ""hi""",b"#).as_deref(), Some(r#"say "hi"|b"#));
        for bad in ["", "a,", ",a", "a,,b", "\"a"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
