//! How long the certificates hold that the service is known by.
//!
//! TLS needs no more than rustls; the one thing it does not tell is when a certificate ends, and that is read here:
//! a few fields of DER (X.690) up to the validity (RFC 5280, 4.1).

use super::boots::{day, days};
use super::{Finding, Patient, fail, pass, unknown};

/// Below this somebody should look: a fortnight, in seconds.
const SOON_S: i64 = 14 * 86_400;

/// The most that is read of a file: all the public roots are 220 KB.
const FILE: u64 = 4 << 20;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

pub(super) fn expiry(patient: &Patient<'_>) -> Finding {
    let fix = "ask the service's owner for the new certificate, and name it as ca_file";
    let Some(path) = patient.ca_file else {
        return pass(match patient.has_server {
            true => {
                "no certificate is named: the public roots in this program are trusted, which its updates renew"
            }
            false => "no certificate is named, and no server",
        });
    };
    let place = path.display();
    // It may lie behind links, as the files of a mounted secret do.
    let contents = std::fs::canonicalize(path).and_then(|path| patient.disk.read(&path, FILE));
    let bytes = match contents {
        Ok(contents) => contents.bytes,
        Err(error) => {
            return unknown(format!("{place} cannot be read: {error}"), "run it as root or as the agent");
        }
    };
    let ends: Option<Vec<i64>> = ureq::tls::parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(not_after(certificate.der())),
            _ => None,
        })
        .collect();
    let Some(ends) = ends else {
        return unknown(format!("{place} holds a certificate that cannot be read"), fix);
    };
    // While one is replaced by another, both are named: the last one decides.
    let (Some(first), Some(last)) = (ends.iter().min(), ends.iter().max()) else {
        return fail(format!("{place} holds no certificate"), fix);
    };
    let seen = match ends.len() {
        1 => format!("the certificate of {place} ends on {}", day(last * 1_000_000)),
        many => format!(
            "of {many} certificates in {place} the first ends on {}, the last on {}",
            day(first * 1_000_000),
            day(last * 1_000_000)
        ),
    };
    match last - patient.now_us / 1_000_000 < SOON_S {
        true => fail(seen, fix),
        false => pass(seen),
    }
}

/// When a certificate ends, seconds since 1970 UTC.
fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut fields, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    // version [0] if it is not 1, serialNumber, signature, issuer; then validity.
    for tag in [VERSION, INTEGER, SEQUENCE, SEQUENCE] {
        let (found, _, rest) = element(fields)?;
        match (found == tag, tag) {
            (true, _) => fields = rest,
            (false, VERSION) => {}
            (false, _) => return None,
        }
    }
    let (_, validity, _) = element(fields).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    seconds(tag, time)
}

/// Tag, content and what follows of the first element of some DER.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // So many bytes of length follow; none is indefinite in DER, and three reach 16 MiB.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ`, of 1950 to 2049, or `YYYYMMDDHHMMSSZ`: the only forms that RFC 5280 allows (4.1.2.5).
fn seconds(tag: u8, time: &[u8]) -> Option<i64> {
    let digits = time.strip_suffix(b"Z")?;
    let two = |at: usize| {
        let pair = digits.get(at..at + 2)?;
        pair.iter()
            .try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => (two(0)? + if two(0)? < 50 { 2000 } else { 1900 }, 2),
        (GENERALIZED_TIME, 14) => (two(0)? * 100 + two(2)?, 4),
        _ => return None,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| two(rest + at));
    let days = days(year, month.filter(|month| (1..=12).contains(month))?, day?);
    Some(days * 86_400 + hour? * 3600 + minute? * 60 + second?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["crash.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, month, day);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms() {
        for (end, expected) in [
            ((2026, 11, 23), 1_795_392_000),
            ((2049, 12, 31), 2_524_521_600),
            ((2050, 1, 1), 2_524_608_000),
            ((2400, 2, 29), 13_574_563_200),
        ] {
            assert_eq!(not_after(&certificate(end.0, end.1, end.2)), Some(expected), "{end:?}");
        }
        assert_eq!(seconds(UTC_TIME, b"500101000000Z"), Some(-631_152_000));
    }

    #[test]
    fn damage_is_no_date() {
        let whole = certificate(2026, 11, 23);
        for length in 0..whole.len() {
            assert_eq!(not_after(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                not_after(&damaged);
            }
        }
        for (tag, time) in [
            (UTC_TIME, &b"261323000000Z"[..]),
            (UTC_TIME, b"2611230000Z"),
            (UTC_TIME, b"261123000000+0100"),
            (GENERALIZED_TIME, b"261123000000Z"),
            (GENERALIZED_TIME, b"20x61123000000Z"),
            (SEQUENCE, b"261123000000Z"),
        ] {
            assert_eq!(seconds(tag, time), None, "{tag} {time:?}");
        }
    }
}
