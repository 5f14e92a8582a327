//! A chat over a Unix socket: each guest is known by its user, and may show a file to all others,
//! whose descriptor goes along.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use corio::net::{UnixStream, serve_unix};

type Guests = Rc<RefCell<Vec<Rc<UnixStream>>>>;

async fn chat(mut stream: UnixStream, guests: Guests) -> io::Result<()> {
    let user = stream.peer_cred()?.uid;
    let mut text = [0; 400];
    let (count, files) = stream.recv_fds(&mut text).await?;
    let said = format!("user {user}: {}", String::from_utf8_lossy(&text[..count]));
    let others = guests.borrow().clone();
    for guest in others {
        guest.send_fds(said.as_bytes(), &files).await?;
    }
    // Who has spoken listens from now on.
    guests.borrow_mut().push(Rc::new(stream));
    Ok(())
}

fn contents(descriptor: OwnedFd) -> io::Result<String> {
    let (mut file, mut text) = (File::from(descriptor), String::new());
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

#[corio::main]
async fn main() -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("corio-chat-{}", std::process::id()));
    let guests = Guests::default();
    let shared = Rc::clone(&guests);
    let server = serve_unix(&path, move |stream| chat(stream, Rc::clone(&shared))).await?;

    let mut first = UnixStream::connect(&path).await?;
    first.write(b"hello").await?;
    while guests.borrow().is_empty() {
        corio::yield_now().await;
    }
    let notes = path.with_extension("notes");
    std::fs::write(&notes, "all of it")?;
    let second = UnixStream::connect(&path).await?;
    second.send_fds(b"read my notes", &[File::open(&notes)?]).await?;
    std::fs::remove_file(&notes)?;

    let mut text = [0; 400];
    let (count, mut files) = first.recv_fds(&mut text).await?;
    let said = String::from_utf8_lossy(&text[..count]).into_owned();
    println!("{said}");
    assert!(said.ends_with(": read my notes"), "{said}");
    assert_eq!(contents(files.remove(0))?, "all of it");
    server.close();
    Ok(())
}
