//! The macros of [corio](https://docs.rs/corio): `#[corio::main]`, `#[corio::test]` and `select!`.
//!
//! Use them through `corio`, which re-exports all three; this crate exists only because Rust
//! wants procedural macros in a crate of their own. An expansion is kept as small as it can be:
//! everything that is not syntax lives in `corio::__private`, where it can be read and tested as
//! ordinary code. No expansion contains `unsafe`, so all of them pass `#![forbid(unsafe_code)]`.
//!
//! * `entry` turns an `async fn` into a `main` or a test.
//! * `select` reads the branches of a `select!` and writes the code that polls them.

use proc_macro::TokenStream;

mod entry;
mod select;

/// Runs an `async fn main` on a corio runtime: one core, one loop, on the calling thread.
///
/// ```no_run
/// # #[allow(clippy::needless_doctest_main)]
/// #[corio::main]
/// async fn main() -> std::io::Result<()> {
///     let listener = corio::net::TcpListener::bind("127.0.0.1:7000").await?;
///     let stream = listener.accept().await?;
///     println!("the first client is {}", stream.peer_addr()?);
///     Ok(())
/// }
/// ```
///
/// is the same as a plain `main` that builds a `corio::Runtime`, hands the body to `block_on`
/// and closes the runtime in order when the body ends. What the body returns is what `main`
/// returns, so `Result` and `ExitCode` mean what they always mean.
///
/// A runtime that cannot start (no io_uring, too little locked memory, no descriptors) is not
/// a panic: the program prints one line, `error: ...` with the cause and the cure, on standard
/// error and exits with status 1.
///
/// # Arguments
///
/// * `cores = "all"` or `cores = 4`: runs the body once, on the first of so many cores, see
///   `corio::cores::Cores`; the others serve what is spawned on them, and end with it.
/// * `busy_poll = "adaptive"` or `busy_poll = "off"`: whether the loop looks for events in user
///   space for a moment before it sleeps, see `Builder::busy_poll`. Without it, the builder's own
///   default holds.
/// * `crate = path`: where corio is, for programs that have it under another name. The default
///   is `::corio`.
///
/// ```
/// #[corio::main(busy_poll = "off")]
/// async fn main() {
///     assert_eq!(async { 6 * 7 }.await, 42);
/// }
/// ```
///
/// ```
/// use corio as ring;
///
/// #[ring::main(crate = ring)]
/// async fn main() {
///     ring::yield_now().await;
/// }
/// ```
///
/// Everything else is set with `corio::Runtime::builder()` in a `main` of your own.
///
/// # Misuse
///
/// The function must be a plain `async fn` without arguments. Anything else is a compile error
/// that says what to write:
///
/// ```compile_fail
/// #[corio::main]
/// fn main() {} // `#[corio::main]` needs an `async fn`: write `async fn main()`
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    entry::main(arguments.into(), item.into()).into()
}

/// Makes a function two ordinary tests, one for each driver: `name_uring` and `name_epoll`. The
/// body of an `async fn` runs on a corio runtime of its own; any other function builds its runtimes
/// itself, and those that it builds on the test's thread get the driver.
///
/// ```
/// #[corio::test]
/// async fn a_task_gives_its_value_to_whoever_awaits_it() {
///     let task = corio::spawn(async { 6 * 7 });
///     assert_eq!(task.await.unwrap(), 42);
/// }
/// # fn main() {}
/// ```
///
/// Each test gets a fresh runtime on its own test thread, which is closed in order when the body
/// ends. The test may return whatever a `#[test]` may return, and all other attributes stay:
///
/// ```
/// #[corio::test]
/// #[should_panic(expected = "no such luck")]
/// async fn a_panic_fails_the_test() {
///     panic!("no such luck");
/// }
///
/// #[corio::test]
/// async fn an_error_fails_the_test() -> std::io::Result<()> {
///     corio::net::TcpListener::bind("127.0.0.1:0").await?;
///     Ok(())
/// }
/// # fn main() {}
/// ```
///
/// # Arguments
///
/// * `driver = "uring"` or `"epoll"` with `reason = "..."`: a test for one driver only, which says
///   why.
/// * `crate = path`: where corio is, for crates that have it under another name. The default
///   is `::corio`.
///
/// Where io_uring is not to be had, `cargo test epoll` runs the tests that can run. A driver that
/// the environment forces with `CORIO_DRIVER` fails the tests for the other one, and says so.
///
/// # Misuse
///
/// The function must be plain and without arguments, and must not carry `#[test]` itself. Anything
/// else is a compile error that says what to write.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    entry::test(arguments.into(), item.into()).into()
}

