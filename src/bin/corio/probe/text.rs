//! The findings for a person, on a bad night: what runs, why and what to do first; then the
//! matrix, the limits, the environment.
//!
//! Lines fit the terminal. On a narrow one the matrix loses its last column, and what is missing
//! tells its consequence on a line of its own. Into a pipe goes the wide form.

use console::Term;
use corio::FeatureState;
use corio::probe::{
    Capability, Cause, Environment, Found, KnownBug, Limit, locked_bytes_of_a_core,
};

use super::child::{Start, state_name};
use super::{DESCRIPTORS_OF_A_CORE, Findings, Grade};

const MORE: &str = "More: corio probe --explain FEATURE, --fixes (all of them), --profile (for \
    containers), --json, --help";

/// The width where there is no terminal.
const PIPE_WIDTH: usize = 100;

/// The least width for which lines are broken.
const WIDTH_MIN: usize = 40;

/// The column where values begin behind their names.
const NAME_WIDTH: usize = 12;

/// The three left columns of the matrix.
const MATRIX_WIDTH: usize = 50;

/// What is left for the last column, at least, or there is none.
const LAST_COLUMN_MIN: usize = 24;

fn width() -> usize {
    let terminal = Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    terminal.unwrap_or(PIPE_WIDTH).clamp(WIDTH_MIN, 120)
}

/// The whole page, without a line end after its last line.
pub(super) fn page(findings: &Findings) -> String {
    let mut page = Page { width: width(), lines: Vec::new() };
    let environment = &findings.environment;
    page.text(&format!(
        "corio probe: Linux {}, {} CPUs",
        environment.kernel, environment.cpu_count
    ));
    page.gap();
    summary(&mut page, findings);
    matrix(&mut page, findings);
    limits(&mut page, findings);
    surroundings(&mut page, environment);
    bugs(&mut page, &findings.known_bugs());
    page.gap();
    page.text(MORE);
    page.lines.join("\n")
}

fn summary(page: &mut Page, findings: &Findings) {
    let driver = match (findings.driver(), findings.grade()) {
        (Some(driver), Grade::Best) => format!("{}, in its best configuration", driver.name()),
        (Some(driver), Grade::Degraded) => format!("{}, with something missing", driver.name()),
        (Some(driver), _) => driver.name().to_owned(),
        (None, Grade::EpollOnly) => {
            "none by itself: a start fails; epoll works if asked for".into()
        }
        (None, _) => "none: nothing starts here".to_owned(),
    };
    page.row("driver", &driver);
    page.row("why", &findings.why());
    let to_do = findings.to_do();
    if to_do.is_empty() {
        let is_well = findings.driver().is_some();
        page.row("to do", if is_well { "nothing" } else { "what the reason says" });
    }
    for (index, line) in to_do.iter().enumerate() {
        page.row(if index == 0 { "to do" } else { "" }, line);
    }
    let bugs = findings.known_bugs();
    if bugs.iter().any(|bug| bug.concerns_corio) {
        page.row("warning", "this kernel has a known bug that concerns corio: see below");
    } else if !bugs.is_empty() {
        page.row("note", "this kernel has a known bug of io_uring, in what corio does not use");
    }
}

/// What a cell of the matrix says.
fn verdict(findings: &Findings, capability: &Capability, found: Found) -> String {
    let in_use = match &findings.start {
        Start::Uring { states, .. } => {
            states.iter().find(|(feature, _)| Some(*feature) == capability.feature())
        }
        _ => None,
    };
    match (found, in_use) {
        (Found::Works, Some((_, FeatureState::NotNeeded))) => "works, not needed".to_owned(),
        (Found::Works, _) => "works".to_owned(),
        (Found::Fails(_), _) => {
            let word = if capability.is_used() { "FAILS" } else { "fails" };
            format!("{word}: {}", found.error().as_deref().unwrap_or("wrong"))
        }
        (Found::Absent, _) => "absent".to_owned(),
        (Found::SwitchedOff, _) => "switched off".to_owned(),
        (Found::Killed(signal), _) => format!("KILLS: signal {signal}"),
        _ => "not tried".to_owned(),
    }
}

