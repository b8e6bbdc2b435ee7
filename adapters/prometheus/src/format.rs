//! The two formats of metrics as text, and which of them is asked for.

use std::str;

/// A format in which metrics are written down.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// The text format of `OpenMetrics`, version 1.0: <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4, which everything reads:
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>
    Text,
}

impl Format {
    /// Its `Content-Type`.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The one that suits an `Accept`: `OpenMetrics` where it is named and not liked less than text;
    /// text otherwise, also where neither is taken, as an answer is better than none.
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1>
    pub fn accepted(accept: Option<&[u8]>) -> Self {
        let accept = accept.and_then(|value| str::from_utf8(value).ok()).unwrap_or_default();
        let (mut open, mut text) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut version) = (1.0, None);
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key.to_ascii_lowercase().as_str() {
                    "q" => weight = value.parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim_matches('"')),
                    _ => {}
                }
            }
            match name.as_str() {
                "application/openmetrics-text" if version.is_none_or(|v| v == "1.0.0") => {
                    open = open.max(weight);
                }
                "text/plain" | "text/*" | "*/*" => text = text.max(weight),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }
}

/// `OpenMetrics` as text for Prometheus: there, a family of counters has the name of its samples, and
/// there are neither units, nor exemplars, nor an end.
pub(crate) fn to_text(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut push = |line: &[&str]| {
        text.extend(line.iter().copied().chain(["\n"]));
    };
    // The help of a family stands in front of its type.
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "gauge" | "histogram" | "summary" => ("", kind),
                "stateset" => ("", "gauge"),
                _ => ("", "untyped"),
            };
            if let Some((_, help)) = help.take_if(|(known, _)| *known == name) {
                push(&["# HELP ", name, suffix, " ", help]);
            }
            push(&["# TYPE ", name, suffix, " ", kind]);
        } else if !line.starts_with('#') {
            push(&[without_exemplar(line)]);
        }
    }
    text
}

/// A sample without what may stand behind its value. Values of labels are quoted, and may contain
/// anything.
fn without_exemplar(sample: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in sample.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            '#' if !quoted => return sample[..at].trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_liked_format_is_taken() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (Some(prometheus), Format::OpenMetrics),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (Some("Application/OpenMetrics-Text; Version=\"1.0.0\""), Format::OpenMetrics),
            (Some("application/openmetrics-text; version=0.0.1"), Format::Text),
            (Some("application/openmetrics-text;q=0.5, text/*"), Format::Text),
            (Some("application/openmetrics-text;q=0"), Format::Text),
            (Some("application/openmetrics-text;q=x"), Format::Text),
            (Some("*/*"), Format::Text),
            (Some("application/json"), Format::Text),
            (Some(""), Format::Text),
            (None, Format::Text),
        ] {
            assert_eq!(Format::accepted(accept.map(str::as_bytes)), format, "{accept:?}");
        }
        assert_eq!(Format::accepted(Some(b"\xff")), Format::Text);
    }

    #[test]
    fn families_keep_their_help_under_the_name_of_their_samples() {
        let open = "\
# HELP a Of # a kind.
# TYPE a counter
a_total{x=\"b \\\" # {\"} 7 # {id=\"9\"} 1.0
a_total 8
# HELP b_seconds Time.
# TYPE b_seconds histogram
# UNIT b_seconds seconds
b_seconds_sum 1.5
# HELP c Such.
# TYPE c info
c_info{v=\"1\"} 1
# TYPE d unknown
d 1
# EOF
";
        let text = "\
# HELP a_total Of # a kind.
# TYPE a_total counter
a_total{x=\"b \\\" # {\"} 7
a_total 8
# HELP b_seconds Time.
# TYPE b_seconds histogram
b_seconds_sum 1.5
# HELP c_info Such.
# TYPE c_info gauge
c_info{v=\"1\"} 1
# TYPE d untyped
d 1
";
        assert_eq!(to_text(open), text);
    }
}
