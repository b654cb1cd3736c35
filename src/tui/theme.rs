//! Colours and characters. Colours only repeat what letters say: without them, nothing is lost.

use ratatui::style::{Color, Modifier, Style};

use super::state::call_tree::FrameOwner;
use super::state::sparkline::BARS;
use super::state::table::Tone;
use crate::event::{Activity, ActivityColor};
use crate::stack::label::Origin;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Theme {
    /// The terminal has colours.
    pub color: bool,
    pub ascii: bool,
}

impl Theme {
    fn fg(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// The colour of an activity, as that of a text.
    pub(crate) fn activity(self, activity: Option<Activity>) -> Style {
        match activity {
            Some(Activity::GilHeldBlocked) => self.fg(Color::Magenta).add_modifier(Modifier::BOLD),
            Some(activity) => terminal_color(activity).map_or(self.dim(), |color| self.fg(color)),
            None => self.dim(),
        }
    }

    /// A cell of a strip.
    pub(crate) fn strip(self, activity: Option<Activity>) -> Style {
        match activity.and_then(terminal_color) {
            Some(color) if self.color => Style::new().fg(Color::Black).bg(color),
            _ => self.activity(activity),
        }
    }

    pub(crate) fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Dim => self.dim(),
            Tone::Of(activity) => self.activity(activity),
            Tone::Alarm => self.alarm(),
        }
    }

    /// A frame of the flame graph. Neighbours differ in shade.
    pub(crate) fn frame(self, owner: FrameOwner, odd: bool) -> Style {
        if !self.color {
            return if odd { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        }
        // Of the 256 colours that every terminal with colours has.
        let indexed = |even: u8, other: u8| Color::Indexed(if odd { other } else { even });
        let background = match owner {
            FrameOwner::Code(Origin::Program) => indexed(208, 214),
            FrameOwner::Code(Origin::Package) => indexed(114, 150),
            FrameOwner::Code(Origin::StandardLibrary) => indexed(186, 187),
            FrameOwner::Code(Origin::Native) => indexed(146, 147),
            FrameOwner::Code(Origin::Marker) => indexed(110, 111),
            FrameOwner::Activity(Activity::GilWait) => indexed(167, 167),
            FrameOwner::Activity(Activity::LockWait) => indexed(178, 178),
            FrameOwner::Activity(Activity::GilHeldBlocked | Activity::GilHeldNoCpu | Activity::Paused) => {
                indexed(170, 170)
            }
            FrameOwner::Activity(_) => indexed(110, 111),
        };
        Style::new().fg(Color::Black).bg(background)
    }

    pub(crate) fn dim(self) -> Style {
        if self.color { Style::new().fg(Color::DarkGray) } else { Style::new() }
    }

    pub(crate) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(crate) fn alarm(self) -> Style {
        self.fg(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(crate) fn selected(self) -> Style {
        match self.color {
            true => Style::new().fg(Color::Black).bg(Color::Cyan),
            false => Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    pub(crate) fn banner(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED);
        if self.color { style.fg(Color::Yellow) } else { style }
    }

    /// The bars of a sparkline, from nothing to all.
    pub(crate) fn bars(self) -> &'static [char] {
        match self.ascii {
            false => &BARS,
            true => &['_', '.', ':', '-', '=', '+', '*', '#', '#'],
        }
    }

    /// The direction in which a column is sorted.
    pub(crate) fn arrow(self, ascending: bool) -> char {
        match (self.ascii, ascending) {
            (false, false) => '▼',
            (false, true) => '▲',
            (true, false) => 'v',
            (true, true) => '^',
        }
    }

    /// A text in characters that the terminal has.
    pub(crate) fn text(self, text: &str) -> std::borrow::Cow<'_, str> {
        if !self.ascii || text.is_ascii() {
            return text.into();
        }
        let plain = Theme { ascii: false, ..self };
        let known = |char: char| match char {
            '·' => Some('.'),
            char => plain.bars().iter().position(|bar| *bar == char).map(|height| self.bars()[height]),
        };
        let ascii = |char: char| if char.is_ascii() { char } else { known(char).unwrap_or('?') };
        text.chars().map(ascii).collect::<String>().into()
    }

    /// The letter of an activity in a strip or a legend.
    pub(crate) fn letter(self, activity: Option<Activity>) -> char {
        match activity {
            Some(Activity::Blocked) if !self.ascii => '·',
            Some(activity) => activity.row().letter,
            None => ' ',
        }
    }
}

/// Of the 16 colours that all terminals have; `None` for grey, which is less than the others.
fn terminal_color(activity: Activity) -> Option<Color> {
    match activity.row().color {
        ActivityColor::Green => Some(Color::Green),
        ActivityColor::Magenta | ActivityColor::Purple => Some(Color::Magenta),
        ActivityColor::Red => Some(Color::Red),
        ActivityColor::Orange => Some(Color::Yellow),
        ActivityColor::Blue => Some(Color::Blue),
        ActivityColor::Brown => Some(Color::Cyan),
        ActivityColor::Grey => None,
    }
}
