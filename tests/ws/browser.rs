//! A browser that is not ours: Debian's Chromium, without a screen, driven by its own
//! `chromedriver`. It loads the page of the example `chat_page`, and talks to a client of ours over
//! a WebSocket.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use corio::net::TcpStream;
use corio::ws::{self, Message};
use serde_json::{Value, json};

#[allow(dead_code, reason = "the test has a main of its own")]
#[path = "../../examples/chat_page.rs"]
mod chat_page;

/// A browser takes seconds to start on a busy machine of two CPUs.
const PATIENCE: Duration = Duration::from_secs(60);

/// `chromedriver`, and the browser that it has started: both end with it.
struct Driver {
    child: Child,
    port: u16,
    session: String,
    _lines: Option<Box<dyn Iterator<Item = String>>>,
}

impl Driver {
    /// Starts both, with everything that they keep in one folder. The port that the driver has got
    /// may be somebody else's in IPv6: then it ends, and is started again.
    async fn start(folder: &str) -> Driver {
        let mut attempts = 0;
        let mut driver = loop {
            if let Some(driver) = Driver::listening(folder).await {
                break driver;
            }
            attempts += 1;
            assert!(attempts < 20, "`chromedriver` does not start");
        };
        // Over a pipe the browser ends with its driver, however that ends.
        let arguments = json!([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            format!("--user-data-dir={folder}/profile")
        ]);
        let wanted = json!({"alwaysMatch": {
            "timeouts": {"script": PATIENCE.as_millis() as u64},
            "goog:chromeOptions": {"args": arguments},
        }});
        let session = driver.call("POST", "", json!({"capabilities": wanted})).await;
        driver.session = format!("/{}", session["sessionId"].as_str().expect("a name"));
        driver
    }

    /// The driver alone; `None` if it ends without listening.
    async fn listening(folder: &str) -> Option<Driver> {
        let mut command = Command::new("chromedriver");
        let command = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.env("TMPDIR", folder).env("HOME", folder).spawn();
        let child = child.expect("this test needs `chromedriver`: ci/services installs it");
        let mut driver = Driver { child, port: 0, session: String::new(), _lines: None };
        let stdout = driver.child.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let port = |line: String| {
            line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
        };
        let port = corio::spawn_blocking(move || (lines.find_map(port), lines)).await.unwrap();
        // What it prints later goes nowhere, but may be printed.
        driver.port = port.0?;
        driver._lines = Some(Box::new(port.1));
        Some(driver)
    }

    /// A command of the WebDriver protocol, on this session.
    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let (session, length) = (&self.session, body.len());
        let request = format!(
            "{method} /session{session}{path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write(request.as_bytes()).await.unwrap();
        // It keeps the connection, so its length says where the answer ends.
        let status = stream.read_line(1000).await.unwrap();
        let mut length = 0;
        loop {
            let line = stream.read_line(1000).await.unwrap();
            let line = String::from_utf8(line.to_vec()).unwrap().to_lowercase();
            match line.trim_end().split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(status.starts_with(b"HTTP/1.1 200"), "{method} {path}: {body}");
        let mut answer: Value = serde_json::from_str(&body).expect("an answer in JSON");
        answer["value"].take()
    }

    /// What a script in the page returns.
    async fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", json!({"script": script, "args": []})).await
    }

    /// The name under which the driver knows an element.
    async fn element(&self, selector: &str) -> String {
        let wanted = json!({"using": "css selector", "value": selector});
        let found = self.call("POST", "/element", wanted).await;
        let mut names = found.as_object().expect("an element").values();
        names.next().and_then(Value::as_str).expect("its name").to_owned()
    }

    /// Waits in the page until an expression is true.
    async fn wait_for(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0]; const look = () => {{ \
             if ({expression}) done(true); else setTimeout(look, 50); }}; look();"
        );
        let seen = self.call("POST", "/execute/async", json!({"script": script, "args": []}));
        assert_eq!(seen.await, Value::Bool(true));
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One browser at a time is enough for a small machine, and each has a folder of its own: in that
/// of another, it would hand its page over to that, and end.
static COUNT: Mutex<usize> = Mutex::new(0);

#[corio::test]
fn a_browser_loads_the_chat_page_and_talks_both_ways() {
    let mut count = COUNT.lock().unwrap_or_else(PoisonError::into_inner);
    *count += 1;
    let folder = std::env::temp_dir().join(format!("corio-browser-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let chatting = chat(folder.to_str().expect("text"));
    let outcome = corio::run(corio::timeout(PATIENCE, chatting));
    let _ = std::fs::remove_dir_all(&folder);
    outcome.expect("a browser that starts and talks within a minute");
}

async fn chat(folder: &str) {
    let server = chat_page::serve("127.0.0.1:0").await.unwrap();
    let address = server.local_addrs()[0];
    let mut other = ws::connect(&format!("ws://{address}/socket")).await.unwrap();
    let driver = Driver::start(folder).await;

    driver.call("POST", "/url", json!({"url": format!("http://{address}/")})).await;
    driver.wait_for("document.getElementById('state').textContent == 'connected'").await;
    // Typed and clicked, as a person does.
    let input = driver.element("#text").await;
    let said = "hello from the browser: \u{e4}\u{20ac}";
    driver.call("POST", &format!("/element/{input}/value"), json!({"text": said})).await;
    let button = driver.element("button").await;
    driver.call("POST", &format!("/element/{button}/click"), json!({})).await;
    assert_eq!(other.recv().await.unwrap(), Some(Message::from(said)));

    other.send("hello from Rust: \u{e4}\u{20ac}").await.unwrap();
    driver.wait_for("document.getElementById('lines').children.length == 2").await;
    let lines =
        driver.run("return [...document.querySelectorAll('li')].map(e => e.textContent)").await;
    assert_eq!(lines, json!([said, "hello from Rust: \u{e4}\u{20ac}"]));

    // A message of a megabyte, and bytes, through the browser's own frames.
    driver.run("socket.send('x'.repeat(1000000))").await;
    assert_eq!(other.recv().await.unwrap(), Some(Message::from("hello from Rust: \u{e4}\u{20ac}")));
    assert_eq!(other.recv().await.unwrap().map(|message| message.len()), Some(1_000_000));
    driver.run("socket.send(new Uint8Array([0, 255, 7]))").await;
    assert_eq!(other.recv().await.unwrap(), Some(Message::from(vec![0, 255, 7])));
    driver.call("DELETE", "", json!({})).await;
}
