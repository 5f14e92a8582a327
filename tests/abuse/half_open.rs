//! Ten thousand clients that begin a request, or not even that, and stay.

use std::sync::Mutex;
use std::time::Duration;

use corio::http::{ServeOptions, service_fn};
use corio::net;
use corio::process::{Command, Stdio};

use crate::support::bounded;
use crate::{answer, counted, serves};

const CLIENTS: usize = 10_000;

/// How long so many may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(200);

async fn patient<T>(future: impl Future<Output = T>) -> T {
    corio::timeout(PATIENCE, future).await.expect("it ends")
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        corio::sleep(Duration::from_millis(5)).await;
    }
}

/// Descriptors are few enough for one such test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[corio::test]
fn ten_thousand_half_open_connections_keep_nobody_out_and_cost_what_they_sent() {
    let _one = ONE_AT_A_TIME.lock();
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    assert!(limit as usize > CLIENTS + 500, "{limit} descriptors are too few for this test");
    let runtime = corio::Runtime::new().unwrap();
    runtime.block_on(patient(async {
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
        let line = output.read_line(100).await.unwrap();
        assert_eq!(line, format!("{CLIENTS} are open\n").as_bytes());
        until(|| server.connection_count() == CLIENTS).await;
        for _ in 0..10 {
            assert!(bounded(serves(address)).await);
        }
        let each = (counted::live() - before) / CLIENTS as isize;
        eprintln!("{each} bytes for each connection");
        assert!(each < 20 << 10, "{each} bytes for each connection");
        drop(clients.stdin.take());
        assert!(clients.wait().await.unwrap().success());
        until(|| server.connection_count() == 0).await;
        server.shutdown(Duration::ZERO).await;
    }));
}
