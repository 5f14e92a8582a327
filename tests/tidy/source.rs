//! Reading the tree: which text is code, which is comment, where functions and tests are.
//!
//! This is not a parser. It knows comments, literals and braces, which is all that the rules
//! need, and it keeps every character at its line and column.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One file of the project.
pub struct Source {
    /// Relative to the root, with `/`.
    pub path: String,
    pub text: String,
    /// The text with a space for each character of a comment, a string or a character literal.
    pub code: String,
    /// The text with a space for each character that is not in a comment.
    pub comments: String,
    /// The code with a space for each character that is compiled for tests only.
    pub product: String,
}

/// A function with a body; ranges are byte offsets into `code`.
pub struct Function {
    pub name: String,
    pub whole: Range<usize>,
    pub body: Range<usize>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let is_rust = path.ends_with(".rs");
        let (code, comments) = if is_rust { separate(text) } else { Default::default() };
        let mut product = code.clone();
        for range in test_ranges(&code) {
            let blank = blanked(&product[range.clone()]);
            product.replace_range(range, &blank);
        }
        if path.starts_with("tests/") || path.contains("/tests/") {
            product = blanked(&code);
        }
        Source { path: path.into(), text: text.into(), code, comments, product }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file is below one of the given folders, or is one of the given files.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| match place.strip_suffix('/') {
            Some(_) => self.path.starts_with(place),
            None => self.path == *place,
        })
    }

    pub fn line_of(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }

    /// `path:line: message`, as every finding begins.
    pub fn finding(&self, line: usize, message: impl std::fmt::Display) -> String {
        format!("{}:{line}: {message}", self.path)
    }

    /// The offsets in `code` where a word stands alone, not as a part of a longer name.
    pub fn code_words(&self, word: &str) -> Vec<usize> {
        words(&self.code, word)
    }

    pub fn functions(&self) -> Vec<Function> {
        let after = |start: usize| &self.code[start + 2..];
        let function = |start: usize| {
            let rest = after(start).trim_start();
            let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
            let open = body_start(&self.code, start)?;
            let end = closing(&self.code, open)?;
            let found = Function { name, whole: start..end, body: open..end };
            (after(start).starts_with(' ') && !found.name.is_empty()).then_some(found)
        };
        self.code_words("fn").into_iter().filter_map(function).collect()
    }

    /// The files that this one declares as `#[cfg(test)] mod name;`, as path prefixes.
    fn test_files(&self) -> Vec<String> {
        let folder = match self.path.strip_suffix(".rs") {
            Some(stem) if !stem.ends_with("/mod") && !stem.ends_with("/lib") => stem,
            _ => self.path.rsplit_once('/').map_or("", |(folder, _)| folder),
        };
        let name = |(start, _): (usize, &str)| {
            let item = &self.code[start..];
            let (declaration, _) = item.split_once(';')?;
            let (_, name) = declaration.split_once("mod ")?;
            (!declaration.contains('{')).then(|| format!("{folder}/{name}"))
        };
        self.code.match_indices("#[cfg(test)]").filter_map(name).collect()
    }
}

/// The offsets of all `#[cfg(test)]` modules and items in a file.
fn test_ranges(code: &str) -> Vec<Range<usize>> {
    let item = |(start, _): (usize, &str)| {
        let end = match body_start(code, start) {
            Some(open) => closing(code, open)?,
            None => start + code[start..].find(';')? + 1,
        };
        Some(start..end)
    };
    code.match_indices("#[cfg(test)]").filter_map(item).collect()
}

/// All text files of the project, except what is built or belongs to git.
pub fn read_tree(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    read_folder(root, root, &mut sources);
    let test_files: Vec<String> = sources.iter().flat_map(Source::test_files).collect();
    for source in &mut sources {
        let is_listed = |prefix: &String| {
            let rest = source.path.strip_prefix(prefix.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if test_files.iter().any(is_listed) {
            source.product = blanked(&source.code);
        }
    }
    sources
}

fn read_folder(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).expect("a folder of the project can be listed");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().expect("an entry has a name").to_string_lossy();
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            read_folder(root, &path, sources);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("every path is below the root");
            sources.push(Source::new(&path.to_string_lossy(), &text));
        }
    }
}

pub fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The offsets where `word` stands in `text` and is no part of a longer name.
pub fn words(text: &str, word: &str) -> Vec<usize> {
    let stands_alone = |offset: &usize| {
        let before = text[..*offset].chars().next_back();
        let after = text[offset + word.len()..].chars().next();
        let joins = |inside: Option<char>, outside: Option<char>| {
            inside.is_some_and(is_name) && outside.is_some_and(is_name)
        };
        !joins(word.chars().next(), before) && !joins(word.chars().next_back(), after)
    };
    text.match_indices(word).map(|(offset, _)| offset).filter(stands_alone).collect()
}

