//! Many cores: where they run, how they are reached, and how they end together.
//!
//! ```text
//!   Cores::run    thread of the caller: core 0        one thread each: cores 1, 2, ...
//!     start        builds its runtime, chooses the     build theirs alike; any error ends all
//!                  driver for all
//!     run          f(core) as a task                   f(core) as a task
//!                  a core whose work is done serves the others until the last is done
//!     end          one that panics, or the end of main, asks all others to end; after the grace
//!                  limit they are aborted; each closes its runtime; all results are returned
//! ```
//!
//! Nothing is shared between cores but their inboxes and what a program shares by itself.

mod handle;
mod placement;
mod sharded;
mod start;

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;

pub use handle::{CoreEnded, CoreHandle, RemoteHandle};
pub use placement::Placement;
pub use sharded::{Shard, Sharded};
use start::End;

use crate::driver::{Cpu, Environment, allowed_cpus};
use crate::runtime::Builder;
use crate::task::JoinError;

/// How many cores can run in one process.
const CORES_MAX: usize = 1024;

/// A set of cores to be run: one loop each, pinned to a CPU of its own where there are enough.
///
/// ```
/// use corio::cores::Cores;
/// let sums = Cores::available()?.count(2).run(|core| async move {
///     let next = core.handle((core.index() + 1) % core.count());
///     next.spawn(|| async { 20 }).await.unwrap() + core.index()
/// })?;
/// let sums: Vec<_> = sums.into_iter().map(Result::unwrap).collect();
/// assert_eq!(sums, [20, 21]);
/// # std::io::Result::Ok(())
/// ```
pub struct Cores {
    cpus: Vec<Cpu>,
    allowed_count: usize,
    quota: Option<f64>,
    count: Option<usize>,
    chosen: Option<Vec<usize>>,
    placement: Placement,
    pinned: bool,
    configure: Box<dyn Fn(Builder) -> Builder + Send + Sync>,
    tell: Box<dyn FnOnce(&str)>,
}

/// One of the cores that run, as its task sees it.
#[derive(Clone, Debug)]
pub struct Core {
    index: usize,
    cpu: Option<usize>,
    handles: Arc<[CoreHandle]>,
}

impl Core {
    /// The core that runs here. A runtime by itself is the one core of its group.
    ///
    /// ```
    /// use corio::cores::Core;
    ///
    /// #[corio::main(cores = 2)]
    /// async fn main() {
    ///     let core = Core::current();
    ///     assert_eq!((core.index(), core.count()), (0, 2));
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn current() -> Core {
        start::core_here().unwrap_or_else(|| {
            let handles = Arc::new([CoreHandle::current()]);
            Core { index: 0, cpu: None, handles }
        })
    }

    /// Its place among the cores, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many cores there are.
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// The CPU that it is pinned to, if it is.
    pub fn cpu(&self) -> Option<usize> {
        self.cpu
    }

    /// The core of this place.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[track_caller]
    pub fn handle(&self, index: usize) -> CoreHandle {
        assert!(index < self.count(), "there are {} cores, and no core {index}", self.count());
        self.handles[index]
    }

    /// All cores, in their order.
    pub fn handles(&self) -> &[CoreHandle] {
        &self.handles
    }
}

impl Cores {
    /// As many as this process may use: the CPUs of its affinity, and no more than the quota of its
    /// cgroup allows (v1 or v2, the smallest on the way to the root), rounded down, at least one.
    ///
    /// # Errors
    ///
    /// None now; more than 1,024 are refused when they are run.
    pub fn available() -> io::Result<Cores> {
        Ok(Cores::over(allowed_cpus(), Environment::read().cpu_quota))
    }

    fn over(cpus: Vec<Cpu>, quota: Option<f64>) -> Cores {
        Cores {
            allowed_count: cpus.len(),
            cpus,
            quota,
            count: None,
            chosen: None,
            placement: Placement::default(),
            pinned: true,
            configure: Box::new(|builder| builder),
            tell: Box::new(crate::executor::print_line),
        }
    }

