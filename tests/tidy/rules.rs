//! The rules as functions: files and a table go in, findings come out, one line each.
//!
//! A finding reads `path:line: what is wrong; what to write instead`. Nothing here knows this
//! project's names: those are in the tables of `tests/tidy.rs`, so that each rule can be tried
//! on a literal of a few lines. A rule that has never failed is no rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{Source, is_name, words};

/// A module of `src/` and the floor it lives on.
pub type Floor = (&'static str, u8);

/// The floor of what puts the house together: it may name everything, and nobody names it.
pub const ROOF: u8 = 6;

/// An import that the floors forbid and a reason allows: from, to, why.
pub type Sideways = (&'static str, &'static str, &'static str);

/// A file or a folder (with a `/` behind), and the reason why it is on a list.
pub type Excuse = (&'static str, &'static str);

/// A word that must not stand in some places.
pub struct Ban {
    pub word: &'static str,
    pub instead: &'static str,
    /// Files and folders; empty for all.
    pub within: &'static [&'static str],
    pub except: &'static [Excuse],
    pub reach: Reach,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Reach {
    /// Code that is compiled for tests only is free.
    Product,
    Code,
    CodeAndComments,
}

/// The name of the module of `src/` that a file belongs to.
fn module_of(source: &Source) -> Option<&str> {
    source.path.strip_prefix("src/")?.strip_suffix(".rs")?.split('/').next()
}

/// What stands behind each `crate::`, with the groups taken apart: offset and first name.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for offset in words(code, "crate::") {
        let rest = &code[offset + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push((offset, first_name(rest)));
            continue;
        };
        let mut depth = 1;
        let mut start = 0;
        for (position, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if (c == ',' && depth == 1) || depth == 0 {
                found.push((offset, first_name(group[start..position].trim_start())));
                start = position + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

/// The name that a path begins with; a macro's keeps its `!`.
fn first_name(path: &str) -> String {
    let name: String = path.chars().take_while(|c| is_name(*c)).collect();
    let rest = &path[name.len()..];
    if rest.starts_with('!') { name + "!" } else { name }
}

pub fn floors(sources: &[Source], floors: &[Floor], sideways: &[Sideways]) -> Vec<String> {
    let floor_of = |module: &str| floors.iter().find(|(name, _)| *name == module).map(|f| f.1);
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let Some(from) = module_of(source) else {
            continue;
        };
        let Some(from_floor) = floor_of(from) else {
            findings
                .push(source.finding(1, format!("`{from}` has no floor; give it one in FLOORS")));
            continue;
        };
        if from_floor == ROOF {
            continue;
        }
        for (offset, to) in imports(&source.product) {
            let line = source.line_of(offset);
            let Some(to_floor) = floor_of(&to) else {
                if !to.ends_with('!') {
                    let message =
                        format!("`crate::{to}` hides its floor; write the module it is in");
                    findings.push(source.finding(line, message));
                }
                continue;
            };
            // The top floor stands on the public ones, not on the executor.
            let is_below = to_floor < from_floor && !(from_floor == 5 && to_floor < 3);
            let listed = sideways.iter().position(|entry| (entry.0, entry.1) == (from, &to));
            match listed {
                _ if to == from || is_below => {}
                Some(index) => drop(used.insert(index)),
                None => findings.push(source.finding(line, format!(
                    "`{from}` (floor {from_floor}) names `crate::{to}` (floor {to_floor}); name \
                     only lower floors, or list the pair with its reason in SIDEWAYS"
                ))),
            }
        }
    }
    for (index, (from, to, _)) in sideways.iter().enumerate() {
        if !used.contains(&index) {
            findings.push(format!("SIDEWAYS: `{from}` need not name `{to}`; remove the entry"));
        }
    }
    findings
}

pub fn unsafe_files(sources: &[Source], allowed: &[Excuse]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        if allowed.iter().any(|(place, _)| source.is_in(&[place])) {
            continue;
        }
        let words = ["unsafe", "allow(unsafe_code"].map(|word| source.code_words(word));
        if let Some(first) = words.iter().flatten().min() {
            let message = "`unsafe` outside the fence; move it into a file of UNSAFE_FILES";
            findings.push(source.finding(source.line_of(*first), message));
        }
    }
    for (place, _) in allowed {
        let mut inside = sources.iter().filter(|source| source.is_in(&[place]));
        if !inside.any(|source| !source.code_words("unsafe").is_empty()) {
            findings.push(format!("{place}:1: has no `unsafe`; remove it from UNSAFE_FILES"));
        }
    }
    findings
}

pub fn banned_words(sources: &[Source], bans: &[Ban]) -> Vec<String> {
    let mut findings = Vec::new();
    for ban in bans {
        let mut used = BTreeSet::new();
        for source in sources.iter().filter(|source| source.is_rust()) {
            if !ban.within.is_empty() && !source.is_in(ban.within) {
                continue;
            }
            let mut offsets = match ban.reach {
                Reach::Product => words(&source.product, ban.word),
                Reach::Code | Reach::CodeAndComments => source.code_words(ban.word),
            };
            if ban.reach == Reach::CodeAndComments {
                offsets.extend(words(&source.comments, ban.word));
            }
            let excuse = ban.except.iter().position(|(place, _)| source.is_in(&[place]));
            match excuse {
                Some(_) if offsets.is_empty() => {}
                Some(index) => drop(used.insert(index)),
                None => findings.extend(offsets.iter().map(|offset| {
                    let message = format!("`{}`; {}", ban.word, ban.instead);
                    source.finding(source.line_of(*offset), message)
                })),
            }
        }
        for (index, (place, _)) in ban.except.iter().enumerate() {
            if !used.contains(&index) {
                let word = ban.word;
                findings.push(format!("{place}:1: has no `{word}`; remove the exception in BANS"));
            }
        }
    }
    findings
}

pub fn module_names(sources: &[Source], banned: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let path = source.path.trim_end_matches(".rs");
        let mut names: Vec<(usize, String)> =
            path.split('/').map(|name| (1, name.into())).collect();
        for offset in source.code_words("mod") {
            let rest = source.code[offset + "mod".len()..].trim_start();
            names.push((source.line_of(offset), first_name(rest)));
        }
        for (line, name) in names.iter().filter(|(_, name)| banned.contains(&name.as_str())) {
            let message = format!("a module called `{name}` says nothing; name it after its noun");
            findings.push(source.finding(*line, message));
        }
    }
    findings
}

/// How long something is: path, name (empty for a file), first line, lines.
type Length = (String, String, usize, usize);

/// What is longer than allowed, and is not in the table of known exceptions with exactly this
/// length: an exception can shrink, never grow.
pub type LongOne = (&'static str, &'static str, usize);

fn ratchet(lengths: &[Length], lines_max: usize, known: &[LongOne], table: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, name, line, lines) in lengths {
        let entry = known.iter().find(|entry| (entry.0, entry.1) == (path, name));
        let cure = match entry {
            None if *lines > lines_max => format!("more than {lines_max}; split it by nouns"),
            Some(entry) if *lines > entry.2 => format!("was {}; it may only shrink", entry.2),
            Some(_) if *lines <= lines_max => format!("short at last; remove it from {table}"),
            Some(entry) if *lines < entry.2 => format!("was {}; lower it in {table}", entry.2),
            _ => continue,
        };
        let subject = if name.is_empty() { String::new() } else { format!("`{name}`, ") };
        findings.push(format!("{path}:{line}: {subject}{lines} lines, {cure}"));
    }
    for (path, name, _) in known {
        if !lengths.iter().any(|length| (length.0.as_str(), length.1.as_str()) == (*path, *name)) {
            findings.push(format!("{path}:1: `{name}` is gone; remove it from {table}"));
        }
    }
    findings
}