fn matrix(page: &mut Page, findings: &Findings) {
    let count = |wanted: fn(Found) -> bool| {
        findings.capabilities.iter().filter(|(_, found)| wanted(*found)).count()
    };
    let all = findings.capabilities.len();
    let working = count(|found| found == Found::Works);
    page.gap();
    if count(|found| found == Found::Untried) == all {
        page.text(&format!(
            "Features of io_uring: none of {all} could be tried, since no ring can be made here \
             (--explain FEATURE tells what each is for)"
        ));
        return;
    }
    page.text(&format!(
        "Features of io_uring: {working} of {all} work (* corio uses it, the others it could use)"
    ));
    let last_width = page.width.saturating_sub(MATRIX_WIDTH);
    let has_last = last_width >= LAST_COLUMN_MIN;
    let mut rest = findings.capabilities.iter();
    for (title, table) in Capability::groups() {
        page.gap();
        let last = if has_last { "without it" } else { "" };
        page.columns(&format!("  {title:<22} {:<6} {:<17} {last}", "since", "found"));
        for (capability, found) in rest.by_ref().take(table.len()) {
            let mark = if capability.is_used() { '*' } else { ' ' };
            let verdict = verdict(findings, capability, *found);
            let (name, since) = (capability.name(), capability.since());
            let cells = format!("{mark} {name:<22} {since:<6} {verdict:<17} ");
            let without = capability.without();
            match (*found == Found::Works, has_last) {
                (true, true) => page.columns(&format!("{cells}{}", cut(without, last_width))),
                (true, false) => page.columns(&cells),
                (false, true) => page.wrapped(&cells, MATRIX_WIDTH, without),
                (false, false) => {
                    page.columns(&cells);
                    page.wrapped("    without it: ", 6, without);
                }
            }
        }
    }
}

fn limits(page: &mut Page, findings: &Findings) {
    let environment = &findings.environment;
    let cores = findings.cores;
    page.gap();
    page.text(&format!("Limits, for {cores} core{}", super::plural(cores)));
    let each = locked_bytes_of_a_core().div_ceil(1024);
    let verdict = match (environment.may_lock_memory, findings.short_memlock()) {
        (true, _) => "and the limit does not count: CAP_IPC_LOCK",
        (false, Some(_)) => "TOO LITTLE",
        (false, None) => "enough",
    };
    let needed = format!(
        "{cores} x {each} KiB = {} KiB; you have {}: {verdict}",
        findings.locked_bytes().div_ceil(1024),
        kibibytes(environment.locked_memory),
    );
    page.row("memlock", &needed);
    let descriptors = environment.descriptors;
    let taken = cores as u64 * DESCRIPTORS_OF_A_CORE;
    let left = match descriptors.soft {
        Some(soft) => format!(
            "{cores} x {DESCRIPTORS_OF_A_CORE} = {taken}; you have {soft}: {} for connections \
             (may be raised to {})",
            soft.saturating_sub(taken),
            descriptors.hard.map_or("any number".to_owned(), |hard| hard.to_string()),
        ),
        None => format!("{cores} x {DESCRIPTORS_OF_A_CORE} = {taken}; you have no limit"),
    };
    page.row("descriptors", &left);
    let quota = environment.cpu_quota.map_or("none".to_owned(), |quota| format!("{quota:.2} CPUs"));
    page.row("cpu quota", &quota);
}

fn surroundings(page: &mut Page, environment: &Environment) {
    page.gap();
    page.text("Environment");
    let switch = match environment.io_uring_disabled {
        None => "kernel.io_uring_disabled: not there".to_owned(),
        Some(level) => format!(
            "kernel.io_uring_disabled = {level} ({}), io_uring_group = {}",
            match level {
                0 => "for all",
                1 => "for the privileged and the group",
                _ => "for nobody",
            },
            environment.io_uring_group.map_or("?".to_owned(), |group| group.to_string())
        ),
    };
    page.row("sysctl", &switch);
    let filters = environment.seccomp_filters.map_or(String::new(), |count| format!(" ({count})"));
    let seccomp = match environment.seccomp_mode {
        None => "unknown".to_owned(),
        Some(0) => "off".to_owned(),
        Some(1) => "strict".to_owned(),
        Some(_) => format!("a filter{filters}"),
    };
    page.row("seccomp", &seccomp);
    let modules = match environment.security_modules.as_slice() {
        [] => "none is shown".to_owned(),
        names => names.join(", "),
    };
    let enforces = match environment.selinux_enforces {
        Some(true) => "; SELinux enforces",
        Some(false) => "; SELinux only reports",
        None => "",
    };
    let label = environment.security_label.as_deref().map_or(String::new(), |it| format!("; {it}"));
    page.row("security", &format!("{modules}{enforces}{label}"));
    let container = environment.container.map_or("none", |container| container.name());
    page.row("container", container);
    page.row("service", environment.service.as_deref().unwrap_or("none"));
}

