//! The two text formats of `/metrics`, and the choice between them by a scraper's `Accept` header.
//!
//! The metrics library only writes OpenMetrics. The Prometheus text format has the same samples;
//! only its descriptions differ: a counter is described by the name of its sample, there is no type
//! for information, and no mark at the end.

use std::fmt::Write as _;

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// The Prometheus text format, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// Returns the format for a request with these `Accept` headers: OpenMetrics if they rank it
    /// above the text format, else the text format, even if they accept neither.
    pub fn accepted<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let ranges: Vec<MediaRange> = headers
            .into_iter()
            .flat_map(|header| split_unquoted(header, ','))
            .filter_map(MediaRange::parse)
            .collect();
        let quality = |format: Self| {
            let matching = ranges.iter().filter_map(|range| Some((range.matches(format)?, range)));
            // The most specific range applies, in any position.
            let best = matching.max_by_key(|(specificity, _)| *specificity);
            best.map_or(0.0, |(_, range)| range.quality)
        };
        if quality(Self::OpenMetrics) > quality(Self::Text) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// Returns the value of the header `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn media_type(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Text => ("text", "plain", "0.0.4"),
            Self::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
        }
    }
}

/// One entry of an `Accept` header. Parameters other than the version do not select a format.
#[derive(Debug, PartialEq)]
struct MediaRange {
    kind: String,
    subtype: String,
    version: Option<String>,
    quality: f32,
}

impl MediaRange {
    /// Parses an entry; `None` if it is malformed.
    fn parse(entry: &str) -> Option<Self> {
        let mut fields = split_unquoted(entry, ';').into_iter();
        let (kind, subtype) = fields.next()?.split_once('/')?;
        let lower = |text: &str| text.trim().to_ascii_lowercase();
        let mut range =
            Self { kind: lower(kind), subtype: lower(subtype), version: None, quality: 1.0 };
        for field in fields {
            let Some((name, value)) = field.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match lower(name).as_str() {
                "version" => range.version = Some(value.to_owned()),
                "q" => {
                    range.quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
                }
                _ => {}
            }
        }
        Some(range)
    }

    /// Returns how specific the range is; `None` if it does not include the format.
    fn matches(&self, format: Exposition) -> Option<u8> {
        let (kind, subtype, version) = format.media_type();
        match (self.kind.as_str(), self.subtype.as_str()) {
            ("*", "*") => Some(0),
            (of, "*") if of == kind => Some(1),
            (of, name) if of == kind && name == subtype => match &self.version {
                None => Some(2),
                Some(requested) => (requested == version).then_some(3),
            },
            _ => None,
        }
    }
}

/// Splits a header at separators that are not inside a quoted string, and trims the parts.
fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |character| {
        let was_escaped = std::mem::take(&mut escaped);
        match character {
            '\\' if quoted && !was_escaped => escaped = true,
            '"' if !was_escaped => quoted = !quoted,
            _ => {}
        }
        character == separator && !quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Converts metrics from the OpenMetrics text format to the Prometheus text format.
pub(super) fn prometheus_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(name), text) => help = Some((name, text.unwrap_or_default())),
            (Some("TYPE"), Some(name), Some(kind)) => {
                let (ending, kind) = description(kind);
                // The library writes the help of a family right before its type.
                if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                    let _ = writeln!(text, "# HELP {name}{ending} {help}");
                }
                let _ = writeln!(text, "# TYPE {name}{ending} {kind}");
            }
            _ => {}
        }
    }
    text
}

/// Returns the suffix that the text format appends to the name of a family, and its type there.
fn description(kind: &str) -> (&'static str, &str) {
    match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "unknown" => ("", "untyped"),
        other => ("", other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Accept` headers of scrapers, and the format of the response.
    const ACCEPTED: [(&str, Exposition); 21] = [
        ("", Exposition::Text),
        ("*/*", Exposition::Text),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Exposition::Text),
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Exposition::Text),
        ("application/json", Exposition::Text),
        ("application/openmetrics-text", Exposition::OpenMetrics),
        ("APPLICATION/OpenMetrics-Text ; Version=1.0.0 ; Q=0.2", Exposition::OpenMetrics),
        ("application/openmetrics-text; version=\"1.0.0\"", Exposition::OpenMetrics),
        // Prometheus 2.42 and 3.
        (
            "application/openmetrics-text;version=1.0.0,\
             application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
             */*;q=0.1",
            Exposition::OpenMetrics,
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Exposition::OpenMetrics,
        ),
        // Prometheus before 2.0 did not accept this version of OpenMetrics.
        ("application/openmetrics-text;version=0.0.1,*/*;q=0.1", Exposition::Text),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", Exposition::Text),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.4", Exposition::OpenMetrics),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.5", Exposition::Text),
        ("application/openmetrics-text;q=0", Exposition::Text),
        ("application/openmetrics-text;q=0,*/*", Exposition::Text),
        // The more specific range applies: the quality of text is 0.2, regardless of */*.
        ("*/*;q=0.9, text/plain;q=0.2", Exposition::OpenMetrics),
        ("application/*;q=0.3,*/*;q=0.2", Exposition::OpenMetrics),
        ("application/openmetrics-text;q=2", Exposition::Text),
        ("application/openmetrics-text;q=NaN", Exposition::Text),
        ("text/x;a=\"\\\",application/openmetrics-text,\"", Exposition::Text),
    ];

    #[test]
    fn the_format_with_the_higher_quality_is_chosen() {
        for (header, expected) in ACCEPTED {
            assert_eq!(Exposition::accepted([header]), expected, "{header}");
        }
        assert_eq!(Exposition::accepted([]), Exposition::Text);
        let two = ["text/plain;q=0.1", "application/openmetrics-text;q=0.2"];
        assert_eq!(Exposition::accepted(two), Exposition::OpenMetrics, "several headers");
    }

    #[test]
    fn descriptions_have_the_names_and_types_of_the_text_format() {
        let open_metrics = "# HELP a_b The running version.\n# TYPE a_b info\n\
            a_b_info{version=\"# TYPE c counter\"} 1\n\
            # HELP c A counter.\n# TYPE c counter\n# UNIT c seconds\nc_total 7\n\
            # HELP h Times.\n# TYPE h histogram\nh_sum 0.5\nh_count 1\n\
            h_bucket{le=\"+Inf\"} 1\n# HELP g G.\n# TYPE g gauge\ng 1\n\
            # TYPE u unknown\nu 1\n# EOF\n";
        let text = "# HELP a_b_info The running version.\n# TYPE a_b_info gauge\n\
            a_b_info{version=\"# TYPE c counter\"} 1\n\
            # HELP c_total A counter.\n# TYPE c_total counter\nc_total 7\n\
            # HELP h Times.\n# TYPE h histogram\nh_sum 0.5\nh_count 1\n\
            h_bucket{le=\"+Inf\"} 1\n# HELP g G.\n# TYPE g gauge\ng 1\n\
            # TYPE u untyped\nu 1\n";
        assert_eq!(prometheus_text(open_metrics), text);
    }
}