pub fn file_lengths(sources: &[Source], lines_max: usize, known: &[LongOne]) -> Vec<String> {
    let rust = sources.iter().filter(|source| source.is_rust());
    let length =
        |source: &Source| (source.path.clone(), String::new(), 1, source.text.lines().count());
    let lengths: Vec<Length> = rust.map(length).collect();
    ratchet(&lengths, lines_max, known, "LONG_FILES")
}

/// Of several functions with one name in one file, the longest counts.
pub fn function_lengths(sources: &[Source], lines_max: usize, known: &[LongOne]) -> Vec<String> {
    let mut longest: BTreeMap<(String, String), (usize, usize)> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        for function in source.functions() {
            let line = source.line_of(function.whole.start);
            let lines = source.line_of(function.whole.end) + 1 - line;
            let key = (source.path.clone(), function.name);
            let known = longest.entry(key).or_insert((line, lines));
            if lines > known.1 {
                *known = (line, lines);
            }
        }
    }
    let length = |((path, name), (line, lines))| (path, name, line, lines);
    let lengths: Vec<Length> = longest.into_iter().map(length).collect();
    ratchet(&lengths, lines_max, known, "LONG_FUNCTIONS")
}

pub fn columns(sources: &[Source], columns_max: usize) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        for (index, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > columns_max && !line.contains("://") {
                let message = format!("{columns} columns, more than {columns_max}; break the line");
                findings.push(source.finding(index + 1, message));
            }
        }
    }
    findings
}