    /// So many, at least 1 and at most 1,024. Where there are fewer CPUs, several share one, and
    /// none is pinned.
    pub fn count(mut self, count: usize) -> Cores {
        self.count = Some(count.clamp(1, CORES_MAX));
        self
    }

    /// One on each of these CPUs, in this order.
    pub fn on(mut self, cpus: impl IntoIterator<Item = usize>) -> Cores {
        self.chosen = Some(cpus.into_iter().collect());
        self
    }

    /// How they are laid out, unless [`on`](Self::on) says it.
    pub fn placement(mut self, placement: Placement) -> Cores {
        self.placement = placement;
        self
    }

    /// Whether each is pinned to its CPU: by default, where there is one for each.
    pub fn pinned(mut self, pinned: bool) -> Cores {
        self.pinned = pinned;
        self
    }

    /// Settings for the runtime of each core.
    pub fn runtime(
        mut self,
        configure: impl Fn(Builder) -> Builder + Send + Sync + 'static,
    ) -> Cores {
        self.configure = Box::new(configure);
        self
    }

    /// Hears the one line that says what was chosen and why. By default it goes to standard error.
    pub fn on_start(mut self, tell: impl FnOnce(&str) + 'static) -> Cores {
        self.tell = Box::new(tell);
        self
    }

    /// Runs `work` on each core, as a task, and returns what became of each, in their order.
    ///
    /// The calling thread is the first core. A core that panics has all others asked to end, and
    /// after the grace limit of their runtimes aborted. One whose work is done goes on to serve
    /// calls and its own tasks, until the work of all is done.
    ///
    /// # Errors
    ///
    /// If a core cannot start: then none runs.
    ///
    /// # Panics
    ///
    /// If a runtime runs on this thread.
    #[track_caller]
    pub fn run<W, F>(self, work: W) -> io::Result<Vec<Result<F::Output, JoinError>>>
    where
        W: Fn(Core) -> F + Clone + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let (plan, main) = (self.plan()?, work.clone());
        let outcomes = start::run(plan, End::WhenAllDo, main, work)?;
        Ok(std::iter::once(outcomes.first).chain(outcomes.rest).collect())
    }

    /// Runs `main` on the first core, which is the calling thread, while the others serve what is
    /// spawned on them. When it ends, all end, and its value is returned.
    ///
    /// # Errors
    ///
    /// If a core cannot start.
    ///
    /// # Panics
    ///
    /// If a runtime runs on this thread, and with what `main` panics with.
    #[track_caller]
    pub fn block_on<M, F>(self, main: M) -> io::Result<F::Output>
    where
        M: FnOnce(Core) -> F + 'static,
        F: Future + 'static,
        F::Output: 'static,
    {
        let others = |_| std::future::pending::<()>();
        match start::run(self.plan()?, End::WithTheFirst, main, others)?.first {
            Ok(value) => Ok(value),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    /// Decides which loops run where.
    fn plan(self) -> io::Result<Plan> {
        let line;
        let cpus: Vec<Option<usize>>;
        if let Some(chosen) = &self.chosen {
            cpus = self.check_chosen(chosen)?.into_iter().map(Some).collect();
            line = format!("{} on CPUs {}, as asked", cores(cpus.len()), list(&cpus));
        } else {
            let order = self.placement.order(self.cpus.clone())?;
            let quota = self.quota.map(|quota| (quota as usize).max(1));
            let wanted = order.len().min(quota.unwrap_or(usize::MAX));
            let count = self.count.unwrap_or(wanted);
            check_count(count)?;
            let is_pinned = self.pinned && count <= order.len();
            let places = order.iter().map(|cpu| is_pinned.then_some(cpu.id)).chain(
                // More loops than CPUs: the kernel shares them out.
                std::iter::repeat(None),
            );
            cpus = places.take(count).collect();
            let place = match is_pinned {
                true => format!("on CPUs {}", list(&cpus)),
                false => "not pinned".to_owned(),
            };
            line = format!("{} {place} ({})", cores(count), self.reason(count));
        }
        let layout = Arc::new(Layout { cpus, configure: self.configure });
        Ok(Plan { layout, line, tell: self.tell })
    }

    fn reason(&self, count: usize) -> String {
        let allowed = format!("this process may use {} CPUs", self.allowed_count);
        let quota = match self.quota {
            Some(quota) => format!("a cgroup quota of {quota:.2}"),
            None => "no cgroup quota".to_owned(),
        };
        let asked = self.count.map_or(String::new(), |_| format!("{count} asked; "));
        format!("{asked}{allowed}, {quota}; placement {:?}", self.placement).to_lowercase()
    }

    fn check_chosen(&self, chosen: &[usize]) -> io::Result<Vec<usize>> {
        check_count(chosen.len())?;
        for id in chosen {
            if !self.cpus.iter().any(|cpu| cpu.id == *id) {
                let allowed: Vec<_> = self.cpus.iter().map(|cpu| Some(cpu.id)).collect();
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("cannot run on CPU {id}: this process may use {}", list(&allowed)),
                ));
            }
        }
        Ok(chosen.to_vec())
    }
}

