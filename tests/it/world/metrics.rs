//! The text of `/metrics`, read into series that tests can sum over.

/// All series of one scrape.
#[derive(Debug)]
pub(crate) struct Metrics {
    series: Vec<Series>,
    /// The text as it came.
    pub(crate) text: String,
}

#[derive(Debug)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        Self { series: lines.map(parse_line).collect(), text: text.to_owned() }
    }

    /// The sum of this metric over all series that carry these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matches = |series: &&Series| {
            let has = |(key, value): &(&str, &str)| series.labels.iter().any(|(k, v)| k == key && v == value);
            series.name == name && labels.iter().all(has)
        };
        self.series.iter().filter(matches).map(|series| series.value).sum()
    }

    /// Whether there is a metric of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.series.iter().any(|series| series.name == name)
    }

    /// Each series: its name and the names of its labels.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.series
            .iter()
            .map(|series| (series.name.as_str(), series.labels.iter().map(|(key, _)| key.as_str()).collect()))
    }

    /// The values that this label takes in this metric.
    pub(crate) fn values(&self, name: &str, label: &str) -> Vec<&str> {
        let of_name = self.series.iter().filter(|series| series.name == name);
        let labels = of_name.flat_map(|series| &series.labels).filter(|(key, _)| key == label);
        labels.map(|(_, value)| value.as_str()).collect()
    }
}

fn parse_line(line: &str) -> Series {
    let bad = || -> ! { panic!("not a line of OpenMetrics: {line:?}") };
    let Some((series, value)) = split_value(line) else { bad() };
    let (name, labels) = match series.split_once('{') {
        None => (series, ""),
        Some((name, rest)) => (name, rest.strip_suffix('}').unwrap_or_else(|| bad())),
    };
    let Ok(value) = value.parse() else { bad() };
    Series { name: name.to_owned(), labels: parse_labels(labels), value }
}

/// Splits before the value; a blank may also stand in a label, and a time stamp or an exemplar may follow the value.
fn split_value(line: &str) -> Option<(&str, &str)> {
    let after_labels = line.find('}').map_or(0, |_| line.rfind("\"}").map_or(0, |at| at + 2));
    let blank = after_labels + line[after_labels..].find(' ')?;
    Some((&line[..blank], line[blank + 1..].split(' ').next()?))
}

fn parse_labels(text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let mut end = after.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                '"' => {
                    end = at + 1;
                    break;
                }
                c => value.push(c),
            }
        }
        labels.push((key.trim_start_matches(',').trim().to_owned(), value));
        rest = &after[end..];
    }
    labels
}
