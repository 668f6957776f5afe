//! Dates (RFC 9110 §5.6.7): one form is written, three are read.

use core::fmt;
use core::time::Duration;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

const SECONDS_A_DAY: u64 = 86_400;

/// A point of time, to the second: from 1970 to the end of the year 9999. Displayed as IMF-fixdate.
///
/// ```
/// use mirage_http::HttpDate;
///
/// let date = HttpDate::parse(b"Sunday, 06-Nov-94 08:49:37 GMT", None).unwrap();
/// assert_eq!(date.to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpDate(u64);

impl HttpDate {
    /// The last second of the year 9999.
    pub const LAST: Self = Self(253_402_300_799);

    /// Octets of an IMF-fixdate.
    pub const LENGTH: usize = 29;

    /// How the epoch is written.
    pub(crate) const EPOCH: &[u8; Self::LENGTH] = b"Thu, 01 Jan 1970 00:00:00 GMT";

    /// The date so many seconds after the Unix epoch, at most [`LAST`](Self::LAST).
    pub const fn from_unix(seconds: u64) -> Self {
        match seconds > Self::LAST.0 {
            true => Self::LAST,
            false => Self(seconds),
        }
    }

    /// The date of a [`Clock`](mirage_core::Clock)'s wall time, without the part of a second.
    pub const fn from_wall(wall: Duration) -> Self {
        Self::from_unix(wall.as_secs())
    }

    /// Seconds since the Unix epoch.
    pub const fn unix(self) -> u64 {
        self.0
    }

    /// Reads a date of any of the three forms: IMF-fixdate, RFC 850's, asctime's.
    ///
    /// Nothing else is read: no other zone than GMT, no blank too many. That the day's name is the date's is not checked. RFC 850 has two digits
    /// for the year; the date that they make is at most 50 years after `now` (RFC 9110 §5.6.7), without it in 1970 to 2069.
    pub fn parse(text: &[u8], now: Option<Self>) -> Option<Self> {
        match text.len() {
            29 => imf_fixdate(text),
            24 => asctime(text),
            30..=33 => rfc_850(text, now),
            _ => None,
        }
    }

    /// As IMF-fixdate.
    pub fn format(self) -> [u8; Self::LENGTH] {
        let mut text = *Self::EPOCH;
        let (days, second) = (self.0 / SECONDS_A_DAY, self.0 % SECONDS_A_DAY);
        let (year, month, day) = civil(days);
        // The epoch was a Thursday.
        let name = DAYS[((days + 3) % 7) as usize];
        text[..3].copy_from_slice(name.as_bytes());
        text[5..7].copy_from_slice(&two_digits(u64::from(day)));
        text[8..11].copy_from_slice(MONTHS[usize::from(month - 1)].as_bytes());
        text[12..14].copy_from_slice(&two_digits(year / 100));
        text[14..16].copy_from_slice(&two_digits(year % 100));
        text[17..19].copy_from_slice(&two_digits(second / 3_600));
        text[20..22].copy_from_slice(&two_digits(second / 60 % 60));
        text[23..25].copy_from_slice(&two_digits(second % 60));
        text
    }
}

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.format();
        f.write_str(core::str::from_utf8(&text).unwrap_or_default())
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &[u8]) -> Option<HttpDate> {
    if !has_form(text, b"???, ## ??? #### ##:##:## GMT") {
        return None;
    }
    position(&DAYS, &text[..3])?;
    let month = position(&MONTHS, &text[8..11])?;
    date(
        number(&text[12..16]),
        month,
        number(&text[5..7]),
        &text[17..25],
    )
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<HttpDate> {
    let padded = has_form(text, b"??? ???  # ##:##:## ####");
    if !padded && !has_form(text, b"??? ??? ## ##:##:## ####") {
        return None;
    }
    position(&DAYS, &text[..3])?;
    let month = position(&MONTHS, &text[4..7])?;
    let day = number(&text[8 + usize::from(padded)..10]);
    date(number(&text[20..24]), month, day, &text[11..19])
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc_850(text: &[u8], now: Option<HttpDate>) -> Option<HttpDate> {
    let comma = text.iter().position(|octet| *octet == b',')?;
    position(&LONG_DAYS, &text[..comma])?;
    let text = &text[comma..];
    if !has_form(text, b", ##-???-## ##:##:## GMT") {
        return None;
    }
    let month = position(&MONTHS, &text[5..8])?;
    let (day, short) = (number(&text[2..4]), number(&text[9..11]));
    let with_year = |year| date(year, month, day, &text[12..20]);
    let Some(now) = now else {
        return with_year(if short < 70 {
            2000 + short
        } else {
            1900 + short
        });
    };
    // The latest that is no more than 50 years ahead.
    let (this_year, ..) = civil(now.0 / SECONDS_A_DAY);
    let century = this_year - this_year % 100;
    let centuries = [century + 100, century, century - 100];
    let century = centuries
        .into_iter()
        .find(|century| century + short <= this_year + 50)?;
    with_year(century + short)
}

/// Whether the text has digits at `#`, anything at `?`, and elsewhere the octets of the form.
fn has_form(text: &[u8], form: &[u8]) -> bool {
    text.len() == form.len()
        && text.iter().zip(form).all(|(octet, form)| match form {
            b'#' => octet.is_ascii_digit(),
            b'?' => true,
            form => octet == form,
        })
}

/// Which of the names it is. With case (RFC 9110 §5.6.7).
fn position(names: &[&str], name: &[u8]) -> Option<usize> {
    names.iter().position(|known| known.as_bytes() == name)
}

/// The number of a few digits.
fn number(digits: &[u8]) -> u64 {
    let digits = digits.iter().map(|octet| u64::from(octet - b'0'));
    digits.fold(0, |number, digit| number * 10 + digit)
}

/// The date, if there is such a day, month counted from zero, and such a time.
fn date(year: u64, month: usize, day: u64, time: &[u8]) -> Option<HttpDate> {
    let (hour, minute) = (number(&time[..2]), number(&time[3..5]));
    let second = number(&time[6..8]);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        1 => 28 + u64::from(leap),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    // A leap second counts as the one after it.
    if year < 1970 || day == 0 || day > length || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_from_civil(year, month as u64 + 1, day);
    let date = HttpDate(days * SECONDS_A_DAY + hour * 3_600 + minute * 60 + second);
    (date <= HttpDate::LAST).then_some(date)
}

/// Days since the epoch of a date from 1970 on. Years are counted from March here, so that a leap day is their last.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    // Months from March on have 31, 30, 31, 30, 31 days, over and over: 153 in five.
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let leap_days = year / 4 - year / 100 + year / 400;
    // 719,468 days lie between 0000-03-01 and the epoch.
    year * 365 + leap_days + day_of_year - 719_468
}

/// Year, month from 1 on and day of a day since the epoch.
fn civil(days: u64) -> (u64, u8, u8) {
    let days = days + 719_468;
    // 400 years have 146,097 days, a century 36,524 or one more, four years 1,461.
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year, month as u8, day as u8)
}

