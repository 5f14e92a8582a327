//! TLS on corio and on tokio-rustls, in one run and in turns: the same rustls, the same cipher, the
//! same work, the same client.
//!
//! Each is the server's side, on a thread of its own; the client is rustls on blocking sockets, on
//! another. Three works: the server receives many bytes, it sends many, it echoes messages of 64
//! bytes, over one connection and over many. What is told is the throughput, and the CPU time that
//! the server's thread took for a MiB or an echo. Medians of the rounds are compared.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

const PIECE: usize = 64 << 10;
const MESSAGE: usize = 64;

type Client = StreamOwned<ClientConnection, TcpStream>;

/// What a server does with each connection.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    Receive,
    Send(usize),
    Echo,
}

/// What one run took: seconds for all, and of CPU on the server's thread.
struct Took {
    seconds: f64,
    server_cpu: f64,
}

struct Sides {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |or: usize| arguments.next().and_then(|it| it.parse().ok()).unwrap_or(or);
    let (megabytes, echoes, rounds) = (number(256), number(20_000), number(7));
    let sides = sides();
    let mut table = format!(
        "{:<22} {:>12} {:>12} {:>7} {:>14} {:>14} {:>7}\n",
        "work", "corio", "tokio-rustls", "ratio", "corio CPU", "tokio CPU", "ratio"
    );
    for (name, work) in [("receives", Work::Receive), ("sends", Work::Send(megabytes << 20))] {
        let rows = measure(rounds, || {
            [corio_server, tokio_server].map(|server| bulk(&sides, server, work, megabytes << 20))
        });
        // MiB in a second, and microseconds of CPU for each.
        let size = megabytes as f64;
        row(&mut table, &format!("{name}, MiB/s, µs/MiB"), &rows, |took| {
            (size / took.seconds, took.server_cpu * 1e6 / size)
        });
    }
    for connections in [1, 32] {
        let rows = measure(rounds, || {
            [corio_server, tokio_server].map(|server| echo(&sides, server, connections, echoes))
        });
        let count = echoes as f64;
        row(&mut table, &format!("echoes × {connections}, 1/s, µs"), &rows, |took| {
            (count / took.seconds, took.server_cpu * 1e6 / count)
        });
    }
    print!("{table}");
}

/// Runs both in turns; what each took in each round.
fn measure(rounds: usize, mut round: impl FnMut() -> [Took; 2]) -> [Vec<Took>; 2] {
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (all, took) in all.iter_mut().zip(round()) {
            all.push(took);
        }
    }
    all
}

fn row(
    table: &mut String,
    name: &str,
    all: &[Vec<Took>; 2],
    figures: impl Fn(&Took) -> (f64, f64),
) {
    let medians = |select: &dyn Fn((f64, f64)) -> f64| {
        all.each_ref().map(|all| median(all.iter().map(|took| select(figures(took))).collect()))
    };
    let [corio, tokio] = medians(&|(rate, _)| rate);
    let [corio_cpu, tokio_cpu] = medians(&|(_, cpu)| cpu);
    writeln!(
        table,
        "{name:<22} {corio:>12.0} {tokio:>12.0} {:>7.2} {corio_cpu:>14.2} {tokio_cpu:>14.2} \
         {:>7.2}",
        corio / tokio,
        corio_cpu / tokio_cpu
    )
    .expect("a String takes everything");
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// One cipher for all, and a certificate that the client trusts.
fn sides() -> Sides {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it is made");
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes());
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..aws_lc_rs::default_provider()
    });
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("it is a root");
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the cipher is of this version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the cipher is of this version")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.expect("it is a key"))
        .expect("they belong together");
    Sides { client: Arc::new(client), server: Arc::new(server) }
}

/// Starts a server on a thread: it tells where it listens, serves so many connections, and gives
/// the CPU time that its thread took since all were there.
type Server = fn(Arc<ServerConfig>, Work, usize, Sender<SocketAddr>) -> f64;

fn connect(sides: &Sides, address: SocketAddr) -> Client {
    let socket = TcpStream::connect(address).expect("the server listens");
    socket.set_nodelay(true).expect("it is a socket");
    let name = ServerName::try_from("localhost").expect("it is a name");
    let session = ClientConnection::new(Arc::clone(&sides.client), name).expect("it is valid");
    let mut client = StreamOwned::new(session, socket);
    client.conn.complete_io(&mut client.sock).expect("the server shakes hands");
    client
}

