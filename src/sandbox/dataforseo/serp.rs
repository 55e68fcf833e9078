//! A page of results made from the keyword, the place and the language alone: the same search finds the same, another
//! one something else.

use super::task::Task;
use crate::{job::Timestamp, sandbox::answer::fingerprint};
use serde_json::{Value, json};

/// Site and what it calls a page on the keyword `{}`; in the words of whoever searches for courses, tools and prices.
const SITES: [(&str, &str); 16] = [
    ("guide.example", "{}: a complete guide"),
    ("wiki.example", "{}"),
    ("compare.example", "The best {} compared"),
    ("docs.example", "{} | documentation"),
    ("forum.example", "{}? Opinions and experience"),
    ("news.example", "What is new in {}"),
    ("shop.example", "Buy {} at a good price"),
    ("academy.example", "Learn {} step by step"),
    ("blog.example", "{} explained with examples"),
    ("video.example", "{} in ten minutes"),
    ("tools.example", "Ten tools for {}"),
    ("university.example", "{}: course and syllabus"),
    ("answers.example", "How does {} work?"),
    ("reviews.example", "{} reviews"),
    ("local.example", "{} near you"),
    ("magazine.example", "The state of {}"),
];
const QUESTIONS: [&str; 6] =
    ["What is {}?", "How much does {} cost?", "Is {} worth it?", "How do I start with {}?", "What is the best {}?", "Who uses {}?"];

/// The `result` of a task that found something.
pub(super) fn result(task: &Task, now: Timestamp) -> Value {
    let items = items(task);
    let mut types: Vec<&str> = items.iter().filter_map(|item| item["type"].as_str()).collect();
    types.sort_unstable();
    types.dedup();
    let query = url::form_urlencoded::byte_serialize(task.keyword.as_bytes()).collect::<String>();
    json!({
        "keyword": task.keyword,
        "type": "organic",
        "se_domain": task.se_domain,
        "location_code": task.location_code,
        "language_code": task.language_code,
        "check_url": format!("https://www.{}/search?q={query}&num={}&hl={}", task.se_domain, task.depth, task.language_code),
        "datetime": now.to_utc().format("%Y-%m-%d %H:%M:%S +00:00").to_string(),
        "spell": null,
        "refinement_chips": null,
        "item_types": types,
        "se_results_count": 1_000 + luck(task, "count", 50_000_000),
        "pages_count": task.depth.div_ceil(10),
        "items_count": items.len(),
        "items": items,
    })
}

/// A number below `below` that belongs to this search and `what`.
fn luck(task: &Task, what: &str, below: u64) -> u64 {
    fingerprint(&format!("{}\n{}\n{}\n{}\n{what}", task.keyword.to_lowercase(), task.location_code, task.language_code, task.device))
        % below
}

fn items(task: &Task) -> Vec<Value> {
    let mut items = Vec::new();
    let asked_at = 1 + luck(task, "questions", 4);
    for rank in 1..=task.depth {
        if rank == asked_at {
            items.push(people_also_ask(task));
        }
        items.push(organic(task, rank));
    }
    items.push(related_searches(task));
    let mut groups = std::collections::BTreeMap::<String, u64>::new();
    for (absolute, item) in (1_u64..).zip(&mut items) {
        let group = groups.entry(item["type"].as_str().unwrap_or_default().to_owned()).or_default();
        *group += 1;
        item["rank_group"] = (*group).into();
        item["rank_absolute"] = absolute.into();
        item["position"] = "left".into();
        item["xpath"] = format!("/html[1]/body[1]/div[3]/div[{absolute}]").into();
    }
    items
}

