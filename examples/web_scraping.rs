//! Fetches pages and the pages that they link to, so many at a time. By default it starts a server
//! of its own, and checks what it found there.
//!
//! ```text
//! cargo run --features http,http-client,tls --example web_scraping -- https://example.org/
//! ```

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use corio::http::client::{Client, Error};
use corio::http::{Body, Request, Response, serve, service_fn};
use corio::net::Server;
use corio::sync::Semaphore;

const AT_A_TIME: usize = 4;
const PAGES_MAX: usize = 50;

/// Page `n` links to `2n` and `2n + 1`, below 16.
async fn own_server() -> io::Result<Server> {
    let page = service_fn(async |request: Request<Body>| {
        let number: usize = request.uri().path()[1..].parse().unwrap_or(1);
        let links = (2 * number..2 * number + 2).filter(|number| *number < 16);
        let links: String = links.map(|to| format!("<a href=\"/{to}\">page {to}</a>\n")).collect();
        Ok::<_, Infallible>(Response::new(links))
    });
    serve("127.0.0.1:0", page).await
}

/// The size of a page, and where it links to within its own server.
async fn fetch(client: &Client, url: &str) -> Result<(usize, Vec<String>), Error> {
    let answer = client.get(url).timeout(Duration::from_secs(30)).send().await?;
    let (base, page) = (answer.url().clone(), answer.error_for_status()?.bytes().await?);
    let page = String::from_utf8_lossy(&page);
    let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let links = links.filter_map(|link| base.join(link).ok());
    let links = links.filter(|link| link.origin() == base.origin());
    Ok((page.len(), links.map(Into::into).collect()))
}

/// Fetches everything that can be reached. Returns how many addresses there were.
async fn scrape(mut next: Vec<String>) -> usize {
    let (client, places) = (Client::new(), Rc::new(Semaphore::new(AT_A_TIME)));
    let mut seen: BTreeSet<String> = next.iter().cloned().collect();
    while !next.is_empty() {
        let fetches = next.drain(..).map(|url| {
            let (client, places) = (client.clone(), Rc::clone(&places));
            async move {
                let _place = places.acquire().await.expect("the semaphore is not closed");
                (fetch(&client, &url).await, url)
            }
        });
        for (outcome, url) in corio::task::gather_settled(fetches).await.into_iter().flatten() {
            match outcome {
                Ok((length, links)) => {
                    println!("{length:>8} bytes {url}");
                    let is_new =
                        |link: &String| seen.len() < PAGES_MAX && seen.insert(link.clone());
                    next.extend(links.into_iter().filter(is_new));
                }
                Err(error) => println!("{error}"),
            }
        }
    }
    seen.len()
}

#[corio::main]
async fn main() -> io::Result<()> {
    let urls: Vec<_> = std::env::args().skip(1).collect();
    let server = own_server().await?;
    match urls.is_empty() {
        true => assert_eq!(scrape(vec![format!("http://{}", server.local_addrs()[0])]).await, 15),
        false => println!("{} addresses", scrape(urls).await),
    }
    Ok(())
}
