//! Foreign text made safe to show. Called by everything that words what a target, a file or an argument says.
//!
//! Whoever writes a program chooses its names: of functions, files, threads, variables, libraries, of the executable and the
//! process. They may contain what a terminal obeys, what reverses or hides the text around it, and a million characters.
//! What is *shown* is therefore made visible ([`one_line`], [`Shown`]) where it is worded, and once more where it leaves
//! ([`lines`], [`json`], [`VisibleWriter`]), so that a place that was forgotten does no harm. Recordings and JSON keep the
//! exact text of names; JSON does so in escapes.

pub mod json;
mod writer;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::path::Path;

use unicode_width::UnicodeWidthChar;

pub use self::writer::VisibleWriter;

/// No text that is shown on one line has more characters than this: what is longer lacks its middle.
pub const MAX_SHOWN: usize = 1024;
/// No name in it has more characters than this.
pub const MAX_NAME: usize = 200;
/// No character has more combining marks than this: piled up, they cover the lines around them.
const MAX_MARKS: usize = 4;
/// Stands for what was left out.
const ELLIPSIS: char = '\u{2026}';

/// Whether a character does something else than to be seen: it controls the terminal, breaks the line, reverses or hides
/// text, or is no character at all (XML forbids those even when escaped).
///
/// These are the general categories Cc, Zl, Zp and Cn (noncharacters), and the property Default_Ignorable_Code_Point, without
/// the selectors of variants that emoji need.
pub(crate) fn is_unsafe(char: char) -> bool {
    let code = u32::from(char);
    char.is_control()
        || code & 0xfffe == 0xfffe
        || matches!(
            char,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fdd0}'..='\u{fdef}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Writes a character that is unsafe as a programmer would: `\n`, `\x1b`, `\u{202e}`.
fn put_escaped(out: &mut String, char: char) {
    // Writing to a String cannot fail.
    let _ = match char {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        _ if u32::from(char) < 0x100 => write!(out, "\\x{:02x}", u32::from(char)),
        _ => write!(out, "\\u{{{:x}}}", u32::from(char)),
    };
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// `text` with everything that is unsafe made visible, but for what `is_kept`.
fn visible(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut marks = 0;
    for char in text.chars() {
        let is_mark = char.width() == Some(0) && !is_unsafe(char);
        marks = if is_mark { marks + 1 } else { 0 };
        match char {
            _ if is_kept(char) => out.push(char),
            _ if is_unsafe(char) => put_escaped(&mut out, char),
            _ if marks == MAX_MARKS + 1 => out.push(ELLIPSIS),
            _ if marks > MAX_MARKS => {}
            _ => out.push(char),
        }
    }
    out
}

/// `text` as it is shown on one line: nothing in it breaks lines, terminals or XML, or is longer than [`MAX_SHOWN`].
/// Applied again, it changes nothing.
pub(crate) fn one_line(text: &str) -> String {
    // What will be left out need not be looked at.
    let text = cut(text, MAX_SHOWN);
    if is_plain(&text) {
        return text.into_owned();
    }
    cut(&visible(&text, |_| false), MAX_SHOWN).into_owned()
}

/// The same, without a copy where there is nothing to change.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_SHOWN && is_plain(text) { text.into() } else { one_line(text).into() }
}

/// `text` as a part of a page or a drawing, whatever its place there is.
pub(crate) fn markup(text: &str) -> String {
    let mut markup = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => markup.push_str("&amp;"),
            '<' => markup.push_str("&lt;"),
            '>' => markup.push_str("&gt;"),
            '"' => markup.push_str("&quot;"),
            '\'' => markup.push_str("&#39;"),
            '\n' => markup.push(char),
            _ if is_unsafe(char) => put_escaped(&mut markup, char),
            _ => markup.push(char),
        }
    }
    markup
}

/// A name as a part of longer texts, for which it leaves room: what is longer than [`MAX_NAME`] lacks its middle. It is not
/// safe to show by that.
pub(crate) fn short(name: &str) -> Cow<'_, str> {
    cut(name, MAX_NAME)
}

/// The start and the end of a text that has more than `max` characters.
fn cut(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max || text.chars().nth(max).is_none() {
        return text.into();
    }
    let half = max / 2;
    let start: String = text.chars().take(half).collect();
    let end = text.char_indices().rev().nth(half - 2).map_or("", |(at, _)| &text[at..]);
    format!("{start}{ELLIPSIS}{end}").into()
}

/// What begins and ends a heading in bold.
pub(crate) const BOLD: &str = "\x1b[1m";
pub(crate) const NOT_BOLD: &str = "\x1b[0m";

/// Lines as they leave for a terminal: whatever the places that worded them have forgotten, only our own ends of lines and
/// bold headings are left.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    let is_kept = |char: char| char == '\n';
    if text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        out += &visible(&rest[..at], is_kept);
        let style = [BOLD, NOT_BOLD].into_iter().find(|style| rest[at..].starts_with(style));
        out += style.unwrap_or("\\x1b");
        rest = &rest[at + style.map_or(1, str::len)..];
    }
    out += &visible(rest, is_kept);
    out.into()
}

/// Lines of a file of somebody else, whose ends alone are kept.
pub(crate) fn visible_lines(text: &str) -> String {
    visible(&text.replace("\r\n", "\n"), |char| char == '\n')
}

/// How many cells of a terminal a text that was made visible takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

