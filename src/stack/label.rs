//! How a frame is worded. Called by every format and by everything that prints a stack as text.

use crate::stack::{FrameId, Interner, StackId};

/// Where a file comes from, as far as its path tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program itself.
    Program,
    /// An installed package.
    Package,
    /// Python's own library.
    StandardLibrary,
}

/// `func (file.py:LINE)`, on one line whatever the names contain.
///
/// With `functions` the line is the function's first, so that all its lines have one label. A frame without a
/// line is `func (file.py)`.
pub fn frame_label(stacks: &Interner, frame: FrameId, functions: bool) -> String {
    let frame = stacks.get_frame(frame);
    let (function, file) = (stacks.text(frame.function), short_file(stacks.text(frame.file)));
    let line = if functions { frame.first_line } else { frame.line };
    one_line(&match (file, line) {
        // Stands for frames that are not known.
        ("", _) => function.to_owned(),
        (_, 0) => format!("{function} ({file})"),
        _ => format!("{function} ({file}:{line})"),
    })
}

/// The frames of a stack with their lines, innermost first.
pub fn stack_labels(stacks: &Interner, stack: StackId) -> Vec<String> {
    stacks.frames(stack).map(|frame| frame_label(stacks, frame, false)).collect()
}

/// The part of a path that tells files apart at a glance: below `site-packages` or the standard library, else the
/// last component. Names that are no paths, such as `<string>`, stay.
pub fn short_file(path: &str) -> &str {
    locate(path).1
}

/// Whose file it is.
pub fn origin(path: &str) -> Origin {
    locate(path).0
}

fn locate(path: &str) -> (Origin, &str) {
    if path.starts_with('<') {
        let frozen = path.starts_with("<frozen ");
        return (if frozen { Origin::StandardLibrary } else { Origin::Program }, path);
    }
    let mut found = None;
    let (mut parent, mut rest) = ("", path);
    while let Some((folder, below)) = rest.split_once('/') {
        // The innermost folder wins: site-packages is usually inside lib/python3.N.
        if matches!(folder, "site-packages" | "dist-packages") {
            found = Some((Origin::Package, below));
        } else if parent.starts_with("lib") && is_python_folder(folder) {
            found = Some((Origin::StandardLibrary, below));
        }
        (parent, rest) = (folder, below);
    }
    let (origin, short) = found.unwrap_or((Origin::Program, rest));
    (origin, if short.is_empty() { path } else { short })
}

/// `python3.13`, `python3.13t` (free-threaded), `python3.13d` (debug).
fn is_python_folder(folder: &str) -> bool {
    folder.strip_prefix("python3.").is_some_and(|version| {
        let minor = version.trim_end_matches(['t', 'd']);
        !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// `text` without the characters that break lines, terminals and XML.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|char| match char {
            // Not characters at all; XML forbids them even when escaped.
            '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
            _ if char.is_control() => ' ',
            _ => char,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Frame;

    #[test]
    fn files_are_short() {
        for (path, origin_is, short) in [
            ("/srv/app/main.py", Origin::Program, "main.py"),
            ("main.py", Origin::Program, "main.py"),
            ("/usr/lib/python3.12/threading.py", Origin::StandardLibrary, "threading.py"),
            ("/opt/py/lib/python3.13t/json/decoder.py", Origin::StandardLibrary, "json/decoder.py"),
            ("/usr/lib64/python3.9/asyncio/events.py", Origin::StandardLibrary, "asyncio/events.py"),
            ("/v/lib/python3.12/site-packages/requests/api.py", Origin::Package, "requests/api.py"),
            ("/usr/lib/python3/dist-packages/apt/cache.py", Origin::Package, "apt/cache.py"),
            ("/home/me/python3.12/tool.py", Origin::Program, "tool.py"),
            ("/x/lib/python3.x/tool.py", Origin::Program, "tool.py"),
            ("/x/my-site-packages/tool.py", Origin::Program, "tool.py"),
            ("<string>", Origin::Program, "<string>"),
            ("<ipython-input-1/2>", Origin::Program, "<ipython-input-1/2>"),
            ("<frozen importlib._bootstrap>", Origin::StandardLibrary, "<frozen importlib._bootstrap>"),
            ("/x/site-packages/", Origin::Package, "/x/site-packages/"),
            ("", Origin::Program, ""),
        ] {
            assert_eq!((origin(path), short_file(path)), (origin_is, short), "{path}");
        }
    }

    #[test]
    fn labels_name_the_line_or_the_function() {
        let mut stacks = Interner::default();
        let function = stacks.string("Pool.run\n\u{1b}[31m\u{ffff}");
        let file = stacks.string("/v/lib/python3.12/site-packages/pool/core.py");
        let mut label = |line, functions| {
            let frame = stacks.frame(Frame { function, name: function, file, line, first_line: 40 });
            frame_label(&stacks, frame, functions)
        };
        assert_eq!(label(42, false), "Pool.run  [31m\u{fffd} (pool/core.py:42)");
        assert_eq!(label(42, true), "Pool.run  [31m\u{fffd} (pool/core.py:40)");
        assert_eq!(label(0, false), "Pool.run  [31m\u{fffd} (pool/core.py)");
    }
}
