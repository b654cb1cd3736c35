//! A value per thread of one GIL. Threads have small numbers, but those of one GIL are few among all.

use crate::event::ThreadId;

/// Values by thread, created when first asked for, never removed: as many as threads were seen.
#[derive(Clone, Debug)]
pub struct ByThread<T> {
    /// By thread number: 1 + the index in `items`, or 0.
    places: Vec<u32>,
    items: Vec<(ThreadId, T)>,
}

impl<T> Default for ByThread<T> {
    fn default() -> Self {
        ByThread { places: Vec::new(), items: Vec::new() }
    }
}

impl<T: Default> ByThread<T> {
    /// A thread's value, which is the default if it had none yet.
    pub fn of(&mut self, thread: ThreadId) -> &mut T {
        let index = thread.0 as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, 0);
        }
        if self.places[index] == 0 {
            self.items.push((thread, T::default()));
            self.places[index] = self.items.len() as u32;
        }
        &mut self.items[self.places[index] as usize - 1].1
    }
}

impl<T> ByThread<T> {
    pub fn get(&self, thread: ThreadId) -> Option<&T> {
        let place = *self.places.get(thread.0 as usize)?;
        self.items.get((place as usize).checked_sub(1)?).map(|(_, value)| value)
    }

    /// All values, in the order in which the threads first appeared.
    pub fn iter(&self) -> impl Iterator<Item = (ThreadId, &T)> {
        self.items.iter().map(|(thread, value)| (*thread, value))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ThreadId, &mut T)> {
        self.items.iter_mut().map(|(thread, value)| (*thread, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_made_when_asked_for() {
        let mut values: ByThread<u64> = ByThread::default();
        *values.of(ThreadId(7)) += 3;
        *values.of(ThreadId(2)) += 1;
        *values.of(ThreadId(7)) += 1;
        assert_eq!(values.get(ThreadId(7)), Some(&4));
        assert_eq!(values.get(ThreadId(3)), None);
        assert_eq!(values.get(ThreadId(100)), None);
        assert_eq!(values.iter().map(|(thread, &n)| (thread.0, n)).collect::<Vec<_>>(), [(7, 4), (2, 1)]);
    }
}