fn bulk(sides: &Sides, server: Server, work: Work, bytes: usize) -> Took {
    let (tell, told) = channel();
    let config = Arc::clone(&sides.server);
    let serving = std::thread::spawn(move || server(config, work, 1, tell));
    let mut client = connect(sides, told.recv().expect("the server listens"));
    let mut piece = vec![7; PIECE];
    let start = Instant::now();
    match work {
        Work::Send(_) => {
            let mut rest = bytes;
            while rest > 0 {
                rest -= client.read(&mut piece).expect("the server sends");
            }
        }
        _ => {
            for _ in 0..bytes / PIECE {
                client.write_all(&piece).expect("the server receives");
            }
            client.conn.send_close_notify();
            client.flush().expect("the server receives");
            client.sock.shutdown(std::net::Shutdown::Write).expect("it is open");
        }
    }
    let server_cpu = serving.join().expect("the server ends");
    Took { seconds: start.elapsed().as_secs_f64(), server_cpu }
}

fn echo(sides: &Sides, server: Server, connections: usize, echoes: usize) -> Took {
    let (tell, told) = channel();
    let config = Arc::clone(&sides.server);
    let serving = std::thread::spawn(move || server(config, Work::Echo, connections, tell));
    let address = told.recv().expect("the server listens");
    let mut clients: Vec<Client> = (0..connections).map(|_| connect(sides, address)).collect();
    let (message, mut answer) = ([7; MESSAGE], [0; MESSAGE]);
    let start = Instant::now();
    for _ in 0..echoes.div_ceil(connections) {
        for client in &mut clients {
            client.write_all(&message).expect("the server reads");
        }
        for client in &mut clients {
            client.read_exact(&mut answer).expect("the server answers");
            assert_eq!(answer, message);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    for mut client in clients {
        client.conn.send_close_notify();
        client.flush().expect("the server reads");
    }
    Took { seconds, server_cpu: serving.join().expect("the server ends") }
}

/// The CPU time of this thread so far, in seconds.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let nanoseconds = text.split(' ').next().and_then(|it| it.parse::<u64>().ok());
    nanoseconds.expect("it begins with a number") as f64 / 1e9
}

fn corio_server(
    config: Arc<ServerConfig>,
    work: Work,
    connections: usize,
    tell: Sender<SocketAddr>,
) -> f64 {
    corio::run(async move {
        let acceptor = corio::tls::Acceptor::from(config);
        let listener = corio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        tell.send(listener.local_addr().expect("it is bound")).expect("the client waits");
        let mut streams = Vec::new();
        for _ in 0..connections {
            let stream = listener.accept().await.expect("the client connects");
            streams.push(acceptor.accept(stream).await.expect("the client shakes hands"));
        }
        let start = cpu();
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|mut stream| {
                corio::spawn(async move {
                    let mut piece = vec![0; PIECE];
                    match work {
                        Work::Send(bytes) => {
                            for _ in 0..bytes / PIECE {
                                stream.write(&piece).await?;
                            }
                            stream.shutdown().await
                        }
                        Work::Receive => {
                            while stream.read(&mut piece).await? > 0 {}
                            Ok(())
                        }
                        Work::Echo => loop {
                            match stream.read(&mut piece).await? {
                                0 => break Ok(()),
                                count => stream.write(&piece[..count]).await?,
                            }
                        },
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it does not panic").expect("the client goes on");
        }
        cpu() - start
    })
}

fn tokio_server(
    config: Arc<ServerConfig>,
    work: Work,
    connections: usize,
    tell: Sender<SocketAddr>,
) -> f64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime.expect("it starts"), async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        tell.send(listener.local_addr().expect("it is bound")).expect("the client waits");
        let mut streams = Vec::new();
        for _ in 0..connections {
            let (stream, _) = listener.accept().await.expect("the client connects");
            stream.set_nodelay(true).expect("it is a socket");
            streams.push(acceptor.accept(stream).await.expect("the client shakes hands"));
        }
        let start = cpu();
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|mut stream| {
                tokio::task::spawn_local(async move {
                    let mut piece = vec![0; PIECE];
                    match work {
                        Work::Send(bytes) => {
                            for _ in 0..bytes / PIECE {
                                stream.write_all(&piece).await?;
                            }
                            stream.shutdown().await
                        }
                        Work::Receive => {
                            while stream.read(&mut piece).await? > 0 {}
                            Ok(())
                        }
                        Work::Echo => loop {
                            match stream.read(&mut piece).await? {
                                0 => break std::io::Result::Ok(()),
                                count => {
                                    stream.write_all(&piece[..count]).await?;
                                    stream.flush().await?;
                                }
                            }
                        },
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it does not panic").expect("the client goes on");
        }
        cpu() - start
    })
}