fn organic(task: &Task, rank: u64) -> Value {
    let turn = luck(task, "site", SITES.len() as u64) + rank * 5;
    let (site, pattern) = SITES[usize::try_from(turn % SITES.len() as u64).unwrap_or(0)];
    // After each site was seen once, the same site's second page on the matter.
    let edition = (rank - 1) / SITES.len() as u64;
    let name = site.split('.').next().unwrap_or(site);
    let domain = format!("{}{name}.{}", if luck(task, site, 2) == 0 { "www." } else { "" }, top_level(task));
    let slug =
        task.keyword.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
    let path = if edition == 0 { slug } else { format!("{slug}/{}", edition + 1) };
    let url = url::Url::parse(&format!("https://{domain}/{path}")).map_or_else(|_| format!("https://{domain}/"), String::from);
    let title = capital(&pattern.replace("{}", &task.keyword));
    json!({
        "type": "organic",
        "page": (rank - 1) / 10 + 1,
        "domain": domain,
        "title": title,
        "url": url,
        "cache_url": null,
        "related_search_url": null,
        "breadcrumb": format!("https://{domain} › {}", task.language_code),
        "website_name": capital(name),
        "is_image": false,
        "is_video": name == "video",
        "is_featured_snippet": false,
        "is_malicious": false,
        "is_web_story": false,
        "description": format!("{title}. {} readers found this on {} useful.", 10 + luck(task, &url, 9_990), task.keyword),
        "pre_snippet": null,
        "extended_snippet": null,
        "images": null,
        "amp_version": false,
        "rating": null,
        "price": null,
        "highlighted": [task.keyword],
        "links": null,
        "checks": [],
        "related_result": null,
        "timestamp": null,
        "rectangle": null,
    })
}

fn people_also_ask(task: &Task) -> Value {
    let from = usize::try_from(luck(task, "question", QUESTIONS.len() as u64)).unwrap_or(0);
    let asked = QUESTIONS.iter().cycle().skip(from).take(4).map(|question| question.replace("{}", &task.keyword));
    let elements: Vec<Value> = asked
        .map(|title| json!({"type": "people_also_ask_element", "title": title, "seed_question": null, "expanded_element": null}))
        .collect();
    json!({"type": "people_also_ask", "page": 1, "items": elements, "rectangle": null})
}

fn related_searches(task: &Task) -> Value {
    let also: Vec<String> =
        ["price", "alternatives", "tutorial", "examples"].iter().map(|word| format!("{} {word}", task.keyword)).collect();
    json!({"type": "related_searches", "page": task.depth.div_ceil(10), "items": also, "rectangle": null})
}

/// Reserved for examples, and telling of the country searched from.
fn top_level(task: &Task) -> String {
    let country = task.se_domain.rsplit('.').next().unwrap_or("com");
    if country == "com" { "example.com".to_owned() } else { format!("{country}.example") }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(keyword: &str, location_code: u64, language_code: &str) -> Task {
        let data = json!({"keyword": keyword, "location_code": location_code, "language_code": language_code, "depth": 40});
        Task::check(&data).unwrap()
    }

    #[test]
    fn the_same_search_finds_the_same_and_another_something_else() {
        let searches =
            [("durable queue", 2840, "en"), ("durable queue", 2276, "en"), ("durable queue", 2840, "de"), ("job queue", 2840, "en")];
        let pages: Vec<Value> = searches.iter().map(|(k, l, g)| result(&task(k, *l, g), Timestamp::default())["items"].clone()).collect();
        assert_eq!(pages[0], result(&task("durable queue", 2840, "en"), Timestamp::default())["items"]);
        for other in &pages[1..] {
            assert_ne!(&pages[0], other);
        }
    }

    #[test]
    fn ranks_count_up_and_urls_are_distinct() {
        let page = result(&task("Straße & café", 2276, "de"), Timestamp::default());
        let items = page["items"].as_array().unwrap();
        let absolute: Vec<u64> = items.iter().filter_map(|item| item["rank_absolute"].as_u64()).collect();
        assert_eq!(absolute, (1..=42).collect::<Vec<_>>());
        let urls: std::collections::BTreeSet<&str> = items.iter().filter_map(|item| item["url"].as_str()).collect();
        assert_eq!(urls.len(), 40);
        assert!(urls.iter().all(|url| url::Url::parse(url).is_ok()));
    }
}
