//! scratch
mod support;
#[test]
fn drops() {
    let rt = corio::Runtime::new().unwrap();
    let t = std::time::Instant::now();
    rt.block_on(async {
        let (a, b) = support::pair().await;
        drop(b);
        drop(a);
    });
    eprintln!("{:?}", t.elapsed());
    let r = rt.close();
    eprintln!("{:?} {:?}", t.elapsed(), r);
}
