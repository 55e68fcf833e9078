//! The control port: one thin door onto the store. Every route stands on this screen; what a route does is in the file named
//! after its noun. Enqueueing, looking, administering, and working from elsewhere happen here; nothing of the engine is known here.
//!
//! A request passes, in this order: connection caps (`crowd.rs`), TLS (`tls.rs`), header deadline (`connection.rs`) → count, clock and deadline
//! (`observe.rs`) → route → who may call it (`auth.rs`) and how often (`quota.rs`) → size and form of the body (`body.rs`) → its
//! memory (`memory.rs`) → the handler → the store.
//! Nothing expensive happens before a caller is known.

mod audit;
mod auth;
mod body;
mod bulk;
mod caller;
mod cloudevent;
mod config;
mod connection;
mod crowd;
mod daemons;
mod dead;
mod doctor;
mod edit;
mod error;
mod events;
mod extract;
mod health;
mod hooks;
mod jobs;
mod keyring;
mod listing;
mod live;
mod memory;
mod metrics;
mod ndjson;
mod observe;
mod page;
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
pub use state::State;

use crate::job::Scope;
use axum::{
    Router,
    handler::Handler,
    http::Method,
    middleware,
    routing::{self, MethodFilter, MethodRouter},
};

/// A guarded route: what it asks of its caller stands beside its path, and nothing else lets anybody in.
pub struct Door {
    pub method: Method,
    pub path: &'static str,
    pub access: Access,
    does: MethodRouter<State>,
}

fn door<H: Handler<T, State>, T: 'static>(method: Method, path: &'static str, access: Access, handler: H) -> Door {
    let filter = MethodFilter::try_from(method.clone()).expect("one of HTTP's own methods");
    Door { does: routing::on(filter, handler), method, path, access }
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
        door(GET, "/readyz", own(Metrics), health::readyz),
        door(GET, "/healthz", own(Metrics), health::healthz),
        door(GET, "/metrics", all(Metrics), metrics::scrape),
        door(GET, "/v1/jobs", own(Read), jobs::list),
        door(POST, "/v1/jobs", own(Enqueue), jobs::enqueue),
        door(GET, "/v1/jobs/{id}", own(Read), jobs::show),
        door(Method::PATCH, "/v1/jobs/{id}", own(Operate), edit::edit),
        door(GET, "/v1/jobs/{id}/events", own(Read), events::of_job),
        door(GET, "/v1/jobs/{id}/explain", own(Read), jobs::explain),
        door(POST, "/v1/jobs/{id}/cancel", own(Operate), jobs::cancel),
        door(POST, "/v1/jobs/{id}/retry", own(Operate), jobs::retry),
        door(POST, "/v1/lease", all(Work), work::lease),
        door(POST, "/v1/heartbeat", all(Work), work::heartbeat),
        door(POST, "/v1/settle", all(Work), work::settle),
        door(POST, "/v1/goodbye", all(Work), work::goodbye),
        door(POST, "/v1/unpark/{token}", all(Enqueue), jobs::unpark),
        door(GET, "/v1/dead", own(Read), dead::list),
        door(POST, "/v1/dead/redrive", own(Operate), dead::redrive_many),
        door(GET, "/v1/dead/groups", own(Read), dead::groups),
        door(GET, "/v1/dead/redrives", own(Read), redrives::list),
        door(POST, "/v1/dead/redrives", own(Operate), redrives::start),
        door(GET, "/v1/dead/redrives/{id}", own(Read), redrives::show),
        door(DELETE, "/v1/dead/redrives/{id}", own(Operate), redrives::stop),
        door(GET, "/v1/dead/{id}", own(Read), dead::show),
        door(DELETE, "/v1/dead/{id}", own(Admin), dead::purge),
        door(POST, "/v1/dead/{id}/redrive", own(Operate), dead::redrive),
        door(GET, "/v1/doctor", all(Read), doctor::show),
        door(GET, "/v1/queues", all(Read), queues::list),
        door(POST, "/v1/queues/{queue}/pause", all(Operate), queues::pause),
        door(POST, "/v1/queues/{queue}/resume", all(Operate), queues::resume),
        door(GET, "/v1/events", all(Read), events::of_everything),
        door(GET, "/v1/daemons", all(Read), daemons::list),
        door(GET, "/v1/stats", all(Read), stats::stats),
        door(GET, "/v1/tenants", all(Read), stats::tenants),
        door(GET, "/v1/schedules", all(Read), schedules::list),
        door(GET, "/v1/schedules/{name}", all(Read), schedules::show),
        door(PUT, "/v1/schedules/{name}", all(Admin), schedules::put),
        door(DELETE, "/v1/schedules/{name}", all(Admin), schedules::remove),
        door(GET, "/v1/schedules/{name}/occurrences", all(Read), schedules::occurrences),
        door(POST, "/v1/schedules/{name}/pause", all(Operate), schedules::pause),
        door(GET, "/v1/schedules/{name}/preview", all(Read), schedules::preview),
        door(POST, "/v1/schedules/{name}/resume", all(Operate), schedules::resume),
        door(POST, "/v1/schedules/{name}/run", all(Operate), schedules::run),
        door(GET, "/v1/audit", all(Admin), audit::list),
        door(GET, "/v1/tokens", all(Admin), tokens::list),
        door(POST, "/v1/tokens", all(Admin), tokens::create),
        door(DELETE, "/v1/tokens/{id}", all(Admin), tokens::revoke),
    ]
}

/// The whole port.
pub fn router(state: State) -> Router {
    // Says only that the process answers; a probe has no token.
    let open = Router::new().route("/livez", routing::get(health::livez));

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
