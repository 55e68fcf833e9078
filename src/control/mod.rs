//! The control port: one thin door onto the store. Every route stands on this screen; what a route does is in the file named
//! after its noun. Enqueueing, looking and administering happen here; nothing of the engine is known here.
//!
//! A request passes, in this order: connection caps (`crowd.rs`), header deadline (`connection.rs`) → count, clock and deadline
//! (`observe.rs`) → route → who may call it (`auth.rs`) → size and form of the body (`body.rs`) → its
//! memory (`memory.rs`) → the handler → the store.
//! Nothing expensive happens before a caller is known.

mod auth;
mod body;
mod bulk;
mod config;
mod connection;
mod crowd;
mod dead;
mod error;
mod extract;
mod health;
mod hooks;
mod jobs;
mod memory;
mod metrics;
mod ndjson;
mod observe;
mod queues;
mod schedules;
mod state;
pub mod wire;

pub use config::Config;
pub use connection::serve;
pub use error::Problem;
pub use state::State;

use axum::{
    Router, middleware,
    routing::{get, post},
};

/// Every route. Who may call one is a property of the group it stands in, never of how its path is spelled.
pub fn router(state: State) -> Router {
    // Says only that the process answers; a probe has no token.
    let open = Router::new().route("/livez", get(health::livez));

    // The sender proves itself by its signature over the body.
    let signed = Router::new().route("/hooks/{source}", post(hooks::receive));

    // Needs the token, or a caller on this machine that is not a web page.
    let guarded = Router::new()
        .route("/readyz", get(health::readyz))
        .route("/healthz", get(health::healthz))
        .route("/metrics", get(metrics::scrape))
        .route("/v1/jobs", get(jobs::list).post(jobs::enqueue))
        .route("/v1/jobs/{id}", get(jobs::show))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/unpark/{token}", post(jobs::unpark))
        .route("/v1/dead", get(dead::list))
        .route("/v1/dead/redrive", post(dead::redrive_many))
        .route("/v1/dead/{id}", get(dead::show).delete(dead::purge))
        .route("/v1/dead/{id}/redrive", post(dead::redrive))
        .route("/v1/queues", get(queues::list))
        .route("/v1/queues/{queue}/pause", post(queues::pause))
        .route("/v1/queues/{queue}/resume", post(queues::resume))
        .route("/v1/schedules", get(schedules::list))
        .route("/v1/schedules/{name}", get(schedules::show).put(schedules::put).delete(schedules::remove))
        .route("/v1/schedules/{name}/occurrences", get(schedules::occurrences))
        .route("/v1/schedules/{name}/pause", post(schedules::pause))
        .route("/v1/schedules/{name}/preview", get(schedules::preview))
        .route("/v1/schedules/{name}/resume", post(schedules::resume))
        .route("/v1/schedules/{name}/run", post(schedules::run))
        .route_layer(middleware::from_fn_with_state(state.clone(), auth::admit));

    open.merge(signed)
        .merge(guarded)
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), observe::observe))
        .with_state(state)
}