/// Waits for several futures at once and runs the handler of the first that is ready.
///
/// The other futures are dropped before the handler runs.
///
/// ```
/// use corio::time::{Duration, sleep};
///
/// # corio::run(async {
/// let winner = corio::select! {
///     _ = sleep(Duration::from_secs(3600)) => "the hour",
///     _ = sleep(Duration::from_millis(1)) => "the millisecond",
/// };
/// assert_eq!(winner, "the millisecond");
/// # });
/// ```
///
/// # Syntax
///
/// ```text
/// select! {
///     biased;                                    // optional, first
///     pattern = future => handler,
///     pattern = future, if condition => handler,
///     else => handler,                           // optional, last
/// }
/// ```
///
/// A comma after a handler that is a block may be left out. There may be 1 to 64 branches. As in
/// a `match`, all handlers have one type, which is the type of the whole expression.
///
/// Where corio has another name, write `crate = path;` before everything else; the default is
/// `::corio`.
///
/// # What happens
///
/// 1. All conditions are evaluated, in order. A branch whose condition is false is *disabled*.
/// 2. All `future` expressions are evaluated, in order, **also those of disabled branches**: a
///    condition decides whether a future is polled, not whether it is made. A future that must
///    not even be made is written `async { ... }`, which does nothing until it is polled.
/// 3. The enabled futures are polled, each time beginning at another branch, drawn from the seed
///    of the core, so that no branch starves and a run can be repeated. With `biased;` they are
///    polled from the top down, always.
/// 4. The first future that is ready is compared with its pattern. If the pattern matches, all
///    futures are dropped and the handler runs. If it does not, the branch is disabled and the
///    others go on.
/// 5. When every branch is disabled, the `else` handler runs. Without an `else`, `select!`
///    panics.
///
/// ```
/// # corio::run(async {
/// async fn next(queue: &mut Vec<u32>) -> Option<u32> {
///     queue.pop()
/// }
///
/// let mut queue = vec![1, 2, 3];
/// let mut sum = 0;
/// loop {
///     corio::select! {
///         Some(number) = next(&mut queue) => sum += number,
///         else => break,
///     }
/// }
/// assert_eq!(sum, 6);
/// # });
/// ```
///
/// # Borrowing
///
/// The futures run inside the function that contains the `select!`, so they may borrow its
/// locals; no two of them may borrow the same one mutably. Handlers run after all futures are
/// dropped, so each handler may use everything again. Conditions, future expressions and
/// handlers belong to the surrounding function: `?`, `break`, `continue`, `return` and `.await`
/// mean there what they mean outside.
///
/// A future that must survive the `select!` is made and pinned outside, and lent:
///
/// ```
/// use corio::time::{Duration, interval, sleep};
///
/// # corio::run(async {
/// let mut deadline = std::pin::pin!(sleep(Duration::from_millis(20)));
/// let mut ticker = interval(Duration::from_millis(2));
/// let mut ticks = 0;
/// loop {
///     corio::select! {
///         _ = deadline.as_mut() => break,
///         _ = ticker.tick() => ticks += 1,
///     }
/// }
/// assert!(ticks > 0);
/// # });
/// ```
///
/// # Cancellation
///
/// The futures that lose are dropped where they stand, so each loses what its own
/// `# Cancellation` section says. Of corio's own, those graded **Strict** lose nothing: `accept`,
/// `read`, `read_exact`, `write` and their like can stand in a `select!` in a loop. A future that
/// was never polled has not begun.
///
/// # Panics
///
/// When every branch is disabled and there is no `else`. When the pattern of a branch names a
/// constant in lower case, which cannot be told from a variable.
#[proc_macro]
pub fn select(input: TokenStream) -> TokenStream {
    select::select(input.into()).into()
}
