//! One value for each core: it never leaves its core, is found by its key from everywhere, and is
//! dropped where it was made, whoever ends first.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use corio::cores::Sharded;
use corio::timeout;

use super::{PATIENCE, cores, other_core};

type Drops = Arc<Mutex<Vec<usize>>>;

/// Notes where it was made, and that it was dropped there. It is not `Send`.
struct Local {
    index: usize,
    made_on: ThreadId,
    numbers: RefCell<Vec<u32>>,
    drops: Drops,
    _not_send: Rc<()>,
}

impl Local {
    fn new(index: usize, drops: Drops) -> Local {
        let (made_on, numbers) = (thread::current().id(), RefCell::default());
        Local { index, made_on, numbers, drops, _not_send: Rc::new(()) }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        assert_eq!(thread::current().id(), self.made_on, "dropped elsewhere");
        self.drops.lock().unwrap().push(self.index);
    }
}

fn sorted(drops: &Drops) -> Vec<usize> {
    let mut drops = drops.lock().unwrap().clone();
    drops.sort_unstable();
    drops
}

#[corio::test]
fn values_stay_on_their_cores_and_equal_keys_find_one_owner() {
    let drops = Drops::default();
    let noted = Arc::clone(&drops);
    let counts = cores(5).block_on(move |core| async move {
        let make = move |index| Local::new(index, Arc::clone(&noted));
        let sharded = Sharded::new(core.handles(), make).await.unwrap();
        assert_eq!(sharded.local().unwrap().index, 0);
        let mut tasks = Vec::new();
        for number in 0..100_u32 {
            let (shard, again) = (sharded.on(&number), sharded.clone());
            assert_eq!(shard.index(), again.on(&number).index());
            assert_eq!(shard.core(), core.handle(shard.index()));
            tasks.push(shard.invoke(move |local| async move {
                corio::yield_now().await;
                assert_eq!(thread::current().id(), local.made_on);
                local.numbers.borrow_mut().push(number);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let counts = sharded.map_all(|local| async move { local.numbers.borrow().len() }).await;
        counts.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    });
    let counts = counts.unwrap();
    assert_eq!((counts.len(), counts.iter().sum::<usize>()), (5, 100));
    assert!(counts.iter().all(|count| *count > 5), "keys are spread: {counts:?}");
    assert_eq!(sorted(&drops), [0, 1, 2, 3, 4]);
}

#[corio::test]
fn a_panic_of_one_core_is_told_in_its_place() {
    cores(3)
        .block_on(|core| async move {
            let sharded = Sharded::new(core.handles(), |index| index).await.unwrap();
            let outcomes = sharded.map_all(|index| async move {
                assert_ne!(*index, 1, "as told");
                *index
            });
            let mut outcomes = outcomes.await;
            assert!(outcomes.remove(1).unwrap_err().is_panic());
            let values: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
            assert_eq!(values, [0, 2]);
            // The value is there all the same.
            assert_eq!(sharded.invoke_on(1, |index| async move { *index }).await.unwrap(), 1);
        })
        .unwrap();
}

#[corio::test]
fn a_core_that_cannot_make_its_value_leaves_none_behind() {
    let drops = Drops::default();
    let noted = Arc::clone(&drops);
    cores(3)
        .block_on(move |core| async move {
            let make = move |index| {
                assert_ne!(index, 2, "as told");
                Local::new(index, Arc::clone(&noted))
            };
            let error = Sharded::new(core.handles(), make).await.err().unwrap();
            assert!(error.is_panic());
        })
        .unwrap();
    assert_eq!(sorted(&drops), [0, 1]);
}

#[corio::test]
fn a_core_that_ends_takes_its_value_with_it_and_calls_get_an_error() {
    let drops = Drops::default();
    let noted = Arc::clone(&drops);
    let (first, end_first) = other_core();
    let (second, end_second) = other_core();
    let runtime = corio::Runtime::new().unwrap();
    let make = move |index| Local::new(index, Arc::clone(&noted));
    let sharded = runtime.block_on(Sharded::new(&[first, second], make)).unwrap();
    assert!(sharded.local().is_none(), "this thread's core is not among them");
    end_first();
    assert_eq!(sorted(&drops), [0], "dropped with its core");
    runtime.block_on(async {
        let all = sharded.map_all(|local| async move { local.index });
        let mut outcomes = timeout(PATIENCE, all).await.unwrap();
        assert_eq!(outcomes.pop().unwrap().unwrap(), 1);
        assert!(outcomes.pop().unwrap().unwrap_err().is_cancelled());
        let late = Sharded::new(&[first], |_| 7);
        assert!(timeout(PATIENCE, late).await.unwrap().err().unwrap().is_cancelled());
    });
    drop(sharded);
    // Calls keep their order: this one comes after the value was given up.
    runtime.block_on(async { second.spawn(corio::yield_now).await.unwrap() });
    assert_eq!(sorted(&drops), [0, 1], "dropped before its core ends");
    end_second();
}

#[corio::test]
fn a_value_lives_while_a_task_of_its_core_has_it() {
    let drops = Drops::default();
    let (core, end) = other_core();
    let noted = Arc::clone(&drops);
    corio::run(async {
        let make = move |index| Local::new(index, Arc::clone(&noted));
        let sharded = Sharded::new(&[core], make).await.unwrap();
        let (go, gone) = corio::channel::oneshot::<()>();
        let task = sharded.invoke_on(0, |local| async move {
            gone.await.unwrap();
            local.drops.lock().unwrap().len()
        });
        drop(sharded);
        core.spawn(corio::yield_now).await.unwrap();
        go.send(()).unwrap();
        assert_eq!(timeout(PATIENCE, task).await.unwrap().unwrap(), 0, "not yet");
    });
    end();
    assert_eq!(sorted(&drops), [0]);
}
