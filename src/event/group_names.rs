//! What the names of threads that do the same thing have in common.

/// Stands for the number in which names differ.
const NUMBER: char = '*';

/// A name with a star for the number that tells threads of a group apart: `ThreadPoolExecutor-0_*`, `Thread-* (work)`.
pub(crate) fn name_pattern(name: &str) -> String {
    let (head, tail) = match name.strip_suffix(')').and_then(|_| name.rfind(" (")) {
        Some(at) => name.split_at(at),
        None => (name, ""),
    };
    // What gilscope calls threads whose name it could not read.
    if head == "Thread" && !tail.is_empty() {
        return format!("Thread-{NUMBER}{tail}");
    }
    let stem = head.trim_end_matches(|char: char| char.is_ascii_digit());
    if stem.len() == head.len() || stem.is_empty() { name.to_owned() } else { format!("{stem}{NUMBER}{tail}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_name_is_the_last() {
        for (name, expected) in [
            ("ThreadPoolExecutor-0_12", "ThreadPoolExecutor-0_*"),
            ("Thread-12 (work)", "Thread-* (work)"),
            ("Thread-7", "Thread-*"),
            ("Thread (work)", "Thread-* (work)"),
            ("w0", "w*"),
            ("MainThread", "MainThread"),
            ("4711", "4711"),
            ("thread (of 2)", "thread (of 2)"),
            ("", ""),
        ] {
            assert_eq!(name_pattern(name), expected, "{name}");
        }
    }
}
