//! Redis: pipelines, answers that nobody takes, a server that ends.

use std::time::Duration;

use corio::redis::Client;
use corio::redis::redis::{self, AsyncCommands, cmd};
use futures_util::future::join_all;

use super::servers;
use super::support::{Random, bounded, poll_once};

fn client() -> Client {
    Client::new(servers::redis().redis_url()).unwrap()
}

/// Names of keys that no other test has, not even on the other driver.
async fn prefix(client: &Client) -> String {
    let mut connection = bounded(client.connection()).await.unwrap();
    let number: u64 = bounded(connection.incr("tests", 1)).await.unwrap();
    format!("test {number}:")
}

#[corio::test]
async fn ten_thousand_pipelined_commands_are_answered_in_order() {
    let client = client();
    let prefix = prefix(&client).await;
    let connection = bounded(client.connection()).await.unwrap();
    let ask = async |number: u64| {
        let mut connection = connection.clone();
        let echo: String = cmd("ECHO").arg(number).query_async(&mut connection).await.unwrap();
        let count: u64 = connection.incr(format!("{prefix}count"), 1).await.unwrap();
        (echo, count)
    };
    let answers = bounded(join_all((0..5000).map(ask))).await;
    let mut counts = Vec::new();
    for (number, (echo, count)) in answers.into_iter().enumerate() {
        assert_eq!(echo, number.to_string());
        counts.push(count);
    }
    counts.sort_unstable();
    assert!(counts.into_iter().eq(1..=5000), "each was executed once");
}

#[corio::test]
async fn one_pipeline_of_many_commands_is_one_answer() {
    let client = Client::new(servers::redis().redis_socket()).unwrap();
    let mut connection = bounded(client.connection()).await.unwrap();
    let mut pipeline = redis::pipe();
    for number in 0..10_000 {
        pipeline.cmd("ECHO").arg(number);
    }
    let answers: Vec<u64> = bounded(pipeline.query_async(&mut connection)).await.unwrap();
    assert!(answers.into_iter().eq(0..10_000));
}

#[corio::test]
async fn dropped_futures_do_not_shift_answers() {
    let client = client();
    let connection = bounded(client.connection()).await.unwrap();
    let mut random = Random::new(1);
    let mut dropped = 0;
    for number in 0..2000_u64 {
        let mut one = connection.clone();
        let mut command = cmd("ECHO");
        command.arg(number);
        let asked = command.query_async::<u64>(&mut one);
        match random.below(4) {
            0 => {
                let mut asked = Box::pin(asked);
                dropped += usize::from(poll_once(&mut asked).is_none());
            }
            1 => match corio::timeout(random.moment(), asked).await {
                Ok(answer) => assert_eq!(answer.unwrap(), number),
                Err(_) => dropped += 1,
            },
            _ => assert_eq!(bounded(asked).await.unwrap(), number),
        }
    }
    assert!(dropped > 0, "none was dropped");
}

#[corio::test]
async fn what_is_published_arrives() {
    let client = client();
    let channel = prefix(&client).await;
    let mut news = bounded(client.subscriber(10)).await.unwrap();
    bounded(news.subscribe(&channel)).await.unwrap();
    let mut connection = bounded(client.connection()).await.unwrap();
    for payload in ["one", "two"] {
        let receivers: u64 = bounded(connection.publish(&channel, payload)).await.unwrap();
        assert_eq!(receivers, 1);
    }
    for payload in ["one", "two"] {
        let message = bounded(news.next()).await.unwrap();
        assert_eq!(message.get_channel_name(), channel);
        assert_eq!(message.get_payload::<String>().unwrap(), payload);
    }
    bounded(news.unsubscribe(&channel)).await.unwrap();
    let receivers: u64 = bounded(connection.publish(&channel, "nobody")).await.unwrap();
    assert_eq!((receivers, news.missed()), (0, 0));
}

#[corio::test]
async fn a_subscriber_that_is_behind_is_told_how_much_it_missed() {
    let client = client();
    let channel = prefix(&client).await;
    let mut news = bounded(client.subscriber(4)).await.unwrap();
    bounded(news.subscribe(&channel)).await.unwrap();
    let mut connection = bounded(client.connection()).await.unwrap();
    for payload in 0..10 {
        let _: u64 = bounded(connection.publish(&channel, payload)).await.unwrap();
    }
    // The answer to this comes after what was published before it.
    bounded(news.unsubscribe(&channel)).await.unwrap();
    assert_eq!(news.missed(), 6);
    for payload in 0..4 {
        let message = bounded(news.next()).await.unwrap();
        assert_eq!(message.get_payload::<u64>().unwrap(), payload);
    }
}

#[corio::test]
async fn a_blocking_command_on_its_own_connection_blocks_nobody() {
    let client = client();
    let prefix = prefix(&client).await;
    let mut own = bounded(client.connect()).await.unwrap();
    let list = format!("{prefix}list");
    let waiter = corio::spawn({
        let list = list.clone();
        async move { own.blpop::<_, (String, u64)>(&list, 0.0).await }
    });
    let mut shared = bounded(client.connection()).await.unwrap();
    let _: u64 = bounded(shared.rpush(&list, 7)).await.unwrap();
    assert_eq!(bounded(waiter).await.unwrap().unwrap(), (list, 7));
}

#[corio::test]
async fn a_server_killed_in_the_middle_is_an_error_and_the_next_connection_is_new() {
    let mut server = servers::start_redis();
    let client = Client::new(server.redis_url()).unwrap();
    for _ in 0..2 {
        let connection = bounded(client.connection()).await.unwrap();
        let ask = async |number: u64| {
            let mut connection = connection.clone();
            connection.blpop::<_, (String, u64)>(format!("list {number}"), 0.0).await
        };
        let mut asking = Box::pin(join_all((0..50).map(ask)));
        assert!(corio::timeout(Duration::from_millis(50), &mut asking).await.is_err());
        server.kill();
        for outcome in bounded(asking).await {
            outcome.expect_err("its server is gone");
        }
        // One attempt for all who wait for it.
        for outcome in bounded(join_all((0..10).map(|_| client.connection()))).await {
            let Err(error) = outcome else { panic!("there is no server") };
            assert!(error.to_string().contains("no session with Redis"), "{error}");
        }
        server.restart();
    }
    let mut connection = bounded(client.connection()).await.unwrap();
    bounded(cmd("PING").query_async::<()>(&mut connection)).await.unwrap();
}
