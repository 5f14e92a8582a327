//! A queue that is nearly always empty or of one element, and then owns no memory of its own.
//!
//! Each connection has two of them. A `VecDeque` would keep its first allocation for ever: more
//! than the rest of an idle connection's bookkeeping.

use std::collections::VecDeque;

/// First in, first out. `rest` is there only while there are two elements or more.
pub(super) struct Queue<T> {
    first: Option<T>,
    // One word instead of four, twice in each connection.
    #[allow(clippy::box_collection)]
    rest: Option<Box<VecDeque<T>>>,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { first: None, rest: None }
    }
}

impl<T> Queue<T> {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut T> {
        match &mut self.rest {
            Some(rest) => rest.back_mut(),
            None => self.first.as_mut(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    #[inline(always)]
    pub(super) fn push_back(&mut self, element: T) {
        if self.first.is_none() {
            self.first = Some(element);
        } else {
            self.rest.get_or_insert_default().push_back(element);
        }
    }

    pub(super) fn push_front(&mut self, element: T) {
        if let Some(second) = self.first.replace(element) {
            self.rest.get_or_insert_default().push_front(second);
        }
    }

    #[inline(always)]
    pub(super) fn pop_front(&mut self) -> Option<T> {
        let first = self.first.take();
        if let Some(rest) = &mut self.rest {
            self.first = rest.pop_front();
            if rest.is_empty() {
                self.rest = None;
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_a_deque_and_owns_nothing_when_short() {
        let (mut queue, mut model) = (Queue::default(), VecDeque::new());
        let mut random = 7u32;
        for step in 0..2000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match random >> 30 {
                0 => {
                    queue.push_front(step);
                    model.push_front(step);
                }
                1 => {
                    queue.push_back(step);
                    model.push_back(step);
                }
                _ => assert_eq!(queue.pop_front(), model.pop_front()),
            }
            assert!(queue.iter().eq(model.iter()), "after step {step}");
            assert_eq!(queue.len(), model.len());
            assert_eq!(queue.front(), model.front());
            assert_eq!(queue.back_mut(), model.back_mut());
            assert_eq!(queue.rest.is_some(), model.len() > 1);
        }
    }
}
