//! `select!` as a user meets it: what it matches, what it drops, and what its parts may do.
//!
//! The errors that it gives at compile time are tested beside its parser.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{pending, ready};

use corio::{Runtime, run, select, yield_now};

/// Which of three ready branches wins, a hundred times.
fn winners(seed: u64) -> Vec<usize> {
    let runtime = Runtime::builder().seed(seed).build().expect("the ring starts");
    runtime.block_on(async {
        let mut winners = Vec::new();
        for _ in 0..100 {
            winners.push(select! {
                () = ready(()) => 0,
                () = ready(()) => 1,
                () = ready(()) => 2,
            });
        }
        winners
    })
}

#[test]
fn the_order_comes_from_the_seed() {
    let first = winners(7);
    assert_eq!(first, winners(7));
    assert_ne!(first, winners(8));
    for branch in 0..3 {
        assert!(first.contains(&branch), "branch {branch} never won");
    }
}

#[test]
fn biased_goes_from_the_top_down() {
    run(async {
        for _ in 0..100 {
            let winner = select! {
                biased;
                () = pending() => 0,
                () = ready(()) => 1,
                () = ready(()) => 2,
            };
            assert_eq!(winner, 1);
        }
    });
}

#[test]
fn an_output_that_does_not_match_disables_its_branch() {
    run(async {
        let later = async {
            yield_now().await;
            Some(String::from("later"))
        };
        let winner = select! {
            Some(text) = ready(None::<String>) => text,
            Some(text) = later => text,
        };
        assert_eq!(winner, "later");
    });
}

#[test]
fn else_runs_when_every_branch_is_disabled() {
    run(async {
        let winner = select! {
            Some(number) = ready(None) => number,
            number = ready(1), if false => number,
            else => 7,
        };
        assert_eq!(winner, 7);
    });
}

#[test]
#[should_panic(expected = "every branch of this `select!` is disabled and it has no `else`")]
fn without_else_it_panics() {
    run(async {
        select! {
            () = ready(()), if false => {}
        }
    });
}

#[test]
fn conditions_come_first_and_every_future_is_made() {
    let log = RefCell::new(Vec::new());
    let note = |event, answer: bool| {
        log.borrow_mut().push(event);
        answer
    };
    let future = |made, polled| {
        note(made, true);
        async move {
            note(polled, true);
        }
    };
    run(async {
        select! {
            () = future("make 0", "poll 0"), if note("if 0", false) => {}
            () = future("make 1", "poll 1"), if note("if 1", true) => {}
        }
    });
    assert_eq!(*log.borrow(), ["if 0", "if 1", "make 0", "make 1", "poll 1"]);
}

#[test]
fn handlers_belong_to_the_surrounding_function() {
    async fn grow(bytes: &mut Vec<u8>) -> usize {
        bytes.push(0);
        bytes.len()
    }
    async fn turn(command: &str) -> Result<usize, std::num::ParseIntError> {
        let mut bytes = Vec::new();
        let mut turn_count = 0;
        loop {
            turn_count += 1;
            select! {
                length = grow(&mut bytes) => match command {
                    "return" => return Ok(length),
                    "break" => break,
                    "continue" if turn_count < 3 => continue,
                    // The future is gone, so what it borrowed can be borrowed again.
                    "continue" => return Ok(grow(&mut bytes).await),
                    text => {
                        let number = text.parse()?;
                        return Ok(number);
                    }
                },
                () = pending() => {}
            }
        }
        Ok(1000)
    }
    run(async {
        assert_eq!(turn("return").await, Ok(1));
        assert_eq!(turn("break").await, Ok(1000));
        assert_eq!(turn("continue").await, Ok(4));
        assert_eq!(turn("42").await, Ok(42));
        assert!(turn("no number").await.is_err());
    });
}

#[test]
fn a_future_may_borrow_what_its_expression_makes() {
    async fn append(text: &mut String, more: &str) -> usize {
        yield_now().await;
        text.push_str(more);
        text.len()
    }
    run(async {
        let length = select! {
            length = append(&mut String::from("1"), &format!("{}", 23)) => length,
            () = pending() => 0,
        };
        assert_eq!(length, 3);
    });
}

#[test]
fn losers_are_dropped_before_the_handler_runs() {
    struct Guard<'a>(&'a Cell<u32>);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let drop_count = Cell::new(0);
    run(async {
        let guard = Guard(&drop_count);
        let loser = async move {
            pending::<()>().await;
            drop(guard);
        };
        let seen = select! {
            () = loser => unreachable!(),
            () = yield_now() => drop_count.get(),
        };
        assert_eq!(seen, 1);
    });
}

#[test]
fn patterns_take_what_they_name() {
    const LIMIT: usize = 3;
    struct Pair {
        left: String,
        right: u32,
    }
    let pair = || Pair { left: String::from("left"), right: 4 };
    run(async {
        select! {
            Pair { left, right: 2..=4 } = ready(pair()) => assert_eq!(left, "left"),
            else => unreachable!(),
        }
        select! {
            Pair { ref left, mut right } = ready(pair()) => {
                right += 1;
                assert_eq!((left.as_str(), right), ("left", 5));
            }
        }
        // A reference inside a pattern, which edition 2024 refuses where a `match` has already
        // gone through a reference: the shape must be compared with the value itself.
        let number = 5;
        select! {
            Some(&copy) = ready(Some(&number)) => assert_eq!(copy, 5),
            else => unreachable!(),
        }
        select! {
            Ok(text) | Err(text) = ready(Err::<String, _>(pair().left)) => {
                assert_eq!(text, "left");
            }
        }
        select! {
            LIMIT = ready(3) => {}
            else => unreachable!(),
        }
        select! {
            None = ready(Some(pair())) => unreachable!(),
            digit @ 1..=9 = ready(40) => unreachable!("{digit}"),
            else => {}
        }
    });
}

#[test]
fn an_output_may_be_one_that_cannot_exist() {
    async fn never() -> Infallible {
        pending().await
    }
    run(async {
        let number: i32 = select! {
            nothing = never() => match nothing {},
            number = ready(4) => number,
        };
        assert_eq!(number, 4);
    });
}

#[test]
fn one_select_nests_in_another() {
    macro_rules! only {
        ($pattern:pat = $future:expr => $handler:expr) => {
            select! {
                $pattern = $future => $handler,
                () = pending() => unreachable!(),
            }
        };
    }
    run(async {
        let inner = async { only!(Some(x) = ready(Some(1)) => only!(y = ready(x) => y + 1)) };
        assert_eq!(only!(x = inner => x + 1), 3);
    });
}

#[test]
fn it_adds_nothing_to_the_size_of_its_futures() {
    async fn large() -> u8 {
        let bytes = [1; 1000];
        yield_now().await;
        bytes[0]
    }
    let future_bytes = size_of_val(&large());
    let select_bytes = size_of_val(&async {
        select! { byte = large() => byte, byte = large() => byte }
    });
    assert!(select_bytes < 2 * future_bytes + 64, "{select_bytes} of 2 * {future_bytes}");
}
