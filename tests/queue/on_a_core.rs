//! Producers and consumers as tasks of a running core, with timers and sockets.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use corio::net::{TcpListener, TcpStream};
use corio::queue::{Queue, Shutdown};
use corio::{sleep, spawn, timeout};

const MOMENT: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(5);

#[corio::test]
async fn a_producer_on_a_timer_and_a_consumer_that_is_cancelled_at_the_end() {
    let (queue, log) = (Queue::new(0), Rc::new(RefCell::new(Vec::new())));
    let producer = spawn({
        let (queue, log) = (queue.clone(), Rc::clone(&log));
        async move {
            for number in 0..5 {
                log.borrow_mut().push(format!("producing {number}"));
                queue.put(number).await.unwrap();
                sleep(MOMENT).await;
            }
        }
    });
    let consumer = spawn({
        let (queue, log) = (queue.clone(), Rc::clone(&log));
        async move {
            loop {
                let number = queue.get().await.unwrap();
                log.borrow_mut().push(format!("consumed {number}"));
                queue.task_done().unwrap();
            }
        }
    });
    timeout(PATIENCE, producer).await.expect("the producer ends").unwrap();
    timeout(PATIENCE, queue.join()).await.expect("all is consumed");
    consumer.cancel();
    assert!(consumer.await.unwrap_err().is_cancelled());
    let lines = (0..5).flat_map(|n| [format!("producing {n}"), format!("consumed {n}")]);
    assert_eq!(log.take(), lines.collect::<Vec<_>>());
}

#[corio::test]
async fn a_get_that_times_out_time_and_again_loses_nothing() {
    let queue = Queue::new(1);
    let producer = spawn({
        let queue = queue.clone();
        async move {
            for number in 0..200 {
                queue.put(number).await.unwrap();
                if number % 7 == 0 {
                    sleep(Duration::from_micros(150)).await;
                }
            }
            queue.shutdown(Shutdown::Graceful);
        }
    });
    let mut got = Vec::new();
    loop {
        match timeout(Duration::from_micros(100), queue.get()).await {
            Ok(Ok(number)) => got.push(number),
            Ok(Err(_)) => break,
            Err(_) => {}
        }
    }
    producer.await.unwrap();
    assert_eq!(got, (0..200).collect::<Vec<_>>());
}

#[corio::test]
async fn a_task_that_is_handed_an_item_and_cancelled_in_one_turn_leaves_it_to_others() {
    let queue = Queue::new(0);
    let get = |queue: &Queue<u8>| {
        let queue = queue.clone();
        spawn(async move { queue.get().await.unwrap() })
    };
    let (first, second) = (get(&queue), get(&queue));
    corio::yield_now().await;
    queue.try_put(1).unwrap();
    first.cancel();
    // Whoever got it: nobody waits while it lies there.
    let first = first.await;
    match first {
        Ok(item) => {
            assert_eq!(item, 1, "its value wins over the cancel");
            queue.try_put(2).unwrap();
            assert_eq!(timeout(PATIENCE, second).await.unwrap().unwrap(), 2);
        }
        Err(_) => assert_eq!(timeout(PATIENCE, second).await.unwrap().unwrap(), 1),
    }
}

#[corio::test]
async fn bytes_of_a_socket_go_through_a_queue() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut server = listener.accept().await.unwrap();
    let queue = Queue::new(2);
    spawn({
        let queue = queue.clone();
        async move {
            let mut byte = [0];
            while server.read(&mut byte).await.unwrap() > 0 {
                queue.put(byte[0]).await.unwrap();
            }
            queue.shutdown(Shutdown::Graceful);
        }
    });
    client.write(b"queue").await.unwrap();
    client.shutdown().await.unwrap();
    let mut text = Vec::new();
    while let Ok(byte) = timeout(PATIENCE, queue.get()).await.expect("a wake was lost") {
        text.push(byte);
    }
    assert_eq!(text, b"queue");
}
