//! The audit: what was done by whom, each row bound to the one before it by a hash, so that a row that was changed, taken out or put in
//! between shows. The canonical form stands here; the drivers that chain inside their store mirror it (`migrations/postgres/0010_audit.sql`,
//! `store/redis/routines/15_audit.lua`).

use super::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt, str::FromStr};
use uuid::Uuid;

/// One act, as it stands in the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Audited {
    /// Which chain it is a link of. A store on one server of SQLite or Postgres has one, without a name; on Redis each queue's shard has its
    /// own, and `_` is what belongs to no queue.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub chain: String,
    /// Its place in the chain: one more than that of the row before.
    pub seq: i64,
    pub op_id: Uuid,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub object: String,
    #[serde(default)]
    pub detail: Option<String>,
    /// SHA-256 of [`Audited::canonical`], in hexadecimal. None: it is older than the chain.
    #[serde(default)]
    pub hash: Option<String>,
}

/// What comes before the first link.
pub const NO_LINK: &str = "";

impl Audited {
    /// What is hashed: the hash before, seq, op_id, at in microseconds, actor, action, object and detail, each as its length in bytes, a
    /// colon, its bytes and a comma; `-` for a detail that is not there.
    #[must_use]
    pub fn canonical(&self, previous: &str) -> Vec<u8> {
        let (seq, op_id, at) = (self.seq.to_string(), self.op_id.to_string(), self.at.0.to_string());
        let plain = [previous, &seq, &op_id, &at, &self.actor, &self.action, &self.object];
        let words = plain.into_iter().map(Some).chain([self.detail.as_deref()]);
        words.map(|word| word.map_or_else(|| "-".to_owned(), |word| format!("{}:{word},", word.len()))).collect::<String>().into_bytes()
    }

    /// The hash that this row must have behind one with the hash `previous`.
    #[must_use]
    pub fn link(&self, previous: &str) -> String {
        hex::encode(Sha256::digest(self.canonical(previous)))
    }

    /// Where a page begins that goes on behind this row.
    #[must_use]
    pub fn place(&self) -> AuditPlace {
        AuditPlace { at: self.at, chain: self.chain.clone(), seq: self.seq }
    }
}

/// A place in the audit of all chains: by time, then by chain, then by the place in that chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPlace {
    pub at: Timestamp,
    pub chain: String,
    pub seq: i64,
}

impl fmt::Display for AuditPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.at.0, self.seq, self.chain)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is none of ours; begin again without one")]
pub struct InvalidPlace;

impl FromStr for AuditPlace {
    type Err = InvalidPlace;
    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let mut parts = text.splitn(3, '.');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or(InvalidPlace);
        let (at, seq) = (Timestamp(number()?), number()?);
        Ok(Self { at, seq, chain: parts.next().ok_or(InvalidPlace)?.to_owned() })
    }
}

/// Which rows; everything is optional and combined with *and*.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub object: Option<String>,
}

impl AuditFilter {
    #[must_use]
    pub fn takes(&self, row: &Audited) -> bool {
        let is = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| wanted == has);
        is(&self.actor, &row.actor) && is(&self.action, &row.action) && is(&self.object, &row.object)
    }
}

/// Walks the audit from the newest row to the oldest and looks whether each is the link that its chain needs there.
#[derive(Debug, Default)]
pub struct Verifier {
    rows: u64,
    /// What the store says are the last links, of chains whose row of that number was not come to yet.
    expected: BTreeMap<String, Head>,
    /// Those whose row is another, or was passed by.
    cut: Vec<Head>,
    /// Of each chain, the newest link: that is what an outsider can keep, and compare later.
    heads: BTreeMap<String, Head>,
    /// Of each chain, the row whose predecessor is still to come.
    open: BTreeMap<String, Audited>,
    /// Of each chain, the oldest row at which it breaks, as far as the walk has come.
    broken: BTreeMap<String, Audited>,
}

