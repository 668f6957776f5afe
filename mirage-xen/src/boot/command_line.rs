//! The domain's command line: words, most of them `key=value`.

use core::str::SplitAsciiWhitespace;

/// What the toolstack's configuration has as `extra=`: words, separated by white space.
///
/// ```
/// use mirage_xen::boot::CommandLine;
///
/// let line = CommandLine::new("ip=10.0.0.2/24 quiet log=info log=debug");
/// assert_eq!(line.value("ip"), Some("10.0.0.2/24"));
/// assert_eq!(line.value("log"), Some("debug"));
/// assert_eq!(line.words().nth(1).unwrap().key, "quiet");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandLine<'a>(&'a str);

impl<'a> CommandLine<'a> {
    /// The words of `text`.
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// All of it.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The words, in order.
    pub fn words(self) -> Words<'a> {
        Words(self.0.split_ascii_whitespace())
    }

    /// The value of the last word with this key. `None`: there is no such word with a value.
    pub fn value(self, key: &str) -> Option<&'a str> {
        let mut words = self.words().filter(|word| word.key == key);
        let mut last = words.next()?;
        for word in words {
            last = word;
        }
        last.value
    }
}

/// The words of a command line: see [`CommandLine::words`].
#[derive(Clone, Debug)]
pub struct Words<'a>(SplitAsciiWhitespace<'a>);

/// A word of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// What is before the first `=`, or all of it.
    pub key: &'a str,
    /// What is after the first `=`.
    pub value: Option<&'a str>,
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let word = self.0.next()?;
        let sign = word.bytes().position(|byte| byte == b'=');
        let (key, rest) = word.split_at(sign.unwrap_or(word.len()));
        Some(Word {
            key,
            value: rest.strip_prefix('='),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_cut_at_its_first_sign() {
        let line = CommandLine::new("  a=b=c \t d  =e f=\n");
        let words: std::vec::Vec<_> = line.words().map(|word| (word.key, word.value)).collect();
        assert_eq!(
            words,
            [
                ("a", Some("b=c")),
                ("d", None),
                ("", Some("e")),
                ("f", Some(""))
            ]
        );
    }

    #[test]
    fn the_last_word_of_a_key_wins() {
        let line = CommandLine::new("log=info ip=1 log=debug");
        assert_eq!(line.value("log"), Some("debug"));
        assert_eq!(line.value("ip"), Some("1"));
        assert_eq!(line.value("i"), None);
        assert_eq!(CommandLine::new("").value("log"), None);
        assert_eq!(CommandLine::new("quiet").value("quiet"), None);
    }
}
