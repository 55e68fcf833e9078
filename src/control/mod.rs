//! The control port: one thin door onto the store. Every route stands on this screen; what a route does is in the file named
//! after its noun. Enqueueing, looking, administering, and working from elsewhere happen here; nothing of the engine is known here.
//!
//! A request passes, in this order: connection caps (`crowd.rs`), TLS (`tls.rs`), header deadline (`connection.rs`) → count, clock and deadline
//! (`observe.rs`) → route → who may call it (`auth.rs`) and how often (`quota.rs`) → size and form of the body (`body.rs`) → its
//! memory (`memory.rs`) → the handler → the store.
//! Nothing expensive happens before a caller is known.

mod answer;
mod audit;
mod auth;
mod body;
mod bulk;
mod caller;
mod cloudevent;
mod coded;
mod config;
mod connection;
mod crowd;
mod daemons;
mod dead;
mod doctor;
mod edit;
mod enqueue;
mod error;
mod events;
mod extract;
mod health;
mod hooks;
mod jobs;
mod keyring;
mod limits;
mod listing;
mod live;
mod memory;
mod metrics;
mod ndjson;
mod observe;
mod openapi;
mod page;
mod places;
mod proxy;
mod queues;
mod quota;
mod redrives;
mod schedules;
mod session;
mod state;
mod stats;
mod tls;
mod tokens;
pub mod wire;
mod work;

pub use caller::Access;
pub use config::Config;
pub use connection::serve;
pub use error::Problem;
pub use openapi::document as openapi;
pub use state::State;

use crate::job::Scope;
use axum::{
    Router,
    handler::Handler,
    http::Method,
    middleware,
    routing::{self, MethodFilter, MethodRouter},
};
use openapi::{Operation, Schemas, Speaks};
use std::any::type_name;

/// A guarded route: what it asks of its caller stands beside its path, and nothing else lets anybody in.
pub struct Door {
    pub method: Method,
    pub path: &'static str,
    pub access: Access,
    /// What it is for, in half a sentence.
    pub says: &'static str,
    does: MethodRouter<State>,
    describe: fn(&mut Operation, &mut Schemas),
    /// As Rust calls the handler.
    handler: &'static str,
}

impl Door {
    /// Of its noun and what is done there: `jobs_list`.
    #[must_use]
    pub fn name(&self) -> String {
        let path: Vec<&str> = self.handler.trim_start_matches("windlass::control::").split("::").collect();
        format!("{}_{}", path.first().unwrap_or(&""), path.last().unwrap_or(&""))
    }
}

fn door<H: Handler<T, State> + Speaks<T>, T: 'static>(
    method: Method,
    path: &'static str,
    access: Access,
    handler: H,
    says: &'static str,
) -> Door {
    let filter = MethodFilter::try_from(method.clone()).expect("one of HTTP's own methods");
    Door { does: routing::on(filter, handler), method, path, access, says, describe: H::describe, handler: type_name::<H>() }
}

/// Also for callers that are bound to a tenant, who reach what is its.
const fn own(scope: Scope) -> Access {
    Access { scope, within_tenant: true }
}

/// For callers that are bound to none.
const fn all(scope: Scope) -> Access {
    Access { scope, within_tenant: false }
}

