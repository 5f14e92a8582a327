//! Many at once, and their values in the order of the arguments; the first error comes at once.

use corio::time::{Duration, Instant};
use corio::{gather, sleep};

async fn fetch(source: u32) -> Result<String, String> {
    println!("Fetching {source}");
    sleep(Duration::from_secs(2)).await;
    Ok(format!("data of {source}"))
}

#[corio::main]
async fn main() -> Result<(), String> {
    let start = Instant::now();
    // The same type, any number of them:
    let all = gather([1, 2].map(fetch)).await?;
    assert_eq!(all, ["data of 1", "data of 2"]);
    let took = start.elapsed();
    println!("{all:?} after {:.2} s", took.as_secs_f64());
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");

    // Unlike types, as a tuple; and an error, which does not wait for the other.
    let number = async { Ok::<_, String>(7) };
    assert_eq!(gather!(number, async { Ok("seven") })?, (7, "seven"));
    let failed = gather!(fetch(3), async { Err::<(), _>("no luck".to_owned()) });
    assert_eq!(failed, Err("no luck".to_owned()));
    assert!(start.elapsed() < Duration::from_secs(4), "it did not wait for the fetch");

    // All outcomes, panics among them: asyncio's `return_exceptions=True`.
    let outcomes = corio::task::gather_settled((0..3).map(|n| async move { 6 / n })).await;
    assert!(outcomes[0].as_ref().is_err_and(|error| error.is_panic()));
    assert_eq!(outcomes[2].as_ref().ok(), Some(&3));
    Ok(())
}