/// As much of the start of a text as fits into some cells.
pub(crate) fn start(text: &str, cells: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|&(_, char)| {
        taken += char.width().unwrap_or(0);
        taken > cells
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// As much of the end of a text as fits into some cells.
pub(crate) fn end(text: &str, cells: usize) -> &str {
    let mut taken = 0;
    let start = text.char_indices().rev().find(|&(_, char)| {
        taken += char.width().unwrap_or(0);
        taken > cells
    });
    // A mark belongs to the character before it, which is not part of it.
    let is_mark = |char: char| char.width() == Some(0);
    start.map_or(text, |(at, char)| text[at + char.len_utf8()..].trim_start_matches(is_mark))
}

/// A text with spaces after it, in that many cells.
pub(crate) fn padded(text: &str, cells: usize) -> String {
    format!("{text}{:1$}", "", cells.saturating_sub(width(text)))
}

/// A word for a name of a file: letters and digits, and few of them.
pub fn file_word(text: &str) -> String {
    const MAX_CHARS: usize = 40;
    let is_part = |c: &char| c.is_alphanumeric() || "-_.".contains(*c);
    let word: String = text.chars().filter(is_part).take(MAX_CHARS).collect();
    word.trim_start_matches(['.', '-']).to_owned()
}

/// Bytes that should be text: what is no UTF-8 in it is replaced.
pub fn from_bytes(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A word of the system that should be text.
pub fn from_os(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}

/// A path or a word of the system as it is shown.
pub trait Shown {
    fn shown(&self) -> ShownText;
}

/// Made by [`Shown::shown`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownText(String);

impl fmt::Display for ShownText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Shown for Path {
    fn shown(&self) -> ShownText {
        self.as_os_str().shown()
    }
}

impl Shown for OsStr {
    fn shown(&self) -> ShownText {
        ShownText(one_line(&self.to_string_lossy()))
    }
}

impl Shown for str {
    fn shown(&self) -> ShownText {
        ShownText(one_line(self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_unsafe_becomes_visible() {
        for (text, shown) in [
            ("app.py", "app.py"),
            ("\x1b]0;PWN\x07", "\\x1b]0;PWN\\x07"),
            ("a\nb\rc\td", "a\\nb\\rc\\td"),
            ("\u{9b}31m\u{7f}", "\\x9b31m\\x7f"),
            ("\u{202e}gnp.exe", "\\u{202e}gnp.exe"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("\u{2028}\u{2029}\u{2066}\u{61c}", "\\u{2028}\\u{2029}\\u{2066}\\u{61c}"),
            ("\u{e0041}\u{ffff}\u{fdd0}\u{10fffe}", "\\u{e0041}\\u{ffff}\\u{fdd0}\\u{10fffe}"),
            (
                "\u{fffd} \u{7ebf}\u{7a0b} \u{2764}\u{fe0f} e\u{301}",
                "\u{fffd} \u{7ebf}\u{7a0b} \u{2764}\u{fe0f} e\u{301}",
            ),
        ] {
            assert_eq!(one_line(text), shown);
        }
        assert_eq!(OsStr::new("a\x1bb").shown().to_string(), "a\\x1bb");
    }

    #[test]
    fn marks_do_not_pile_up() {
        let flood = format!("Z{}x{}", "\u{301}".repeat(500), "\u{302}".repeat(3));
        assert_eq!(one_line(&flood), format!("Z{}\u{2026}x{}", "\u{301}".repeat(4), "\u{302}".repeat(3)));
    }

    #[test]
    fn long_text_lacks_its_middle() {
        let shown = one_line(&format!("start{}end", "\u{e9}".repeat(1_000_000)));
        assert_eq!(shown.chars().count(), MAX_SHOWN);
        assert!(shown.starts_with("start") && shown.ends_with("end") && shown.contains(ELLIPSIS));
        assert_eq!(one_line(&"x".repeat(MAX_SHOWN)), "x".repeat(MAX_SHOWN));
        assert_eq!(short(&"x".repeat(MAX_NAME + 1)).chars().count(), MAX_NAME);
        let escaped = one_line(&"\x1b".repeat(MAX_SHOWN));
        assert_eq!(escaped.chars().count(), MAX_SHOWN);
    }

    #[test]
    fn lines_keep_their_ends_and_bold_headings() {
        let text = format!("{BOLD}Threads{NOT_BOLD}\n\x1b[31mred\x1b[1\u{202e}\x07\n");
        let shown = format!("{BOLD}Threads{NOT_BOLD}\n\\x1b[31mred\\x1b[1\\u{{202e}}\\x07\n");
        assert_eq!(lines(&text), shown);
    }

    #[test]
    fn wide_characters_take_two_cells_and_marks_none() {
        let wide = "\u{7ebf}\u{7a0b}e\u{301}x";
        assert_eq!(width(wide), 6);
        assert_eq!((start(wide, 3), end(wide, 1)), ("\u{7ebf}", "x"));
        assert_eq!((start(wide, 6), end(wide, 6)), (wide, wide));
        assert_eq!((start(wide, 0), end(wide, 0)), ("", ""));
        assert_eq!(padded(wide, 8), format!("{wide}  "));
    }

    #[test]
    fn words_for_files_lead_nowhere() {
        assert_eq!(file_word("../../etc/\x1bpasswd"), "etcpasswd");
        assert_eq!(file_word("-rf"), "rf");
        assert_eq!(file_word(&"x".repeat(300)).len(), 40);
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left_and_again_changes_nothing(text in any::<String>()) {
            let once = one_line(&text);
            prop_assert!(!once.chars().any(is_unsafe));
            prop_assert_eq!(one_line(&once), once.clone());
            prop_assert_eq!(&*lines(&once), &*once);
        }
    }
}
