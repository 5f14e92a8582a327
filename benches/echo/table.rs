//! The connections of a raw server, found by their descriptors.
//!
//! The kernel gives the lowest free number to a new socket, so a plain list is dense, and a server
//! needs no numbers of its own. A connection owns its descriptor: while it is in the table, no
//! other can get its place.

use std::ops::{Index, IndexMut};

pub struct Table<T> {
    places: Vec<Option<T>>,
}

impl<T> Table<T> {
    pub fn new() -> Table<T> {
        Table { places: Vec::new() }
    }

    pub fn insert(&mut self, place: usize, connection: T) {
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        let before = self.places[place].replace(connection);
        assert!(before.is_none(), "descriptor {place} came anew while it was in the table");
    }

    /// Drops the connection, which closes its descriptor.
    pub fn remove(&mut self, place: usize) {
        self.places[place] = None;
    }
}

impl<T> Index<usize> for Table<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        self.places[place].as_ref().expect("the connection was released while it was busy")
    }
}

impl<T> IndexMut<usize> for Table<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        self.places[place].as_mut().expect("the connection was released while it was busy")
    }
}
