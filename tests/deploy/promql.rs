//! Reads a PromQL expression as far as dashboards and alerts use the language, and says which metrics and labels it names.
//! What is outside that part of the language is an error, not a guess.

use std::collections::BTreeSet;

/// What an expression asks of the world.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Each selector: its metric and the labels it matches on.
    pub selectors: Vec<(String, BTreeSet<String>)>,
    /// Labels that results are grouped by.
    pub grouped: BTreeSet<String>,
}

const AGGREGATIONS: [&str; 8] = ["sum", "max", "min", "avg", "count", "topk", "bottomk", "quantile"];
const FUNCTIONS: [&str; 11] =
    ["rate", "increase", "irate", "changes", "histogram_quantile", "time", "clamp_min", "clamp_max", "max_over_time", "absent", "vector"];
const OPERATORS: [&str; 15] = ["==", "!=", ">=", "<=", "and", "or", "unless", "+", "-", "*", "/", "%", "^", ">", "<"];

/// # Errors
/// Where the expression stops making sense, and why.
pub fn read(expression: &str) -> Result<Asked, String> {
    let mut reader = Reader { rest: expression, asked: Asked::default() };
    reader.expression()?;
    if !reader.rest.trim_start().is_empty() {
        return reader.fail("the end");
    }
    Ok(reader.asked)
}

struct Reader<'e> {
    rest: &'e str,
    asked: Asked,
}

impl Reader<'_> {
    fn expression(&mut self) -> Result<(), String> {
        self.operand()?;
        while let Some(operator) = OPERATORS.into_iter().find(|operator| self.take_operator(operator)) {
            if matches!(operator, "==" | "!=" | ">=" | "<=" | ">" | "<") {
                self.take_word("bool");
            }
            if self.take_word("on") || self.take_word("ignoring") {
                let labels = self.labels()?;
                self.asked.grouped.extend(labels);
            }
            self.operand()?;
        }
        Ok(())
    }

    fn operand(&mut self) -> Result<(), String> {
        self.take("-");
        if self.take("(") {
            self.expression()?;
            return self.need(")");
        }
        if let Some(number) =
            self.matching(|c| c.is_ascii_alphanumeric() || c == '.').filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        {
            self.rest = &self.rest.trim_start()[number.len()..];
            return number.parse::<f64>().map(|_| ()).map_err(|_| format!("`{number}` is not a number"));
        }
        let name = self.name()?;
        let aggregates = AGGREGATIONS.contains(&name.as_str());
        if aggregates && (self.take_word("by") || self.take_word("without")) {
            let labels = self.labels()?;
            self.asked.grouped.extend(labels);
            return self.arguments();
        }
        if self.rest.trim_start().starts_with('(') {
            return if aggregates || FUNCTIONS.contains(&name.as_str()) {
                self.arguments()
            } else {
                Err(format!("`{name}` is no function that is known here"))
            };
        }
        self.selector(name)
    }

    fn arguments(&mut self) -> Result<(), String> {
        self.need("(")?;
        while !self.take(")") {
            self.expression()?;
            if !self.take(",") {
                return self.need(")");
            }
        }
        Ok(())
    }

    fn selector(&mut self, metric: String) -> Result<(), String> {
        let mut labels = BTreeSet::new();
        if self.take("{") {
            while !self.take("}") {
                labels.insert(self.name()?);
                if !["=~", "!~", "!=", "="].into_iter().any(|operator| self.take(operator)) {
                    return self.fail("a matcher such as =~");
                }
                self.text()?;
                if !self.take(",") {
                    self.need("}")?;
                    break;
                }
            }
        }
        if self.take("[") {
            let length = self.matching(|c| c.is_ascii_alphanumeric() || "$_".contains(c)).filter(|length| is_range(length));
            let Some(length) = length else { return self.fail("a range such as 5m") };
            self.rest = &self.rest.trim_start()[length.len()..];
            self.need("]")?;
        }
        self.asked.selectors.push((metric, labels));
        Ok(())
    }

    fn labels(&mut self) -> Result<Vec<String>, String> {
        self.need("(")?;
        let mut labels = Vec::new();
        while !self.take(")") {
            labels.push(self.name()?);
            if !self.take(",") {
                self.need(")")?;
                break;
            }
        }
        Ok(labels)
    }

    fn text(&mut self) -> Result<(), String> {
        self.need("\"")?;
        let Some(end) = self.rest.find('"') else { return self.fail("a closing quote") };
        self.rest = &self.rest[end + 1..];
        Ok(())
    }

    fn name(&mut self) -> Result<String, String> {
        let name = self.matching(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        let Some(name) = name.filter(|name| !name.starts_with(|c: char| c.is_ascii_digit())) else { return self.fail("a name") };
        self.rest = &self.rest.trim_start()[name.len()..];
        Ok(name)
    }

    /// What comes next of the given characters, without taking it.
    fn matching(&self, belongs: impl Fn(char) -> bool) -> Option<String> {
        let run: String = self.rest.trim_start().chars().take_while(|&c| belongs(c)).collect();
        (!run.is_empty()).then_some(run)
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.matching(|c| c.is_ascii_alphanumeric() || c == '_').as_deref() == Some(word) && self.take(word)
    }

    fn take_operator(&mut self, operator: &str) -> bool {
        if operator.starts_with(char::is_alphabetic) { self.take_word(operator) } else { self.take(operator) }
    }

    fn need(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { self.fail(&format!("`{token}`")) }
    }

    fn fail<T>(&self, wanted: &str) -> Result<T, String> {
        Err(format!("expected {wanted} before `{}`", self.rest.chars().take(30).collect::<String>()))
    }
}

/// `5m`, or a variable of Grafana that stands for one.
fn is_range(length: &str) -> bool {
    let digits = length.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = &length[digits.len()..];
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) && ["ms", "s", "m", "h", "d", "w"].contains(&unit);
    plain || ["$__rate_interval", "$__range", "$__interval"].contains(&length)
}

#[test]
fn expressions_tell_their_metrics_and_labels() {
    let asked = read(
        r#"histogram_quantile(0.95, sum by (le, kind) (rate(a_bucket{queue=~"$queue", x!="1"}[$__rate_interval]))) / 2 > bool (b or c)"#,
    )
    .unwrap();
    let labels = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    let selector = |metric: &str, names: &[&str]| (metric.to_owned(), labels(names));
    assert_eq!(asked.selectors, [selector("a_bucket", &["queue", "x"]), selector("b", &[]), selector("c", &[])]);
    assert_eq!(asked.grouped, labels(&["le", "kind"]));
}

#[test]
fn broken_expressions_are_errors() {
    for broken in ["", "sum(a", "sum by (b a)", "a{b}", "a{b=\"c}", "a[5]", "a b", "foo(a)", "a +", "rate(a[5m]))", "1x"] {
        assert!(read(broken).is_err(), "{broken}");
    }
}
