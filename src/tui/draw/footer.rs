//! The last line: a question, a message, or the keys that matter here.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::canvas::Canvas;
use super::lines::put;
use crate::tui::state::choices::{Prompt, Tab, UserChoices};

pub(crate) fn draw(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>) {
    let (choices, theme) = (canvas.choices, canvas.theme);
    let (text, style) = match &choices.prompt {
        Some(Prompt::Filter(_)) => {
            (format!("/{}_  (Enter applies it, Esc discards it)", choices.rows().filter), theme.bold())
        }
        Some(Prompt::Reset) => ("Reset: discard everything before now? y / n".to_owned(), theme.banner()),
        Some(Prompt::Save) => {
            ("Save what is shown: s flame graph (SVG), j report (JSON), Esc nothing".to_owned(), theme.banner())
        }
        None if !choices.message.is_empty() => (choices.message.clone(), theme.bold()),
        None => (keys(choices).to_owned(), theme.dim()),
    };
    put(buffer, area, 0, &text, style, theme);
}

fn keys(choices: &UserChoices) -> &'static str {
    match choices.tab {
        _ if choices.help => "Esc back   j k scroll",
        _ if choices.detail.is_some() => "Esc back   j k scroll   y copy   ? help   q quit",
        Tab::Flame => "? help  q quit  arrows move  Enter zoom  Esc out  v view  [ ] thread  L lines  / find  d save",
        Tab::Functions => "? help  q quit  Enter detail  v view  [ ] thread  L lines  < > sort  / filter  d save",
        Tab::Threads => {
            "? help  q quit  Enter detail  t merge  w range  < > sort  / filter  space pause  r reset  d save"
        }
        Tab::Gil | Tab::Locks => {
            "? help  q quit  Enter detail  b blame  w range  < > sort  / filter  space pause  r reset  d save"
        }
        _ => "? help  q quit  Enter detail  w range  / filter  space pause  r reset  d save",
    }
}