/// The documentation above a line, top down, without its slashes.
fn documentation(source: &Source, line: usize) -> Vec<&str> {
    let lines: Vec<&str> = source.text.lines().take(line - 1).map(str::trim).collect();
    let is_above =
        |line: &&&str| line.starts_with("//") || line.starts_with("#[") || line.ends_with(")]");
    let mut above: Vec<&str> = lines.iter().rev().take_while(is_above).copied().collect();
    above.reverse();
    above.iter().filter_map(|line| line.strip_prefix("///")).map(str::trim).collect()
}

/// Every `pub async fn` says under `# Cancellation` what dropping its future does.
pub fn cancellation(sources: &[Source], grades: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_in(&["src/"]) && source.is_rust()) {
        for offset in words(&source.product, "pub async fn") {
            let line = source.line_of(offset);
            let mut section = documentation(source, line).into_iter();
            let has_section = section.any(|text| text == "# Cancellation");
            let first = section.find(|text| !text.is_empty()).unwrap_or_default();
            let is_graded = grades.iter().any(|grade| first.starts_with(&format!("**{grade}**")));
            if !has_section || !is_graded {
                let message = format!(
                    "a public `async fn` without its grade; write a section `# Cancellation` that \
                     begins with one of {}",
                    grades
                        .iter()
                        .map(|grade| format!("`**{grade}**`"))
                        .collect::<Vec<_>>()
                        .join(", ")
                );
                findings.push(source.finding(line, message));
            }
        }
    }
    findings
}

pub fn cfg_in_bodies(sources: &[Source], except: &[Excuse]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        if except.iter().any(|(place, _)| source.is_in(&[place])) {
            continue;
        }
        let bodies: Vec<_> = source.functions().into_iter().map(|function| function.body).collect();
        for word in ["#[cfg", "cfg!("] {
            for (offset, _) in source.code.match_indices(word) {
                if bodies.iter().any(|body| body.contains(&offset)) {
                    let message = format!("`{word}` in a function; let a feature switch a module");
                    findings.push(source.finding(source.line_of(offset), message));
                }
            }
        }
    }
    findings
}

/// The targets of a markdown text's links, with their lines; code is left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            is_fenced = !is_fenced;
        }
        if is_fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let definition = trimmed.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        let targets = inline.chain(definition.map(|(_, target)| target));
        let first_word = |target: &str| target.split_whitespace().next().map(str::to_string);
        found.extend(targets.filter_map(first_word).map(|target| (index + 1, target)));
    }
    found
}

