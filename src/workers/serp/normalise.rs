//! A page of results in a shape that does not change with the provider's whims: organic results typed, everything else
//! counted, and the provider's own JSON beside it as far as it fits.

use super::Search;
use crate::{clients::dataforseo::Page, job::Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Ranking {
    keyword: String,
    location: String,
    language: String,
    device: String,
    depth: u32,
    /// When the provider looked.
    checked_at: Timestamp,
    task_id: String,
    se_domain: Option<String>,
    check_url: Option<String>,
    se_results_count: Option<u64>,
    items_count: usize,
    /// How many items of each type the page had, organic ones included.
    counts: BTreeMap<String, u64>,
    organic: Vec<Organic>,
}

/// Members that are missing or of another type are null; an item is never lost for one of them.
#[derive(Clone, Debug, Serialize)]
struct Organic {
    /// Rank among the organic results.
    rank_group: Option<u64>,
    /// Rank among everything on the page.
    rank_absolute: Option<u64>,
    domain: Option<String>,
    title: Option<String>,
    url: Option<String>,
    description: Option<String>,
}

/// A ranking with the items as the provider wrote them.
#[derive(Serialize)]
pub(super) struct WithRaw<'a> {
    #[serde(flatten)]
    ranking: &'a Ranking,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<&'a [Box<RawValue>]>,
    /// The items were too large to keep.
    items_omitted: bool,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<std::borrow::Cow<'a, str>>,
}

impl Ranking {
    pub fn new(search: &Search, page: &Page, checked_at: Timestamp) -> Self {
        let mut counts = BTreeMap::new();
        let mut organic = Vec::new();
        for item in &page.items {
            let typed: Option<Typed<'_>> = serde_json::from_str(item.get()).ok();
            let kind = typed.and_then(|typed| typed.kind).unwrap_or("unknown".into());
            if kind == "organic" {
                organic.extend(Organic::read(item));
            }
            *counts.entry(kind.into_owned()).or_default() += 1;
        }
        Self {
            keyword: search.keyword.clone(),
            location: search.location.to_string(),
            language: search.language.to_string(),
            device: search.device.clone(),
            depth: search.depth,
            checked_at,
            task_id: page.task_id.clone(),
            se_domain: page.se_domain.clone(),
            check_url: page.check_url.clone(),
            se_results_count: page.se_results_count,
            items_count: page.items.len(),
            counts,
            organic,
        }
    }

    pub fn with_raw<'a>(&'a self, items: &'a [Box<RawValue>], most_bytes: usize) -> WithRaw<'a> {
        let fits = items.iter().map(|item| item.get().len()).sum::<usize>() <= most_bytes;
        WithRaw { ranking: self, items: fits.then_some(items), items_omitted: !fits }
    }
}

impl Organic {
    fn read(item: &RawValue) -> Option<Self> {
        let item: serde_json::Value = serde_json::from_str(item.get()).ok()?;
        let number = |member: &str| item.get(member)?.as_u64();
        let text = |member: &str| Some(item.get(member)?.as_str()?.to_owned());
        Some(Self {
            rank_group: number("rank_group"),
            rank_absolute: number("rank_absolute"),
            domain: text("domain"),
            title: text("title"),
            url: text("url"),
            description: text("description"),
        })
    }
}
