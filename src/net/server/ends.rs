//! How connections of a server ended, as its shutdown tells it.

use std::net::SocketAddr;

/// How far a connection came before it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stage {
    /// Its handler finished by itself.
    Finished,
    /// Its handler was asked to end, and did.
    Cancelled,
    /// Its handler was dropped, and the connection reset.
    Aborted,
}

/// How one connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ConnectionEnd {
    /// The other end; `None` if it was gone when the connection was accepted.
    pub peer: Option<SocketAddr>,
    /// How far it came.
    pub stage: Stage,
}

/// What [`Server::shutdown`](super::Server::shutdown) did with each connection that was open.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The connections, in the order in which they ended.
    pub connections: Vec<ConnectionEnd>,
}

impl ShutdownReport {
    /// Connections whose handlers finished by themselves.
    pub fn finished(&self) -> usize {
        self.count(Stage::Finished)
    }

    /// Connections whose handlers ended since they were asked to.
    pub fn cancelled(&self) -> usize {
        self.count(Stage::Cancelled)
    }

    /// Connections whose handlers did not end, and that were reset.
    pub fn aborted(&self) -> usize {
        self.count(Stage::Aborted)
    }

    fn count(&self, stage: Stage) -> usize {
        self.connections.iter().filter(|it| it.stage == stage).count()
    }
}

/// What became of one core's part of a server at its shutdown.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CoreEnd {
    /// It shut down in order; how far each of its connections came.
    Reported(ShutdownReport),
    /// The core had ended before, or did meanwhile; its connections ended with it.
    Gone,
    /// The core gave no answer in time: likely a task blocks it.
    Stuck,
}

/// What [`CoresServer::shutdown`](super::CoresServer::shutdown) did, core by core.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CoresReport {
    /// The cores, in the order in which they were given.
    pub cores: Vec<CoreEnd>,
}

impl CoresReport {
    /// The connections of all cores that shut down in order.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionEnd> {
        self.reports().flat_map(|report| report.connections.iter().copied())
    }

    /// Connections whose handlers finished by themselves.
    pub fn finished(&self) -> usize {
        self.reports().map(ShutdownReport::finished).sum()
    }

    /// Connections whose handlers ended since they were asked to.
    pub fn cancelled(&self) -> usize {
        self.reports().map(ShutdownReport::cancelled).sum()
    }

    /// Connections whose handlers did not end, and that were reset.
    pub fn aborted(&self) -> usize {
        self.reports().map(ShutdownReport::aborted).sum()
    }

    /// Whether each core shut down in order.
    pub fn is_complete(&self) -> bool {
        self.reports().count() == self.cores.len()
    }

    fn reports(&self) -> impl Iterator<Item = &ShutdownReport> {
        self.cores.iter().filter_map(|end| match end {
            CoreEnd::Reported(report) => Some(report),
            CoreEnd::Gone | CoreEnd::Stuck => None,
        })
    }
}
