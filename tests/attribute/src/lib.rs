//! `#[test]` for the test binaries that have a harness of their own (`tests/support/harness.rs`), because the standard
//! one cannot say at run time that a test measured nothing.

use proc_macro::{TokenStream, TokenTree};

/// Registers a function with the harness, under its path.
#[proc_macro_attribute]
pub fn test(_arguments: TokenStream, function: TokenStream) -> TokenStream {
    let mut kept = Vec::new();
    let mut is_ignored = false;
    let mut words = function.into_iter().peekable();
    while let Some(word) = words.next() {
        // The compiler knows `#[ignore]` only beside its own `#[test]`.
        if word.to_string() == "#" && words.peek().is_some_and(is_ignore) {
            words.next();
            is_ignored = true;
        } else {
            kept.push(word);
        }
    }
    let name = kept.windows(2).find(|pair| pair[0].to_string() == "fn").map(|pair| pair[1].to_string());
    let registration = match name {
        Some(name) => format!(
            "::inventory::submit! {{ crate::support::harness::Test {{ path: concat!(module_path!(), \"::\", \
             stringify!({name})), run: {name}, is_ignored: {is_ignored} }} }}"
        ),
        None => "compile_error!(\"only a function can be a test\");".to_owned(),
    };
    let registration: TokenStream = registration.parse().expect("this is Rust");
    kept.into_iter().chain(registration).collect()
}

fn is_ignore(attribute: &TokenTree) -> bool {
    let TokenTree::Group(group) = attribute else { return false };
    group.stream().into_iter().next().is_some_and(|word| word.to_string() == "ignore")
}
