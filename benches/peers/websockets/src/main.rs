//! WebSocket echo on corio and on tokio-tungstenite (tokio's current-thread runtime), in one run.
//!
//! Each server is a process on the first CPU, the load is on the second one: connections that send
//! a frame and wait for its echo, made of bytes without any WebSocket library. The servers take
//! turns, round by round. What is compared is the CPU time of the server's process for a message,
//! and the median of the rounds. Both servers have tungstenite's core; tokio's is measured as it
//! comes, with a buffer of 128 KiB for reading, and with one of 8 KiB as corio's.
//!
//! ```text
//! websockets [rounds] [seconds of a round]
//! ```

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

const CONNECTIONS: usize = 64;
const SIZES: [usize; 2] = [64, 4096];
const CONTENDERS: [&str; 3] = ["corio", "tokio", "tokio-8k"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [kind, name] = &arguments[..]
        && kind == "serve"
    {
        return if name == "corio" { Ok(corio::run(serve_corio())?) } else { serve_tokio(name) };
    }
    let number = |place: usize, default| {
        arguments.get(place).map_or(Ok(default), |argument: &String| argument.parse::<f64>())
    };
    let (rounds, seconds) = (number(0, 7.0)? as usize, number(1, 1.0)?);
    println!("bytes   server      us a message (least..most)   ratio to tokio   messages a second");
    for size in SIZES {
        let mut samples = vec![Vec::new(); CONTENDERS.len()];
        for _ in 0..rounds {
            for (name, samples) in CONTENDERS.iter().zip(&mut samples) {
                samples.push(measure(name, size, Duration::from_secs_f64(seconds))?);
            }
        }
        report(size, samples);
    }
    Ok(())
}

fn report(size: usize, samples: Vec<Vec<(f64, f64)>>) {
    let sorted: Vec<Vec<(f64, f64)>> = samples
        .into_iter()
        .map(|mut samples| {
            samples.sort_by(|one, other| one.0.total_cmp(&other.0));
            samples
        })
        .collect();
    let median = |samples: &[(f64, f64)]| samples[samples.len() / 2];
    let tokio = median(&sorted[1]).0;
    for (name, samples) in CONTENDERS.iter().zip(&sorted) {
        let (cpu, rate) = median(samples);
        let (least, most) = (samples[0].0, samples[samples.len() - 1].0);
        let ratio = cpu / tokio;
        println!(
            "{size:>5}   {name:<9} {cpu:>8.3} ({least:.3}..{most:.3})  {ratio:>14.3}   {rate:>10.0}"
        );
    }
}

async fn serve_corio() -> std::io::Result<()> {
    let server = corio::net::serve("127.0.0.1:0", async |stream: corio::net::TcpStream| {
        stream.set_nodelay(true)?;
        let mut socket = corio::ws::accept(stream).await?;
        // The load goes away without a close, which is no news here.
        while let Ok(Some(message)) = socket.recv().await {
            socket.send(message).await?;
        }
        std::io::Result::Ok(())
    })
    .await?;
    println!("{}", server.local_addrs()[0]);
    server.wait_closed().await;
    Ok(())
}

fn serve_tokio(name: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let config = match name {
        "tokio-8k" => WebSocketConfig::default().read_buffer_size(8 << 10),
        _ => WebSocketConfig::default(),
    };
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let accepting = tokio_tungstenite::accept_async_with_config(stream, Some(config));
                let mut socket = accepting.await?;
                while let Some(message) = socket.next().await {
                    let message = message?;
                    if message.is_close() {
                        break;
                    }
                    socket.send(message).await?;
                }
                std::result::Result::<(), tokio_tungstenite::tungstenite::Error>::Ok(())
            });
        }
    })
}

/// A server in a process of its own.
struct Server(Child);

impl Server {
    fn start(name: &str) -> Result<(Server, String)> {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(std::env::current_exe()?).args(["serve", name]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().ok_or("piped")?).read_line(&mut address)?;
        Ok((Server(child), address.trim().to_owned()))
    }

    /// What its threads have run so far.
    fn cpu(&self) -> Result<Duration> {
        let mut sum = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            sum += text.split(' ').next().ok_or("no time")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(sum))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Microseconds of CPU a message, and messages a second.
fn measure(name: &str, size: usize, duration: Duration) -> Result<(f64, f64)> {
    let (server, address) = Server::start(name)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(Client::connect(&address, size).await?);
        }
        let warm = Instant::now() + duration / 5;
        let (clients, _) = run(clients, warm).await?;
        let (cpu, start) = (server.cpu()?, Instant::now());
        let (_, count) = run(clients, start + duration).await?;
        let (cpu, elapsed) = (server.cpu()? - cpu, start.elapsed());
        Ok((cpu.as_secs_f64() * 1e6 / count as f64, count as f64 / elapsed.as_secs_f64()))
    })
}

/// All of them at once, until then; returns how many messages were echoed.
async fn run(clients: Vec<Client>, until: Instant) -> Result<(Vec<Client>, usize)> {
    let echoing = clients.into_iter().map(|client| tokio::spawn(client.echo(until)));
    let (mut back, mut count) = (Vec::new(), 0);
    for echoing in echoing.collect::<Vec<_>>() {
        let (client, echoed) = echoing.await??;
        back.push(client);
        count += echoed;
    }
    Ok((back, count))
}

/// A connection, with the bytes of a frame and those of its echo.
struct Client {
    stream: TcpStream,
    frame: Vec<u8>,
    echo: Vec<u8>,
}

impl Client {
    async fn connect(address: &str, size: usize) -> Result<Client> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = "GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let payload = vec![7; size];
        let (mut frame, mut echo) = (vec![0x82], vec![0x82]);
        if size < 126 {
            frame.push(0x80 | size as u8);
            echo.push(size as u8);
        } else {
            let length = (size as u16).to_be_bytes();
            frame.extend([0x80 | 126, length[0], length[1]]);
            echo.extend([126, length[0], length[1]]);
        }
        let mask = [1, 2, 3, 4];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        echo.extend(payload);
        Ok(Client { stream, frame, echo })
    }

    async fn echo(mut self, until: Instant) -> std::io::Result<(Client, usize)> {
        let mut heard = vec![0; self.echo.len()];
        let mut count = 0;
        while Instant::now() < until {
            self.stream.write_all(&self.frame).await?;
            self.stream.read_exact(&mut heard).await?;
            assert!(heard == self.echo, "another message came back");
            count += 1;
        }
        Ok((self, count))
    }
}
