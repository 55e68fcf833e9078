//! Random histories: settings of two queues, and operations that name their objects by a number which is read modulo what
//! is there when they are played. So every part of a history can be dropped while it is shrunk, and the rest still means
//! something.

use proptest::{collection::vec, option, prelude::*, sample::select};
use windlass::job::{OnHead, Rate};

/// "The n-th of those that are there."
pub type Nth = u16;

#[derive(Clone, Debug)]
pub struct Queue {
    pub concurrency: Option<u32>,
    pub key_concurrency: u32,
    pub rate: Option<Rate>,
    pub key_rate: Option<Rate>,
    pub tenant_concurrency: Option<u32>,
    pub fair: bool,
    pub weight: u32,
    pub on_head: OnHead,
}

#[derive(Clone, Debug)]
pub enum Unique {
    /// Until finished: return or reject.
    Finished {
        reject: bool,
    },
    /// Until started: return, reject or replace.
    Started {
        on_duplicate: u8,
    },
    Window,
    Debounce,
}

#[derive(Clone, Debug)]
pub struct Fresh {
    pub queue: u8,
    pub tenant: u8,
    pub priority: u8,
    /// Seconds from now; 0 is due at once.
    pub delay_s: u16,
    pub expires_s: Option<u16>,
    /// 0: none; else the number of the key.
    pub key: u8,
    pub ordered: bool,
    pub unique: Option<(u8, Unique)>,
    pub idempotent: Option<(u8, bool)>,
    pub producers_id: bool,
    pub strange_kind: bool,
    /// Each in a queue, under an id of its own.
    pub on_success: Option<u8>,
    pub on_failure: Option<u8>,
    /// Parents: earlier jobs, jobs of the same call, or nobody.
    pub after: Vec<Nth>,
}

#[derive(Clone, Debug)]
pub enum End {
    Complete,
    Retry { seconds: u16 },
    Dead,
    Snooze { seconds: u16 },
    Park { seconds: u16, token: bool },
    Cancel,
    Release,
}

#[derive(Clone, Debug)]
pub struct Settle {
    /// Of the running leases, or of all leases there ever were.
    pub lease: Nth,
    pub stale: bool,
    pub end: End,
    pub checkpoint: bool,
    pub follow_up: bool,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Tick {
        seconds: u16,
    },
    Advance,
    /// `lost`: the answer never arrives, and the caller asks again by the ids.
    Enqueue {
        jobs: Vec<Fresh>,
        lost: bool,
    },
    /// An envelope of long ago once more, perhaps with another body.
    EnqueueAgain {
        which: Nth,
        changed: bool,
    },
    Lease {
        daemon: bool,
        most: [u8; 2],
        lost: bool,
    },
    LeasedBy {
        which: Nth,
    },
    Settle {
        batch: Vec<Settle>,
        lost: bool,
    },
    Heartbeat {
        daemon: bool,
    },
    Reap,
    Goodbye {
        daemon: bool,
    },
    Crash,
    Cancel {
        which: Nth,
    },
    RunNow {
        which: Nth,
    },
    Redrive {
        which: Nth,
    },
    Purge {
        which: Nth,
    },
    Unpark {
        which: Nth,
    },
    LearnKind,
    Pause {
        queue: u8,
    },
    Resume {
        queue: u8,
    },
    Prune {
        dead: bool,
    },
    /// Which unique keys are held, found out by calls that write nothing.
    ProbeKeys,
}

#[derive(Clone, Debug)]
pub struct History {
    pub queues: [Queue; 2],
    pub operations: Vec<Operation>,
}

/// Operations of one history, before anything is shrunk.
pub const OPERATIONS: std::ops::RangeInclusive<usize> = 50..=70;

pub fn histories() -> impl Strategy<Value = History> {
    // Never dropped at first; while a failing history is shrunk, dropping is the first thing that is tried.
    let operations = vec((prop::bool::weighted(1.0), operation()), OPERATIONS);
    ([queue(), queue()], operations).prop_map(|(queues, operations)| {
        let operations = operations.into_iter().filter(|(kept, _)| *kept).map(|(_, operation)| operation).collect();
        History { queues, operations }
    })
}

fn rate() -> impl Strategy<Value = Option<Rate>> {
    let rates = select(vec![Rate { per_second: 1.0, burst: 2 }, Rate { per_second: 0.1, burst: 1 }, Rate { per_second: 0.5, burst: 4 }]);
    option::weighted(0.15, rates)
}

fn queue() -> impl Strategy<Value = Queue> {
    (
        (option::weighted(0.2, 1..4_u32), 1..3_u32, rate(), rate()),
        (option::weighted(0.2, 1..3_u32), prop::bool::weighted(0.8), select(vec![1_u32, 1, 3]), prop::bool::weighted(0.7)),
    )
        .prop_map(|((concurrency, key_concurrency, rate, key_rate), (tenant_concurrency, fair, weight, blocks))| Queue {
            concurrency,
            key_concurrency,
            rate,
            key_rate,
            // A cap counts by line, and only fair queues have a line per tenant.
            tenant_concurrency: tenant_concurrency.filter(|_| fair),
            fair,
            weight,
            on_head: if blocks { OnHead::Block } else { OnHead::Skip },
        })
}

