//! A value per thread of one GIL. Threads have small numbers, but those of one GIL are few among all.

use super::folding::FoldedRows;
use crate::event::ThreadId;

/// Values by thread, created when first asked for, and removed when their threads are folded.
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

    /// Adds the values of threads that are folded to those of the rows that they become part of.
    pub fn fold(&mut self, rows: &FoldedRows, mut add: impl FnMut(&mut T, T)) {
        let items = std::mem::take(&mut self.items);
        self.places.clear();
        for (thread, value) in items {
            let to = rows.of(thread);
            let index = to.0 as usize;
            if index >= self.places.len() {
                self.places.resize(index + 1, 0);
            }
            match self.places[index].checked_sub(1) {
                Some(place) => add(&mut self.items[place as usize].1, value),
                None => {
                    self.items.push((to, value));
                    self.places[index] = self.items.len() as u32;
                }
            }
        }
    }

    /// Forgets the values of threads that are folded.
    pub fn forget(&mut self, rows: &FoldedRows) {
        self.items.retain(|(thread, _)| !rows.is_folded(*thread));
        self.places.clear();
        for (place, (thread, _)) in self.items.iter_mut().enumerate() {
            rows.put(thread);
            let index = thread.0 as usize;
            if index >= self.places.len() {
                self.places.resize(index + 1, 0);
            }
            self.places[index] = place as u32 + 1;
        }
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
    fn values_of_folded_threads_are_added_or_forgotten() {
        let row = ThreadId;
        let rows = FoldedRows::new(4, &[(row(0), row(3)), (row(1), row(3))].into_iter().collect());
        let mut values: ByThread<u64> = ByThread::default();
        [(0, 1), (1, 2), (2, 4), (3, 8)].iter().for_each(|&(number, value)| *values.of(row(number)) = value);
        let mut kept = values.clone();
        values.fold(&rows, |sum, more| *sum += more);
        assert_eq!([0, 1, 2].map(|number| values.get(row(number)).copied()), [Some(4), Some(11), None]);
        kept.forget(&rows);
        assert_eq!([0, 1, 2].map(|number| kept.get(row(number)).copied()), [Some(4), Some(8), None]);
    }

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
