//! A chat in the browser: a page served by `http`, and a WebSocket on the same port by `ws`. What
//! one says goes to all. With an address as its argument it serves there for ever; without one it
//! checks itself with two clients and ends.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use corio::http::{self, Body, Request, Response, StatusCode, header, service_fn};
use corio::net::{Address, Server};
use corio::ws::{self, CloseCode, Message, Sender, Upgraded, WebSocket};

const PAGE: &str = include_str!("chat_page.html");

/// Who is in the room. A sender is shared, and used by one line at a time.
type Room = Rc<RefCell<Vec<Rc<corio::sync::Mutex<Sender<Upgraded>>>>>>;

/// Starts the server.
pub async fn serve(address: impl Address) -> io::Result<Server> {
    let room = Room::default();
    http::serve(address, service_fn(move |request| answer(request, Rc::clone(&room)))).await
}

async fn answer(mut request: Request<Body>, room: Room) -> Result<Response<String>, Infallible> {
    let response = Response::builder();
    Ok(match request.uri().path() {
        "/" => response.header(header::CONTENT_TYPE, "text/html").body(PAGE.to_string()),
        "/socket" => {
            let (response, socket) = ws::upgrade(&mut request);
            corio::spawn(async move { chat(socket.await?, room).await });
            Ok(response)
        }
        _ => response.status(StatusCode::NOT_FOUND).body(String::new()),
    }
    .expect("a fine response"))
}

async fn chat(socket: WebSocket<Upgraded>, room: Room) -> io::Result<()> {
    let (sender, mut receiver) = socket.into_split();
    let sender = Rc::new(corio::sync::Mutex::new(sender));
    room.borrow_mut().push(Rc::clone(&sender));
    let outcome = relay(&mut receiver, &room).await;
    room.borrow_mut().retain(|other| !Rc::ptr_eq(other, &sender));
    outcome
}

async fn relay(receiver: &mut ws::Receiver<Upgraded>, room: &Room) -> io::Result<()> {
    while let Some(line) = receiver.recv().await? {
        let all = room.borrow().clone();
        for one in all {
            // One that does not read holds up the others for a second at most.
            let saying = async { one.lock().await.send(line.clone()).await };
            let _ = corio::timeout(Duration::from_secs(1), saying).await;
        }
    }
    Ok(())
}

#[corio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let server = serve(address.as_deref().unwrap_or("127.0.0.1:0")).await?;
    println!("chatting on http://{}/", server.local_addrs()[0]);
    if address.is_some() {
        server.wait_closed().await;
    }
    let url = format!("ws://{}/socket", server.local_addrs()[0]);
    let (mut one, mut other) = (ws::connect(&url).await?, ws::connect(&url).await?);
    // A room holds who is in it when a line comes: this one comes back once it is.
    other.send("here I am").await?;
    assert_eq!(other.recv().await?, Some(Message::from("here I am")));
    one.send("hello, all").await?;
    assert_eq!(other.recv().await?, Some(Message::from("hello, all")));
    one.close(CloseCode::Normal, "").await?;
    other.close(CloseCode::Normal, "").await
}