fn check_count(count: usize) -> io::Result<()> {
    match count {
        1..=CORES_MAX => Ok(()),
        count => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{count} cores cannot run: at least 1 and at most {CORES_MAX} can"),
        )),
    }
}

fn cores(count: usize) -> String {
    format!("{count} core{}", if count == 1 { "" } else { "s" })
}

fn list(cpus: &[Option<usize>]) -> String {
    let ids: Vec<_> = cpus.iter().flatten().map(ToString::to_string).collect();
    ids.join(", ")
}

/// What was decided.
struct Plan {
    layout: Arc<Layout>,
    line: String,
    tell: Box<dyn FnOnce(&str)>,
}

/// What each core is built from.
struct Layout {
    /// The CPU of each core, where it is pinned.
    cpus: Vec<Option<usize>>,
    configure: Box<dyn Fn(Builder) -> Builder + Send + Sync>,
}

impl fmt::Debug for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cores")
            .field("allowed", &self.allowed_count)
            .field("quota", &self.quota)
            .field("count", &self.count)
            .field("placement", &self.placement)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(count: usize) -> Vec<Cpu> {
        (0..count).map(|id| Cpu { node: 0, cache: 0, core: id, id }).collect()
    }

    #[test]
    fn affinity_and_quota_bound_the_number_of_cores() {
        let planned = |cores: Cores| cores.plan().unwrap().layout.cpus.len();
        assert_eq!(planned(Cores::over(cpus(8), None)), 8);
        assert_eq!(planned(Cores::over(cpus(8), Some(2.9))), 2, "the rest would be throttled");
        assert_eq!(planned(Cores::over(cpus(8), Some(0.5))), 1);
        assert_eq!(planned(Cores::over(cpus(2), Some(64.0))), 2);
        assert_eq!(planned(Cores::over(cpus(8), Some(1.0)).count(3)), 3, "asked for is asked for");
        let plan = Cores::over(cpus(2), None).count(5).plan().unwrap();
        assert_eq!(plan.layout.cpus, [None; 5], "more loops than CPUs are not pinned");
    }

    #[test]
    fn one_line_says_what_was_chosen_and_why() {
        let line = |cores: Cores| cores.plan().unwrap().line;
        assert_eq!(
            line(Cores::over(cpus(4), Some(2.0))),
            "2 cores on CPUs 0, 1 (this process may use 4 cpus, a cgroup quota of 2.00; placement \
             spread)"
        );
        assert_eq!(line(Cores::over(cpus(4), None).on([3])), "1 core on CPUs 3, as asked");
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_numbers() {
        let error = |cores: Cores| cores.plan().map(|_| ()).unwrap_err().to_string();
        assert!(error(Cores::over(cpus(2), None).on([7])).contains("may use 0, 1"));
        assert!(error(Cores::over(cpus(2), None).on([])).contains("at least 1"));
        assert!(error(Cores::over(cpus(2000), None)).contains("at most 1024"));
    }
}
