//! Until when the certificates in a file are good.

use crate::{
    job::Timestamp,
    store::examine::{Finding, shown},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::{path::Path, time::Duration};
use x509_cert::{Certificate, der::Decode as _};

const CHECK: &str = "certificate";

/// Three weeks: two tries to get another, and a holiday.
const LEFT_TO_WARN: Duration = Duration::from_secs(21 * 24 * 60 * 60);

/// When a certificate begins and ends to be good.
struct Validity {
    from: Timestamp,
    until: Timestamp,
}

/// Settings, and a variable, that name files of authorities.
const AUTHORITIES: [&str; 2] = ["ca_file", "SSL_CERT_FILE"];

/// The file that the setting `key` names. Of a chain all must be good; of authorities one of them.
#[must_use]
pub fn examine(key: &str, path: &Path, now: Timestamp) -> Finding {
    let place = format!("{} (`{key}`)", path.display());
    let all = match read(path) {
        Ok(all) => all,
        Err(why) => {
            return Finding::fail(CHECK, format!("{place}: {why}"), "put a file of PEM certificates there that the daemon's user may read");
        }
    };
    let decides = if AUTHORITIES.iter().any(|name| key.ends_with(name)) {
        all.iter().max_by_key(|one| one.until)
    } else {
        all.iter().min_by_key(|one| one.until)
    };
    match decides {
        Some(one) => judge(&place, one, now),
        None => Finding::fail(CHECK, format!("{place} has no certificate in it"), "put a file of PEM certificates there"),
    }
}

fn judge(place: &str, one: &Validity, now: Timestamp) -> Finding {
    const RENEW: &str = "get another, put it in the place of this one, and restart the daemon";
    if one.from > now {
        let says = format!("{place} is not good before {}", one.from);
        return Finding::fail(CHECK, says, "wait, or set this machine's clock, or use another certificate");
    }
    let left = one.until.since(now);
    let found = match left {
        Duration::ZERO => Finding::fail(CHECK, format!("{place} expired at {}", one.until), RENEW),
        left if left < LEFT_TO_WARN => Finding::warn(CHECK, format!("{place} expires in {}, at {}", shown(left), one.until), RENEW),
        left => Finding::ok(CHECK, format!("{place} is good for {}", shown(left))),
    };
    found.measured(left.as_secs_f64() / 86_400.0, "days")
}

fn read(path: &Path) -> Result<Vec<Validity>, String> {
    let each = CertificateDer::pem_file_iter(path).map_err(|e| e.to_string())?;
    each.map(|der| validity(&der.map_err(|e| e.to_string())?)).collect()
}

fn validity(der: &CertificateDer<'_>) -> Result<Validity, String> {
    let parsed = Certificate::from_der(der).map_err(|e| format!("a certificate in it cannot be read ({e})"))?;
    let at = |time: x509_cert::time::Time| Timestamp(i64::try_from(time.to_unix_duration().as_micros()).unwrap_or(i64::MAX));
    let validity = parsed.tbs_certificate.validity;
    Ok(Validity { from: at(validity.not_before), until: at(validity.not_after) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::examine::Level;

    const DAY: i64 = 24 * 3600 * 1_000_000;
    /// 2026-01-01.
    const NEW_YEAR: Timestamp = Timestamp(1_767_225_600_000_000);

    /// Good from new year for so many days.
    fn pem(days: u32) -> String {
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let day = |days: i64| std::time::UNIX_EPOCH + Duration::from_micros(u64::try_from(NEW_YEAR.0 + days * DAY).expect("after 1970"));
        (parameters.not_before, parameters.not_after) = (day(0).into(), day(i64::from(days)).into());
        let key = rcgen::KeyPair::generate().expect("a key");
        parameters.self_signed(&key).expect("a certificate").pem()
    }

    fn examined(key: &str, text: &str, day: i64) -> Finding {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cert.pem");
        std::fs::write(&path, text).expect("a file");
        examine(key, &path, Timestamp(NEW_YEAR.0 + day * DAY + 1))
    }

    #[test]
    fn certificate_is_told_of_before_it_expires_and_fails_when_it_has() {
        let year = pem(365);
        let level = |day| examined("control.tls_cert_file", &year, day).level;
        assert_eq!(
            [level(-1), level(0), level(343), level(344), level(365)],
            [Level::Fail, Level::Ok, Level::Ok, Level::Warn, Level::Fail]
        );
        assert!(examined("control.tls_cert_file", &year, 344).says.contains("20 days"));
        assert!(examined("control.tls_cert_file", &year, 400).remedy.is_some());
    }

    #[test]
    fn chain_is_as_good_as_its_first_to_expire_and_authorities_as_their_last() {
        let both = format!("{}{}", pem(10), pem(365));
        assert_eq!(examined("control.tls_cert_file", &both, 20).level, Level::Fail);
        assert_eq!(examined("control.tls_client_ca_file", &both, 20).level, Level::Ok);
    }

    #[test]
    fn file_without_a_certificate_fails_with_its_name() {
        for text in ["", "no certificate\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let found = examined("control.tls_cert_file", text, 0);
            assert!(found.level == Level::Fail && found.says.contains("cert.pem") && found.remedy.is_some(), "{found:?}");
        }
    }
}