fn bugs(page: &mut Page, bugs: &[&KnownBug]) {
    page.gap();
    if bugs.is_empty() {
        page.text("Known bugs of this kernel: none that corio knows of");
        return;
    }
    page.text("Known bugs of this kernel (by its number; a distribution may have mended them)");
    for bug in bugs {
        page.row(&format!("{}-{}", bug.first, bug.last), bug.what);
        page.row("", bug.effect);
        page.row("", bug.source);
    }
}

/// One capability, in full.
pub(super) fn explanation(findings: &Findings, capability: &Capability) -> String {
    let mut page = Page { width: width(), lines: Vec::new() };
    let found = findings.capabilities.iter().find(|(it, _)| it.name() == capability.name());
    page.text(&format!("{}: {}", capability.name(), capability.what()));
    page.gap();
    page.row("since", &format!("Linux {}; distributions may have it earlier", capability.since()));
    page.row("gain", capability.gain());
    page.row("without it", capability.without());
    let found = found.map_or(Found::Untried, |(_, found)| *found);
    page.row("here", &verdict(findings, capability, found));
    let (used, off) = match capability.feature() {
        Some(feature) => {
            ("yes, where it works".to_owned(), format!("CORIO_DISABLE={}", feature.name()))
        }
        None if capability.is_used() => {
            ("yes, always".to_owned(), "not possible; CORIO_DRIVER=epoll does without".to_owned())
        }
        None => ("not yet".to_owned(), "nothing to switch off".to_owned()),
    };
    page.row("corio uses", &used);
    page.row("switch off", &off);
    if let Start::Uring { states, .. } = &findings.start {
        let state = states.iter().find(|(feature, _)| Some(*feature) == capability.feature());
        if let Some((_, state)) = state {
            page.row("in use", state_name(*state));
        }
    }
    page.lines.join("\n")
}

/// All fixes of all causes, marked where they are for this environment.
pub(super) fn all_fixes(environment: &Environment) -> String {
    let mut page = Page { width: width(), lines: Vec::new() };
    for cause in Cause::ALL {
        page.text(&format!("{}:", cause.title()));
        for cure in cause.cures(environment) {
            page.row(cure.place, cure.text);
        }
        page.gap();
    }
    page.lines.pop();
    page.lines.join("\n")
}

fn kibibytes(limit: Limit) -> String {
    limit.soft.map_or("no limit".to_owned(), |bytes| format!("{} KiB", bytes / 1024))
}

/// As much of a text as fits.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Lines that fit a width.
struct Page {
    width: usize,
    lines: Vec<String>,
}

impl Page {
    fn gap(&mut self) {
        self.lines.push(String::new());
    }

    /// A line of columns, which fits by itself.
    fn columns(&mut self, line: &str) {
        self.lines.push(line.trim_end().to_owned());
    }

    fn text(&mut self, text: &str) {
        self.wrapped("", 0, text);
    }

    /// A name and what belongs to it, which may have lines of its own.
    fn row(&mut self, name: &str, value: &str) {
        for (index, line) in value.lines().enumerate() {
            let name = if index == 0 { name } else { "" };
            let gap = if name.chars().count() < NAME_WIDTH { "" } else { " " };
            self.wrapped(&format!("  {name:<NAME_WIDTH$}{gap}"), NAME_WIDTH + 2, line);
        }
    }

    /// A text behind a head, broken between words; later lines are indented. A line that begins
    /// with a space is meant as it is, to be copied.
    fn wrapped(&mut self, head: &str, indent: usize, text: &str) {
        let mut line = head.to_owned();
        if text.starts_with(' ') {
            self.columns(&(line + text));
            return;
        }
        let mut is_empty = true;
        for word in text.split_whitespace() {
            let needed = line.chars().count() + usize::from(!is_empty) + word.chars().count();
            if needed > self.width && !is_empty {
                self.columns(&line);
                line = " ".repeat(indent);
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line += word;
            is_empty = false;
        }
        self.columns(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn lines_are_broken_between_words_and_snippets_stay_whole() {
        let mut page = Page { width: 24, lines: Vec::new() };
        page.row("why", "one two three\n  yaml: [kept, as, it, is]\nfour");
        assert_eq!(
            page.lines,
            [
                "  why         one two",
                "              three",
                "                yaml: [kept, as, it, is]",
                "              four",
            ]
        );
    }
}
