//! A program between two pipes: lines go in while others come out, and a limit ends what hangs.

use std::io;
use std::time::Duration;

use corio::process::{Command, Stdio};

#[corio::main]
async fn main() -> io::Result<()> {
    let mut command = Command::new("sort");
    command.arg("-n").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut sort = command.spawn()?;
    let input = sort.stdin.take().expect("its input is a pipe");
    let mut output = sort.stdout.take().expect("its output is a pipe");
    let feed = corio::spawn(async move {
        for number in (0..10_000).rev() {
            input.write(format!("{number}\n").as_bytes()).await?;
        }
        input.close().await
    });
    for expected in 0..10_000 {
        let line = output.read_line(20).await?;
        assert_eq!(line, format!("{expected}\n").as_bytes());
    }
    feed.await.expect("it does not panic")?;
    assert!(sort.wait().await?.success());

    // What does not end in time is asked to, and would be killed with its handle.
    let mut hanging = Command::new("sleep").arg("1000").kill_on_drop(true).spawn()?;
    let limit = Duration::from_millis(20);
    if corio::timeout(limit, hanging.wait()).await.is_err() {
        hanging.terminate()?;
    }
    let status = hanging.wait().await?;
    println!("sorted 10,000 lines; the other one ended with: {status}");
    assert!(!status.success());
    Ok(())
}