/// The first `{` behind `start`, unless a `;` comes first that is not inside brackets.
fn body_start(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, c) in code[start..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.checked_sub(1)?,
            ';' if depth == 0 => return None,
            '{' if depth == 0 => return Some(start + offset),
            _ => {}
        }
    }
    None
}

/// The offset behind the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(open + offset + 1),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn blanked(text: &str) -> String {
    text.chars().map(blank).collect()
}

/// A space, in as many bytes as the character has, so that offsets stay; line ends stay.
fn blank(c: char) -> &'static str {
    match c.len_utf8() {
        _ if c == '\n' => "\n",
        1 => " ",
        2 => "  ",
        3 => "   ",
        _ => "    ",
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// Separates code from comments; literals are in neither.
fn separate(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    let mut before = ' ';
    while !rest.is_empty() {
        let (kind, length) = next_token(rest, before);
        let (token, behind) = rest.split_at(length);
        match kind {
            Kind::Code => code.push_str(token),
            _ => code.push_str(&blanked(token)),
        }
        match kind {
            Kind::Comment => comments.push_str(token),
            _ => comments.push_str(&blanked(token)),
        }
        before = token.chars().next_back().unwrap_or(' ');
        rest = behind;
    }
    (code, comments)
}

/// What `text` begins with, and how many bytes of it; `before` is the character in front of it.
fn next_token(text: &str, before: char) -> (Kind, usize) {
    let until = |end: &str, from: usize| {
        text[from..].find(end).map_or(text.len(), |offset| from + offset + end.len())
    };
    let first = text.chars().next().map_or(0, char::len_utf8);
    if text.starts_with("//") {
        return (Kind::Comment, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (Kind::Comment, block_comment_bytes(text));
    }
    if text.starts_with('"') {
        return (Kind::Literal, quoted_bytes(text, '"'));
    }
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        let raw = text.strip_prefix(prefix).map(|raw| raw.trim_start_matches('#'));
        raw.is_some_and(|raw| raw.starts_with('"')) && !is_name(before)
    });
    if let Some(prefix) = prefix {
        let hashes = &text[prefix.len()..text.find('"').unwrap_or(prefix.len())];
        return (Kind::Literal, until(&format!("\"{hashes}"), prefix.len() + hashes.len() + 1));
    }
    let mut characters = text.chars().skip(1);
    let is_character = match (characters.next(), characters.next()) {
        (Some('\\'), _) => true,
        (_, quote) => quote == Some('\''),
    };
    if text.starts_with('\'') && is_character {
        return (Kind::Literal, quoted_bytes(text, '\''));
    }
    (Kind::Code, first)
}

/// The length of the literal that begins with a quote and ends with the next unescaped one.
fn quoted_bytes(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return offset + 1,
            _ => {}
        }
    }
    text.len()
}

fn block_comment_bytes(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut offset = 0;
    while offset < text.len() {
        let rest = &text[offset..];
        if rest.starts_with("/*") {
            depth += 1;
            offset += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            offset += 2;
            if depth == 0 {
                return offset;
            }
        } else {
            offset += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_code(text: &str, expected: &str) {
        let (code, comments) = separate(text);
        assert_eq!((code.len(), comments.len()), (text.len(), text.len()));
        let short: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(short.join(" "), expected);
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        check_code("a // b\nc", "a c");
        check_code("a /* b /* c */ d */ e", "a e");
        check_code(r#"f("b // \" c", d)"#, "f( , d)");
        check_code(r###"f(r#"b " c"#, br"\", d)"###, "f( , , d)");
        check_code(r"g('\'', '{', 'ä', b'\\') + x::<'a>()", "g( , , , b ) + x::<'a>()");
        check_code("r#match + bar\"x\"", "r#match + bar");
        check_code("// ä\n\"ö\" x", "x");
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("eprintln!() println!()", "println!"), [12]);
        assert_eq!(words("unsafe_code unsafe {", "unsafe"), [12]);
        assert_eq!(words("a.unwrap().unwrap_or()", ".unwrap()"), [1]);
    }

    #[test]
    fn functions_have_bodies() {
        let text =
            "trait T { fn a(); fn b(x: [u8; 2]) -> u8 {\n if x { '}' }\n } }\ntype F = fn();";
        let source = Source::new("src/a.rs", text);
        let functions = source.functions();
        assert_eq!(functions.len(), 1);
        assert_eq!(functions[0].name, "b");
        assert_eq!(source.line_of(functions[0].whole.end), 3);
    }

    #[test]
    fn tests_are_told_from_the_rest() {
        let text = "a();\n#[cfg(test)]\nmod tests { b(); }\n#[cfg(test)] mod fake;\nc();";
        let source = Source::new("src/driver/mod.rs", text);
        let code = &source.product;
        assert!(code.contains("a();") && code.contains("c();") && !code.contains("b();"));
        assert_eq!(source.test_files(), ["src/driver/fake"]);
        assert_eq!(Source::new("src/task.rs", text).test_files(), ["src/task/fake"]);
    }
}