/// Every guarded route.
#[must_use]
pub fn doors() -> Vec<Door> {
    use Scope::{Admin, Enqueue, Metrics, Operate, Read, Work};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const DELETE: Method = Method::DELETE;
    vec![
        door(GET, "/readyz", own(Metrics), health::readyz, "whether this daemon should get work"),
        door(GET, "/healthz", own(Metrics), health::healthz, "what runs here, and how it is"),
        door(GET, "/metrics", all(Metrics), metrics::scrape, "metrics for Prometheus"),
        door(GET, "/v1/jobs", own(Read), jobs::list, "jobs, newest first"),
        door(POST, "/v1/jobs", own(Enqueue), enqueue::enqueue, "enqueue one job, many, or a stream"),
        door(GET, "/v1/jobs/{id}", own(Read), jobs::show, "a job; with `wait_ms`, as soon as it is final"),
        door(Method::PATCH, "/v1/jobs/{id}", own(Operate), edit::edit, "change a job that waits, or a dead letter"),
        door(GET, "/v1/jobs/{id}/events", own(Read), events::of_job, "a job as it changes, as server-sent events"),
        door(GET, "/v1/jobs/{id}/explain", own(Read), jobs::explain, "what holds a job back"),
        door(POST, "/v1/jobs/{id}/cancel", own(Operate), jobs::cancel, "cancel a job"),
        door(POST, "/v1/jobs/{id}/retry", own(Operate), jobs::retry, "try a job again now"),
        door(POST, "/v1/lease", all(Work), work::lease, "take jobs to run"),
        door(POST, "/v1/heartbeat", all(Work), work::heartbeat, "keep the jobs that one runs"),
        door(POST, "/v1/settle", all(Work), work::settle, "say how attempts ended"),
        door(POST, "/v1/goodbye", all(Work), work::goodbye, "leave, as a worker"),
        door(POST, "/v1/unpark/{token}", all(Enqueue), jobs::unpark, "give the outside answer that a job waits for"),
        door(GET, "/v1/dead", own(Read), dead::list, "dead letters, newest first"),
        door(POST, "/v1/dead/redrive", own(Operate), dead::redrive_many, "put dead letters back into their queues"),
        door(GET, "/v1/dead/groups", own(Read), dead::groups, "what dead letters died of"),
        door(GET, "/v1/dead/redrives", own(Read), redrives::list, "redrives that this daemon runs or ran"),
        door(POST, "/v1/dead/redrives", own(Operate), redrives::start, "begin a redrive at a rate"),
        door(GET, "/v1/dead/redrives/{id}", own(Read), redrives::show, "how a redrive stands"),
        door(POST, "/v1/dead/redrives/{id}/stop", own(Operate), redrives::stop, "stop a redrive"),
        door(GET, "/v1/dead/{id}", own(Read), dead::show, "a dead letter"),
        door(DELETE, "/v1/dead/{id}", own(Admin), dead::purge, "delete a dead letter for good"),
        door(POST, "/v1/dead/{id}/redrive", own(Operate), dead::redrive, "put a dead letter back into its queue"),
        door(GET, "/v1/doctor", all(Read), doctor::show, "what is wrong with the store or this machine, and what to do"),
        door(GET, "/v1/queues", all(Read), queues::list, "queues, with what is in them"),
        door(GET, "/v1/queues/{queue}/limits", all(Read), limits::show, "a queue's limits, and who changed them live"),
        door(Method::PATCH, "/v1/queues/{queue}/limits", all(Operate), limits::change, "change a queue's limits at once"),
        door(DELETE, "/v1/queues/{queue}/limits", all(Operate), limits::lift, "lift all that was changed of a queue's limits"),
        door(POST, "/v1/queues/{queue}/pause", all(Operate), queues::pause, "hold a queue back"),
        door(POST, "/v1/queues/{queue}/resume", all(Operate), queues::resume, "let a queue go on"),
        door(GET, "/v1/events", all(Read), events::of_everything, "queues and daemons as they change, as server-sent events"),
        door(GET, "/v1/daemons", all(Read), daemons::list, "daemons and workers"),
        door(GET, "/v1/stats", all(Read), stats::stats, "how it all stands"),
        door(GET, "/v1/tenants", all(Read), stats::tenants, "how each tenant stands"),
        door(GET, "/v1/schedules", all(Read), schedules::list, "schedules, by name"),
        door(GET, "/v1/schedules/{name}", all(Read), schedules::show, "a schedule"),
        door(PUT, "/v1/schedules/{name}", all(Admin), schedules::put, "create a schedule, or change it"),
        door(DELETE, "/v1/schedules/{name}", all(Admin), schedules::remove, "delete a schedule"),
        door(GET, "/v1/schedules/{name}/occurrences", all(Read), schedules::occurrences, "what became of a schedule's instants"),
        door(POST, "/v1/schedules/{name}/pause", all(Operate), schedules::pause, "hold a schedule back"),
        door(GET, "/v1/schedules/{name}/preview", all(Read), schedules::preview, "a schedule's next instants"),
        door(POST, "/v1/schedules/{name}/resume", all(Operate), schedules::resume, "let a schedule go on"),
        door(POST, "/v1/schedules/{name}/run", all(Operate), schedules::run, "one job of a schedule now"),
        door(GET, "/v1/audit", all(Admin), audit::list, "who did what, newest first"),
        door(GET, "/v1/audit/heads", all(Admin), audit::heads, "the last link of each chain of the audit"),
        door(GET, "/v1/tokens", all(Admin), tokens::list, "tokens, without their secrets"),
        door(POST, "/v1/tokens", all(Admin), tokens::create, "make a token"),
        door(DELETE, "/v1/tokens/{id}", all(Admin), tokens::revoke, "end a token"),
    ]
}

/// The whole port.
pub fn router(state: State) -> Router {
    // Say only that the process answers, and what could be asked of it; a probe has no token.
    let open = Router::new().route("/livez", routing::get(health::livez)).route("/openapi.json", routing::get(openapi::show));

    // An empty frame: all that it shows it asks of guarded routes.
    let page = Router::new().route("/", routing::get(page::document)).route("/assets/{version}/{*file}", routing::get(page::asset));

    // Where a token is shown for a cookie, and a cookie given back.
    let session = Router::new().route("/v1/session", routing::get(session::show).post(session::begin).delete(session::end));

    // The sender proves itself by its signature over the body.
    let signed = Router::new().route("/hooks/{source}", routing::post(hooks::receive));

    let guarded = doors().into_iter().fold(Router::new(), |router, door| {
        let admit = middleware::from_fn_with_state((state.clone(), door.access), auth::admit);
        router.route(door.path, door.does.route_layer(admit))
    });

    open.merge(page)
        .merge(session)
        .merge(signed)
        .merge(guarded)
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), observe::observe))
        .with_state(state)
}
