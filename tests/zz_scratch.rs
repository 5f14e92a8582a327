//! scratch
use corio::net::*;
use std::time::Instant;
#[test]
fn a() {
    let rt = corio::Runtime::new().unwrap();
    rt.block_on(async {
        let l = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let c = std::net::TcpStream::connect(l.local_addr().unwrap()).unwrap();
        let s = l.accept().await.unwrap();
        drop(s);
        drop(c);
    });
    let t = Instant::now();
    println!("{:?}", rt.close());
    println!("{:?}", t.elapsed());
}
#[test]
fn b() {
    let rt = corio::Runtime::new().unwrap();
    rt.block_on(async {
        let l = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let c = std::net::TcpStream::connect(l.local_addr().unwrap()).unwrap();
        let s = l.accept().await.unwrap();
        drop(c);
        drop(s);
    });
    let t = Instant::now();
    println!("{:?}", rt.close());
    println!("{:?}", t.elapsed());
}
