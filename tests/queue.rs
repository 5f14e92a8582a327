//! Hazards of queues: an item that is lost or doubled, a place that nobody gets, a getter that is
//! overtaken, a `join` that never ends.

#[path = "support/hand.rs"]
mod hand;

#[path = "queue/comparing.rs"]
mod comparing;
#[path = "queue/crowds.rs"]
mod crowds;
#[path = "queue/joining.rs"]
mod joining;
#[path = "queue/on_a_core.rs"]
mod on_a_core;
#[path = "queue/orders.rs"]
mod orders;
#[path = "queue/putting_and_getting.rs"]
mod putting_and_getting;
#[path = "queue/shutting_down.rs"]
mod shutting_down;
