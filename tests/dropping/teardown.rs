//! The end of a runtime while everything is in flight.
