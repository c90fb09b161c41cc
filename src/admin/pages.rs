//! The pages of the admin listener: one function each.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::{Desk, Phase, ReloadRequest, ServiceView, View, readings, status};
use crate::clock::Moment;
use crate::record::refusals::{KEPT, Kept};
use crate::record::{metrics, timestamp};
use crate::workers::health::Use;

/// How long a reload may take before whoever asked is told that it goes on.
const RELOAD_WAIT: Duration = Duration::from_secs(30);

/// Refusals in one answer unless `limit` asks for other.
const REFUSALS: usize = 100;

/// What there is, as an unknown path is told.
const PATHS: [&str; 6] =
    ["/metrics", "/livez", "/readyz", "/api/v1/status", "/api/v1/refusals", "/api/v1/reload"];

/// All pages.
pub(super) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/api/v1/status", get(show_status))
        .route("/api/v1/refusals", get(refusals))
        .route("/api/v1/reload", post(reload))
        .fallback(unknown)
        .with_state(desk)
}

/// An answer that says in words why there is no other.
pub(super) fn problem(status: StatusCode, words: &str) -> Response<Body> {
    (status, Json(json!({ "error": words }))).into_response()
}

async fn unknown() -> Response<Body> {
    let words = json!({ "error": "there is no such page", "paths": PATHS });
    (StatusCode::NOT_FOUND, Json(words)).into_response()
}

async fn show_metrics(State(desk): State<Arc<Desk>>) -> Response<Body> {
    match metrics::encode(readings::scrape(&desk, Moment::read())) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written"),
    }
}

#[derive(Deserialize)]
struct ReadyQuery {
    verbose: Option<String>,
}

/// Whether Buckler itself serves, whatever its workers do: an orchestrator that takes it away because the workers of
/// one service are ill (or have yet to pass a check) would take all its services away.
async fn ready(State(desk): State<Arc<Desk>>, Query(query): Query<ReadyQuery>) -> Response<Body> {
    let phase = desk.state.phase();
    let (status, word) = match phase {
        Phase::Running => (StatusCode::OK, "ready"),
        other => (StatusCode::SERVICE_UNAVAILABLE, other.word()),
    };
    let mut text = format!("{word}\n");
    if query.verbose.is_some() {
        details(&desk, &mut text);
    }
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}

fn details(desk: &Desk, text: &mut String) {
    let now = Moment::read();
    let reload = desk.state.reload();
    match reload.failure {
        None => text.push_str("[+] configuration: in use\n"),
        Some(why) => {
            let (at, since) = (timestamp(reload.at.unix_micros), timestamp(reload.in_use_since.unix_micros));
            text.push_str(&format!(
                "[-] configuration: the reload at {at} failed, that of {since} stays in use: {why}\n"
            ));
        }
    }
    for service in &desk.view.load().services {
        let name = &service.config.name;
        text.push_str(&match no_usable_worker(service, now) {
            None => format!("[+] service {name}: has workers\n"),
            Some(why) => format!("[-] service {name}: no usable worker: {why}\n"),
        });
    }
}

/// Why no worker of this service is to be used, if so.
fn no_usable_worker(service: &ServiceView, now: Moment) -> Option<&'static str> {
    let set = service.workers.load();
    let uses: Vec<Use> = set.members.iter().map(|member| member.worker.usable(now)).collect();
    if uses.iter().any(|one| matches!(one, Use::Share(_) | Use::Ejected(1..) | Use::Trial)) {
        return None;
    }
    Some(if uses.is_empty() {
        "none is known"
    } else if uses.contains(&Use::Unready) {
        "none of them that could be has passed its first check"
    } else {
        "all are ejected, and tried all the same"
    })
}

async fn show_status(State(desk): State<Arc<Desk>>) -> Response<Body> {
    Json(status::read(&desk, Moment::read())).into_response()
}

#[derive(Deserialize)]
struct RefusalsQuery {
    service: Option<String>,
    caller: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct RefusalRow<'a> {
    ts: String,
    service: &'a str,
    request_id: &'a str,
    caller: Option<&'a str>,
    client_ip: String,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    status: u16,
    reason: &'static str,
    detail: &'static str,
    rule: Option<&'a str>,
    rule_at: Option<&'a str>,
    rule_reason: Option<&'a str>,
    retry_after: Option<f64>,
    fallback: bool,
    suppressed: u64,
}

async fn refusals(State(desk): State<Arc<Desk>>, Query(query): Query<RefusalsQuery>) -> Response<Body> {
    let view = desk.view.load();
    let limit = query.limit.unwrap_or(REFUSALS).min(KEPT);
    let wanted = |service: &&ServiceView| {
        query.service.as_ref().is_none_or(|name| service.config.name.as_str() == name)
    };
    let services: Vec<&ServiceView> = view.services.iter().filter(wanted).collect();
    if services.is_empty() && query.service.is_some() {
        return problem(StatusCode::NOT_FOUND, &format!("no such service; there are: {}", names(&view)));
    }
    let mut found: Vec<(&ServiceView, Arc<Kept>)> = Vec::new();
    for service in services {
        let kept = service.counts.refusals(query.caller.as_deref(), limit);
        found.extend(kept.into_iter().map(|kept| (service, kept)));
    }
    found.sort_by_key(|(_, kept)| std::cmp::Reverse(kept.unix_micros));
    found.truncate(limit);
    let rows: Vec<_> = found.iter().map(|(service, kept)| row(service, kept)).collect();
    Json(json!({ "refusals": rows })).into_response()
}

fn row<'a>(service: &'a ServiceView, kept: &'a Kept) -> RefusalRow<'a> {
    let rule = kept.rule.as_ref();
    RefusalRow {
        ts: timestamp(kept.unix_micros),
        service: service.config.name.as_str(),
        request_id: &kept.request_id,
        caller: kept.caller.as_deref(),
        client_ip: kept.client.to_string(),
        method: &kept.method,
        host: &kept.host,
        path: &kept.path,
        status: kept.status,
        reason: kept.reason.word(),
        detail: kept.detail,
        rule: rule.map(|rule| rule.name.as_str()),
        rule_at: rule.map(|rule| rule.at.as_str()).filter(|at| !at.is_empty()),
        rule_reason: rule.and_then(|rule| rule.reason.as_deref()),
        retry_after: kept.retry_after.map(|wait| wait.as_secs_f64()),
        fallback: kept.fallback,
        suppressed: kept.suppressed,
    }
}

fn names(view: &View) -> String {
    let names: Vec<_> = view.services.iter().map(|service| service.config.name.as_str()).collect();
    names.join(", ")
}

async fn reload(State(desk): State<Arc<Desk>>) -> Response<Body> {
    let (answer, result) = oneshot::channel();
    match desk.reload.try_send(ReloadRequest { answer }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => return problem(StatusCode::CONFLICT, "a reload is under way"),
        Err(TrySendError::Closed(_)) => return problem(StatusCode::SERVICE_UNAVAILABLE, "Buckler is ending"),
    }
    match tokio::time::timeout(RELOAD_WAIT, result).await {
        Ok(Ok(Ok(words))) => Json(json!({ "result": words })).into_response(),
        Ok(Ok(Err(why))) => problem(StatusCode::UNPROCESSABLE_ENTITY, &why),
        Ok(Err(_)) => problem(StatusCode::SERVICE_UNAVAILABLE, "Buckler is ending"),
        Err(_) => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "the reload takes longer than 30 s and goes on; /api/v1/status will show its end",
        ),
    }
}
