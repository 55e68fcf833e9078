//! Templates that are meant to break the daemon, and those that people write. A stack that overflows ends the whole test
//! run, so passing at all is what most of these prove; each runs on a stack of the size that the pool gives.

use super::{Format, render};
use crate::workers::pool;
use proptest::prelude::*;
use serde_json::{Value, json};

fn on_a_pool_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(pool::STACK).spawn_scoped(scope, work).expect("a thread");
        thread.join().expect("no panic")
    })
}

fn text(source: &str, vars: &Value) -> Result<String, String> {
    on_a_pool_stack(|| render("text", source, vars, Format::Text))
}

#[test]
fn chains_that_overflowed_the_stack_are_refused_by_their_length() {
    let chain = |head: &str, link: &str, count: usize, tail: &str| format!("{head}{}{tail}", link.repeat(count));
    for source in [
        chain("{{ 1", "+1", 10_000, " }}"),
        chain("{{ ", "-", 10_000, "1 }}"),
        chain("{{ a", ".a", 20_000, " }}"),
        chain("{{ a", "|upper", 5_000, " }}"),
        chain("{{ ", "not ", 10_000, "1 }}"),
        chain("{{ a", "[0]", 10_000, " }}"),
        chain("{{ ", "(", 10_000, "1"),
        chain("{{ a", " if a else a", 4_000, " }}"),
        chain("{% if 0 %}", "{% elif 0 %}", 5_000, "{% endif %}"),
        chain("", "{% if 1 %}", 5_000, ""),
        chain("", "{% for a in b %}", 4_000, ""),
        chain("", "{% if 0 %}{% else %}", 3_000, ""),
    ] {
        let said = text(&source, &json!({})).expect_err("refused");
        assert!(said.contains("bytes") || said.contains("more than") || said.contains("cannot be read"), "{said}");
        assert!(said.len() < 300, "one sentence: {said}");
    }
}

/// The second wall: what the pool's stack bears without the first one, as deep as a source of the largest size can nest.
#[test]
fn the_stack_bears_the_longest_chain_that_a_template_has_room_for() {
    for source in [format!("{{{{ 1{} }}}}", "+1".repeat(32_000)), format!("{{{{ {}1 }}}}", "-".repeat(65_000))] {
        on_a_pool_stack(|| {
            let environment = minijinja::Environment::empty();
            let _ = environment.template_from_str(&source).map(|template| template.render(()).is_ok());
        });
    }
}

#[test]
fn values_that_would_double_are_refused_or_end_early() {
    let long = "x".repeat(1 << 19);
    let vars = json!({"a": long, "l": (0..20_000).collect::<Vec<_>>(), "m": {"k": long}});
    for source in [
        r#"{% set a = "x"*50000000 %}{% for i in range(20000) %}{% set b = a ~ a %}{% endfor %}"#,
        r#"{{ "x" * 50000000 }}"#,
        "{{ a | replace('', a) | length }}",
        "{{ a | join(a) | length }}",
        "{{ l | join(a) | length }}",
        "{{ l | sum(start=a) | length }}",
        "{{ a | indent(1000000) | length }}",
        "{{ '%1000000d' | format(1) | length }}",
        "{{ '%(a)1000000s' | format(a='x') | length }}",
        "{{ '%*d' | format(1000000, 1) | length }}",
        "{{ '%s%s%s%s' | format(a, a, a, a) | length }}",
        "{{ l | tojson(1000000) | length }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in l %}{% if l == l or i in l or m == m %}{% endif %}{% endfor %}",
        "{% for i in l %}{% if range(100000) == range(100000) %}{% endif %}{% endfor %}",
        "{% for i in l %}{% if a in m.k %}{% endif %}{% endfor %}",
        "{% for i in l %}{% if l | sort | length > i %}{% endif %}{% endfor %}",
        "{% for i in l %}{% for c in a %}{% endfor %}{% endfor %}",
        "{% for i in l %}{{ a | upper | length }}{% endfor %}",
        "{% for i in a | list %}{% for j in a | list %}{% endfor %}{% endfor %}",
    ] {
        let began = std::time::Instant::now();
        let said = text(source, &vars);
        assert!(said.is_err(), "{source} came to an end");
        assert!(began.elapsed().as_secs() < 20, "{source} took {:?}", began.elapsed());
    }
}

