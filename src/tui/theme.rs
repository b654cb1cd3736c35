//! Colours and characters. Colours only repeat what letters say: without them, nothing is lost.

use ratatui::style::{Color, Modifier, Style};

use super::calls::Whose;
use super::class::Class;
use super::table::Tone;
use crate::stack::label::Origin;

/// The bars of a sparkline, from nothing to all; [`Theme::text`] has others where these cannot be shown.
pub const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How the screen is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Colours can be used.
    pub color: bool,
    /// Characters beyond ASCII can not.
    pub ascii: bool,
}

impl Theme {
    fn fg(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// The colour of a state, as that of a text.
    pub fn class(self, class: Class) -> Style {
        match class {
            Class::Held | Class::Running => self.fg(Color::Green),
            Class::HeldIdle => self.fg(Color::Magenta).add_modifier(Modifier::BOLD),
            Class::GilWait => self.fg(Color::Red),
            Class::LockWait => self.fg(Color::Yellow),
            Class::Native => self.fg(Color::Blue),
            Class::Paused => self.fg(Color::Magenta),
            Class::NoCpu => self.fg(Color::Cyan),
            Class::Idle | Class::Unknown | Class::Absent => self.dim(),
        }
    }

    /// A cell of a strip.
    pub fn strip(self, class: Class) -> Style {
        let background = match class {
            _ if !self.color => return self.class(class),
            Class::Held | Class::Running => Color::Green,
            Class::HeldIdle | Class::Paused => Color::Magenta,
            Class::GilWait => Color::Red,
            Class::LockWait => Color::Yellow,
            Class::Native => Color::Blue,
            Class::NoCpu => Color::Cyan,
            Class::Idle | Class::Unknown | Class::Absent => return self.dim(),
        };
        Style::new().fg(Color::Black).bg(background)
    }

    /// How a cell of a table looks.
    pub fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Dim => self.dim(),
            Tone::Of(class) => self.class(class),
            Tone::Alarm => self.alarm(),
        }
    }

    /// A frame of the flame graph. Neighbours differ in shade.
    pub fn frame(self, whose: Whose, odd: bool) -> Style {
        if !self.color {
            return if odd { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        }
        // Of the 256 colours, which all terminals have that have colours at all.
        let indexed = |even: u8, other: u8| Color::Indexed(if odd { other } else { even });
        let background = match whose {
            Whose::Code(Origin::Program) => indexed(208, 214),
            Whose::Code(Origin::Package) => indexed(114, 150),
            Whose::Code(Origin::StandardLibrary) => indexed(186, 187),
            Whose::Code(Origin::Native) => indexed(146, 147),
            Whose::Code(Origin::Marker) => indexed(110, 111),
            Whose::State(Class::GilWait) => indexed(167, 167),
            Whose::State(Class::LockWait) => indexed(178, 178),
            Whose::State(Class::HeldIdle | Class::Paused) => indexed(170, 170),
            Whose::State(_) => indexed(110, 111),
        };
        Style::new().fg(Color::Black).bg(background)
    }

    /// Matters less.
    pub fn dim(self) -> Style {
        if self.color { Style::new().fg(Color::DarkGray) } else { Style::new() }
    }

    /// Stands out.
    pub fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// A warning.
    pub fn alarm(self) -> Style {
        self.fg(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What is selected.
    pub fn selected(self) -> Style {
        match self.color {
            true => Style::new().fg(Color::Black).bg(Color::Cyan),
            false => Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    /// A banner.
    pub fn banner(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED);
        if self.color { style.fg(Color::Yellow) } else { style }
    }

    /// The bars of a sparkline, from nothing to all.
    pub fn bars(self) -> &'static [char] {
        match self.ascii {
            false => &BARS,
            true => &['_', '.', ':', '-', '=', '+', '*', '#', '#'],
        }
    }

    /// Which way a column is sorted.
    pub fn arrow(self, ascending: bool) -> char {
        match (self.ascii, ascending) {
            (false, false) => '▼',
            (false, true) => '▲',
            (true, false) => 'v',
            (true, true) => '^',
        }
    }

    /// A text, without characters that the terminal does not have.
    pub fn text(self, text: &str) -> std::borrow::Cow<'_, str> {
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

    /// The letter of a strip.
    pub fn letter(self, class: Class) -> char {
        if class == Class::Idle && !self.ascii { '·' } else { class.letter() }
    }
}
