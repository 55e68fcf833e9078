//! The filters, tests and the one function that templates may use, and how much each may make. A filter is named here or it
//! does not exist: what a newer engine brings along stays out until somebody has asked how large its results become.

use super::values::Meter;
use minijinja::{
    Environment, Error, ErrorKind, State, Value, filters, functions,
    tests::{
        is_boolean, is_defined, is_divisibleby, is_endingwith, is_eq, is_even, is_false, is_float, is_ge, is_gt, is_in, is_integer,
        is_iterable, is_le, is_lower, is_lt, is_mapping, is_ne, is_none, is_number, is_odd, is_sequence, is_startingwith, is_string,
        is_true, is_undefined, is_upper,
    },
    value::{Rest, ValueKind, ValueOrKwargs},
};

/// The length of what a filter would make of these arguments, when it may be far from theirs; None: they are refused.
type Foresight = fn(&Meter, &[Value]) -> Option<usize>;

/// What no sheet of paper is wide enough for.
const WIDEST: usize = 999;

/// Puts the whole vocabulary into `environment`. No text that a filter makes is longer than `longest`.
pub(super) fn install(environment: &mut Environment<'_>, meter: &Meter, longest: usize) {
    let mut add = |name: &'static str, filter: Value, foresight: Option<Foresight>| {
        let meter = meter.clone();
        environment.add_filter(name, move |state: &mut State<'_, '_>, given: Rest<ValueOrKwargs>| {
            let given = given.into_values();
            let read = given.iter().map(|value| value.as_str().map_or(0, str::len)).sum::<usize>();
            let foreseen = foresight.map_or(Some(read), |foresee| foresee(&meter, &given)).ok_or_else(|| refused(name))?;
            if foreseen > longest {
                return Err(too_long(name, longest));
            }
            if !meter.charge(read) {
                return Err(Error::from(ErrorKind::OutOfFuel));
            }
            let made = meter.adopt(filter.call(state, &given)?);
            if made.as_str().is_some_and(|text| text.len() > longest) { Err(too_long(name, longest)) } else { Ok(made) }
        });
    };
    macro_rules! add {
        ($($name:ident),* $(,)?) => { $( add(stringify!($name), Value::from_function(filters::$name), None); )* };
    }
    add!(abs, attr, bool, capitalize, default, dictsort, escape, first, float, int, items, last, length, lines, list, lower, map, max);
    add!(min, reject, rejectattr, reverse, round, safe, select, selectattr, sort, split, string, title, trim, unique, upper, urlencode);
    for (name, filter) in [
        ("d", Value::from_function(filters::default)),
        ("e", Value::from_function(filters::escape)),
        ("count", Value::from_function(filters::length)),
    ] {
        add(name, filter, None);
    }
    add("format", Value::from_function(filters::format), Some(formatted));
    add("indent", Value::from_function(filters::indent), Some(indented));
    add("join", Value::from_function(filters::join), Some(joined));
    add("replace", Value::from_function(filters::replace), Some(replaced));
    add("sum", Value::from_function(filters::sum), Some(summed));
    add("tojson", Value::from_function(filters::tojson), Some(on_one_line));
    install_tests(environment);
    let meter = meter.clone();
    environment.add_function("range", move |lower: isize, upper: Option<isize>, step: Option<isize>| {
        functions::range(lower, upper, step).map(|range| meter.adopt(range))
    });
}

fn install_tests(environment: &mut Environment<'_>) {
    macro_rules! add {
        ($($name:literal: $test:ident),* $(,)?) => { $( environment.add_test($name, $test); )* };
    }
    add!("defined": is_defined, "undefined": is_undefined, "none": is_none, "true": is_true, "false": is_false);
    add!("boolean": is_boolean, "number": is_number, "integer": is_integer, "int": is_integer, "float": is_float, "string": is_string);
    add!("sequence": is_sequence, "iterable": is_iterable, "mapping": is_mapping, "lower": is_lower, "upper": is_upper);
    add!("odd": is_odd, "even": is_even, "divisibleby": is_divisibleby, "startingwith": is_startingwith, "endingwith": is_endingwith);
    add!("eq": is_eq, "equalto": is_eq, "==": is_eq, "ne": is_ne, "!=": is_ne, "in": is_in);
    add!("lt": is_lt, "lessthan": is_lt, "<": is_lt, "le": is_le, "<=": is_le, "gt": is_gt, "greaterthan": is_gt, ">": is_gt);
    add!("ge": is_ge, ">=": is_ge);
}

