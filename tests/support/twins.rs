//! Twins.

pub fn of(_test: &str) -> Option<&'static [&'static str]> {
    Some(&[])
}