#[test]
fn what_people_write_works() {
    let rows: Vec<Value> = (0..3000).map(|n| json!({"n": n, "name": format!("row {n}"), "late": n % 7 == 0})).collect();
    let vars = json!({"name": "Ada", "rows": rows, "price": 12.5, "tags": ["b", "a", "b"], "m": {"y": 2, "x": "1"}, "none": null, "big": 12345678901234567890_u64});
    for (source, expected) in [
        ("Hello {{ name }}!", "Hello Ada!"),
        ("{{ '%.2f' | format(price) }} {{ price | round }} {{ price - 0.5 }} {{ big }}", "12.50 12.0 12.0 12345678901234567890"),
        ("{{ tags | unique | sort | join(', ') }} {{ tags | length }} {{ tags | first }}{{ tags[1] }}", "a, b 3 ba"),
        ("{% for k, v in m | items %}{{ k }}={{ v }}{% if not loop.last %};{% endif %}{% endfor %}", "x=1;y=2"),
        ("{% for k, v in m | dictsort %}{{ k }}{{ loop.index0 + 1 }}{{ loop.length }}{% endfor %}", "x12y22"),
        ("{% for k in m %}{{ k }}{{ m[k] }}{% endfor %}", "x1y2"),
        ("{{ nobody | default('you') }} {{ name | d('you') | upper | replace('A', 'O') }}", "you ODO"),
        ("{{ rows | selectattr('late') | map(attribute='n') | sum }} {{ rows | length }}", "642642 3000"),
        ("{{ tags | map('upper') | list }} {{ m | tojson }} {{ 'a b' | urlencode }}", "['B', 'A', 'B'] {\"x\": \"1\", \"y\": 2} a%20b"),
        ("{% if nobody is defined %}x{% elif name == 'Ada' and 'a' in tags and m.y >= 2 %}y{% else %}z{% endif %}", "y"),
        ("{% for i in range(3) %}{{ loop.cycle('odd', 'even') }} {% endfor %}{{ range(2) }}", "odd even odd [0, 1]"),
        ("{{ 'one\ntwo' | indent(2) }} {{ 'a,b' | split(',') | last }} {{ tags }}", "one\n  two b ['b', 'a', 'b']"),
        ("{% raw %}{{ raw * }}{% endraw %}{# gone #}{% for x in [] %}{% else %}empty{% endfor %}", "{{ raw * }}empty"),
    ] {
        assert_eq!(text(source, &vars).as_deref(), Ok(expected), "{source}");
    }
    let digest = "{% for row in rows %}{% if row.late and row.n > 3 %}{{ row.name | upper }}: {{ row.n }}\n{% endif %}{% endfor %}";
    assert!(text(digest, &vars).expect("a digest of 3,000 rows").starts_with("ROW 7: 7\n"));
    let page = json!({"page": "<p>&</p>".repeat(40_000)});
    assert_eq!(text("Hi. {{ page }}", &page).expect("a long text").len(), 320_004);
    let html = on_a_pool_stack(|| render("html", "{{ a }}{{ a | safe }}{{ l }}", &json!({"a": "<&", "l": ["<"]}), Format::Html));
    assert_eq!(html.as_deref(), Ok("&lt;&amp;<&[&#x27;&lt;&#x27;]"));
}

/// Links of chains, of every kind that the engine's grammar has.
fn link() -> impl Strategy<Value = String> {
    let words = [
        "+1",
        "-1",
        "*2",
        "**2",
        "~a",
        "/2",
        "//2",
        "%2",
        " and a",
        " or a",
        " if a else a",
        ".a",
        "[0]",
        "['a']",
        "[0:1]",
        "|upper",
        "|default(a)",
        "|map('upper')",
        "|replace('', a)",
        " is defined",
        " is not none",
        " in a",
        " not in a",
        "==a",
        "<a",
        "(a)",
        "(a, a)",
        ", a",
        " not ",
        "-",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ":",
        "a",
        "1",
        "'s'",
        "loop",
        "range(9)",
        "=",
        " recursive",
        " for",
        " in ",
        "}}",
        "{{",
        "%}",
        "{%",
        "{% if a %}",
        "{% elif a %}",
        "{% else %}",
        "{% endif %}",
        "{% for a in a %}",
        "{% endfor %}",
        "{% set a = a %}",
        "{# ",
        " #}",
        "\n",
        "\"",
        "\\",
        "🚀",
    ];
    (prop::sample::select(words.to_vec()), prop_oneof![4 => 1_usize..4, 1 => 100_usize..20_000])
        .prop_map(|(word, times)| word.repeat(times))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_chain_of_operators_ends_the_process(head in prop::sample::select(vec!["", "{{ ", "{{ a", "{% if a", "{% for a in a", "{% for a in range(9) %}"]), links in prop::collection::vec(link(), 1..12), tail in prop::sample::select(vec!["", " }}", " %}", "a }}", "%}{% endif %}", "{% endfor %}"])) {
        let source = format!("{head}{}{tail}", links.concat());
        let said = text(&source, &json!({"a": {"a": [1, "x", {"a": "y"}], "0": 1}}));
        if let Ok(said) = said {
            prop_assert!(said.len() <= super::MOST_BYTES);
        }
    }
}