fn too_long(name: &str, longest: usize) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("`{name}` would make more than {longest} bytes; give it less"))
}

fn refused(name: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("`{name}` does not take these arguments here"))
}

/// The length of `value` as text, about; walking a list is charged like any other walk.
fn length(meter: &Meter, value: &Value) -> usize {
    match value.kind() {
        ValueKind::String => value.as_str().map_or(0, str::len),
        ValueKind::Seq | ValueKind::Iterable => parts(meter, value).map(|item| length(meter, &item) + 4).sum(),
        ValueKind::Map => parts(meter, value)
            .map(|name| length(meter, &name) + value.get_item(&name).map_or(0, |member| length(meter, &member)) + 8)
            .sum(),
        // The longest number is a tiny fraction written out.
        _ => 400,
    }
}

fn parts<'v>(meter: &'v Meter, value: &'v Value) -> impl Iterator<Item = Value> + 'v {
    value.try_iter().into_iter().flatten().take_while(|_| meter.charge(0))
}

fn text(values: &[Value], at: usize) -> &str {
    values.get(at).and_then(Value::as_str).unwrap_or_default()
}

/// The argument at `at`, or the one called `name`. Named ones come last, as a map.
fn argument(values: &[Value], at: usize, name: &str) -> Option<Value> {
    let named = values.last().filter(|last| last.kind() == ValueKind::Map).and_then(|last| last.get_attr(name).ok());
    let placed = values.get(at).filter(|value| value.kind() != ValueKind::Map).cloned();
    placed.or(named).filter(|value| !value.is_undefined() && !value.is_none())
}

fn joined(meter: &Meter, values: &[Value]) -> Option<usize> {
    let whole = values.first()?;
    let joiner = argument(values, 1, "d").map_or(0, |joiner| length(meter, &joiner));
    let count = whole.as_str().map_or_else(|| whole.len().unwrap_or(0), |text| text.chars().count());
    Some(length(meter, whole).saturating_add(count.saturating_mul(joiner)))
}

fn replaced(_: &Meter, values: &[Value]) -> Option<usize> {
    let [whole, from, to] = [text(values, 0), text(values, 1), text(values, 2)];
    Some(whole.len().saturating_add(whole.matches(from).count().saturating_mul(to.len())))
}

fn indented(_: &Meter, values: &[Value]) -> Option<usize> {
    let width = argument(values, 1, "width").map_or(Some(4), |width| width.as_usize())?;
    let whole = text(values, 0);
    Some(whole.len().saturating_add((whole.matches('\n').count() + 1).saturating_mul(width)))
}

/// A `start` that is a text would make the sum a text, which grows with every item.
fn summed(_: &Meter, values: &[Value]) -> Option<usize> {
    argument(values, 2, "start").is_none().then_some(0)
}

fn on_one_line(_: &Meter, values: &[Value]) -> Option<usize> {
    (values.len() == 1).then_some(0)
}

/// Widths and precisions of three digits at most, none from an argument, and every argument in its place.
fn formatted(meter: &Meter, values: &[Value]) -> Option<usize> {
    let whole = text(values, 0);
    let mut places = 0_usize;
    for place in whole.split('%').skip(1) {
        places += 1;
        let shape = place.split(|c: char| c.is_ascii_alphabetic()).next().unwrap_or_default();
        let digits = shape.split(|c: char| !c.is_ascii_digit()).map(|number| number.trim_start_matches('0').len()).max();
        if shape.contains(['*', '(']) || digits.unwrap_or(0) > 3 {
            return None;
        }
    }
    let longest = values.iter().skip(1).map(|value| length(meter, value)).max().unwrap_or(0);
    Some(whole.len().saturating_add(places.saturating_mul(longest + WIDEST)))
}
