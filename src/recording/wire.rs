//! RenumberedIds and texts as bytes, and back. Used by the encoder and the decoder of recordings.
//!
//! A number is a varint (LEB128: seven bits a byte, the lowest first, the eighth bit set in all but the last). One that
//! can be negative is zigzag-coded first. A text is its length in bytes and UTF-8. What may be missing has a byte 0 or
//! 1 before it.

pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number that can be negative.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, (value.wrapping_shl(1) ^ (value >> 63)) as u64);
}

pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a text or its absence.
pub fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(text.is_some().into());
    if let Some(text) = text {
        put_text(out, text);
    }
}

/// The bytes are not what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What is left to be read.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(first)
    }

    pub fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A number that fits a smaller type.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.number()?).map_err(|_| Malformed)
    }

    /// A number that can be negative.
    pub fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.small::<usize>()?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Malformed)
    }

    /// A text or its absence.
    pub fn optional(&mut self) -> Result<Option<&'a str>, Malformed> {
        self.flag()?.then(|| self.text()).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_comes_back(
            number in any::<u64>(), signed in any::<i64>(), text in ".*", optional in prop::option::of(".*")
        ) {
            let mut out = Vec::new();
            put(&mut out, number);
            put_signed(&mut out, signed);
            put_text(&mut out, &text);
            put_optional(&mut out, optional.as_deref());
            let mut bytes = Bytes(&out);
            prop_assert_eq!(bytes.number(), Ok(number));
            prop_assert_eq!(bytes.signed(), Ok(signed));
            prop_assert_eq!(bytes.text(), Ok(&*text));
            prop_assert_eq!(bytes.optional(), Ok(optional.as_deref()));
            prop_assert_eq!(bytes.byte(), Err(Malformed));
        }

        #[test]
        fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Bytes(&bytes).number();
            let _ = Bytes(&bytes).signed();
            let _ = Bytes(&bytes).optional();
            let _ = Bytes(&bytes).small::<u32>();
        }
    }

    #[test]
    fn small_numbers_are_small() {
        for (value, length) in [(0, 1), (127, 1), (128, 2), (u64::MAX, 10)] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out.len(), length);
        }
        let mut out = Vec::new();
        put_signed(&mut out, -64);
        assert_eq!(out.len(), 1);
    }
}
