//! The checked configuration, written back key by key as the file has them. The order is that of `file.rs`.

use super::{Map, edge, resilience};
use crate::config::units::{Day, Frequency, Size, Span};
use crate::config::{
    Agreement, Bounds, CallerPattern, Callers, Config, Cost, Credential, HostPattern, KnownCaller,
    LimitHeaders, LogFormat, Mode, Permissions, Protocol, Quota, Rule, Service, Timeouts, UnknownKey,
    Verdict, WorkerSource,
};

pub(super) fn config(root: &mut Map<'_>, config: &Config) {
    root.put("threads", config.threads.get());
    if let Some(admin) = &config.admin {
        root.map("admin", |map| {
            map.text("listen", &admin.listen);
            if let Some(file) = &admin.token_file {
                map.text("token_file", &file.display());
            }
        });
    }
    root.map("dns", |map| {
        map.texts("servers", &config.dns.servers);
        map.text("max_ttl", &Span(config.dns.max_ttl));
        map.text("timeout", &Span(config.dns.timeout));
    });
    root.map("callers", |map| callers(map, &config.callers));
    root.map("services", |map| {
        for (name, one) in &config.services {
            map.map(name.as_str(), |map| service(map, one, &config.callers));
        }
    });
    root.map("access_log", |map| {
        map.text(
            "format",
            &match config.access_log.format {
                LogFormat::Json => "json",
                LogFormat::Combined => "combined",
                LogFormat::Off => "off",
            },
        );
        match &config.access_log.path {
            Some(path) => map.text("path", &path.display()),
            None => map.text("path", "stdout"),
        }
        map.put("refusals_per_second", config.access_log.refusals_per_second);
        map.put("query", config.access_log.query);
    });
    root.map("log", |map| {
        map.text("level", &config.log.level);
        map.text("format", &if config.log.json { "json" } else { "text" });
    });
    root.map("shutdown", |map| map.text("grace", &Span(config.shutdown_grace)));
}

fn callers(map: &mut Map<'_>, callers: &Callers) {
    map.texts("trusted_proxies", &callers.trusted_proxies);
    map.texts(
        "identify",
        callers.identify.iter().map(|credential| match credential {
            Credential::Certificate => "certificate",
            Credential::ApiKey => "api_key",
            Credential::Address => "address",
        }),
    );
    map.map("api_key", |map| {
        map.text("header", &callers.api_key_header);
        map.text(
            "unknown",
            &match callers.unknown_key {
                UnknownKey::Refuse => "refuse",
                UnknownKey::Anonymous => "anonymous",
            },
        );
    });
    map.map("address", |map| {
        map.put("ipv4_prefix", callers.ipv4_prefix);
        map.put("ipv6_prefix", callers.ipv6_prefix);
    });
    map.map("known", |map| {
        for caller in &callers.known {
            map.map(&caller.name, |map| known(map, caller, callers));
        }
    });
    map.map("tiers", |map| {
        for tier in &callers.tiers {
            map.map(&tier.name, |map| quota(map, &tier.quota));
        }
    });
    map.map("ledger", |map| map.put("max_keys", callers.max_keys.get()));
}

fn known(map: &mut Map<'_>, caller: &KnownCaller, callers: &Callers) {
    map.texts(
        "api_keys",
        caller.api_keys.iter().map(|hash| {
            let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sha256:{hex}")
        }),
    );
    map.texts("certificates", &caller.certificates);
    map.texts("addresses", &caller.addresses);
    if let Some(tier) = caller.tier.and_then(|tier| callers.tiers.get(tier)) {
        map.text("tier", &tier.name);
    }
}

fn service(map: &mut Map<'_>, service: &Service, callers: &Callers) {
    map.text("listen", &service.listen);
    edge::edge(map, service);
    map.map("workers", |map| {
        match &service.workers {
            WorkerSource::Srv(name) => map.text("srv", &name),
            WorkerSource::List(workers) => map.maps("addresses", workers, |map, worker| {
                map.text("address", &worker.address);
                map.put("priority", worker.priority);
                map.put("weight", worker.weight);
            }),
        }
        edge::workers(map, service);
        resilience::workers(map, service);
    });
    resilience::resilience(map, service);
    map.map("permissions", |map| permissions(map, &service.permissions, callers));
    map.map("limits", |map| limits(map, service, callers));
    map.map("timeouts", |map| timeouts(map, service));
    map.map("bounds", |map| bounds(map, &service.bounds, service.protocol));
}

fn permissions(map: &mut Map<'_>, permissions: &Permissions, callers: &Callers) {
    map.text("default", &word(permissions.default));
    map.maps("rules", &permissions.rules, |map, rule| {
        map.map(word(rule.verdict), |map| matches(map, rule, callers));
        if let Some(reason) = &rule.rule_ref.reason {
            map.text("reason", &reason);
        }
        if let Some(until) = rule.until {
            map.text("until", &Day(until));
        }
        mode(map, rule.mode);
    });
}