pub fn markdown_links(sources: &[Source], exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        for (line, target) in links(&source.text) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let folder = Path::new(&source.path).parent().unwrap_or(Path::new(""));
            if !exists(&folder.join(file)) {
                let message = format!("the link `{target}` leads nowhere; correct the path");
                findings.push(source.finding(line, message));
            }
        }
    }
    findings
}

/// The names in `[brackets]`: lower case with at least one hyphen.
fn bracketed(text: &str) -> Vec<&str> {
    let is_invariant = |name: &&str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        name.contains('-') && name.chars().all(fits)
    };
    let name = |rest| str::split_once(rest, ']').map(|(name, _)| name);
    text.split('[').skip(1).filter_map(name).filter(is_invariant).collect()
}

/// The comment that argues for the `unsafe` on a line: on the lines directly above, or above the
/// first line of the statement that it is part of.
fn argument(source: &Source, line: usize) -> String {
    let code: Vec<&str> = source.code.lines().collect();
    let comments: Vec<&str> = source.comments.lines().collect();
    let is_comment =
        |index: usize| !comments[index].trim().is_empty() && code[index].trim().is_empty();
    let mut above = line - 1;
    while above > 0 && !is_comment(above - 1) {
        let text = code[above - 1].trim_end();
        if text.trim().is_empty() || text.ends_with([';', '{', '}']) {
            return comments[line - 1].into();
        }
        above -= 1;
    }
    let last = above;
    while above > 0 && is_comment(above - 1) {
        above -= 1;
    }
    comments[above..last].join("\n")
}

/// Every `unsafe` block cites an invariant, every one cited is defined, every one defined is
/// cited. `definitions` is the text in which `* `[name]`` begins the line that defines a name.
pub fn invariants(sources: &[Source], file: &str, definitions: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut defined = Vec::new();
    for (index, line) in definitions.lines().enumerate() {
        let name = line.strip_prefix("* `[").and_then(|rest| rest.split_once("]`"));
        defined.extend(name.map(|(name, _)| (index + 1, name)));
    }
    let mut cited = BTreeSet::new();
    for source in sources.iter().filter(|source| source.is_in(&["src/"]) && source.is_rust()) {
        cited.extend(bracketed(&source.comments));
        for offset in source.code_words("unsafe") {
            let rest = source.code[offset + "unsafe".len()..].trim_start();
            if !rest.starts_with('{') && !rest.starts_with("impl") {
                continue;
            }
            let line = source.line_of(offset);
            let argument = argument(source, line);
            let names = bracketed(&argument);
            if !argument.contains("SAFETY:") || names.is_empty() {
                let message = "`unsafe` without a named reason; write `// SAFETY: [invariant] ...`";
                findings.push(source.finding(line, message));
            }
            for name in names.iter().filter(|name| !defined.iter().any(|(_, known)| known == *name))
            {
                let message = format!("`[{name}]` is not defined; define it in {file}");
                findings.push(source.finding(line, message));
            }
        }
    }
    for (line, name) in defined.iter().filter(|(_, name)| !cited.contains(name)) {
        findings.push(format!("{file}:{line}: `[{name}]` is cited nowhere; cite or remove it"));
    }
    findings
}

pub fn headers(sources: &[Source]) -> Vec<String> {
    let rust = sources.iter().filter(|source| source.is_rust());
    rust.filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.finding(1, "no essay on top; begin with `//!` and say what it is for"))
        .collect()
}

pub fn machine_paths(sources: &[Source], paths: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        for (index, line) in source.text.lines().enumerate() {
            for path in paths {
                let is_absolute = |(offset, _): &(usize, &str)| {
                    let before = line[..*offset].chars().next_back();
                    !before.is_some_and(|c| is_name(c) || ".-~}".contains(c))
                };
                if line.match_indices(path).any(|found| is_absolute(&found)) {
                    let message = format!("`{path}` is one machine's path; write a relative one");
                    findings.push(source.finding(index + 1, message));
                }
            }
        }
    }
    findings
}

