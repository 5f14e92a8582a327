//! Resources beside TCP: Unix sockets, datagrams, pipes, children, signals, bare descriptors.
//!
//! Each module holds the hazards of one kind. What all must do is in `stage`: every operation is
//! dropped after each possible poll, and then nothing is lost and nothing is kept.

#[path = "resources/asyncio_cases.rs"]
mod asyncio_cases;
#[path = "support/child.rs"]
mod child;
#[path = "resources/datagrams.rs"]
mod datagrams;
#[path = "resources/descriptors.rs"]
mod descriptors;
#[path = "resources/frames.rs"]
mod frames;
#[path = "resources/pipes.rs"]
mod pipes;
#[path = "resources/processes.rs"]
mod processes;
#[path = "resources/sendfile.rs"]
mod sendfile;
#[path = "resources/signals.rs"]
mod signals;
#[path = "resources/stage.rs"]
mod stage;
mod support;
#[path = "resources/unix.rs"]
mod unix;