fn matches(map: &mut Map<'_>, rule: &Rule, callers: &Callers) {
    map.texts(
        "callers",
        rule.callers.iter().map(|pattern| match pattern {
            CallerPattern::Known(number) => caller_name(callers, *number),
            CallerPattern::Glob(text) => text,
        }),
    );
    map.texts("tiers", rule.tiers.iter().filter_map(|tier| Some(&callers.tiers.get(*tier)?.name)));
    map.texts("methods", &rule.methods);
    map.texts(
        "hosts",
        rule.hosts.iter().map(|host| match host {
            HostPattern::Exact(name) => name.to_string(),
            HostPattern::OneLabel(rest) => format!("*{rest}"),
        }),
    );
    map.texts("paths", rule.paths.iter().map(|path| &path.written));
}

fn limits(map: &mut Map<'_>, service: &Service, callers: &Callers) {
    let limits = &service.limits;
    let headers = match limits.headers {
        LimitHeaders::Always => "always",
        LimitHeaders::Named => "named",
        LimitHeaders::Refused => "refused",
        LimitHeaders::Never => "never",
    };
    if service.protocol == Protocol::Http {
        map.text("headers", &headers);
    }
    if let Some(default) = &limits.default {
        map.map("default", |map| quota(map, default));
    }
    if let Some(total) = &limits.total {
        map.map("total", |map| quota(map, total));
    }
    map.maps("agreements", &limits.agreements, |map, one| agreement(map, one, callers));
    map.maps("costs", &limits.costs, cost);
}

fn agreement(map: &mut Map<'_>, agreement: &Agreement, callers: &Callers) {
    let names = agreement.callers.iter().map(|number| caller_name(callers, *number));
    match agreement.callers.as_slice() {
        [one] if !map.has("callers") => map.text("caller", &caller_name(callers, *one)),
        _ => map.texts("callers", names),
    }
    map.put("shared", agreement.shared);
    quota(map, &agreement.quota);
    if let Some(owner) = &agreement.owner {
        map.text("owner", &owner);
    }
    if let Some(reason) = &agreement.quota.rule_ref.reason {
        map.text("reason", &reason);
    }
    if let Some(until) = agreement.until {
        map.text("until", &Day(until));
    }
}

fn quota(map: &mut Map<'_>, quota: &Quota) {
    if let Some(rate) = quota.rate {
        map.text("rate", &Frequency { interval: rate.interval, per_second: 1 });
        map.put("burst", rate.burst.get());
    }
    if let Some(concurrent) = quota.concurrent {
        map.put("concurrent", concurrent.get());
    }
    mode(map, quota.mode);
}

fn cost(map: &mut Map<'_>, cost: &Cost) {
    map.texts("paths", cost.paths.iter().map(|path| &path.written));
    map.texts("methods", &cost.methods);
    map.put("cost", cost.cost.get());
}

fn timeouts(map: &mut Map<'_>, service: &Service) {
    let Timeouts { handshake, head, body, send, keep_alive, tunnel, connect, response, idle, total } =
        service.timeouts;
    let is_http = service.protocol == Protocol::Http;
    // Of bytes the others are errors, so they are not shown either.
    let all = [
        ("handshake", handshake, true),
        ("head", head, is_http || service.proxy_protocol),
        ("body", body, is_http),
        ("send", send, is_http),
        ("keep_alive", keep_alive, is_http),
        ("tunnel", tunnel, true),
        ("connect", connect, true),
        ("response", response, is_http),
        ("idle", idle, is_http),
    ];
    for (key, span, _) in all.iter().filter(|(_, _, applies)| *applies) {
        map.text(key, &Span(*span));
    }
    if is_http {
        map.text("total", &total.map_or_else(|| "off".to_owned(), |total| Span(total).to_string()));
        if let Some(header) = &service.deadline_header {
            map.text("deadline_header", header);
        }
    }
}

fn bounds(map: &mut Map<'_>, bounds: &Bounds, protocol: Protocol) {
    if protocol == Protocol::Http {
        map.text("head_bytes", &Size(bounds.head_bytes as u64));
        map.put("head_fields", bounds.head_fields);
        map.text("uri_bytes", &Size(bounds.uri_bytes as u64));
        let or_none = |bytes: Option<u64>| bytes.map_or_else(|| "none".to_owned(), |b| Size(b).to_string());
        map.text("body_bytes", &or_none(bounds.body_bytes));
        map.text("upload_rate", &or_none(bounds.upload_rate));
        map.text("response_head_bytes", &Size(bounds.response_head_bytes as u64));
        map.put("streams", bounds.streams);
        map.put("worker_streams", bounds.worker_streams);
    }
    map.put("connections", bounds.connections);
    map.put("handshakes", bounds.handshakes);
    map.put("worker_connections", bounds.worker_connections);
}

fn mode(map: &mut Map<'_>, mode: Mode) {
    map.text(
        "mode",
        &match mode {
            Mode::Enforce => "enforce",
            Mode::Shadow => "shadow",
        },
    );
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

fn caller_name(callers: &Callers, number: usize) -> &str {
    callers.known.get(number).map_or("", |caller| &caller.name)
}
