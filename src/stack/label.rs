//! How a frame is worded. Called by every format and by everything that prints a stack as text.

use std::borrow::Cow;

use crate::stack::{FrameId, FrameKind, Interner, StackId};
pub(crate) use crate::text::one_line;
use crate::text::{short, shown};

/// Whose code a frame runs, as far as its path shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    Program,
    Package,
    StandardLibrary,
    /// A shared library or an executable.
    Native,
    /// Nobody's: the frame is a marker, or its file is not known.
    Marker,
}

/// A frame as outputs show it. All of them ask for this, so that a kind of frame is worded in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameDescription<'a> {
    /// The function alone, or the text of a marker.
    pub function: String,
    /// What it is called: `func (file.py:LINE)`, `symbol (library.so)`, `[marker]`.
    pub label: String,
    pub file: Option<Cow<'a, str>>,
    pub line: Option<u32>,
    pub first_line: Option<u32>,
    pub origin: Origin,
}

/// Describes a frame, each text on one line whatever the names contain.
///
/// With `functions` the line is the function's first, so that all its lines have one label. A Python frame without a
/// line is `func (file.py)`, one without a file `func`.
pub(crate) fn describe(stacks: &Interner, id: FrameId, functions: bool) -> FrameDescription<'_> {
    let frame = stacks.get_frame(id);
    let function = one_line(&short(stacks.text(frame.function)));
    let path = stacks.text(frame.file);
    let line = if functions { frame.first_line } else { frame.line };
    let (file, line, first_line) = match frame.kind {
        FrameKind::Python => (path, line, frame.first_line),
        FrameKind::Native => (path, 0, 0),
        FrameKind::Marker => ("", 0, 0),
    };
    let (path_origin, short_path) = match frame.kind {
        FrameKind::Python | FrameKind::Marker => locate(file),
        FrameKind::Native => (Origin::Native, file.rsplit('/').next().unwrap_or(file)),
    };
    let short_path = short(short_path);
    let label = match (&*short_path, line) {
        ("", _) => function.clone(),
        (_, 0) => one_line(&format!("{function} ({short_path})")),
        _ => one_line(&format!("{function} ({short_path}:{line})")),
    };
    FrameDescription {
        function,
        label,
        file: Some(shown(file)).filter(|file| !file.is_empty()),
        line: (line != 0).then_some(line),
        first_line: (first_line != 0).then_some(first_line),
        origin: if file.is_empty() { Origin::Marker } else { path_origin },
    }
}

/// What a frame is called; see [`describe`].
pub(crate) fn frame_label(stacks: &Interner, frame: FrameId, functions: bool) -> String {
    describe(stacks, frame, functions).label
}

/// The frames of a stack with their lines, innermost first.
pub(crate) fn stack_labels(stacks: &Interner, stack: StackId) -> Vec<String> {
    stacks.frames(stack).map(|frame| frame_label(stacks, frame, false)).collect()
}

/// Whose file it is.
pub(crate) fn origin_of(path: &str) -> Origin {
    locate(path).0
}

/// Whose file it is, and the part of its path that distinguishes files at a glance: below `site-packages` or the standard
/// library, else the last component. Names that are no paths, such as `<string>`, stay.
pub(super) fn locate(path: &str) -> (Origin, &str) {
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
    // Every package has such a file: its folder says which.
    let folder =
        path.len().checked_sub(short.len() + 1).and_then(|end| path.get(..end)).filter(|_| short == "__init__.py");
    let short = match folder.and_then(|folder| folder.rsplit('/').next()).filter(|name| !name.is_empty()) {
        Some(name) => &path[path.len() - short.len() - 1 - name.len()..],
        None => short,
    };
    (origin, if short.is_empty() { path } else { short })
}

/// `python3.13`, `python3.13t` (free-threaded), `python3.13d` (debug).
fn is_python_folder(folder: &str) -> bool {
    folder.strip_prefix("python3.").is_some_and(|version| {
        let minor = version.trim_end_matches(['t', 'd']);
        !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit())
    })
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
            ("/srv/shop/__init__.py", Origin::Program, "shop/__init__.py"),
            ("__init__.py", Origin::Program, "__init__.py"),
            ("/__init__.py", Origin::Program, "__init__.py"),
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
            assert_eq!(locate(path), (origin_is, short), "{path}");
        }
    }

    #[test]
    fn labels_name_the_line_or_the_function() {
        let mut stacks = Interner::default();
        let function = stacks.string("Pool.run\n\u{1b}[31m\u{ffff}");
        let file = stacks.string("/v/lib/python3.12/site-packages/pool/core.py");
        let mut label = |line, functions| {
            let frame =
                stacks.frame(Frame { kind: FrameKind::Python, function, name: function, file, line, first_line: 40 });
            frame_label(&stacks, frame, functions)
        };
        assert_eq!(label(42, false), "Pool.run\\n\\x1b[31m\\u{ffff} (pool/core.py:42)");
        assert_eq!(label(42, true), "Pool.run\\n\\x1b[31m\\u{ffff} (pool/core.py:40)");
        assert_eq!(label(0, false), "Pool.run\\n\\x1b[31m\\u{ffff} (pool/core.py)");
    }

    #[test]
    fn native_frames_and_markers_are_described_by_their_kind() {
        let mut stacks = Interner::default();
        let (function, file) = (stacks.string("inflate"), stacks.string("/usr/lib/libz.so.1"));
        let native =
            stacks.frame(Frame { kind: FrameKind::Native, function, name: function, file, line: 0, first_line: 0 });
        let marker = stacks.marker_frame("[garbage collection]");
        for functions in [false, true] {
            let described = describe(&stacks, native, functions);
            assert_eq!((&*described.label, &*described.function), ("inflate (libz.so.1)", "inflate"));
            assert_eq!((described.file.as_deref(), described.line), (Some("/usr/lib/libz.so.1"), None));
            assert_eq!(described.origin, Origin::Native);
            let described = describe(&stacks, marker, functions);
            assert_eq!((&*described.label, described.file.as_deref()), ("[garbage collection]", None));
            assert_eq!((described.line, described.origin), (None, Origin::Marker));
        }
    }
}