/// A link of a chain, and its newest when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// As [`Audited::chain`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub chain: String,
    pub seq: i64,
    /// As [`Audited::hash`].
    pub hash: String,
}

impl Head {
    /// False: it only says how many rows stand before the chain's first link.
    #[must_use]
    pub fn is_a_link(&self) -> bool {
        self.hash != NO_LINK
    }
}

/// What a whole walk found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub rows: u64,
    pub heads: Vec<Head>,
    /// The oldest row that is not what the rows before it say it must be.
    pub breaks_at: Option<Audited>,
    /// A chain's last link, as the store wrote it down, whose row is not there or is another: the newest rows were taken out, or written anew.
    pub cut_at: Option<Head>,
}

impl Verifier {
    /// `heads`: the last links, read before the walk begins ([`crate::store::Store::audit_heads`]).
    #[must_use]
    pub fn against(heads: Vec<Head>) -> Self {
        let expected = heads.into_iter().map(|head| (head.chain.clone(), head)).collect();
        Self { expected, ..Self::default() }
    }

    /// The next older row.
    pub fn look_at(&mut self, row: Audited) {
        self.rows += 1;
        let chain = row.chain.clone();
        // Rows that came since the heads were read are newer than these.
        if self.expected.get(&chain).is_some_and(|head| row.seq <= head.seq)
            && let Some(head) = self.expected.remove(&chain)
            && (row.seq, row.hash.as_ref()) != (head.seq, Some(&head.hash))
        {
            self.cut.push(head);
        }
        if let Some(newer) = self.open.remove(&chain) {
            let is_next = newer.seq == row.seq + 1;
            let holds = match (&newer.hash, &row.hash) {
                (Some(hash), Some(previous)) => newer.link(previous) == *hash,
                (Some(hash), None) => newer.link(NO_LINK) == *hash,
                (None, None) => true,
                (None, Some(_)) => false,
            };
            if !(is_next && holds) {
                self.broken.insert(chain.clone(), newer);
            }
        }
        if let Some(hash) = &row.hash {
            let head = || Head { chain: chain.clone(), seq: row.seq, hash: hash.clone() };
            self.heads.entry(chain.clone()).or_insert_with(head);
        }
        self.open.insert(chain, row);
    }

