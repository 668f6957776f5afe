//! Keys in text: the file that `tsig-keygen` writes and BIND, `dig -k` and others read, and the argument of `dig -y`.

use core::error::Error;
use core::fmt;

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroize as _;

use super::{Algorithm, Key};
use crate::name::NameBuf;

/// The most octets of a secret in text; the longest block of a hash has 128, and what is longer is hashed first.
pub const MAX_SECRET_LENGTH: usize = 512;

/// The keys of a key file, one by one.
///
/// ```text
/// // tsig-keygen transfer.example
/// key "transfer.example" {
///     algorithm hmac-sha256;
///     secret "c2VjcmV0IG9mIHRoaXMgZXhhbXBsZSwgMzIgb2N0ZXRz";
/// };
/// ```
///
/// Both statements of a key, in either order, and nothing else; several keys; comments as in C, C++ and the shell. The
/// iteration ends after an error.
///
/// ```
/// use mirage_dns::tsig::{Algorithm, KeyFile};
///
/// let text = "key \"a.example\" { algorithm hmac-sha512; secret \"c2VjcmV0\"; };";
/// let key = KeyFile::new(text).next().unwrap().unwrap();
/// assert_eq!((key.name().to_string().as_str(), key.algorithm()), ("a.example.", Algorithm::HmacSha512));
/// ```
#[derive(Clone)]
pub struct KeyFile<'t> {
    rest: &'t str,
    line: u32,
    column: u32,
    failed: bool,
}

impl<'t> KeyFile<'t> {
    /// A reader of this text.
    pub fn new(text: &'t str) -> Self {
        Self {
            rest: text,
            line: 1,
            column: 1,
            failed: false,
        }
    }

    fn key(&mut self) -> Result<Option<Key>, KeyTextError> {
        let Some(first) = self.token()? else {
            return Ok(None);
        };
        if !first.is_word("key") {
            return Err(first.error("`key`"));
        }
        let name = self.value("the name of a key")?;
        let name = name_of(name.text).ok_or(name.error("the name of a key"))?;
        self.symbol("{")?;
        let (mut algorithm, mut secret) = (None, None);
        let end = loop {
            let token = self.expect("`algorithm`, `secret` or `}`")?;
            if token.is_word("algorithm") && algorithm.is_none() {
                let value = self.value(ALGORITHMS)?;
                let known = Algorithm::from_mnemonic(value.text);
                algorithm = Some(known.ok_or(value.error(ALGORITHMS))?);
            } else if token.is_word("secret") && secret.is_none() {
                secret = Some(self.value(SECRET)?);
            } else if token.is_symbol("}") {
                break token;
            } else {
                return Err(token.error("`algorithm`, `secret` or `}`, each once"));
            }
            self.symbol(";")?;
        };
        self.symbol(";")?;
        let algorithm = algorithm.ok_or(end.error("an `algorithm` statement before it"))?;
        let secret = secret.ok_or(end.error("a `secret` statement before it"))?;
        let key = key_of(&name, algorithm, secret.text).ok_or(secret.error(SECRET))?;
        Ok(Some(key))
    }

    fn symbol(&mut self, symbol: &'static str) -> Result<(), KeyTextError> {
        let expected = match symbol {
            "{" => "`{`",
            _ => "`;`",
        };
        let token = self.expect(expected)?;
        match token.is_symbol(symbol) {
            true => Ok(()),
            false => Err(token.error(expected)),
        }
    }

