//! The programs of others at the other end: openssl, curl, and Python's ssl, each as a client and,
//! where it is one, as a server.

use std::io::ErrorKind;

use corio::fs::TemporaryFolder;
use corio::io::PipeReader;
use corio::net::{TcpListener, TcpStream};
use corio::process::{Child, Command, Stdio};
use corio::tls::rustls::ProtocolVersion;
use corio::tls::{Acceptor, TlsStream};
use futures_util::AsyncReadExt;

use crate::authority::{self, HOST, authority};
use crate::support::{Checker, assert_kind, bounded, numbered};
use crate::{acceptor, connector};

/// The root, a server's certificate and its key, in files.
struct Files {
    folder: TemporaryFolder,
}

impl Files {
    async fn new() -> Files {
        let folder = TemporaryFolder::new().await.unwrap();
        let server = authority().server();
        let client = authority().client("a-client");
        for (name, text) in [
            ("root.pem", &authority().root),
            ("server.pem", &server.chain),
            ("server.key", &server.key),
            ("client.pem", &client.chain),
            ("client.key", &client.key),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Files { folder }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn started(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let started = command.spawn();
    started.expect("this test needs `openssl`, `curl` and `python3`: ci/services installs them")
}

/// Reads lines up to the first that begins like this, and gives the rest of that.
async fn line_of(output: &mut PipeReader, prefix: &str) -> String {
    loop {
        let line = String::from_utf8(bounded(output.read_line(10_000)).await.unwrap()).unwrap();
        assert!(!line.is_empty(), "it ended and said nothing of `{prefix}`");
        if let Some(rest) = line.strip_prefix(prefix) {
            return rest.trim().to_owned();
        }
    }
}

/// Accepts one connection, and its handshake.
async fn accept(listener: &TcpListener, acceptor: &Acceptor) -> TlsStream<TcpStream> {
    let stream = bounded(listener.accept()).await.unwrap();
    bounded(acceptor.accept(stream)).await.unwrap()
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

fn s_client(files: &Files, port: &str, more: &[&str]) -> Child {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-verify_return_error", "-servername", HOST])
        .args(["-CAfile", &files.at("root.pem"), "-connect", &format!("127.0.0.1:{port}")])
        .args(more);
    started(&mut command)
}

#[corio::test]
async fn openssl_sends_megabytes_and_gets_them_back() {
    const LENGTH: usize = 1 << 20;
    let files = Files::new().await;
    for version in ["-tls1_2", "-tls1_3"] {
        let (listener, port) = listener().await;
        let mut client = s_client(&files, &port, &["-quiet", version]);
        let serving = corio::spawn(async move {
            let (mut reader, mut writer) = accept(&listener, &acceptor()).await.split();
            let mut all = vec![0; LENGTH];
            reader.read_exact(&mut all).await.unwrap();
            Checker::default().take(&all);
            futures_util::AsyncWriteExt::write_all(&mut writer, &all).await.unwrap();
            futures_util::AsyncWriteExt::close(&mut writer).await.unwrap();
        });
        let input = client.stdin.take().unwrap();
        let mut output = client.stdout.take().unwrap();
        let sending = async { input.write(&numbered(0, LENGTH)).await.unwrap() };
        let receiving = async {
            let mut all = vec![0; LENGTH];
            output.read_exact(&mut all).await.unwrap();
            all
        };
        let ((), all) = bounded(async { corio::join!(sending, receiving) }).await;
        Checker::default().take(&all);
        bounded(serving).await.unwrap();
        bounded(client.wait()).await.unwrap();
    }
}

#[corio::test]
async fn openssl_asks_for_new_keys_and_the_session_goes_on() {
    let files = Files::new().await;
    let (listener, port) = listener().await;
    let mut client = s_client(&files, &port, &["-tls1_3"]);
    let mut server = accept(&listener, &acceptor()).await;
    let input = client.stdin.take().unwrap();
    let mut output = client.stdout.take().unwrap();
    let mut said = client.stderr.take().unwrap();
    for round in 0..3 {
        // `K` asks for the other side's keys as well. openssl takes one command with each of its
        // reads, so it has to be waited for.
        for command in [&b"K\n"[..], b"k\n"] {
            input.write(command).await.unwrap();
            line_of(&mut said, "KEYUPDATE").await;
        }
        let line = format!("line {round}\n");
        input.write(line.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(line.as_bytes()) {
            let bytes = bounded(server.fill_buf()).await.unwrap().to_vec();
            assert!(!bytes.is_empty(), "openssl ended after {}", read.escape_ascii());
            server.consume(bytes.len());
            read.extend_from_slice(&bytes);
        }
        server.write(b"answer\n").await.unwrap();
        line_of(&mut output, "answer").await;
    }
    server.shutdown().await.unwrap();
    bounded(client.wait()).await.unwrap();
}

#[corio::test]
async fn openssl_takes_up_its_session_again() {
    let files = Files::new().await;
    let (listener, port) = listener().await;
    let acceptor = acceptor();
    let session = files.at("session");
    let rounds: [&[&str]; 2] = [&["-sess_out", &session], &["-sess_in", &session]];
    for (round, more) in rounds.into_iter().enumerate() {
        let mut client = s_client(&files, &port, &[&["-quiet", "-tls1_3"], more].concat());
        let mut server = accept(&listener, &acceptor).await;
        assert_eq!(server.is_resumed(), round == 1);
        server.write(b"hello\n").await.unwrap();
        let output = client.stdout.as_mut().unwrap();
        assert_eq!(bounded(output.read_line(100)).await.unwrap(), b"hello\n");
        server.shutdown().await.unwrap();
        bounded(client.wait()).await.unwrap();
    }
}

#[corio::test]
async fn openssl_shows_its_certificate() {
    let files = Files::new().await;
    let (listener, port) = listener().await;
    let (certificate, key) = (files.at("client.pem"), files.at("client.key"));
    let mut client = s_client(&files, &port, &["-quiet", "-cert", &certificate, "-key", &key]);
    let server = authority().server();
    let acceptor = Acceptor::builder()
        .certificate(&server.chain, &server.key)
        .client_roots(&authority().root)
        .build()
        .unwrap();
    let mut server = accept(&listener, &acceptor).await;
    let shown = std::fs::read_to_string(&certificate).unwrap();
    assert_eq!(server.peer_certificates().unwrap()[0], authority::certificate(&shown));
    server.shutdown().await.unwrap();
    bounded(client.wait()).await.unwrap();
}

/// A server of openssl that sends back each line reversed, and its port.
async fn s_server(files: &Files, more: &[&str]) -> (Child, u16) {
    let mut command = Command::new("openssl");
    // It prints `ACCEPT 127.0.0.1:PORT`.
    command
        .args(["s_server", "-rev", "-accept", "127.0.0.1:0"])
        .args(["-cert", &files.at("server.pem"), "-key", &files.at("server.key")])
        .args(more);
    let mut server = started(&mut command);
    let address = line_of(server.stdout.as_mut().unwrap(), "ACCEPT ").await;
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    (server, port)
}

#[corio::test]
async fn a_server_of_openssl_understands_us_in_both_versions() {
    let files = Files::new().await;
    for (option, version) in
        [("-tls1_2", ProtocolVersion::TLSv1_2), ("-tls1_3", ProtocolVersion::TLSv1_3)]
    {
        let (_server, port) = s_server(&files, &[option]).await;
        let connector = connector();
        for round in 0..2 {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let mut stream = bounded(connector.connect(HOST, stream)).await.unwrap();
            assert_eq!(stream.protocol_version(), Some(version));
            assert_eq!(stream.is_resumed(), round > 0, "{option}");
            stream.write(b"stressed\n").await.unwrap();
            let mut answer = [0; 9];
            bounded(stream.read_exact(&mut answer)).await.unwrap();
            assert_eq!(&answer, b"desserts\n");
            bounded(stream.shutdown()).await.unwrap();
        }
    }
}

#[corio::test]
async fn a_server_of_openssl_that_wants_a_certificate_says_so() {
    let files = Files::new().await;
    let root = files.at("root.pem");
    let (_server, port) = s_server(&files, &["-Verify", "1", "-CAfile", &root]).await;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut stream = bounded(connector().connect(HOST, stream)).await.unwrap();
    let error = bounded(stream.read(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("wants a client certificate"), "{error}");
}

/// Answers one request of HTTP with these bytes.
async fn answer_http(listener: &TcpListener, body: &[u8]) {
    let mut stream = accept(listener, &acceptor()).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let bytes = bounded(stream.fill_buf()).await.unwrap().to_vec();
        assert!(!bytes.is_empty(), "no head came");
        stream.consume(bytes.len());
        head.extend_from_slice(&bytes);
    }
    stream.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
    stream.write(body).await.unwrap();
    stream.shutdown().await.unwrap();
}

fn curl(files: &Files, host: &str, port: &str) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"])
        .args(["--cacert", &files.at("root.pem")])
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
        .arg(format!("https://{host}:{port}/"));
    command
}

#[corio::test]
async fn curl_gets_a_body_that_only_the_end_of_the_session_ends() {
    let files = Files::new().await;
    let (listener, port) = listener().await;
    let body = numbered(0, 500_000);
    let mut client = curl(&files, HOST, &port);
    let (output, ()) =
        bounded(async { corio::join!(client.output(), answer_http(&listener, &body)) }).await;
    let output = output.expect("this test needs `curl`: ci/services installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.len(), body.len());
    Checker::default().take(&output.stdout);
}

#[corio::test]
async fn curl_refuses_a_server_of_another_name_and_we_are_told() {
    let files = Files::new().await;
    let (listener, port) = listener().await;
    let mut client = curl(&files, "elsewhere.test", &port);
    let serving = async {
        let stream = listener.accept().await.unwrap();
        acceptor().accept(stream).await
    };
    let (output, server) = bounded(async { corio::join!(client.output(), serving) }).await;
    // Its number for a certificate that does not verify.
    assert_eq!(output.unwrap().status.code(), Some(60));
    // It looks at the name after the handshake, and goes.
    if let Ok(mut stream) = server {
        assert!(matches!(bounded(stream.read(&mut [0])).await, Ok(0) | Err(_)));
    }
}

const PYTHON_CLIENT: &str = r#"
import socket, ssl, sys
port, root = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=root)
context.set_alpn_protocols(["h2", "http/1.1"])
with socket.create_connection(("127.0.0.1", port)) as plain:
    plain.sendall(b"STARTTLS\n")
    assert plain.recv(100) == b"go\n"
    with context.wrap_socket(plain, server_hostname="localhost") as secret:
        assert secret.selected_alpn_protocol() == "http/1.1", secret.selected_alpn_protocol()
        secret.sendall(bytes(range(256)) * 4000)
        answer = b""
        while len(answer) < 1024000:
            piece = secret.recv(65536)
            assert piece, "cut off"
            answer += piece
        assert answer == bytes(range(256)) * 4000
        # Waits for the other side's close_notify.
        secret.unwrap()
print("done")
"#;

#[corio::test]
async fn python_starts_tls_on_a_used_connection() {
    let files = Files::new().await;
    let (listener, port) = listener().await;
    let server = authority().server();
    let acceptor = Acceptor::builder().certificate(&server.chain, &server.key);
    let acceptor = acceptor.alpn(["http/1.1"]).build().unwrap();
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON_CLIENT, &port, &files.at("root.pem")]);
    let serving = async {
        let mut stream = listener.accept().await.unwrap();
        assert_eq!(stream.read_line(100).await.unwrap(), b"STARTTLS\n");
        stream.write(b"go\n").await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut all = vec![0; 1_024_000];
        stream.read_exact(&mut all).await.unwrap();
        stream.write(&all).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "it says its end");
        stream.shutdown().await.unwrap();
    };
    let (output, ()) = bounded(async { corio::join!(python.output(), serving) }).await;
    let output = output.expect("this test needs `python3`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"done\n");
}

const PYTHON_SERVER: &str = r#"
import asyncio, ssl, sys
async def serve(reader, writer):
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()
async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"#;

#[corio::test]
async fn asyncios_server_sends_megabytes_back() {
    const LENGTH: usize = 1 << 20;
    let files = Files::new().await;
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON_SERVER, &files.at("server.pem"), &files.at("server.key")]);
    let mut python = started(&mut python);
    let line = bounded(python.stdout.as_mut().unwrap().read_line(100)).await.unwrap();
    let port: u16 = String::from_utf8(line).unwrap().trim().parse().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let stream = bounded(connector().connect(HOST, stream)).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        let bytes = numbered(0, LENGTH);
        futures_util::AsyncWriteExt::write_all(&mut writer, &bytes).await.unwrap();
        futures_util::AsyncWriteExt::flush(&mut writer).await.unwrap();
    };
    let reading = async {
        let mut all = vec![0; LENGTH];
        reader.read_exact(&mut all).await.unwrap();
        all
    };
    let ((), all) = bounded(async { corio::join!(writing, reading) }).await;
    Checker::default().take(&all);
    // A wrong name is refused by us, also of a server that is not ours.
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert_kind(bounded(connector().connect("other", stream)).await, ErrorKind::InvalidData);
    python.kill().unwrap();
    bounded(python.wait()).await.unwrap();
}