    /// There is no older row. The first one that is kept is an anchor: what came before it was pruned, so it is taken at its word, but for
    /// the first of all.
    #[must_use]
    pub fn end(mut self) -> Verified {
        for (chain, first) in std::mem::take(&mut self.open) {
            if first.seq == 1 && first.hash.as_ref().is_some_and(|hash| first.link(NO_LINK) != *hash) {
                self.broken.insert(chain, first);
            }
        }
        let breaks_at = self.broken.into_values().min_by_key(Audited::place);
        let cut_at = self.cut.into_iter().chain(self.expected.into_values()).next();
        Verified { rows: self.rows, heads: self.heads.into_values().collect(), breaks_at, cut_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: i64, detail: Option<&str>) -> Audited {
        let (chain, detail) = (String::new(), detail.map(ToOwned::to_owned));
        let (actor, action, object) = ("cli:root".into(), "pause".into(), "größe".into());
        Audited { chain, seq, op_id: Uuid::from_u128(7), at: Timestamp(seq * 10), actor, action, object, detail, hash: None }
    }

    fn chain(rows: i64) -> Vec<Audited> {
        let mut previous = NO_LINK.to_owned();
        let link = |seq| {
            let mut next = row(seq, (seq % 2 == 0).then_some("why"));
            previous = next.link(&previous);
            next.hash = Some(previous.clone());
            next
        };
        (1..=rows).map(link).collect()
    }

    fn verdict(rows: &[Audited]) -> Verified {
        let mut verifier = Verifier::default();
        rows.iter().rev().cloned().for_each(|row| verifier.look_at(row));
        verifier.end()
    }

    #[test]
    fn canonical_form_is_the_same_for_ever() {
        let text = String::from_utf8(row(2, None).canonical("ab")).expect("text");
        assert_eq!(text, "2:ab,1:2,36:00000000-0000-0000-0000-000000000007,2:20,8:cli:root,5:pause,7:größe,-");
        assert!(String::from_utf8(row(2, Some("")).canonical("")).expect("text").ends_with("7:größe,0:,"), "nothing said is not none");
    }

    #[test]
    fn whole_chain_holds_and_names_its_head() {
        let rows = chain(5);
        let found = verdict(&rows);
        assert_eq!((found.rows, found.breaks_at), (5, None));
        assert_eq!(found.heads, [Head { chain: String::new(), seq: 5, hash: rows[4].hash.clone().expect("a hash") }]);
        assert_eq!(verdict(&rows[2..]).breaks_at, None, "the first that is kept anchors the rest");
        assert_eq!(verdict(&[]).rows, 0);
    }

    #[test]
    fn changed_missing_and_foreign_rows_are_found_where_they_are() {
        for at in 0..5 {
            let mut rows = chain(5);
            rows[at].actor = "cli:mallory".into();
            assert_eq!(verdict(&rows).breaks_at.map(|row| row.seq), Some(rows[at].seq));
        }
        let mut rows = chain(5);
        rows.remove(2);
        assert_eq!(verdict(&rows).breaks_at.map(|row| row.seq), Some(4));
        let mut rows = chain(5);
        rows[1].hash = None;
        assert_eq!(verdict(&rows).breaks_at.map(|row| row.seq), Some(2), "no row of the chain is older than it");
        let mut rows = chain(5);
        rows.swap(1, 2);
        assert!(verdict(&rows).breaks_at.is_some());
    }

    #[test]
    fn newest_rows_that_are_gone_or_written_anew_are_missed() {
        let rows = chain(5);
        let head = Head { chain: String::new(), seq: 5, hash: rows[4].hash.clone().expect("a hash") };
        let verdict = |rows: &[Audited]| {
            let mut verifier = Verifier::against(vec![head.clone()]);
            rows.iter().rev().cloned().for_each(|row| verifier.look_at(row));
            verifier.end()
        };
        assert_eq!(verdict(&rows).cut_at, None);
        let mut grown = rows.clone();
        let mut next = row(6, None);
        next.hash = Some(next.link(&head.hash));
        grown.push(next);
        assert_eq!((verdict(&grown).cut_at, verdict(&grown).breaks_at), (None, None), "one more came since");
        for kept in 0..5 {
            assert_eq!(verdict(&rows[..kept]).cut_at, Some(head.clone()), "{kept} of 5 are left");
        }
        let unchained: Vec<Audited> = rows.into_iter().map(|row| Audited { hash: None, ..row }).collect();
        assert_eq!((verdict(&unchained).breaks_at, verdict(&unchained).cut_at), (None, Some(head.clone())), "without any hash");
    }

    #[test]
    fn rows_older_than_the_chain_stand_before_it() {
        let mut rows = vec![row(1, None), row(2, None)];
        let mut first = row(3, Some("x"));
        first.hash = Some(first.link(NO_LINK));
        rows.push(first);
        assert_eq!(verdict(&rows).breaks_at, None);
        rows[2].detail = None;
        assert_eq!(verdict(&rows).breaks_at.map(|row| row.seq), Some(3));
    }

    #[test]
    fn place_is_read_as_it_is_written() {
        for chain in ["", "_", "serp:3", "a.b"] {
            let place = AuditPlace { at: Timestamp(-5), chain: chain.into(), seq: 9 };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for text in ["", "1", "1.2", "x.1.", "0192d4e0-7b1a-7000-8000-0123456789ab"] {
            assert_eq!(text.parse::<AuditPlace>(), Err(InvalidPlace), "{text}");
        }
    }
}
