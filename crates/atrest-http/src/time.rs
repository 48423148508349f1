//! Dates as HTTP and signatures write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Year, month from 1, day from 1, hour, minute, second, and days since 1970.
fn civil(time: SystemTime) -> (u64, u64, u64, u64, u64, u64, u64) {
    // With a clock before 1970 no signature is accepted anyway.
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let days = seconds / 86400;
    // Years from March on, so that the leap day is the last of its year, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60, days)
}

/// A date as in HTTP's headers (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(time: SystemTime) -> String {
    let (year, month, day, hour, minute, second, days) = civil(time);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[month as usize - 1]);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// A date in ISO 8601's basic format, as AWS signs it: `19941106T084937Z`.
pub fn basic_date(time: SystemTime) -> String {
    let (year, month, day, hour, minute, second, _) = civil(time);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Parses the format of [`http_date`]. `None` if it is something else.
pub fn parse_http_date(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    if !text.is_ascii() || text.len() != 29 {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<u64> {
        let digits = &text[range];
        digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let month = MONTHS.iter().position(|month| *month == &text[8..11])? as u64 + 1;
    let (day, year) = (number(5..7)?, number(12..16)?);
    let (hour, minute, second) = (number(17..19)?, number(20..22)?, number(23..25)?);
    if !(1..=31).contains(&day) || year < 1970 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (of_year, from_march) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = of_year * 365 + of_year / 4 - of_year / 100 + of_year / 400 + (153 * from_march + 2) / 5 + day - 1;
    let seconds = days.checked_sub(719_468)? * 86400 + hour * 3600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Reads a date of ISO 8601 in UTC (RFC 3339), such as `2026-01-31T10:20:30Z`, with or without a fraction of a second, which is
/// left out. `None` if it is something else.
pub fn parse_iso_date(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"))?;
    let (day, time) = text.split_once('T')?;
    let time = time.split('.').next()?;
    let [year, month, day] = <[&str; 3]>::try_from(day.split('-').collect::<Vec<_>>()).ok()?;
    let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
    // The reader of HTTP's dates doesn't look at the day of the week.
    parse_http_date(&format!("Sun, {day} {month} {year} {time} GMT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_rfc_9110_and_of_leap_years() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        // Section 5.6.7 of RFC 9110; the others by `date -u -d @N`.
        for (seconds, http, basic) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT", "19941106T084937Z"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT", "20000229T000000Z"),
            (1_440_938_160, "Sun, 30 Aug 2015 12:36:00 GMT", "20150830T123600Z"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT", "20241231T235959Z"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "19700101T000000Z"),
        ] {
            assert_eq!(http_date(at(seconds)), http);
            assert_eq!(basic_date(at(seconds)), basic);
            assert_eq!(parse_http_date(http), Some(at(seconds)));
        }
        for bad in [
            "",
            "soon",
            "Sun, 06 Nov 1994 08:49:37 UTC+1",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Név 1994 08:49:3 GMT",
        ] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_of_iso_8601_are_read_in_both_forms() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(parse_iso_date("1994-11-06T08:49:37Z"), at(784_111_777));
        assert_eq!(parse_iso_date("1994-11-06T08:49:37.123456+00:00"), at(784_111_777));
        for bad in ["", "Z", "1994-11-06", "1994-13-06T08:49:37Z", "1994-11-06T08:49Z", "1994-11-06T08:49:37+01:00"] {
            assert_eq!(parse_iso_date(bad), None, "{bad}");
        }
    }
}
