//! Ten thousand clients that begin a request, or not even that, and stay.

use std::sync::Mutex;
use std::time::Duration;

use corio::http::{ServeOptions, service_fn};
use corio::net;
use corio::process::{Command, Stdio};

use crate::support::{bounded, run_with, until};
use crate::{answer, counted, serves};

const CLIENTS: usize = 10_000;

/// Descriptors are few enough for one such test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[corio::test]
fn ten_thousand_half_open_connections_keep_nobody_out_and_cost_what_they_sent() {
    let _one = ONE_AT_A_TIME.lock();
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    assert!(limit as usize > CLIENTS + 500, "{limit} descriptors are too few for this test");
    run_with(corio::Runtime::builder(), async {
        let timeouts = Duration::from_secs(600);
        let listen = net::ListenOptions::new().backlog(4096);
        let options = ServeOptions::new()
            .net(net::ServeOptions::new().listen(listen))
            .head_timeout(timeouts)
            .idle_timeout(timeouts);
        let server = options.serve("0.0.0.0:0", service_fn(answer)).await.unwrap();
        let port = server.local_addrs()[0].port();
        let address = ([127, 0, 0, 1], port).into();
        assert!(bounded(serves(address)).await);
        until(|| server.connection_count() == 0).await;
        let before = counted::live();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/half_open.py");
        let mut clients = Command::new("python3")
            .args([script, &port.to_string(), &CLIENTS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = clients.stdout.take().unwrap();
        let line = bounded(output.read_line(100)).await.unwrap();
        assert_eq!(line, format!("{CLIENTS} are open\n").as_bytes());
        until(|| server.connection_count() == CLIENTS).await;
        for _ in 0..10 {
            assert!(bounded(serves(address)).await);
        }
        let each = (counted::live() - before) / CLIENTS as isize;
        eprintln!("{each} bytes for each connection");
        assert!(each < 16 << 10, "{each} bytes for each connection");
        drop(clients.stdin.take());
        assert!(bounded(clients.wait()).await.unwrap().success());
        until(|| server.connection_count() == 0).await;
        bounded(server.shutdown(Duration::ZERO)).await;
    });
}
