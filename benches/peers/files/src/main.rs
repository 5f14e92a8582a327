//! Files on corio and on other runtimes, beside a ring by hand and loops of system calls, in one
//! run and in turns.
//!
//! ```text
//! files FOLDER MEGABYTES COUNT ROUNDS [PART OF A ROW'S NAME [CONTENDER,CONTENDER]]
//! ```
//!
//! Each round runs all of them, beginning with another one each time, and medians of the rounds are
//! compared. A sum over the bytes shows that all have read the same. The file is read once before,
//! so the page cache has it; what is `direct` goes past that.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use work::{Done, Job, Work};

#[cfg(not(feature = "others"))]
#[path = "no_others.rs"]
mod others;
#[cfg(feature = "others")]
mod others;

#[cfg(feature = "others")]
mod on_compio;
mod on_corio;
#[cfg(feature = "others")]
mod on_glommio;
#[cfg(feature = "others")]
mod on_monoio;
mod on_tokio;
mod plain;
mod work;

struct Contender {
    name: &'static str,
    run: fn(&Job) -> Option<Done>,
    /// Whether it does a part of the work only, so that its sum is another one.
    does_less: bool,
}

const CONTENDERS: &[Contender] = &[
    Contender { name: "by hand", run: plain::run, does_less: false },
    Contender { name: "corio", run: on_corio::run, does_less: false },
    Contender { name: "tokio", run: on_tokio::run, does_less: true },
];

struct Settings {
    path: PathBuf,
    bytes: u64,
    count: usize,
    rounds: usize,
    part: String,
    contenders: Option<String>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let number = |text: Option<String>, or| text.and_then(|it| it.parse().ok()).unwrap_or(or);
    let settings = Settings {
        path: folder.join(format!("corio-files-{}", std::process::id())),
        bytes: number(arguments.next(), 256) << 20,
        count: number(arguments.next(), 50_000) as usize,
        rounds: number(arguments.next(), 5).max(1) as usize,
        part: arguments.next().unwrap_or_default(),
        contenders: arguments.next(),
    };
    make(&settings.path, settings.bytes);
    let outcome = std::panic::catch_unwind(|| measure(&settings));
    std::fs::remove_file(&settings.path).expect("the file was made here");
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn make(path: &Path, bytes: u64) {
    let file = File::create(path).expect("the folder can be written to");
    let block: Vec<u8> = (0..1 << 20).map(|at: u32| (at / 7) as u8 | 1).collect();
    for at in (0..bytes).step_by(1 << 20) {
        file.write_all_at(&block, at).expect("there is room on the disk");
    }
    file.sync_all().expect("the disk takes it");
}

/// What a contender did in all rounds.
type Figures = Vec<Done>;

fn measure(settings: &Settings) {
    let is_asked = |contender: &&Contender| {
        settings.contenders.as_ref().is_none_or(|all| all.split(',').any(|it| it == contender.name))
    };
    let contenders: Vec<_> = CONTENDERS.iter().chain(others::OTHERS).filter(is_asked).collect();
    let names: Vec<_> = contenders.iter().map(|it| it.name).collect();
    let works = Work::ALL.into_iter().filter(|work| work.name().contains(&settings.part));
    let rows: Vec<_> = works.map(|work| (work, row(settings, work, &contenders))).collect();
    let head = |what: &str| {
        println!("\n| {what} | {} | to by hand |", names.join(" | "));
        println!("|---|{}", "---|".repeat(names.len() + 1));
    };
    head("a second");
    for (work, figures) in &rows {
        print_row(*work, figures, &names, |done| done.per_second);
    }
    head("CPU µs");
    for (work, figures) in &rows {
        print_row(*work, figures, &names, |done| done.cpu_micros);
    }
}

/// Measures what is in one row, in turns.
fn row(settings: &Settings, work: Work, contenders: &[&Contender]) -> Vec<Figures> {
    let count = match work {
        // Past the cache each read waits for the disk.
        Work::Random { depth, is_direct: true } => (settings.count / 10).max(depth),
        Work::Opens => settings.count / 5,
        _ => settings.count,
    };
    let job = Job { path: settings.path.clone(), bytes: settings.bytes, count, work };
    let mut figures: Vec<Figures> = contenders.iter().map(|_| Vec::new()).collect();
    let mut sum = None;
    for round in 0..settings.rounds {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            let Some(done) = (contenders[at].run)(&job) else { continue };
            assert!(done.sum > 0, "{}: nothing was read", work.name());
            if !contenders[at].does_less {
                let due = *sum.get_or_insert(done.sum);
                assert_eq!(done.sum, due, "{}: {}", work.name(), contenders[at].name);
            }
            figures[at].push(done);
        }
    }
    figures
}

fn median(figures: &Figures, what: fn(&Done) -> f64) -> Option<f64> {
    let mut figures: Vec<_> = figures.iter().map(what).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// Figures of all contenders, and how corio's is to that of the yardstick: the median of the
/// rounds' ratios.
fn print_row(work: Work, figures: &[Figures], names: &[&str], what: fn(&Done) -> f64) {
    let shown: Vec<_> =
        figures.iter().map(|figures| median(figures, what).map_or("-".to_owned(), text)).collect();
    let of = |name| names.iter().position(|it| *it == name).map(|at| &figures[at]);
    let ratio = match (of("corio"), of("by hand")) {
        (Some(ours), Some(plain)) => {
            let mut ratios: Vec<_> =
                ours.iter().zip(plain).map(|(ours, plain)| what(ours) / what(plain)).collect();
            ratios.sort_by(f64::total_cmp);
            let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
            format!("{:.2} ({least:.2} to {most:.2})", ratios[ratios.len() / 2])
        }
        _ => "-".to_owned(),
    };
    let unit = if work.is_in_bytes() { ", MB" } else { "" };
    println!("| {}{unit} | {} | {ratio} |", work.name(), shown.join(" | "));
}

fn text(figure: f64) -> String {
    let places = if figure < 100.0 { 2 } else { 0 };
    format!("{figure:.places$}")
}