/// The names under `[dependencies]` of a manifest, with their lines.
fn dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_inside = false;
    for (index, line) in manifest.lines().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            is_inside = section == "dependencies]";
            let name = section.strip_prefix("dependencies.").and_then(|rest| rest.split_once(']'));
            found.extend(name.map(|(name, _)| (index + 1, name)));
        } else if is_inside {
            let end = line.find(|c: char| !is_name(c) && c != '-').unwrap_or(line.len());
            found.extend((end > 0).then_some((index + 1, &line[..end])));
        }
    }
    found
}

/// Every dependency has a reason in the document that names it in backticks.
pub fn dependency_reasons(
    sources: &[Source],
    manifests: &[&str],
    file: &str,
    reasons: &str,
) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_in(manifests)) {
        for (line, name) in dependencies(&source.text) {
            if !reasons.contains(&format!("`{name}`")) {
                let message = format!("`{name}` has no reason; give one in {file}");
                findings.push(source.finding(line, message));
            }
        }
    }
    findings
}

/// The names in the first cell of a table's row: what stands in backticks, without arguments.
fn named_in_row(line: &str) -> Vec<String> {
    let first = line.strip_prefix("| ").and_then(|row| row.split_once(" |"));
    let spans = first.map_or("", |(cell, _)| cell).split('`').skip(1).step_by(2);
    let mut names = Vec::new();
    for span in spans {
        let bare = span.split('(').next().unwrap_or_default();
        let words = bare.split_whitespace().filter_map(|word| word.rsplit('.').next());
        let is_plain = |word: &&str| !word.is_empty() && word.chars().all(is_name);
        names.extend(words.filter(is_plain).map(String::from));
    }
    names
}

/// What a search of the documentation finds: names of items, and their aliases.
fn findable(sources: &[Source]) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for source in sources.iter().filter(|it| it.is_rust() && it.is_in(&["src/"])) {
        let aliases = source.text.split("#[doc(alias = \"").skip(1);
        found.extend(aliases.filter_map(|rest| rest.split('"').next()));
        let mut kind = "";
        for word in source.code.split(|c| !is_name(c)).filter(|word| !word.is_empty()) {
            if ["fn", "struct", "enum", "mod", "macro_rules", "as"].contains(&kind) {
                found.insert(word);
            }
            kind = word;
        }
    }
    found
}

/// Every name in the first column of a page's tables is found by whoever searches the
/// documentation: an item bears it, or has it as its alias.
pub fn aliases(sources: &[Source], page: &str, without: &[Excuse]) -> Vec<String> {
    let findable = findable(sources);
    let mut findings = Vec::new();
    let mut excused = BTreeSet::new();
    for source in sources.iter().filter(|source| source.path == page) {
        for (index, line) in source.text.lines().enumerate() {
            let names = named_in_row(line).into_iter();
            for name in names.filter(|name| !findable.contains(name.as_str())) {
                if without.iter().any(|(excuse, _)| *excuse == name) {
                    excused.insert(name);
                } else {
                    let message = format!("nothing is found by `{name}`; add a `doc(alias)`");
                    findings.push(source.finding(index + 1, message));
                }
            }
        }
    }
    for (name, _) in without.iter().filter(|(name, _)| !excused.contains(*name)) {
        findings.push(format!("{page}:1: `{name}` needs no excuse; take it from the list"));
    }
    findings
}

/// Every one of the names stands on the page, in backticks: with its counterpart, or with the
/// reason why it has none.
pub fn answers(sources: &[Source], page: &str, names: &[&str]) -> Vec<String> {
    let text = sources.iter().find(|source| source.path == page).map_or("", |it| &it.text);
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let said: BTreeSet<&str> = spans.flat_map(|span| span.split(|c| !is_name(c))).collect();
    let is_missing = |name: &&&str| !said.contains(**name);
    let missing = names.iter().filter(is_missing);
    missing.map(|name| format!("{page}:1: `{name}` is not answered for; say what it is")).collect()
}
