//! Windlass: a durable job queue and worker daemon.
//!
//! ```text
//!  SELECT windlass.enqueue()   FCALL windlass_enqueue   POST /v1/jobs        windlass enqueue
//!  store/postgres/routines     store/redis/routines     control/enqueue.rs   cli/enqueue.rs
//!         └──────────┬───────────────┴────────┬───────────────┴───────────────────┘
//!                    ▼                        ▼  job::NewJob::check (SQL and Lua mirror it)
//!             store: scheduled │ queued │ parked ◄──────────── retry, snooze, park ◄────────┐
//!         wake or poll │ Store::lease  (gates in the same step)   ◄── reap ◄─ lease expired  │
//!                      ▼                                                                     │
//!             engine/poller.rs ─► attempt.rs ─► workers/* ─► clients/*                       │
//!             `control::work`  ─► a worker in another language                               │
//!                      ▼ a verdict: job::Verdict, decided in job/verdict.rs                  │
//!             Store::settle (a batch, under its fence) ──────────────────────────────────────┤
//!                      ▼                                                                     │
//!             completed │ cancelled │ dead ── control/dead.rs, control/redrives.rs: redrive ─┘
//!                      ▼ after retention: engine/pruner.rs
//! ```
//!
//! To read: `job/mod.rs` (the words), `job/envelope/mod.rs`, `job/state.rs`, `store/mod.rs` (one method an arrow), one driver beside another
//! (`store/sqlite/lease.rs`, `store/postgres/lease.rs`, `store/redis/lease.rs`), `engine/mod.rs`, `workers/mod.rs`, `control/mod.rs` (every route), `cli/mod.rs`
//! (every command), `daemon.rs` (where the rooms meet). Why a job does not run: the facts are `job/standing.rs`, what follows from them
//! `job/explain/`. What a person sees: `control/page/`.
//!
//! Who may call whom is a test: `tests/tidy/arrows.rs`.

pub mod cli;
pub mod client;
pub mod clients;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod intake;
pub mod job;
pub mod machine;
pub mod sandbox;
pub mod secret;
pub mod signatures;
pub mod store;
pub mod telemetry;
pub mod workers;

pub use client::Client;
