//! What a figure depends on besides the programs: kernel, CPUs, mitigations, clocks. Every report
//! tells it, or two reports could not be compared.

use std::fs;

use crate::machine;

/// A program that was not optimised measures nothing.
const BUILD: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// The facts, each with its name in JSON, in the order in which they are shown.
pub(crate) struct Facts(pub(crate) Vec<(&'static str, String)>);

impl Facts {
    /// `placement` says where the two sides run, `features` what the runtime found.
    pub(crate) fn collect(placement: &str, features: &str) -> Facts {
        let cpus = machine::allowed_cpus();
        Facts(vec![
            ("kernel", machine::kernel_release()),
            ("cpu", cpu_model()),
            ("cpus", cpu_map(&cpus)),
            ("placement", placement.to_owned()),
            ("governor", governor(&cpus)),
            (
                "clocksource",
                read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            ),
            ("hypervisor", if is_virtual() { "yes" } else { "no" }.to_owned()),
            ("nice", machine::niceness().to_string()),
            ("mitigations", mitigations()),
            ("features", features.to_owned()),
            ("corio", env!("CARGO_PKG_VERSION").to_owned()),
            ("build", BUILD.to_owned()),
        ])
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "not told".to_owned(), |text| text.trim().to_owned())
}

fn cpu_info(name: &str) -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn cpu_model() -> String {
    cpu_info("model name").unwrap_or_else(|| "not told".to_owned())
}

fn is_virtual() -> bool {
    cpu_info("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"))
}

/// Which CPUs this process may use, and which of them are two threads of one core.
fn cpu_map(cpus: &[usize]) -> String {
    let mut cores: Vec<String> = Vec::new();
    for cpu in cpus {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let siblings = fs::read_to_string(path).unwrap_or_else(|_| cpu.to_string());
        let siblings = siblings.trim().to_owned();
        if !cores.contains(&siblings) {
            cores.push(siblings);
        }
    }
    format!("{} usable, cores {}", cpus.len(), cores.join(" | "))
}

fn governor(cpus: &[usize]) -> String {
    let mut governors: Vec<String> = Vec::new();
    for cpu in cpus {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        let governor = read(&path);
        if !governors.contains(&governor) {
            governors.push(governor);
        }
    }
    governors.join(", ")
}

/// The weaknesses of this CPU that the kernel works around, and what it leaves open.
fn mitigations() -> String {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return "not told".to_owned();
    };
    let mut lines: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let state = text.trim().to_owned();
            (state != "Not affected").then(|| format!("{name}: {state}"))
        })
        .collect();
    lines.sort();
    if lines.is_empty() { "none needed".to_owned() } else { lines.join("; ") }
}
