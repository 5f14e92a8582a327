//! Hazards of bridges: a byte lost between two buffers, a wake that a wrapper swallows, an end that
//! is not passed on; with the real libraries on top.

mod support;

#[path = "compat/hyper.rs"]
mod hyper;
#[path = "compat/tokio_io.rs"]
mod tokio_io;

use std::rc::Rc;
use std::thread;

use corio::compat::OnItsCore;

#[corio::test]
async fn a_future_of_one_core_may_be_called_send_and_is_refused_elsewhere() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let shared = Rc::new(5);
    let future = is_send(OnItsCore::future(async move {
        corio::yield_now().await;
        *shared
    }));
    assert_eq!(future.await, 5);
    let mut polled = is_send(OnItsCore::future(std::future::pending::<()>()));
    let polling = thread::spawn(move || support::poll_once(&mut polled));
    assert!(polling.join().is_err(), "another thread must not poll it");
    let shared = std::sync::Arc::new(OnItsCore::new(Rc::new(5)));
    assert_eq!(**shared.get(), 5);
    let elsewhere = is_send(std::sync::Arc::clone(&shared));
    let reading = thread::spawn(move || **elsewhere.get());
    assert!(reading.join().is_err(), "another thread must not read it");
    let dropped = is_send(OnItsCore::new(Rc::new(5)));
    assert!(thread::spawn(move || drop(dropped)).join().is_err(), "nor drop it");
}