    /// A word or a quoted string.
    fn value(&mut self, expected: &'static str) -> Result<Token<'t>, KeyTextError> {
        let token = self.expect(expected)?;
        match token.kind {
            Kind::Symbol => Err(token.error(expected)),
            _ => Ok(token),
        }
    }

    fn expect(&mut self, expected: &'static str) -> Result<Token<'t>, KeyTextError> {
        let token = self.token()?;
        token.ok_or(KeyTextError {
            line: self.line,
            column: self.column,
            expected,
        })
    }

    /// The next token behind white space and comments; `None` at the end.
    fn token(&mut self) -> Result<Option<Token<'t>>, KeyTextError> {
        self.skip_blanks()?;
        let (line, column) = (self.line, self.column);
        let token = |kind, text| Token {
            kind,
            text,
            line,
            column,
        };
        let Some(first) = self.rest.chars().next() else {
            return Ok(None);
        };
        Ok(Some(match first {
            '{' | '}' | ';' => token(Kind::Symbol, self.take(1)),
            '"' => {
                let inside = &self.rest[1..];
                let end = inside.find(['"', '\n']);
                let Some(end) = end.filter(|end| inside[*end..].starts_with('"')) else {
                    return Err(token(Kind::Quoted, "").error("a string that ends on its line"));
                };
                let quoted = self.take(end + 2);
                token(Kind::Quoted, &quoted[1..quoted.len() - 1])
            }
            _ => {
                let is_end = |c: char| c.is_ascii_whitespace() || "{};\"".contains(c);
                let end = self.rest.find(is_end).unwrap_or(self.rest.len());
                token(Kind::Word, self.take(end))
            }
        }))
    }

    fn skip_blanks(&mut self) -> Result<(), KeyTextError> {
        loop {
            let rest = self.rest;
            let blanks = rest.len() - rest.trim_ascii_start().len();
            let length = if blanks > 0 {
                blanks
            } else if rest.starts_with('#') || rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if let Some(inside) = rest.strip_prefix("/*") {
                let end = inside.find("*/").ok_or(KeyTextError {
                    line: self.line,
                    column: self.column,
                    expected: "a comment that ends",
                })?;
                end + 4
            } else {
                return Ok(());
            };
            self.take(length);
        }
    }

    /// Takes so many octets, which end between characters, off the rest.
    fn take(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(length);
        for octet in taken.bytes() {
            if octet == b'\n' {
                self.line = self.line.saturating_add(1);
                self.column = 1;
            } else {
                self.column = self.column.saturating_add(1);
            }
        }
        self.rest = rest;
        taken
    }
}

impl Iterator for KeyFile<'_> {
    type Item = Result<Key, KeyTextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let key = self.key();
        self.failed = key.is_err();
        key.transpose()
    }
}

impl fmt::Debug for KeyFile<'_> {
    /// Where it is; the text has secrets in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile")
            .field("line", &self.line)
            .field("column", &self.column)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// The key that `[ALGORITHM:]NAME:SECRET` is, the argument of `dig -y`: the secret in base64, the algorithm
    /// `hmac-sha256` where it is left out.
    ///
    /// # Errors
    /// What was expected, and in which column.
    pub fn from_text(text: &str) -> Result<Self, KeyTextError> {
        let fail = |part: &str, expected| KeyTextError {
            line: 1,
            // A part lies inside the text.
            column: (part.as_ptr() as usize - text.as_ptr() as usize) as u32 + 1,
            expected,
        };
        let (before, secret) = text
            .rsplit_once(':')
            .ok_or(fail(text, "[ALGORITHM:]NAME:SECRET"))?;
        let (algorithm, name) = match before.split_once(':') {
            None => (Algorithm::HmacSha256, before),
            Some((algorithm, name)) => {
                let known = Algorithm::from_mnemonic(algorithm);
                (known.ok_or(fail(algorithm, ALGORITHMS))?, name)
            }
        };
        let owner = name_of(name).ok_or(fail(name, "the name of a key"))?;
        key_of(&owner, algorithm, secret).ok_or(fail(secret, SECRET))
    }
}

const ALGORITHMS: &str = "hmac-sha256, hmac-sha384 or hmac-sha512";
const SECRET: &str = "a secret of 1 to 512 octets in base64";

fn name_of(text: &str) -> Option<NameBuf> {
    NameBuf::from_text(text).ok()
}

fn key_of(name: &NameBuf, algorithm: Algorithm, secret: &str) -> Option<Key> {
    let mut buffer = [0; MAX_SECRET_LENGTH];
    let key = Base64::decode(secret, &mut buffer)
        .ok()
        .and_then(|secret| Key::new(name.as_name(), algorithm, secret).ok());
    buffer.zeroize();
    key
}

/// One token of a key file, and where it begins.
#[derive(Clone, Copy)]
struct Token<'t> {
    kind: Kind,
    text: &'t str,
    line: u32,
    column: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Quoted,
    Symbol,
}

impl Token<'_> {
    fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    fn error(&self, expected: &'static str) -> KeyTextError {
        KeyTextError {
            line: self.line,
            column: self.column,
            expected,
        }
    }
}

/// What is wrong with the text of a key: where, and what should have stood there. What stands there is not shown, for it
/// may be a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyTextError {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in octets.
    pub column: u32,
    /// What should have stood there.
    pub expected: &'static str,
}

impl fmt::Display for KeyTextError {
    /// `LINE:COLUMN: expected WHAT`, to go behind a file's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: expected {}",
            self.line, self.column, self.expected
        )
    }
}

impl Error for KeyTextError {}
