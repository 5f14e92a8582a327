//! The same with tasks of a running core: woken by timers and sockets, cancelled by timeouts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corio::net::{TcpListener, TcpStream};
use corio::sync::{Condition, Event, Mutex, Notify, Semaphore};
use corio::{sleep, spawn, timeout, yield_now};

const MOMENT: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(5);

#[corio::test]
async fn a_lock_that_a_timer_frees_goes_to_the_first_task() {
    let mutex = Rc::new(Mutex::new(Vec::new()));
    let guard = Rc::clone(&mutex).lock_owned().await;
    let tasks: Vec<_> = (0..5)
        .map(|number| {
            let mutex = Rc::clone(&mutex);
            spawn(async move { mutex.lock().await.push(number) })
        })
        .collect();
    spawn(async move {
        sleep(MOMENT).await;
        drop(guard);
    });
    for task in tasks {
        timeout(PATIENCE, task).await.expect("a wake was lost").unwrap();
    }
    assert_eq!(*mutex.lock().await, [0, 1, 2, 3, 4]);
}

#[corio::test]
async fn a_lock_waited_for_in_vain_is_there_for_others() {
    let mutex = Rc::new(Mutex::new(()));
    let guard = Rc::clone(&mutex).lock_owned().await;
    assert!(timeout(MOMENT, mutex.lock()).await.is_err());
    let waiting = spawn({
        let mutex = Rc::clone(&mutex);
        async move { drop(mutex.lock().await) }
    });
    let other = spawn({
        let mutex = Rc::clone(&mutex);
        async move { drop(mutex.lock().await) }
    });
    yield_now().await;
    // In one turn: the task is handed the lock and is cancelled.
    drop(guard);
    waiting.cancel();
    timeout(PATIENCE, other).await.expect("the lock died with a task").unwrap();
    let _ = waiting.await;
    assert!(!mutex.is_locked());
}

#[corio::test]
async fn what_a_socket_received_sets_an_event() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut server = listener.accept().await.unwrap();
    let event = Rc::new(Event::new());
    spawn({
        let event = Rc::clone(&event);
        async move {
            server.read(&mut [0; 1]).await.unwrap();
            event.set();
        }
    });
    assert!(timeout(MOMENT, event.wait()).await.is_err());
    client.write(b"!").await.unwrap();
    timeout(PATIENCE, event.wait()).await.expect("the event is set");
}

#[corio::test]
async fn no_more_tasks_than_permits_run_at_a_time() {
    let semaphore = Rc::new(Semaphore::new(3));
    let (running, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let semaphore = Rc::clone(&semaphore);
            let (running, most) = (Rc::clone(&running), Rc::clone(&most));
            spawn(async move {
                let _permit = semaphore.acquire().await.unwrap();
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                sleep(Duration::from_micros(300)).await;
                running.set(running.get() - 1);
            })
        })
        .collect();
    for task in tasks {
        timeout(PATIENCE, task).await.expect("a wake was lost").unwrap();
    }
    assert_eq!((most.get(), semaphore.available()), (3, 3));
}

#[corio::test]
async fn a_condition_between_tasks_with_a_timeout() {
    let pair = Rc::new((Mutex::new(0), Condition::new()));
    let (mutex, condition) = &*pair;
    let wait = condition.wait_for(mutex.lock().await, |count| *count == 1);
    assert!(timeout(MOMENT, wait).await.is_err());
    let task = spawn({
        let pair = Rc::clone(&pair);
        async move {
            sleep(MOMENT).await;
            let mut count = pair.0.lock().await;
            *count = 1;
            pair.1.notify_one(&count);
        }
    });
    let wait = condition.wait_for(mutex.lock().await, |count| *count == 1);
    assert_eq!(*timeout(PATIENCE, wait).await.expect("it was notified"), 1);
    task.await.unwrap();
}

#[corio::test]
async fn two_tasks_hand_one_notification_to_and_fro() {
    let (ping, pong) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
    let log = Rc::new(RefCell::new(Vec::new()));
    let task = spawn({
        let (ping, pong, log) = (Rc::clone(&ping), Rc::clone(&pong), Rc::clone(&log));
        async move {
            for round in 0..100 {
                ping.notified().await;
                log.borrow_mut().push(round * 2 + 1);
                pong.notify_one();
            }
        }
    });
    for round in 0..100 {
        log.borrow_mut().push(round * 2);
        ping.notify_one();
        timeout(PATIENCE, pong.notified()).await.expect("a notification was lost");
    }
    task.await.unwrap();
    assert_eq!(log.take(), (0..200).collect::<Vec<_>>());
}