fn two_digits(number: u64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    /// RFC 9110 §5.6.7's example.
    const EXAMPLE: HttpDate = HttpDate(784_111_777);

    fn parse(text: &str) -> Option<HttpDate> {
        HttpDate::parse(text.as_bytes(), None)
    }

    #[test]
    fn each_form_is_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun Nov 06 08:49:37 1994",
        ] {
            assert_eq!(parse(text), Some(EXAMPLE), "{text}");
        }
        assert_eq!(EXAMPLE.to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn known_days() {
        for (unix, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(HttpDate::from_unix(unix).to_string(), text);
            assert_eq!(parse(text), Some(HttpDate::from_unix(unix)));
        }
        assert_eq!(HttpDate::from_unix(u64::MAX), HttpDate::LAST);
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994  8:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 2100 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Someday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 94",
            "0",
            "784111777",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert!(
            parse("Sat, 31 Dec 2016 23:59:60 GMT").is_some(),
            "a leap second"
        );
    }

    #[test]
    fn two_digits_of_a_year_are_never_more_than_fifty_years_ahead() {
        let year = |short: u64, now: u64| {
            let text = std::format!("Sunday, 06-Nov-{short:02} 08:49:37 GMT");
            let now = HttpDate(days_from_civil(now, 7, 1) * SECONDS_A_DAY);
            HttpDate::parse(text.as_bytes(), Some(now)).map(|date| civil(date.0 / SECONDS_A_DAY).0)
        };
        assert_eq!(year(94, 2026), Some(1994));
        assert_eq!(year(76, 2026), Some(2076));
        assert_eq!(year(77, 2026), Some(1977));
        assert_eq!(year(10, 2095), Some(2110));
        assert_eq!(year(60, 2026), Some(2060));
    }

    proptest! {
        #[test]
        fn dates_are_read_as_they_are_written(unix in 0..=HttpDate::LAST.0) {
            let date = HttpDate(unix);
            prop_assert_eq!(HttpDate::parse(&date.format(), None), Some(date));
        }

        #[test]
        fn any_octets_are_a_date_or_none(text in prop::collection::vec(any::<u8>(), 20..36)) {
            if let Some(date) = HttpDate::parse(&text, None) {
                prop_assert!(date <= HttpDate::LAST);
            }
        }
    }
}
