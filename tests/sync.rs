//! Hazards of locks: a wake that is lost, a newcomer that overtakes, a grant that dies with the
//! task that got it.

#[path = "support/hand.rs"]
mod hand;

#[path = "sync/asyncio.rs"]
mod asyncio;
#[path = "sync/barriers.rs"]
mod barriers;
#[path = "sync/channels.rs"]
mod channels;
#[path = "sync/conditions.rs"]
mod conditions;
#[path = "sync/crowds.rs"]
mod crowds;
#[path = "sync/events.rs"]
mod events;
#[path = "sync/hostile.rs"]
mod hostile;
#[path = "sync/mutexes.rs"]
mod mutexes;
#[path = "sync/on_a_core.rs"]
mod on_a_core;
#[path = "sync/promises.rs"]
mod promises;
#[path = "sync/rwlocks.rs"]
mod rwlocks;
#[path = "sync/semaphores.rs"]
mod semaphores;
