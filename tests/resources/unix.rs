//! Unix sockets: names, clean-up, descriptors that are passed, and nothing lost by a drop.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use corio::net::{ListenOptions, ServeOptions, UnixListener, UnixStream, serve_unix};

use crate::stage::{Census, Folder, POLLS, given_up_after, ran_in_a_child};
use crate::support::{Checker, assert_kind, bounded, numbered, settle, until};

fn temporary_file(folder: &Folder, text: &str) -> File {
    let options = File::options().read(true).write(true).create(true).truncate(true).clone();
    let mut file = options.open(folder.file("passed")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn text_of(descriptor: OwnedFd) -> String {
    let mut file = File::from(descriptor);
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

#[corio::test]
async fn megabytes_go_both_ways_between_the_ends_of_a_pair() {
    let (a, b) = UnixStream::pair().unwrap();
    let one_way = async |stream: UnixStream| {
        let (mut reader, writer) = stream.into_split();
        let write = async {
            for position in (0..2_000_000).step_by(20_000) {
                writer.write(&numbered(position, 20_000)).await.unwrap();
            }
            writer.shutdown().await.unwrap();
        };
        let read = async {
            let mut checker = Checker::default();
            while let Some(chunk) = reader.read_chunk().await.unwrap() {
                checker.take(&chunk);
            }
            assert_eq!(checker.position, 2_000_000);
        };
        corio::join!(write, read);
    };
    bounded(async { corio::join!(one_way(a), one_way(b)) }).await;
}

#[corio::test]
async fn a_name_can_lie_in_a_folder_or_in_none() {
    let folder = Folder::new();
    let path = folder.file("socket");
    let abstract_name = format!("@{}", path.display());
    let listeners =
        [UnixListener::bind(&path).unwrap(), UnixListener::bind(&abstract_name).unwrap()];
    let clients = [
        bounded(UnixStream::connect(&path)).await.unwrap(),
        bounded(UnixStream::connect(&abstract_name)).await.unwrap(),
    ];
    for (listener, client) in listeners.iter().zip(&clients) {
        let mut server = bounded(listener.accept()).await.unwrap();
        let (here, there) = (server.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(here.as_pathname(), there.as_pathname());
        assert!(client.local_addr().unwrap().is_unnamed());
        let peer = server.peer_cred().unwrap();
        assert_eq!(peer.pid as u32, std::process::id());
        client.write(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
    }
    assert_kind(UnixListener::bind(&path), ErrorKind::AddrInUse);
    assert_kind(UnixStream::connect(folder.file("none")).await, ErrorKind::NotFound);
    drop(listeners);
    assert_kind(UnixStream::connect(&path).await, ErrorKind::ConnectionRefused);
    assert_kind(UnixStream::connect("").await, ErrorKind::InvalidInput);
}

#[corio::test]
async fn a_connect_waits_while_the_backlog_is_full() {
    let folder = Folder::new();
    let path = folder.file("socket");
    let listen = ListenOptions::new().backlog(1);
    let options = ServeOptions::new().listen(listen).max_connections(1);
    let until_it_ends = async |mut stream: UnixStream| stream.read(&mut [0]).await.map(drop);
    let server = options.serve_unix(&path, until_it_ends).await.unwrap();
    let mut clients = vec![UnixStream::connect(&path).await.unwrap()];
    until(|| server.connection_count() == 1).await;
    while let Some(client) = given_up_after(1, UnixStream::connect(&path)).await {
        clients.push(client.unwrap());
        assert!(clients.len() < 10, "the backlog has an end");
    }
    let path = path.clone();
    let connect = corio::spawn(async move { UnixStream::connect(&path).await });
    settle().await;
    assert!(!connect.is_finished());
    clients.clear();
    bounded(connect).await.unwrap().unwrap();
    bounded(server.shutdown(Duration::from_secs(5))).await;
}

#[corio::test]
async fn serving_replaces_what_a_dead_server_left_and_removes_its_own_name() {
    let folder = Folder::new();
    let path = folder.file("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a plain listener leaves its name");
    let echo = async |mut stream: UnixStream| {
        let line = stream.read_line(100).await?;
        stream.write(&line).await
    };
    let server = serve_unix(&path, echo).await.unwrap();
    assert_kind(serve_unix(&path, echo).await, ErrorKind::AddrInUse);
    let mut client = bounded(UnixStream::connect(&path)).await.unwrap();
    client.write(b"line\n").await.unwrap();
    assert_eq!(bounded(client.read_line(100)).await.unwrap(), b"line\n");
    drop(client);
    let report = bounded(server.shutdown(Duration::from_secs(5))).await;
    assert_eq!(report.aborted(), 0);
    assert_kind(UnixStream::connect(&path).await, ErrorKind::ConnectionRefused);
    drop(server);
    corio::yield_now().await;
    assert!(!path.exists(), "the name goes with the server");
    // A file that is no socket is left alone.
    std::fs::write(&path, "precious").unwrap();
    assert_kind(serve_unix(&path, echo).await, ErrorKind::AddrInUse);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[corio::test]
async fn a_descriptor_comes_with_its_byte_and_is_closed_on_exec() {
    let folder = Folder::new();
    let file = temporary_file(&folder, "it is the same file");
    let (a, mut b) = UnixStream::pair().unwrap();
    a.write(b"before ").await.unwrap();
    a.send_fds(b"with", &[&file, &file]).await.unwrap();
    drop(file);
    a.write(b" after").await.unwrap();
    let (mut text, mut files) = (Vec::<u8>::new(), Vec::new());
    while text.len() < 17 {
        let mut buffer = [0; 5];
        let (count, came) = bounded(b.recv_fds(&mut buffer)).await.unwrap();
        assert!(came.is_empty() || text.len() + count > 7, "they come with `with`");
        text.extend(&buffer[..count]);
        files.extend(came);
    }
    assert_eq!(text, b"before with after");
    assert_eq!(files.len(), 2);
    for file in files {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
        let flags =
            info.unwrap().lines().find(|line| line.starts_with("flags")).unwrap().to_owned();
        let flags = u32::from_str_radix(flags.split_whitespace().nth(1).unwrap(), 8).unwrap();
        assert_ne!(flags & 0o2_000_000, 0, "O_CLOEXEC");
        assert_eq!(text_of(file), "it is the same file");
    }
    assert_kind(a.send_fds(b"", &[a.as_fd()]).await, ErrorKind::InvalidInput);
    assert_kind(a.send_fds(b"x", &vec![a.as_fd(); 254]).await, ErrorKind::InvalidInput);
    a.send_fds(b"x", &vec![a.as_fd(); 253]).await.unwrap();
    let (_, many) = bounded(b.recv_fds(&mut [0; 9])).await.unwrap();
    assert_eq!(many.len(), 253);
}

#[corio::test]
fn descriptors_that_nobody_takes_are_closed() {
    if ran_in_a_child(module_path!(), "descriptors_that_nobody_takes_are_closed", &[]) {
        return;
    }
    corio::run(bounded(async {
        let before = Census::take();
        for is_opened in [false, true] {
            let (a, mut b) = UnixStream::pair().unwrap();
            if is_opened {
                a.write(b"x").await.unwrap();
                b.recv_fds(&mut [0]).await.unwrap();
            }
            for _ in 0..100 {
                a.send_fds(b"1234", &[a.as_fd(), b.as_fd()]).await.unwrap();
                b.read_exact(&mut [0; 4]).await.unwrap();
            }
            let kept = Census::take();
            assert!(kept.descriptors() < before.descriptors() + 50, "{kept:?}");
            // Some are on their way, some came and wait.
            for _ in 0..3 {
                a.send_fds(b"1234", &[a.as_fd()]).await.unwrap();
            }
            drop(a);
            drop(b);
        }
        before.comes_back().await;
    }));
}

#[corio::test]
fn every_operation_can_be_given_up_after_each_poll() {
    if ran_in_a_child(module_path!(), "every_operation_can_be_given_up_after_each_poll", &[]) {
        return;
    }
    corio::run(bounded(async {
        let folder = Folder::new();
        let path = folder.file("socket");
        let before = Census::take();
        let listener = UnixListener::bind(&path).unwrap();
        for polls in 0..POLLS {
            let client = given_up_after(polls, UnixStream::connect(&path)).await;
            drop(client);
            // Those that were given up, and those that were dropped, came or did not.
            let client = UnixStream::connect(&path).await.unwrap();
            client.write(b"me").await.unwrap();
            let mut server = None;
            while server.is_none() {
                let accepted = given_up_after(polls, listener.accept()).await;
                let accepted = match accepted {
                    Some(accepted) => accepted.unwrap(),
                    None => listener.accept().await.unwrap(),
                };
                let mut reader = accepted;
                let mut name = [0; 2];
                // A plain read before would take the next message without what goes beside it.
                if reader.recv_fds(&mut name).await.is_ok_and(|(count, _)| count == 2) {
                    server = Some(reader);
                }
            }
            let mut server = server.unwrap();
            let passed = given_up_after(polls, client.send_fds(b"ab", &[client.as_fd()])).await;
            if passed.is_none() {
                client.send_fds(b"ab", &[client.as_fd()]).await.unwrap();
            }
            let mut buffer = [0; 2];
            let received = match given_up_after(polls, server.recv_fds(&mut buffer)).await {
                Some(received) => received,
                None => server.recv_fds(&mut buffer).await,
            };
            let (count, descriptors) = received.unwrap();
            assert_eq!((count, &buffer), (2, b"ab"), "after {polls} polls");
            assert_eq!(descriptors.len(), 1, "after {polls} polls");
            let _ = given_up_after(polls, client.close()).await;
            let _ = given_up_after(polls, server.close()).await;
        }
        let _ = given_up_after(1, listener.close()).await;
        drop(listener);
        before.comes_back().await;
    }));
}
