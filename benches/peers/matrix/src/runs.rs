//! One run of `corio bench`, with several servers in turns, and what came of it.
//!
//! A server that fails (it cannot start, it loses a byte, it does not end) ends the whole run of
//! `corio bench`, since figures beside an error are no figures. Here it is written down with its
//! error, and the run is repeated without it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::servers::Server;

/// A server and the command that starts it.
#[derive(Clone)]
pub struct Contender {
    pub server: &'static Server,
    pub command: String,
}

/// What was measured of one server.
pub struct Row {
    pub server: &'static str,
    /// The object of `corio bench --json`.
    pub figures: Value,
}

/// A server that failed, and how.
pub struct Failure {
    pub server: &'static str,
    pub message: String,
}

#[derive(Default)]
pub struct Measured {
    pub rows: Vec<Row>,
    pub failures: Vec<Failure>,
}

/// The program `corio`.
pub struct Bench {
    pub corio: PathBuf,
}

impl Bench {
    /// Runs `corio bench WORDS`, with corio's own server and these.
    pub fn run(&self, words: &[String], contenders: &[Contender]) -> Measured {
        let mut left = contenders.to_vec();
        let mut measured = Measured::default();
        loop {
            match self.try_run(words, &left) {
                Ok(rows) => {
                    measured.rows = rows;
                    return measured;
                }
                Err((at, message)) => {
                    let server = at.map_or("corio", |at| left[at].server.name);
                    measured.failures.push(Failure { server, message });
                    match at {
                        Some(at) => drop(left.remove(at)),
                        None => return measured,
                    }
                }
            }
        }
    }

    /// The rows; or which contender failed (`None`: corio, or nobody in particular), and how.
    fn try_run(
        &self,
        words: &[String],
        contenders: &[Contender],
    ) -> Result<Vec<Row>, (Option<usize>, String)> {
        let mut command = Command::new(&self.corio);
        command.arg("bench").args(words).arg("--json");
        for contender in contenders {
            command.args(["--against", &contender.command]);
        }
        let output = command.output().map_err(|error| (None, error.to_string()))?;
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let objects: Vec<Value> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if output.status.success() && objects.len() == contenders.len() + 1 {
            let names = std::iter::once("corio").chain(contenders.iter().map(|it| it.server.name));
            let rows = names.zip(objects);
            return Ok(rows.map(|(server, figures)| Row { server, figures }).collect());
        }
        let error = errors.lines().find(|line| line.starts_with("error"));
        let message = error.unwrap_or("it ended without a message").to_owned();
        let has_failed = |it: &Contender| {
            let wrong =
                |object: &Value| object["server"] == it.command.as_str() && object["errors"] != 0;
            message.contains(&it.command) || objects.iter().any(wrong)
        };
        let at = contenders.iter().position(has_failed);
        Err((at, without_commands(&message, contenders)))
    }
}

/// A report names servers, not where they lie on this machine.
fn without_commands(message: &str, contenders: &[Contender]) -> String {
    let mut text = message.trim_start_matches("error: ").to_owned();
    for contender in contenders {
        text = text.replace(&contender.command, contender.server.name);
    }
    text
}