fn unique() -> impl Strategy<Value = (u8, Unique)> {
    let sort = prop_oneof![
        any::<bool>().prop_map(|reject| Unique::Finished { reject }),
        (0..3_u8).prop_map(|on_duplicate| Unique::Started { on_duplicate }),
        Just(Unique::Window),
        Just(Unique::Debounce),
    ];
    (0..2_u8, sort)
}

fn delay() -> impl Strategy<Value = u16> {
    prop_oneof![6 => Just(0_u16), 2 => 1..20_u16, 1 => 20..600_u16]
}

fn fresh() -> impl Strategy<Value = Fresh> {
    (
        (0..2_u8, 0..3_u8, select(vec![1_u8, 5, 5, 5, 8]), delay(), option::weighted(0.1, 1..60_u16)),
        (select(vec![0_u8, 0, 0, 1, 1, 2]), prop::bool::weighted(0.4)),
        (option::weighted(0.25, unique()), option::weighted(0.1, (0..3_u8, any::<bool>())), any::<bool>()),
        (prop::bool::weighted(0.06), vec(any::<Nth>(), 0..3), prop::bool::weighted(0.15)),
        [option::weighted(0.08, 0..2_u8), option::weighted(0.12, 0..2_u8)],
    )
        .prop_map(|((queue, tenant, priority, delay_s, expires_s), (key, ordered), (unique, idempotent, producers_id), last, ends)| {
            let (strange_kind, after, waits) = last;
            let [on_success, on_failure] = ends;
            let plain = unique.is_none();
            Fresh {
                queue,
                tenant,
                priority,
                delay_s,
                expires_s,
                key,
                ordered: ordered && key > 0,
                // One question at a time: a job that is unique is neither idempotent nor strange, and waits for nobody.
                strange_kind: strange_kind && plain && key == 0,
                idempotent: idempotent.filter(|_| plain),
                after: if plain && waits { after } else { Vec::new() },
                unique,
                producers_id,
                on_success,
                on_failure,
            }
        })
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        8 => Just(End::Complete),
        3 => (0..40_u16).prop_map(|seconds| End::Retry { seconds }),
        3 => Just(End::Dead),
        1 => (0..40_u16).prop_map(|seconds| End::Snooze { seconds }),
        2 => (1..900_u16, any::<bool>()).prop_map(|(seconds, token)| End::Park { seconds, token }),
        1 => Just(End::Cancel),
        2 => Just(End::Release),
    ]
}

fn settle() -> impl Strategy<Value = Settle> {
    (any::<Nth>(), prop::bool::weighted(0.1), end(), prop::bool::weighted(0.2), prop::bool::weighted(0.1))
        .prop_map(|(lease, stale, end, checkpoint, follow_up)| Settle { lease, stale, end, checkpoint, follow_up })
}

fn seconds() -> impl Strategy<Value = u16> {
    prop_oneof![8 => 1..8_u16, 3 => 8..60_u16, 1 => 600..4_000_u16]
}

fn operation() -> impl Strategy<Value = Operation> {
    let lost = || prop::bool::weighted(0.15);
    prop_oneof![
        10 => seconds().prop_map(|seconds| Operation::Tick { seconds }),
        3 => Just(Operation::Advance),
        16 => (vec(fresh(), 1..5), lost()).prop_map(|(jobs, lost)| Operation::Enqueue { jobs, lost }),
        2 => (any::<Nth>(), any::<bool>()).prop_map(|(which, changed)| Operation::EnqueueAgain { which, changed }),
        18 => (any::<bool>(), [0..5_u8, 0..5_u8], lost()).prop_map(|(daemon, most, lost)| Operation::Lease { daemon, most, lost }),
        1 => any::<Nth>().prop_map(|which| Operation::LeasedBy { which }),
        18 => (vec(settle(), 1..4), lost()).prop_map(|(batch, lost)| Operation::Settle { batch, lost }),
        4 => any::<bool>().prop_map(|daemon| Operation::Heartbeat { daemon }),
        4 => Just(Operation::Reap),
        1 => any::<bool>().prop_map(|daemon| Operation::Goodbye { daemon }),
        1 => Just(Operation::Crash),
        4 => any::<Nth>().prop_map(|which| Operation::Cancel { which }),
        3 => any::<Nth>().prop_map(|which| Operation::RunNow { which }),
        4 => any::<Nth>().prop_map(|which| Operation::Redrive { which }),
        1 => any::<Nth>().prop_map(|which| Operation::Purge { which }),
        2 => any::<Nth>().prop_map(|which| Operation::Unpark { which }),
        1 => Just(Operation::LearnKind),
        2 => (0..2_u8).prop_map(|queue| Operation::Pause { queue }),
        3 => (0..2_u8).prop_map(|queue| Operation::Resume { queue }),
        2 => any::<bool>().prop_map(|dead| Operation::Prune { dead }),
        2 => Just(Operation::ProbeKeys),
    ]
}
