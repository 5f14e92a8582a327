//! The findings for a program: one object. Keys are only ever added; what is not known is `null`.

use corio::FeatureState;
use corio::probe::{Capability, Cure, Environment, Found, KnownBug, Limit, locked_bytes_of_a_core};
use serde_json::{Value, json};

use super::child::{Start, state_name};
use super::{DESCRIPTORS_OF_A_CORE, Findings};

pub(super) fn object(findings: &Findings) -> Value {
    let environment = &findings.environment;
    let entries = match &findings.start {
        Start::Uring { entries, .. } => Some(*entries),
        _ => None,
    };
    json!({
        "kernel": environment.kernel,
        "driver": findings.driver().map(|driver| driver.name()),
        "grade": findings.grade().name(),
        "exit_code": findings.grade() as u8,
        "why": findings.why(),
        "to_do": findings.to_do(),
        "epoll_starts": findings.epoll_starts || findings.driver().is_some(),
        "killed_by_signal": match &findings.start {
            Start::Killed(signal) => Some(signal),
            _ => None,
        },
        "errno": findings.refusal().and_then(|refusal| refusal.error_number()),
        "ring_entries": entries.map(|entries| entries.0),
        "completion_entries": entries.map(|entries| entries.1),
        "features": features(findings),
        "limits": limits(findings),
        "environment": surroundings(environment),
        "known_bugs": findings.known_bugs().into_iter().map(bug).collect::<Vec<_>>(),
        "cures": findings.cures().iter().map(cure).collect::<Vec<_>>(),
    })
}

fn features(findings: &Findings) -> Vec<Value> {
    let state_of = |capability: &Capability| match &findings.start {
        Start::Uring { states, .. } => states
            .iter()
            .find(|(feature, _)| Some(*feature) == capability.feature())
            .map(|(_, state)| *state),
        _ => None,
    };
    let mut rest = findings.capabilities.iter();
    let mut rows = Vec::new();
    for (group, table) in Capability::groups() {
        for (capability, found) in rest.by_ref().take(table.len()) {
            rows.push(feature(group, capability, *found, state_of(capability)));
        }
    }
    rows
}

fn feature(
    group: &str,
    capability: &Capability,
    found: Found,
    state: Option<FeatureState>,
) -> Value {
    json!({
        "name": capability.name(),
        "group": group,
        "since": capability.since(),
        "found": found.name(),
        "error": found.error(),
        "signal": match found {
            Found::Killed(signal) => Some(signal),
            _ => None,
        },
        "used": capability.is_used(),
        "in_use": state.map(state_name),
        "what": capability.what(),
        "gain": capability.gain(),
        "without": capability.without(),
    })
}

fn limits(findings: &Findings) -> Value {
    let environment = &findings.environment;
    json!({
        "cores": findings.cores,
        "locked_bytes_of_a_core": locked_bytes_of_a_core(),
        "locked_bytes_needed": findings.locked_bytes(),
        "memlock_bytes": limit(environment.locked_memory),
        "memlock_counts": !environment.may_lock_memory,
        "memlock_suffices": findings.short_memlock().is_none(),
        "descriptors_of_a_core": DESCRIPTORS_OF_A_CORE,
        "descriptors": limit(environment.descriptors),
    })
}

fn limit(limit: Limit) -> Value {
    json!({ "soft": limit.soft, "hard": limit.hard })
}

fn surroundings(environment: &Environment) -> Value {
    json!({
        "cpu_count": environment.cpu_count,
        "cpu_quota": environment.cpu_quota,
        "io_uring_disabled": environment.io_uring_disabled,
        "io_uring_group": environment.io_uring_group,
        "seccomp_mode": environment.seccomp_mode,
        "seccomp_filters": environment.seccomp_filters,
        "security_modules": environment.security_modules,
        "selinux_enforces": environment.selinux_enforces,
        "security_label": environment.security_label,
        "container": environment.container.map(|container| container.name()),
        "service": environment.service,
        "may_lock_memory": environment.may_lock_memory,
        "is_privileged": environment.is_privileged,
    })
}

fn bug(bug: &KnownBug) -> Value {
    json!({
        "first": bug.first,
        "last": bug.last,
        "what": bug.what,
        "concerns_corio": bug.concerns_corio,
        "effect": bug.effect,
        "source": bug.source,
    })
}

fn cure(cure: &Cure) -> Value {
    json!({ "place": cure.place, "text": cure.text, "applies": cure.applies })
}
